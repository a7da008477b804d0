"""What happened to one organization, as a replay takes it: cycles, grants and choices.

Reads what was billed, put in place, granted, taken back and chosen; writes nothing. Invariant: each
is told once, at the instant from which it counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, bindparam, func, or_, select

from portal import balances
from portal.accounts import Organization
from portal.core.ledger import Account, Lot
from portal.core.periods import Period, Zone, local_day, period_of, start_of_day
from portal.core.replay import (
    Begun,
    Chose,
    Ended,
    Given,
    Happening,
    Opening,
    Stepped,
    TakenBack,
    Used,
    allowance_id,
)
from portal.tables import (
    audit_log,
    checkouts,
    entries,
    grants,
    invoices,
    members,
    tier_terms,
    top_ups,
    transfers,
)
from portal.wallet import lot_of

_TICK = timedelta(microseconds=1)

_INVOICES = select(invoices.c.lines, invoices.c.paid_at).where(
    invoices.c.organization_id == bindparam("org"), invoices.c.status.in_(("paid", "open"))
)
_TERMS = (
    select(tier_terms)
    .where(tier_terms.c.organization_id == bindparam("org"), tier_terms.c.since < bindparam("end"))
    .order_by(tier_terms.c.since)
)
_PEOPLE = (
    select(func.count())
    .select_from(members)
    .where(members.c.organization_id == bindparam("org"), members.c.removed_at.is_(None))
)
_GRANTS = (
    select(
        grants,
        grants.c.granted_micro.label("balance_micro"),
        func.coalesce(checkouts.c.pack, top_ups.c.pack, "").label("pack"),
    )
    .outerjoin(
        checkouts,
        and_(
            checkouts.c.organization_id == grants.c.organization_id,
            checkouts.c.grant_id == grants.c.grant_id,
        ),
    )
    .outerjoin(
        top_ups,
        and_(
            top_ups.c.organization_id == grants.c.organization_id,
            top_ups.c.grant_id == grants.c.grant_id,
        ),
    )
    .where(
        grants.c.organization_id == bindparam("org"),
        grants.c.effective_at < bindparam("end"),
        grants.c.created_at < bindparam("end"),
        or_(grants.c.expires_at.is_(None), grants.c.expires_at > bindparam("start")),
    )
)
#: What came to or from these accounts of a grant was taken back, or given again.
_BACK = (
    select(transfers)
    .join(
        entries,
        and_(
            entries.c.organization_id == transfers.c.organization_id,
            entries.c.transfer_id == transfers.c.transfer_id,
        ),
    )
    .where(
        entries.c.organization_id == bindparam("org"),
        entries.c.account.in_((Account.REVOKED.value, Account.FROZEN.value)),
        entries.c.at >= bindparam("start"),
        entries.c.at < bindparam("end"),
        ~and_(
            transfers.c.from_account == Account.FROZEN, transfers.c.to_account == Account.REVOKED
        ),
    )
)
_CHOICES = (
    select(audit_log.c.at, audit_log.c.detail)
    .where(
        audit_log.c.organization_id == bindparam("org"),
        audit_log.c.act == "spending.set",
        audit_log.c.at < bindparam("end"),
    )
    .order_by(audit_log.c.at, audit_log.c.audit_id)
)


@dataclass(frozen=True)
class History:
    """What a replay of an organization begins with, and what happens then but for the work.

    ``periods`` each with its first local day; ``begins_cut`` where the first one began earlier.
    """

    periods: Sequence[tuple[Period, date]]
    happenings: Sequence[Happening]
    opening: Opening = field(default_factory=Opening)
    begins_cut: bool = False


def as_it_was(tx: Connection, organization: Organization, days: tuple[date, date]) -> History:
    """Return the history of the local days ``[start, end)`` with the tiers and grants of then."""
    whole = span_of(organization, days)
    periods = _clipped(organization.period_at, organization.zone, whole)
    named = {"org": organization.organization_id, "start": whole.start, "end": whole.end}
    every_cycle = _cycles(tx, organization, whole, named)
    opening, owed = _opening(tx, organization, whole.start)
    before = [one for one in every_cycle if one.at < whole.start]
    found: list[Happening] = [one for one in every_cycle if one.at >= whole.start]
    rows = tx.execute(_GRANTS, named).mappings().all()
    found += _given(rows, whole.start, known={lot.grant_id for lot in opening})
    found += _taken_back(tx, named)
    found += _choices(tx, named)
    allowances = _allowances(rows)
    named_alike = [
        replace(lot, grant_id=allowances.get(lot.grant_id, lot.grant_id)) for lot in opening
    ]
    found = [_named(one, allowances) for one in found]
    begins = Opening(named_alike, owed, _tier_after(before))
    cut = organization.period_at(whole.start).start < whole.start
    return History(periods, in_order(found), begins, cut)


def on_a_plan(
    tx: Connection, organization: Organization, days: tuple[date, date], plan: str
) -> History:
    """Return months on one plan from the month an organization came, and nothing else.

    Seats are those it has, or else the people who are there.
    """
    whole = span_of(organization, days)
    came = period_of(organization.created_at, organization.zone).start
    months = _clipped(lambda at: period_of(at, organization.zone), organization.zone, whole)
    people = tx.execute(_PEOPLE, {"org": organization.organization_id}).scalar_one()
    seats = organization.seats or max(1, people)
    cut = period_of(whole.start, organization.zone).start < whole.start
    begun = [
        Begun(month.start, month.end, plan, seats, month.start, cut and place == 0)
        for place, (month, _) in enumerate(months)
        if month.end > came
    ]
    return History(months, begun, begins_cut=cut)


def span_of(organization: Organization, days: tuple[date, date]) -> Period:
    """Return the instants of the local days ``[start, end)``."""
    start, end = (start_of_day(day, organization.zone) for day in days)
    return Period(start, end)


def in_order(happenings: Iterable[Happening]) -> list[Happening]:
    """Return happenings in the order of time: what changes something before what is done then."""
    return sorted(happenings, key=lambda one: (one.at, _RANK[type(one)]))


_RANK: dict[type, int] = {
    Ended: 0, TakenBack: 1, Chose: 2, Begun: 3, Stepped: 4, Given: 5, Used: 6,
}  # fmt: skip


def _clipped(period_at: Any, zone: Zone, whole: Period) -> list[tuple[Period, date]]:
    """Return the periods that lie in a span, the first and the last cut off by it."""
    found = []
    at = whole.start
    while at < whole.end:
        period = period_at(at)
        cut = Period(at, min(period.end, whole.end))
        found.append((cut, local_day(at, zone)))
        at = cut.end
    return found


def _cycles(
    tx: Connection, organization: Organization, whole: Period, named: dict[str, Any]
) -> list[Begun | Stepped | Ended]:
    """Return the cycles that Stripe billed, and the periods of tiers that the operator put."""
    lines = [
        (line, row.paid_at) for row in tx.execute(_INVOICES, named) for line in row.lines or ()
    ]
    begun = sorted(
        (_begun(line, paid) for line, paid in lines if line["kind"] == "tier"),
        key=lambda one: one.at,
    )
    stepped = _steps([line for line, _ in lines if line["kind"] == "proration"], begun)
    starts = {one.at for one in begun}
    ended = [Ended(one.end) for one in begun if one.end not in starts]
    put = _put(tx, organization, whole, named)
    return sorted([*put, *begun, *stepped, *ended], key=lambda one: (one.at, _RANK[type(one)]))


def _begun(line: dict[str, Any], paid_at: datetime | None) -> Begun:
    start, end = _instant(line["start"]), _instant(line["end"])
    given_at = max(start, paid_at) if paid_at else end
    return Begun(start, end, line["tier"], line["quantity"], given_at)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _steps(lines: Sequence[dict[str, Any]], begun: Sequence[Begun]) -> list[Stepped]:
    """Return the changes of tier that were prorated: of each one line gives back, one charges."""
    found = []
    for start in sorted({line["start"] for line in lines}):
        parts = [line for line in lines if line["start"] == start]
        back = [line for line in parts if line["amount_minor"] < 0]
        charged = [line for line in parts if line["amount_minor"] >= 0]
        at = _instant(start)
        cycle = next((one for one in begun if one.at <= at < one.end), None)
        if back and charged and cycle is not None:
            to = charged[-1]
            period = Period(cycle.at, cycle.end)
            found.append(Stepped(at, period, back[-1]["tier"], to["tier"], to["quantity"]))
    return found


def _put(
    tx: Connection, organization: Organization, whole: Period, named: dict[str, Any]
) -> list[Begun | Ended]:
    """Return the periods of tiers that the operator put, also those that nobody looked at yet."""
    found: list[Begun | Ended] = []
    before = None
    for row in tx.execute(_TERMS, named):
        if row.billed or not row.tier:
            if before is not None:
                found.append(Ended(row.since))
            before = None
            continue
        if (row.tier, row.period_start) != before:
            given_at = max(row.since, row.period_start)
            found.append(
                Begun(row.period_start, row.period_end, row.tier, row.seats or 1, given_at)
            )
        before = row.tier, row.period_start
    last = found[-1] if found else None
    while isinstance(last, Begun) and last.end < whole.end:
        period = organization.period_at(last.end)
        last = Begun(period.start, period.end, last.tier, last.seats, period.start)
        found.append(last)
    return found


def _tier_after(before: Sequence[Begun | Stepped | Ended]) -> str:
    if not before or isinstance(before[-1], Ended):
        return ""
    last = before[-1]
    return last.tier if isinstance(last, Begun) else last.to_tier


def _opening(
    tx: Connection, organization: Organization, start: datetime
) -> tuple[Sequence[Lot], int]:
    if organization.created_at >= start:
        return (), 0
    # What begins with the range is of it, and what ends with it may roll over into it.
    found = balances.balance_at(tx, organization.organization_id, at=start - _TICK)
    return found.lots, found.debt_micro


def _given(rows: Sequence[RowMapping], start: datetime, known: set[str]) -> list[Happening]:
    """Return the grants beside allowances that came within the span."""
    found: list[Happening] = []
    for row in rows:
        if row["source"] in {"allowance", "rollover"} or row["grant_id"] in known:
            continue
        at = max(row["effective_at"], row["created_at"])
        if at < start:
            continue
        lot = replace(lot_of(row), frozen=False, voided=False, claimed_micro=0)
        paid = (row["paid_minor"] or 0) if row["source"] == "pack" else 0
        found.append(Given(at, lot, row["pack"], paid))
    return found


def _allowances(rows: Sequence[RowMapping]) -> dict[str, str]:
    """Return what a replay calls each allowance, by its own id."""
    return {
        row["grant_id"]: allowance_id(row["effective_at"])
        for row in rows
        if row["source"] == "allowance"
    }


def _named(one: Happening, allowances: dict[str, str]) -> Happening:
    if isinstance(one, TakenBack) and one.grant_id in allowances:
        return replace(one, grant_id=allowances[one.grant_id])
    return one


def _taken_back(tx: Connection, named: dict[str, Any]) -> list[Happening]:
    found: list[Happening] = []
    for row in tx.execute(_BACK.distinct(), named):
        amount, grant_id = int(row.amount_micro), row.from_account
        if row.from_account == Account.DEBT:
            grant_id = None
        elif row.from_account == Account.FROZEN:
            amount, grant_id = -amount, row.to_account
        found.append(TakenBack(row.at, grant_id, amount))
    return found


def _choices(tx: Connection, named: dict[str, Any]) -> list[Happening]:
    """Return what was chosen for when credits run out: the last choice before, and those within."""
    chosen = [
        Chose(
            max(row.at, named["start"]),
            row.detail["on_empty"] == "overage",
            row.detail.get("overage_limit_minor"),
        )
        for row in tx.execute(_CHOICES, named)
    ]
    earlier = [one for one in chosen if one.at <= named["start"]]
    return [*earlier[-1:], *(one for one in chosen if one.at > named["start"])]
