"""Auto top-up at work: a pack is bought by itself when credits run low, once for each need.

Invariant: an attempt is written down, closed, before Stripe is asked, and its id is the key under
which Stripe is asked, however often. Credits come only with money that arrived. What is not known
is asked about until it is; nothing is bought a second time because an answer was missing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection

from portal import accounts, balances, catalog, notices
from portal.accounts import Organization
from portal.billing import top_up_outcomes
from portal.billing.gateway import Gateway, OffSession, TopUpIntent
from portal.core.catalog import Pack, PriceBook
from portal.core.errors import ClearmeterError, Unavailable
from portal.core.top_up import (
    GIVEN_UP_AFTER,
    REPEATED_FOR,
    Standing,
    ask_again_at,
    hindrance,
    month_of,
    still_minor,
)
from portal.db import Database
from portal.desk import open_desk
from portal.top_ups import attempts, standing
from portal.top_ups.attempts import Attempt
from portal.top_ups.standing import LIMIT_REACHED, AutoTopUp
from portal.top_ups.terms import TopUpRequest, pack_for, terms

log = structlog.get_logger()

#: How far Stripe's clock may be from ours.
SKEW = timedelta(days=1)


@dataclass(frozen=True)
class Preview:
    """What turning auto top-up on would do; credits in millionths, money in minor units.

    ``hindrance`` is why nothing would be bought at once, or nothing where something would.
    ``month_most_minor`` is the most that this month can come to, with what was bought already.
    """

    pack: Pack
    currency: str
    hindrance: str
    available_micro: int
    month_used_minor: int
    month_most_minor: int

    @property
    def buys_now(self) -> bool:
        """Whether a pack would be bought at once."""
        return not self.hindrance

    @property
    def charged_now_minor(self) -> int:
        """What would be charged at once, in minor units."""
        return self.pack.price_minor if self.buys_now else 0


@dataclass(frozen=True)
class _Weighed:
    """Whether to buy, and what; ``hindrance`` is why not."""

    hindrance: str
    book: PriceBook | None = None
    pack: Pack | None = None


def preview(
    database: Database, organization_id: str, asked: TopUpRequest, *, now: datetime
) -> Preview:
    """Return what turning auto top-up on would buy now. Raises NotFound, InvalidRequest."""
    with database.reading() as tx:
        organization = accounts.find_organization(tx, organization_id)
        book = catalog.in_force(tx, at=now)
        pack = pack_for(book, organization, asked)
        available = balances.balance(tx, organization_id, now=now).available_micro
        mine = standing.settings(tx, organization_id)
        found = _standing(tx, organization, mine, available_micro=available, now=now)
    left = still_minor(
        limit_minor=asked.monthly_limit_minor,
        used_minor=found.used_minor,
        amount_minor=pack.price_minor,
    )
    return Preview(
        pack=pack,
        currency=book.currency,
        hindrance=hindrance(terms(asked, pack), found),
        available_micro=available,
        month_used_minor=found.used_minor,
        month_most_minor=found.used_minor + left,
    )


def _standing(
    tx: Connection,
    organization: Organization,
    mine: AutoTopUp | None,
    *,
    available_micro: int,
    now: datetime,
    but: Attempt | None = None,
) -> Standing:
    """Return how auto top-up stands, leaving out one attempt."""
    organization_id = organization.organization_id
    overdue = organization.stops_at is not None and organization.stops_at <= now
    month = month_of(now, organization.zone)
    used = attempts.used_minor(tx, organization_id, month)
    flying = attempts.in_flight(tx, organization_id)
    if but is not None and but.started_at in month:
        used -= but.amount_minor
    return Standing(
        suspended="overdue" if overdue else mine.suspended if mine else "",
        in_flight=flying is not None and but is None,
        available_micro=available_micro,
        used_minor=used,
    )


def _weigh(
    tx: Connection,
    organization: Organization,
    *,
    available_micro: int,
    now: datetime,
    but: Attempt | None = None,
) -> _Weighed:
    mine = standing.settings(tx, organization.organization_id)
    if organization.on_empty != "top_up" or organization.shadow or mine is None:
        return _Weighed("off")
    book = catalog.in_force(tx, at=now)
    pack = book.packs.get(mine.pack)
    if pack is None or book.currency != organization.currency:
        return _Weighed("unsold")
    found = _standing(tx, organization, mine, available_micro=available_micro, now=now, but=but)
    return _Weighed(hindrance(terms(mine.asked, pack), found), book, pack)


def _look(
    database: Database, organization_id: str, *, now: datetime, but: Attempt | None = None
) -> tuple[Organization, _Weighed]:
    with database.reading() as tx:
        organization = accounts.find_organization(tx, organization_id)
        available = balances.balance(tx, organization_id, now=now).available_micro
        return organization, _weigh(tx, organization, available_micro=available, now=now, but=but)


# --- buying --------------------------------------------------------------------------------------


def run(
    database: Database, payments: Gateway, organization_id: str, *, now: datetime
) -> Attempt | None:
    """Find out what became of an attempt in flight, and buy a pack where one is wanted.

    Returns the attempt that was asked about or made, as it stands then. Raises NotFound, and
    Unavailable where Stripe does not answer before anything was begun.
    """
    if not payments.configured:
        return None
    with database.reading() as tx:
        flying = attempts.in_flight(tx, organization_id)
    if flying is not None:
        return _ask_again(database, payments, flying, now=now)
    organization, weighed = _look(database, organization_id, now=now)
    if weighed.hindrance in {"limit", "unsold"}:
        _tell(database, organization, weighed.hindrance, now=now)
    if weighed.hindrance:
        return None
    method_id = _method(payments, organization)
    if not method_id:
        top_up_outcomes.lacks_method(database, organization_id, now=now)
        return None
    attempt = _begin(database, organization_id, method_id, now=now)
    return attempt and _ask(database, payments, organization, attempt, now=now)


def run_now(
    database: Database, payments: Gateway, organization_id: str, *, now: datetime
) -> Attempt | None:
    """Buy at once where somebody has just turned it on; what cannot be now, the worker does.

    They may have saved another payment method, of which no news came yet. Returns what ``run``
    does.
    """
    if not payments.configured:
        return None
    try:
        method_changed(database, payments, organization_id, now=now)
        return run(database, payments, organization_id, now=now)
    except Unavailable as error:
        log.warning("top-up postponed", organization=organization_id, reason=error.detail)
        return None


def run_all(database: Database, payments: Gateway, *, clock: Callable[[], datetime]) -> int:
    """Buy for everybody who wants it; returns how many attempts were made or asked about."""
    with database.reading() as tx:
        found = attempts.watched(tx, now=clock())
    done = 0
    for organization_id in found:
        try:
            done += run(database, payments, organization_id, now=clock()) is not None
        except ClearmeterError as error:
            log.warning("top-up postponed", organization=organization_id, reason=error.detail)
    return done


def _method(payments: Gateway, organization: Organization) -> str:
    customer_id = organization.stripe_customer_id
    return payments.saved_method(customer_id) if customer_id else ""


def _begin(
    database: Database, organization_id: str, method_id: str, *, now: datetime
) -> Attempt | None:
    """Write down an attempt, where under the lock one is still wanted."""
    with database.transaction() as tx:
        desk = open_desk(tx, organization_id, now=now)
        available = desk.wallet.available_micro
        weighed = _weigh(tx, desk.organization, available_micro=available, now=desk.now)
        desk.wallet.write()
        if weighed.hindrance or weighed.pack is None or weighed.book is None:
            return None
        standing.another_method(tx, organization_id, method_id, now=desk.now)
        notices.end_all(tx, organization_id, LIMIT_REACHED, now=desk.now)
        return attempts.start(
            tx,
            desk.organization,
            weighed.pack,
            currency=weighed.book.currency,
            price_book_version=weighed.book.version,
            available_micro=available,
            method_id=method_id,
            now=desk.now,
        )


def _wanted(organization: Organization, attempt: Attempt) -> OffSession:
    return OffSession(
        organization_id=attempt.organization_id,
        top_up_id=attempt.top_up_id,
        customer_id=str(organization.stripe_customer_id),
        method_id=str(attempt.method_id),
        amount_minor=attempt.amount_minor,
        currency=attempt.currency,
        description=attempt.pack_name,
    )


def _ask(
    database: Database,
    payments: Gateway,
    organization: Organization,
    attempt: Attempt,
    *,
    now: datetime,
) -> Attempt:
    try:
        intent = payments.charge_saved(_wanted(organization, attempt))
    except Unavailable:
        return top_up_outcomes.stays_unknown(
            database, attempt, ask_at=ask_again_at(started_at=attempt.started_at, now=now)
        )
    return _settle(database, payments, intent, now=now)


def _settle(
    database: Database, payments: Gateway, intent: TopUpIntent, *, now: datetime
) -> Attempt:
    attempt = top_up_outcomes.settle(database, intent, livemode=payments.livemode, now=now)
    if attempt.status in {"failed", "needs_authentication"} and intent.droppable:
        # Whoever pays will pay for another: this one must not be charged after all.
        with suppress(ClearmeterError):
            payments.drop_intent(intent.intent_id)
    return attempt


def _ask_again(
    database: Database, payments: Gateway, attempt: Attempt, *, now: datetime
) -> Attempt | None:
    """Find out what became of an attempt; None where it is not yet time, or another does."""
    with database.transaction() as tx:
        if not attempts.claim(tx, attempt, now=now):
            return None
    given_up = now - attempt.started_at >= GIVEN_UP_AFTER
    try:
        intent = _find_out(database, payments, attempt, now=now)
        if intent is not None and intent.unresolved and given_up:
            payments.drop_intent(intent.intent_id)
            intent = payments.top_up_intent(intent.intent_id)
    except Unavailable:
        return top_up_outcomes.stays_unknown(
            database, attempt, ask_at=ask_again_at(started_at=attempt.started_at, now=now)
        )
    if intent is not None:
        return _settle(database, payments, intent, now=now)
    if given_up:
        return top_up_outcomes.never_reached(database, attempt, now=now)
    return top_up_outcomes.stays_unknown(
        database, attempt, ask_at=ask_again_at(started_at=attempt.started_at, now=now)
    )


def _find_out(
    database: Database, payments: Gateway, attempt: Attempt, *, now: datetime
) -> TopUpIntent | None:
    """Ask once more with the same key where it is still wanted, and look it up."""
    if attempt.intent_id:
        return payments.top_up_intent(attempt.intent_id)
    organization, weighed = _look(database, attempt.organization_id, now=now, but=attempt)
    if not weighed.hindrance and now - attempt.started_at < REPEATED_FOR:
        with suppress(Unavailable):
            return payments.charge_saved(_wanted(organization, attempt))
    return payments.find_top_up(
        str(organization.stripe_customer_id), attempt.top_up_id, since=attempt.started_at - SKEW
    )


# --- news ----------------------------------------------------------------------------------------


def method_changed(
    database: Database, payments: Gateway, organization_id: str, *, now: datetime
) -> bool:
    """Let auto top-up begin anew where another payment method is there than the one that failed."""
    with database.reading() as tx:
        organization = accounts.find_organization(tx, organization_id)
        mine = standing.settings(tx, organization_id)
    waits = mine is not None and (mine.suspended != "" or mine.declines > 0)
    method_id = _method(payments, organization) if waits else ""
    if not method_id:
        return False
    with database.transaction() as tx:
        desk = open_desk(tx, organization_id, now=now)
        changed = standing.another_method(tx, organization_id, method_id, now=desk.now)
        desk.wallet.write()
    return changed


def _tell(database: Database, organization: Organization, why: str, *, now: datetime) -> None:
    """Tell once a month that the limit is reached, or that what is set is not sold any more."""
    month = month_of(now, organization.zone)
    subject = f"{month.start.astimezone(organization.zone.at(month.start)):%Y-%m}"
    sentence = (
        "Credits are low, and this month's limit for buying them is reached."
        if why == "limit"
        else "Credits are low, and the pack that was to be bought is not sold any more."
    )
    with database.reading() as tx:
        told = notices.was_raised(
            tx, organization.organization_id, LIMIT_REACHED, subject=f"{why} {subject}"
        )
    if not told:
        with database.transaction() as tx:
            notices.raise_notice(
                tx,
                organization.organization_id,
                LIMIT_REACHED,
                sentence,
                subject=f"{why} {subject}",
                url="/spending",
                now=now,
            )
