"""Billing: invoices and receipts, what went back of them, and the statement of a period.

Reads only, from one snapshot. A payment that has no invoice of Stripe's, as credits bought by
themselves have none, stands among the invoices with its own line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from portal import balances, catalog, statements
from portal.accounts import Organization
from portal.billing import bills, checkout, invoices, payment_lists, plan
from portal.billing.checkout import Checkout
from portal.billing.invoices import Invoice
from portal.billing.payments import Settled
from portal.billing.plan import PaymentStanding, Pending
from portal.billing.unbilled import Unbilled, unbilled
from portal.core.catalog import PriceBook, tier_called
from portal.core.errors import InvalidRequest
from portal.core.periods import Period
from portal.core.statement import ORDER
from portal.spending import book_at
from portal.statements import Statement

_MOMENT = timedelta(microseconds=1)
MOST_PERIODS = 24
#: So many invoices and receipts stand on a page.
PAGE = 24

#: Where a paper stands among all: when it was issued, and Stripe's id of it.
Place = tuple[datetime, str]


@dataclass(frozen=True)
class Paper:
    """An invoice or a receipt; amounts in minor units.

    ``status`` is Stripe's of an invoice, or ``paid``. What went back of it stands beside it, and
    how a dispute of it stands; ``with_credits`` where credits went back with it.
    ``waived_minor`` is what of it was for credits beyond the customer's own that need not be paid.
    ``charged_minor`` is what was charged for one that is paid: less than its amount where the
    customer's balance at Stripe took the rest, more where something stood on that from before.
    """

    paper_id: str
    number: str
    issued_at: datetime
    what: str
    amount_minor: int
    charged_minor: int
    due_minor: int
    currency: str
    status: str
    page_url: str = ""
    file_url: str = ""
    refunded_minor: int = 0
    dispute: str = "none"
    with_credits: bool = False
    waived_minor: int = 0


@dataclass(frozen=True)
class Sum:
    """What one kind of movement came to in a period, in millionths of a credit."""

    kind: str
    source: str
    credits_micro: int


@dataclass(frozen=True)
class Left:
    """What of a statement that runs can be spent now, and what the rest of it is; in millionths."""

    held_micro: int
    frozen_micro: int
    owed_micro: int
    later_micro: int
    available_micro: int

    @property
    def is_all(self) -> bool:
        """Whether nothing stands between where the statement stands and what can be spent."""
        return not (self.held_micro or self.frozen_micro or self.owed_micro or self.later_micro)


@dataclass(frozen=True)
class Papers:
    """Everything on the page; the periods that a statement can be had of, the latest first.

    ``older`` leads to the papers before these, empty where there are none; ``left`` is None of a
    statement that is closed. ``on_its_way`` are the packs that a bank has not paid yet.
    """

    as_of: datetime
    book: PriceBook | None
    papers: Sequence[Paper]
    older: str
    standing: PaymentStanding
    pending: Pending
    on_its_way: Sequence[Checkout]
    unbilled: Unbilled
    statement: Statement
    left: Left | None
    periods: Sequence[Period]

    @property
    def sums(self) -> list[Sum]:
        """The statement's lines without their days."""
        totals: dict[tuple[int, str], int] = {}
        for line in self.statement.lines:
            key = (ORDER.index(line.kind), line.source)
            totals[key] = totals.get(key, 0) + line.credits_micro
        return [
            Sum(ORDER[place], source, micro) for (place, source), micro in sorted(totals.items())
        ]


def papers(
    tx: Connection,
    organization: Organization,
    period: Period,
    *,
    before: Place | None = None,
    now: datetime,
) -> Papers:
    """Put the page together; what is due by now must be booked (see ``desk.book_due``)."""
    book = book_at(tx, now)
    listed = _listed(tx, organization, catalog.tier_names(tx, at=now), before)
    shown = listed[:PAGE]
    statement = statements.statement(tx, organization, period, now=now)
    return Papers(
        as_of=now,
        book=book,
        papers=shown,
        older=_written(shown[-1]) if len(listed) > PAGE else "",
        standing=plan.payment_standing(tx, organization),
        pending=plan.pending(tx, organization),
        on_its_way=checkout.on_its_way(tx, organization.organization_id),
        unbilled=unbilled(tx, organization, now=now),
        statement=statement,
        left=_left(tx, organization, statement, now=now) if statement.running else None,
        periods=periods_of(organization, now=now),
    )


def _left(
    tx: Connection, organization: Organization, statement: Statement, *, now: datetime
) -> Left:
    balance = balances.balance(tx, organization.organization_id, now=now)
    known = balance.available_micro + balance.held_micro + balance.frozen_micro - balance.debt_micro
    return Left(
        held_micro=balance.held_micro,
        frozen_micro=balance.frozen_micro,
        owed_micro=balance.debt_micro,
        later_micro=statement.closing_micro - known,
        available_micro=balance.available_micro,
    )


def _written(last: Paper) -> str:
    return f"{last.issued_at.isoformat()}.{last.paper_id}"


def place_of(given: str) -> Place | None:
    """Return the place that an address names; None where it names none.

    Raises InvalidRequest for one that no page gave.
    """
    if not given:
        return None
    at, _, paper_id = given.partition("+00:00.")
    try:
        return datetime.fromisoformat(at).replace(tzinfo=UTC), paper_id
    except ValueError as error:
        raise InvalidRequest.at("/before", "is not one that this page gave") from error


def periods_of(organization: Organization, *, now: datetime) -> list[Period]:
    """Return the organization's billing periods, the running one first."""
    found = [organization.period_at(now)]
    while found[-1].start > organization.created_at and len(found) < MOST_PERIODS:
        found.append(organization.period_at(found[-1].start - _MOMENT))
    return found


def period_of(organization: Organization, given: str, *, now: datetime) -> Period:
    """Return the billing period that begins on a day, the running one where none is given.

    Raises InvalidRequest for a day on which none begins.
    """
    known = periods_of(organization, now=now)
    for period in known:
        if not given or begins(organization, period) == given:
            return period
    raise InvalidRequest.at("/period", "is not a day on which a period of yours begins")


def begins(organization: Organization, period: Period) -> str:
    """Return the day on which a period begins, as it stands in an address."""
    return period.start.astimezone(organization.zone.at(period.start)).date().isoformat()


def _listed(
    tx: Connection, organization: Organization, names: Mapping[str, str], before: Place | None
) -> list[Paper]:
    """Return a page's papers, and one more where there are more."""
    organization_id = organization.organization_id
    found = invoices.listed(tx, organization_id, before=before, limit=PAGE + 1)
    settled = payment_lists.of_invoices(tx, organization_id, [one.invoice_id for one in found])
    by_invoice = {one.payment.invoice_id: one for one in settled}
    waived = bills.waived_by_invoice(tx, organization_id)
    others = payment_lists.without_invoice(tx, organization_id, before=before, limit=PAGE + 1)
    listed = [
        _of_invoice(one, by_invoice.get(one.invoice_id), names, waived.get(one.invoice_id, 0))
        for one in found
    ] + [
        _of_payment(one, one.payment.settled_at)
        for one in others
        if one.payment.settled_at is not None
    ]
    listed.sort(key=lambda one: (one.issued_at, one.paper_id), reverse=True)
    return listed[: PAGE + 1]


def _of_invoice(
    invoice: Invoice, paid: Settled | None, names: Mapping[str, str], waived_minor: int
) -> Paper:
    return Paper(
        paper_id=invoice.invoice_id,
        number=invoice.number,
        issued_at=invoice.issued_at,
        what=what(invoice, names),
        amount_minor=invoice.total_minor,
        charged_minor=invoice.paid_minor,
        due_minor=invoice.due_minor,
        currency=invoice.currency,
        status=invoice.status,
        page_url=invoice.page_url,
        file_url=invoice.file_url,
        refunded_minor=paid.reversal.refunded_minor if paid else 0,
        dispute=paid.reversal.dispute if paid else "none",
        with_credits=_with_credits(paid),
        waived_minor=waived_minor,
    )


def what(invoice: Invoice, names: Mapping[str, str]) -> str:
    """Say in a few words what an invoice is for."""
    said: list[str] = []
    changed = [one for one in invoice.lines if one.kind == "proration" and one.amount_minor > 0]
    for line in invoice.lines:
        name = tier_called(line.tier, names)
        if line.kind == "tier":
            said.append(name)
        elif line in changed[-1:]:
            said.append(f"Change to {name}")
        elif line.kind == "overage":
            said.append("credits beyond yours")
        elif line.kind == "other" and line.description:
            said.append(line.description)
    words = list(dict.fromkeys(said)) or ["Invoice"]
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)


#: What a payment without an invoice was for.
KINDS = {
    "pack": "Credits",
    "top_up": "Credits, bought by themselves",
    "tier": "Your plan",
    "overage": "Credits beyond yours",
}


def _of_payment(paid: Settled, settled_at: datetime) -> Paper:
    payment = paid.payment
    return Paper(
        paper_id=payment.payment_id,
        number="",
        issued_at=settled_at,
        what=KINDS.get(payment.kind, "A payment"),
        amount_minor=payment.amount_minor,
        charged_minor=payment.amount_minor,
        due_minor=0,
        currency=payment.currency,
        status="paid",
        page_url=payment.receipt_url,
        refunded_minor=paid.reversal.refunded_minor,
        dispute=paid.reversal.dispute,
        with_credits=_with_credits(paid),
    )


def _with_credits(paid: Settled | None) -> bool:
    """Tell whether credits went back with what was refunded: of overage none do."""
    return paid is not None and paid.payment.grant_id is not None and paid.grant_refunded_minor > 0
