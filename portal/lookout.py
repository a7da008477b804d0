"""The lookout: what nobody's act tells of by itself, because time passes or credits run down.

Every condition here stands as a notice while it holds and ends when it no longer does, in the
transaction that also writes the outbox: each is told once, and again only after it was over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, select, update

from portal import accounts, alerts, balances, caps, catalog, forecasting, notices, overage
from portal.accounts import Organization
from portal.balances import Balance
from portal.core.caps import CapState
from portal.core.catalog import PriceBook
from portal.core.errors import CatalogError
from portal.core.units import divide_half_even
from portal.db import Database
from portal.desk import Desk, open_desk
from portal.notices import mailing, words
from portal.rows import insert_or_ignore
from portal.tables import alert_settings, organizations, wallets
from portal.top_ups import standing as top_ups

LOW, OUT, EXPIRING = "credits-low", "credits-out", "credits-expiring"
PROJECTED, BEYOND, OVERRUN = alerts.PROJECTED, "overage-begun", "overrun"
#: Who changes nothing is looked at this often all the same: credits expire by themselves.
AT_LEAST_EVERY = timedelta(hours=1)
#: How long before their end credits are told to expire.
BEFORE_EXPIRY_DAYS = (30, 7)
LOW_PERCENT = 10
#: That a bank did not pay for a pack stands so long, unless one is bought before.
PACK_FAILED_STANDS = timedelta(days=14)
#: An allowance that lasts so long is told before it ends.
LONG = timedelta(days=62)
#: A cap that was on course to be passed no longer is, once less than this part of it is to come.
STILL_PERCENT = 95
TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Threshold:
    """Below what a balance is low: a part of the plan's allowance, or a number of credits."""

    percent: int | None = LOW_PERCENT
    micro: int | None = None

    def micro_of(self, allowance_micro: int) -> int:
        """Return it in millionths of a credit; 0 where there is no plan to take a part of."""
        if self.micro is not None:
            return self.micro
        return divide_half_even(allowance_micro * (self.percent or 0), 100)


def threshold(tx: Connection, organization_id: str) -> Threshold:
    """Return when the balance is low, as an admin set it or as it is unless one does."""
    row = tx.execute(
        select(alert_settings).where(alert_settings.c.organization_id == organization_id)
    ).first()
    return Threshold(row.low_percent, row.low_micro) if row else Threshold()


def set_threshold(tx: Connection, organization_id: str, chosen: Threshold) -> None:
    """Keep when the balance is low."""
    values = {"low_percent": chosen.percent, "low_micro": chosen.micro}
    if not insert_or_ignore(tx, alert_settings, {"organization_id": organization_id} | values):
        tx.execute(
            update(alert_settings)
            .where(alert_settings.c.organization_id == organization_id)
            .values(**values)
        )


@dataclass
class Lookout:
    """One worker's looking around: it remembers when it last looked, and nothing else.

    Looking again, or two workers looking, changes nothing: what is told already stands.
    """

    last: datetime | None = None
    last_at_all: datetime | None = None

    def look_around(self, database: Database, *, now: datetime) -> int:
        """Look at everybody of whom something may have changed; returns at how many."""
        at_all = self.last_at_all is None or now - self.last_at_all >= AT_LEAST_EVERY
        with database.reading() as tx:
            found = list(tx.execute(_moved(None if at_all else self.last)).scalars())
        for organization_id in found:
            with database.reading() as tx:
                # What takes long is found out before anything is locked.
                organization = accounts.find_organization(tx, organization_id)
                coming = _coming(tx, organization, now=now)
            with database.transaction() as tx:
                desk = open_desk(tx, organization_id, now=now)
                desk.wallet.write()
                _look(desk, coming)
        self.last, self.last_at_all = now, now if at_all else self.last_at_all
        return len(found)


def _moved(since: datetime | None) -> Select[Any]:
    """Return the query for whoever's credits moved since then; with None for all."""
    query = (
        select(organizations.c.organization_id)
        .join(wallets, wallets.c.organization_id == organizations.c.organization_id)
        .where(organizations.c.charging == "on")
        .order_by(organizations.c.organization_id)
    )
    return query if since is None else query.where(wallets.c.moved_at >= since)


def _look(desk: Desk, coming: Mapping[str, int]) -> None:
    """Tell what stands now and did not, and what stood and no longer does."""
    tx, organization_id, now = desk.tx, desk.organization.organization_id, desk.now
    try:
        book = catalog.in_force(tx, at=now)
    except CatalogError:
        return
    alerts.end_with_windows(tx, organization_id, now=now)
    balance = balances.balance(tx, organization_id, now=now)
    if balances.ever_granted(tx, organization_id, until=now):
        _low(desk, book, balance)
        _expiring(desk, balance)
        _beyond(desk, book, balance)
    _overrun(desk, balance)
    _projected(desk, coming)
    _end_pack_failed(desk)


def _stand(
    desk: Desk,
    kind: str,
    holds: Mapping[str, tuple[str, dict[str, Any]]],
    *,
    over: dict[str, Any] | None = None,
    quietly: bool = False,
) -> None:
    """Have one notice of a kind stand for each subject that holds, and end the others.

    ``holds`` gives its sentence and facts by subject; ``over`` what is told of one that ends.
    """
    tx, organization_id = desk.tx, desk.organization.organization_id
    for subject, (sentence, facts) in holds.items():
        notices.raise_notice(
            tx, organization_id, kind, sentence, subject=subject, facts=facts, now=desk.now
        )
    for one in notices.standing(tx, organization_id):
        if one.kind == kind and one.subject not in holds:
            notices.end(
                tx, organization_id, kind, subject=one.subject, facts=over, quietly=quietly,
                now=desk.now,
            )  # fmt: skip


def _low(desk: Desk, book: PriceBook, balance: Balance) -> None:
    organization, left = desk.organization, balance.available_micro
    tier = book.plan_of(organization.tier)
    chosen = threshold(desk.tx, organization.organization_id)
    low_micro = chosen.micro_of(tier.allowance_micro if tier else 0)
    facts = {
        "available_micro": left,
        "low_micro": low_micro,
        "on_empty": _on_empty(desk, book, balance),
    }
    out = {"": ("No credits are left.", facts)} if left == 0 else {}
    says = f"{words.amount(left)} credits are left."
    low = {"": (says, facts)} if left < low_micro else {}
    # Who has none left is told that, and not that they are low as well.
    _stand(desk, LOW, {} if out else low, over=facts, quietly=bool(out))
    _stand(desk, OUT, out, over=facts)


def _on_empty(desk: Desk, book: PriceBook, balance: Balance) -> str:
    """Return what happens at zero as things stand: what was chosen, or ``stop`` where it cannot."""
    tx, organization = desk.tx, desk.organization
    if organization.on_empty == "overage":
        found = overage.standing(tx, organization, book, at=desk.now)
        return "overage" if found.room_micro > 0 and not balance.debt_micro else "stop"
    if organization.on_empty == "top_up":
        mine = top_ups.settings(tx, organization.organization_id)
        return "stop" if mine is None or mine.rests_because else "top_up"
    return organization.on_empty


def _expiring(desk: Desk, balance: Balance) -> None:
    holds: dict[str, tuple[str, dict[str, Any]]] = {}
    for lot in balance.lots:
        if lot.expires_at is None or not lot.remaining_micro:
            continue
        # A month's allowance ends every month, and the next one comes.
        if lot.source == "allowance" and lot.expires_at - lot.effective_at < LONG:
            continue
        near = [
            days
            for days in BEFORE_EXPIRY_DAYS
            if lot.expires_at - desk.now <= timedelta(days=days)
            and lot.expires_at - lot.effective_at > timedelta(days=days + 2)
        ]
        if near:
            on = words.day(lot.expires_at - TICK, desk.organization.zone)
            holds[f"{lot.grant_id} {min(near)}"] = (
                f"{words.amount(lot.remaining_micro)} credits expire on {on}.",
                {
                    "grant": lot.grant_id,
                    "source": lot.source,
                    "remaining_micro": lot.remaining_micro,
                    "expires_at": lot.expires_at.isoformat(),
                    "days": min(near),
                },
            )
    _stand(desk, EXPIRING, holds, quietly=True)


def _beyond(desk: Desk, book: PriceBook, balance: Balance) -> None:
    found = overage.standing(desk.tx, desk.organization, book, at=desk.now)
    holds: dict[str, tuple[str, dict[str, Any]]] = {}
    facts = {
        "credits_micro": found.credits_micro,
        "amount_minor": found.amount_minor,
        "limit_minor": found.limit_minor or 0,
        "currency": desk.organization.currency,
        "available_micro": balance.available_micro,
    }
    if found.credits_micro and not balance.available_micro:
        goes = "goes on" if found.room_micro else "went"
        holds[found.period.start.isoformat()] = (f"Work {goes} beyond your credits.", facts)
    _stand(desk, BEYOND, holds, over=facts)


def _overrun(desk: Desk, balance: Balance) -> None:
    """Tell once in a period that work was done which no limit allowed to be charged."""
    tx, organization_id = desk.tx, desk.organization.organization_id
    period = desk.organization.period_at(desk.now)
    before = balances.balance_at(tx, organization_id, at=period.start)
    more = balance.uncollected_micro - before.uncollected_micro
    subject = period.start.isoformat()
    if more > 0 and not notices.was_raised(tx, organization_id, OVERRUN, subject=subject):
        facts = {"uncollected_micro": more, "since": subject}
        sentence = "Work was done that your limits did not cover. You are not charged for it."
        notices.raise_notice(
            tx, organization_id, OVERRUN, sentence, subject=subject, facts=facts, now=desk.now
        )
    for one in notices.standing(tx, organization_id):
        if one.kind == OVERRUN and one.subject != subject:
            notices.end(tx, organization_id, OVERRUN, subject=one.subject, quietly=True,
                        now=desk.now)  # fmt: skip


def _end_pack_failed(desk: Desk) -> None:
    """End what was told of a pack that a bank did not pay, once it is old: nothing waits for it."""
    tx, organization_id = desk.tx, desk.organization.organization_id
    for one in notices.standing(tx, organization_id):
        if one.kind == notices.PACK_FAILED and desk.now - one.raised_at >= PACK_FAILED_STANDS:
            notices.end(tx, organization_id, one.kind, subject=one.subject, quietly=True,
                        now=desk.now)  # fmt: skip


def _coming(tx: Connection, organization: Organization, *, now: datetime) -> dict[str, int]:
    """Return by cap what the period would come to, where it is anywhere near the limit."""
    in_force = [
        cap for cap in caps.in_force(tx, organization.organization_id) if cap.window == "period"
    ]
    told = {
        one.subject.partition(" ")[0]
        for one in notices.standing(tx, organization.organization_id)
        if one.kind == PROJECTED
    }
    found = {}
    for state in caps.states(tx, organization, in_force, at=now):
        cap = state.cap
        passed = (now - state.window.start) // TICK
        whole = (state.window.end - state.window.start) // TICK
        # Where three times a straight line would not reach it, no forecast is made.
        if state.spent_micro * 3 * whole < state.limit_micro * passed and cap.cap_id not in told:
            continue
        part = {} if cap.scope == "organization" else {cap.scope: cap.target}
        coming = forecasting.wanted(tx, organization, part, action=cap.action, now=now)
        if coming is not None:
            found[cap.cap_id] = coming
    return found


def _projected(desk: Desk, coming: Mapping[str, int]) -> None:
    """Tell of caps that the forecast passes before they are reached, once in each window."""
    tx, organization, now = desk.tx, desk.organization, desk.now
    organization_id = organization.organization_id
    in_force = [cap for cap in caps.in_force(tx, organization_id) if cap.cap_id in coming]
    known: dict[str, tuple[CapState, dict[str, Any]]] = {}
    names = mailing.names_of(tx, organization, now=now)
    for state in caps.states(tx, organization, in_force, at=now):
        subject = alerts.foretold(state)
        facts = alerts.facts_of(state) | {"projected_micro": coming[state.cap.cap_id]}
        known[subject] = (state, facts)
        if facts["projected_micro"] > state.limit_micro and state.remaining_micro:
            sentence = (
                f"{names.whose(facts)} is on course to pass the cap of "
                f"{words.amount(state.limit_micro)} credits: about "
                f"{words.about(coming[state.cap.cap_id])} at this pace."
            )
            notices.raise_notice(
                tx, organization_id, PROJECTED, sentence, subject=subject, facts=facts, now=now
            )
    for one in notices.standing(tx, organization_id):
        if one.kind == PROJECTED:
            _end_projected(desk, one.subject, known.get(one.subject))


def _end_projected(desk: Desk, subject: str, known: tuple[CapState, dict[str, Any]] | None) -> None:
    """End what no longer holds; a cap that is reached or has started again is told of as that.

    A forecast that wavers about the limit is not told of again and again.
    """
    facts = None
    if known is not None:
        state, now_known = known
        part = now_known["projected_micro"] * 100
        if state.remaining_micro and part >= state.limit_micro * STILL_PERCENT:
            return
        facts = now_known if state.remaining_micro else None
    notices.end(
        desk.tx,
        desk.organization.organization_id,
        PROJECTED,
        subject=subject,
        facts=facts,
        quietly=facts is None,
        now=desk.now,
    )
