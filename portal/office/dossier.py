"""One customer as the operator sees them: figures, ledger, grants, papers, limits and people.

Reads only, from one snapshot, by the same functions as the customer's own pages. What is due by
now must be booked before (see ``desk.book_due``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, select

from portal import accounts, balances, catalog, papers, rejections, usage
from portal.accounts import Member, Organization
from portal.balances import Balance
from portal.billing import payment_lists, plan
from portal.billing.payments import Settled
from portal.billing.plan import PaymentStanding, Pending
from portal.breakdown import DAY, days_of
from portal.core.catalog import PriceBook, tier_called
from portal.core.errors import NotFound
from portal.papers import Paper
from portal.spending import CapLine, Choices, WhenEmpty, book_at, choices, every_cap, when_empty
from portal.tables import accounts as ledger_accounts
from portal.tables import grants
from portal.usage import CostTotals, EventRow, Totals

LATEST = 12
MOST_GRANTS = 100


@dataclass(frozen=True)
class GrantLine:
    """A grant with what is left of it, in millionths; ``standing`` is how it stands now."""

    grant_id: str
    source: str
    priority: int
    granted_micro: int
    left_micro: int
    effective_at: datetime
    expires_at: datetime | None
    paid_minor: int | None
    paid_currency: str
    reason: str
    standing: str


@dataclass(frozen=True)
class MemberLine:
    """A person with what their work used this period."""

    member: Member
    team: str
    used: Totals


@dataclass(frozen=True)
class Dossier:
    """Everything on a customer's page."""

    as_of: datetime
    organization: Organization
    tier: str
    book: PriceBook | None
    first_day: date
    last_day: date
    used: Totals
    used_before: Totals
    cost: CostTotals
    balance: Balance
    grants: Sequence[GrantLine]
    caps: Sequence[CapLine]
    empty: WhenEmpty | None
    payment: PaymentStanding
    pending: Pending
    papers: Sequence[Paper]
    payments: Sequence[Settled]
    members: Sequence[MemberLine]
    events: Sequence[EventRow]
    rejected: int


def dossier(tx: Connection, organization_id: str, *, now: datetime) -> Dossier:
    """Put a customer's page together. Raises NotFound."""
    organization = accounts.find_organization(tx, organization_id)
    book = book_at(tx, now)
    period = organization.period_at(now)
    start, end = days_of(period, organization)
    before = organization.period_at(period.start - DAY)
    earlier = usage.report(
        tx, organization_id, start=days_of(before, organization)[0], end=start
    ).totals
    cost, _ = usage.cost(tx, organization_id, start=start, end=end)
    written = papers.papers(tx, organization, period, now=now)
    known = choices(tx, organization_id, book)
    return Dossier(
        as_of=now,
        organization=organization,
        tier=tier_called(organization.tier or "", catalog.tier_names(tx, at=now)),
        book=book,
        first_day=start,
        last_day=end - DAY,
        used=usage.report(tx, organization_id, start=start, end=end).totals,
        used_before=earlier,
        cost=cost,
        balance=balances.balance(tx, organization_id, now=now),
        grants=grants_of(tx, organization_id, now=now),
        caps=every_cap(tx, organization, known, now=now),
        empty=when_empty(tx, organization, book, now=now),
        payment=plan.payment_standing(tx, organization),
        pending=plan.pending(tx, organization),
        papers=written.papers[:LATEST],
        payments=payment_lists.of_organization(tx, organization_id, limit=LATEST),
        members=_members(tx, organization, known, start, end),
        events=usage.list_events(tx, organization_id, limit=LATEST),
        rejected=len(rejections.waiting(tx, organization_id, limit=1000)),
    )


def grants_of(tx: Connection, organization_id: str, *, now: datetime) -> list[GrantLine]:
    """Return an organization's grants, the latest first, with what is booked as left of each."""
    rows = tx.execute(
        select(grants, ledger_accounts.c.balance_micro)
        .outerjoin(
            ledger_accounts,
            and_(
                ledger_accounts.c.organization_id == grants.c.organization_id,
                ledger_accounts.c.account == grants.c.grant_id,
            ),
        )
        .where(grants.c.organization_id == organization_id)
        .order_by(grants.c.created_at.desc(), grants.c.grant_id)
        .limit(MOST_GRANTS)
    )
    return [
        GrantLine(
            grant_id=row.grant_id,
            source=row.source,
            priority=row.priority,
            granted_micro=row.granted_micro,
            left_micro=row.balance_micro or 0,
            effective_at=row.effective_at,
            expires_at=row.expires_at,
            paid_minor=row.paid_minor,
            paid_currency=row.paid_currency or "",
            reason=row.reason,
            standing=_standing(row, now),
        )
        for row in rows
    ]


def grant_of(tx: Connection, organization_id: str, grant_id: str, *, now: datetime) -> GrantLine:
    """Return one grant of an organization. Raises NotFound."""
    for one in grants_of(tx, organization_id, now=now):
        if one.grant_id == grant_id:
            return one
    raise NotFound("grant", grant_id)


def _standing(row: Row[Any], now: datetime) -> str:
    """Say how a grant stands, in a word."""
    if row.voided_at is not None:
        return "voided"
    if row.frozen_at is not None:
        return "frozen"
    if row.expires_at is not None and row.expires_at <= now:
        return "expired"
    if row.effective_at > now:
        return "to come"
    return "open" if row.balance_micro else "spent"


def _members(
    tx: Connection, organization: Organization, known: Choices, start: date, end: date
) -> list[MemberLine]:
    """Return the people, whoever used most first."""
    key = organization.organization_id
    found = usage.report(tx, key, start=start, end=end, group_by=["member"])
    used = {row.labels["member"]: row.totals for row in found.rows}
    lines = [
        MemberLine(one, known.teams.get(one.team_id, ""), used.get(one.member_id, Totals()))
        for one in accounts.list_members(tx, key)
    ]
    return sorted(lines, key=lambda line: (-line.used.credits_micro, line.member.name))
