"""What of an organization's money has become revenue, by day: from tiers, use and movements.

Reads only. Invariant: what is told follows from the ledger, the payments, the invoices and the
history of tiers alone; of an origin all is told or nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, and_, case, func, select

from portal import catalog
from portal.accounts import Organization
from portal.core.events import GRACE
from portal.core.ledger import Account
from portal.core.margin.recognition import (
    EXPIRED,
    FEES,
    OVERAGE,
    REFUNDS,
    RETURNED,
    USED,
    Consumed,
    Fee,
    Recognised,
    Term,
    fees_of_terms,
    of_grant,
    of_overage,
)
from portal.core.periods import local_day
from portal.tables import (
    entries,
    event_debits,
    events,
    grants,
    invoices,
    overage_periods,
    payment_movements,
    revenue_daily,
    tier_terms,
    transfers,
)

#: Included credits are paid by the tier's fee, which is recognised by time; so is what rolls over.
BY_TIME = ("allowance", "rollover")
#: What a movement off a grant makes of its credits.
_PART = {"expire": EXPIRED, "lapse": EXPIRED, "revoke": RETURNED, "settle": USED}


@dataclass(frozen=True)
class Earned:
    """Revenue of a day from one origin: a grant, a place where overage is counted, a payment."""

    origin: str
    recognised: Recognised


def fees_of(tx: Connection, organization: Organization) -> list[Fee]:
    """Return what tiers cost: those the operator put in place, and those that Stripe was paid."""
    mine = tier_terms.c.organization_id == organization.organization_id
    rows = tx.execute(select(tier_terms).where(mine).order_by(tier_terms.c.since)).mappings()
    books = catalog.price_books_of(tx)
    terms = [_term(organization, books, row) for row in rows]
    return fees_of_terms(terms) + _billed(tx, organization)


def _term(organization: Organization, books: catalog.PriceBooks, row: RowMapping) -> Term:
    zone, fee, days = organization.zone, None, (0, 0)
    if row["tier"]:
        begins, ends = row["period_start"], row["period_end"]
        days = local_day(begins, zone).toordinal(), local_day(ends, zone).toordinal()
        # As it was put in place: a period that began with the day before is at the prices of then.
        book = books.in_force(row["since"])
        tier = book.plan_of(row["tier"])
        stated = tier.price_minor if tier and book.currency == organization.currency else None
        if stated is not None and not row["billed"]:
            seats = row["seats"] or 1
            fee = stated * seats if tier and tier.kind == "per_seat" else stated
    since_day = local_day(row["since"], zone).toordinal()
    return Term(row["since"], since_day, row["tier"], fee, *days)


def _billed(tx: Connection, organization: Organization) -> list[Fee]:
    """Return what paid invoices ask for tiers, line by line, for the time each line is for."""
    paid = tx.execute(
        select(invoices.c.invoice_id, invoices.c.lines)
        .where(
            invoices.c.organization_id == organization.organization_id,
            invoices.c.status == "paid",
        )
        .order_by(invoices.c.invoice_id)
    )
    zone, found = organization.zone, []
    for invoice in paid:
        for number, line in enumerate(invoice.lines):
            amount = line.get("net_minor", line["amount_minor"])
            if line["kind"] not in {"tier", "proration"} or not amount:
                continue
            first, end = (
                local_day(datetime.fromisoformat(line[name]), zone).toordinal()
                for name in ("start", "end")
            )
            days = max(1, end - first)
            fee_id = f"{invoice.invoice_id}:{number}"
            found.append(Fee(fee_id, line["tier"], amount, first, days, first, first + days))
    return found


def movements(tx: Connection, organization: Organization) -> list[Earned]:
    """Return what went back of payments, and what Stripe kept of them, on the day of it."""
    rows = tx.execute(
        select(payment_movements).where(
            payment_movements.c.organization_id == organization.organization_id
        )
    )
    sums: dict[tuple[Any, ...], int] = defaultdict(int)
    for row in rows:
        part = FEES if row.kind == "fee" else REFUNDS
        sums[local_day(row.at, organization.zone), part, row.payment_id] -= row.amount_minor
    return [
        Earned(payment_id, Recognised(day, part, 0, amount))
        for (day, part, payment_id), amount in sums.items()
        if amount
    ]


def by_use(
    tx: Connection, organization: Organization, mark: RowMapping
) -> tuple[list[str], list[Earned]]:
    """Return the origins of which use may have changed, and all their revenue."""
    known = _recorded(tx, organization.organization_id)
    origins, rows = _of_grants(tx, organization, mark, known)
    more, beyond = _of_overage(tx, organization, mark, known)
    return origins + more, rows + beyond


def _recorded(tx: Connection, organization_id: str) -> dict[str, int]:
    """Return how many credits of each origin are recognised already, in millionths."""
    rows = tx.execute(
        select(revenue_daily.c.origin, func.sum(revenue_daily.c.credits_micro))
        .where(revenue_daily.c.organization_id == organization_id)
        .group_by(revenue_daily.c.origin)
    )
    return {origin: int(credits_) for origin, credits_ in rows.all()}


def _of_grants(
    tx: Connection, organization: Organization, mark: RowMapping, known: dict[str, int]
) -> tuple[list[str], list[Earned]]:
    mine = grants.c.organization_id == organization.organization_id
    bought = grants.c.source.not_in(BY_TIME) & (grants.c.paid_minor > 0)
    every = tx.execute(select(grants).where(mine, bought)).mappings().all()
    by_time = set(
        tx.execute(select(grants.c.grant_id).where(mine, grants.c.source.in_(BY_TIME))).scalars()
        if any(grant["continues"] for grant in every)
        else ()
    )
    corrected = _given_back_to(tx, organization.organization_id, mark["known_transfers"])
    live = [
        grant
        for grant in every
        if grant["continues"] not in by_time
        and (
            grant["grant_id"] in corrected
            or known.get(grant["grant_id"], 0) != grant["granted_micro"]
        )
    ]
    consumed = _consumed(tx, organization, live)
    rows = []
    for grant in live:
        grant_id = grant["grant_id"]
        found = of_grant(
            consumed[grant_id],
            paid_minor=grant["paid_minor"],
            granted_micro=grant["granted_micro"],
        )
        rows += [Earned(grant_id, one) for one in found]
    again = [grant for grant in live if grant["continues"]]
    rows += [_continued(organization, grant) for grant in again]
    return [grant["grant_id"] for grant in live] + [_again(grant) for grant in again], rows


def _again(grant: RowMapping) -> str:
    return f"{grant['grant_id']}:again"


def _continued(organization: Organization, grant: RowMapping) -> Earned:
    """Return what takes back the revenue of credits that a dispute returned and then gave back."""
    day = local_day(grant["created_at"], organization.zone)
    return Earned(_again(grant), Recognised(day, RETURNED, 0, -grant["paid_minor"]))


def _given_back_to(tx: Connection, organization_id: str, since: int) -> set[str]:
    """Return the grants to which a correction or a failed refund gave credits back since one."""
    rows = tx.execute(
        select(transfers.c.to_account)
        .where(
            transfers.c.organization_id == organization_id,
            transfers.c.transfer_id > since,
            transfers.c.kind.in_(("correct", "reinstate")),
        )
        .distinct()
    )
    return set(rows.scalars())


def _consumed(
    tx: Connection, organization: Organization, live: Sequence[RowMapping]
) -> dict[str, list[Consumed]]:
    """Return what became of the credits of grants: used by events, or moved off them."""
    found: dict[str, list[Consumed]] = defaultdict(list)
    ends = {grant["grant_id"]: grant["expires_at"] for grant in live}
    if not ends:
        return found
    for row in tx.execute(_debits(organization.organization_id, list(ends))):
        found[row.account].append(
            Consumed(row.day, USED, int(row.credits_micro), row.action, row.team_id)
        )
    for row in tx.execute(_moved_off(organization.organization_id, list(ends))):
        grant_id = row.reference if row.from_account == Account.FROZEN else row.from_account
        if grant_id in ends:
            at = ends[grant_id] if row.kind == "expire" else row.at
            day = local_day(at, organization.zone)
            found[grant_id].append(Consumed(day, _PART[row.kind], row.amount_micro))
    for row in tx.execute(_moved_back(organization.organization_id, list(ends))):
        day = local_day(row.at, organization.zone)
        found[row.to_account].append(Consumed(day, RETURNED, -row.amount_micro))
    return found


def _moved_back(organization_id: str, named: Iterable[str]) -> Select[Any]:
    """Return the query of the credits that came back to grants, since a refund failed."""
    return select(transfers).where(
        transfers.c.organization_id == organization_id,
        transfers.c.kind == "reinstate",
        transfers.c.to_account.in_(list(named)),
    )


def _debits(organization_id: str, named: Iterable[str]) -> Select[Any]:
    """Return the query of what events took of accounts, by day, action and team."""
    labels = (event_debits.c.account, events.c.day, events.c.action, events.c.team_id)
    place = (event_debits.c.overage_since, event_debits.c.overage_price_micro_minor)
    return (
        select(*labels, *place, func.sum(event_debits.c.amount_micro).label("credits_micro"))
        .join(
            events,
            and_(
                *(
                    events.c[name] == event_debits.c[name]
                    for name in ("organization_id", "source", "event_id")
                )
            ),
        )
        .where(
            event_debits.c.organization_id == organization_id,
            event_debits.c.account.in_(list(named)),
        )
        .group_by(*labels, *place)
    )


def _moved_off(organization_id: str, named: Iterable[str]) -> Select[Any]:
    """Return the query of the credits that left grants, or what was frozen of them, unused."""
    return (
        select(transfers)
        .join(
            entries,
            and_(
                entries.c.organization_id == transfers.c.organization_id,
                entries.c.transfer_id == transfers.c.transfer_id,
            ),
        )
        .where(
            entries.c.organization_id == organization_id,
            entries.c.account.in_([*named, Account.FROZEN.value]),
            entries.c.amount_micro < 0,
            case(
                (entries.c.account == Account.FROZEN.value, transfers.c.kind == "revoke"),
                else_=transfers.c.kind.in_(sorted(_PART)),
            ),
        )
    )


def _of_overage(
    tx: Connection, organization: Organization, mark: RowMapping, known: dict[str, int]
) -> tuple[list[str], list[Earned]]:
    places = tx.execute(
        select(overage_periods).where(
            overage_periods.c.organization_id == organization.organization_id
        )
    ).mappings()
    seen_at = mark["at"]
    live = {}
    for row in places:
        origin = _place(row["period_start"], row["price_micro_minor"])
        took_more = seen_at is None or row["period_end"] + GRACE > seen_at
        if took_more or known.get(origin, 0) != row["spent_micro"]:
            live[origin] = row["price_micro_minor"]
    if not live:
        return [], []
    consumed: dict[str, list[Consumed]] = defaultdict(list)
    for one in tx.execute(_debits(organization.organization_id, [Account.OVERAGE.value])):
        origin = _place(one.overage_since, one.overage_price_micro_minor)
        consumed[origin].append(
            Consumed(one.day, OVERAGE, int(one.credits_micro), one.action, one.team_id)
        )
    rows = [
        Earned(origin, found)
        for origin, price in live.items()
        for found in of_overage(consumed[origin], price_micro_minor=price)
    ]
    return list(live), rows


def _place(since: datetime, price_micro_minor: int) -> str:
    return f"overage:{since.isoformat()}:{price_micro_minor}"
