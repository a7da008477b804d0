"""Three books side by side: Stripe's payments, ours, and the grants of the ledger.

Reads only. Invariant: what reconciliation has mended leaves no difference here; each difference
names the ids of both sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, exists, select

from portal.accounts import find_customer
from portal.billing import invoices
from portal.billing import payments as book
from portal.billing.gateway import Gateway, PaymentState
from portal.billing.payments import UNKNOWN, Payment, Settled
from portal.core.catalog import money_words
from portal.core.errors import NotFound
from portal.core.refunds import of_plan, taken_back
from portal.core.units import format_micro
from portal.db import Database
from portal.tables import checkouts, grants
from portal.tables import payments as payments_table

#: How the key of a grant begins that one payment of a person, or of auto top-up, paid for.
_BOUGHT = "stripe:"
#: The kinds of payment that are for a grant and nothing else.
_FOR_A_GRANT = ("pack", "top_up")


@dataclass(frozen=True)
class _Grant:
    credits_micro: int
    paid_minor: int
    currency: str
    sold_micro: int | None


def compare(database: Database, payments: Gateway, *, since: datetime) -> list[str]:
    """Return every difference between the three books since an instant, in words.

    Stripe's payments of customers that are nobody here are left alone. Raises Unavailable where
    Stripe does not answer.
    """
    theirs = {state.payment_id: state for state in payments.payments_since(since)}
    with database.reading() as tx:
        ours = book.settled_since(tx, since)
        known = {settled.payment.payment_id for _, settled in ours}
        # Older ones too, of which money went back since or a bank has not decided.
        for organization_id, settled in (*book.unsettled(tx), *_written_down(tx, theirs)):
            payment = settled.payment
            if payment.payment_id not in known and payment.kind != UNKNOWN:
                known.add(payment.payment_id)
                ours.append((organization_id, settled))
    for _, settled in ours:
        payment_id = settled.payment.payment_id
        if payment_id not in theirs:
            try:
                theirs[payment_id] = payments.payment(payment_id)
            except NotFound:
                continue
    with database.reading() as tx:
        return [
            *_only_at_stripe(tx, theirs),
            *_otherwise_at_stripe(tx, ours, theirs),
            *_otherwise_in_the_ledger(tx, ours),
            *_only_in_the_ledger(tx, since),
        ]


def _written_down(
    tx: Connection, theirs: Mapping[str, PaymentState]
) -> Iterator[tuple[str, Settled]]:
    """Yield what we have written down of Stripe's payments, with whose each is."""
    for state in theirs.values():
        organization_id = _owner(tx, state)
        settled = book.of(tx, organization_id, state.payment_id) if organization_id else None
        if organization_id and settled:
            yield organization_id, settled


def _only_at_stripe(tx: Connection, theirs: Mapping[str, PaymentState]) -> Iterator[str]:
    for state in theirs.values():
        organization_id = _owner(tx, state)
        if organization_id is None or not state.succeeded:
            continue
        known = book.of(tx, organization_id, state.payment_id)
        if known is None or known.payment.kind == UNKNOWN:
            amount = money_words(state.amount_minor, state.currency)
            yield (
                f"{organization_id}: Stripe took {amount} by {state.payment_id} "
                f"({state.charge_id}), nothing was sold for it here"
            )


def _owner(tx: Connection, state: PaymentState) -> str | None:
    try:
        return find_customer(tx, state.customer_id).organization_id
    except NotFound:
        return None


def _otherwise_at_stripe(
    tx: Connection, ours: list[tuple[str, Settled]], theirs: Mapping[str, PaymentState]
) -> Iterator[str]:
    for organization_id, settled in ours:
        payment, reversal = settled.payment, settled.reversal
        named = f"{organization_id}: payment {payment.payment_id} of grant {payment.grant_id}"
        state = theirs.get(payment.payment_id)
        if state is None or not state.succeeded:
            yield f"{named} is written down here, Stripe has taken no money by it"
            continue
        for what, here, there in (
            ("organization", organization_id, _owner(tx, state)),
            ("amount", payment.amount_minor, state.amount_minor),
            ("currency", payment.currency, state.currency),
            ("fee", payment.fee_minor, state.fee_minor),
            ("refunded", reversal.refunded_minor, state.refunded.amount_minor),
            ("dispute", reversal.dispute, state.disputed.standing),
            ("disputed", reversal.disputed_minor, state.disputed.taken_minor),
        ):
            if here != there:
                yield f"{named} ({state.charge_id}): the {what} is {here} here, {there} at Stripe"


def _otherwise_in_the_ledger(tx: Connection, ours: list[tuple[str, Settled]]) -> Iterator[str]:
    for organization_id, settled in ours:
        payment = settled.payment
        named = f"{organization_id}: payment {payment.payment_id}"
        if payment.grant_id is None:
            if payment.kind in _FOR_A_GRANT:
                yield f"{named} ({payment.charge_id}) has no grant"
            continue
        grant = _grant(tx, organization_id, payment.grant_id)
        if grant is None:
            yield f"{named} paid for grant {payment.grant_id}, which the ledger does not have"
            continue
        billed_minor = invoices.net_of(tx, organization_id, payment.invoice_id)
        for what in _of_grant(settled, grant, billed_minor=billed_minor or 0):
            yield f"{named} and grant {payment.grant_id}: {what}"


def _grant(tx: Connection, organization_id: str, grant_id: str) -> _Grant | None:
    row = tx.execute(
        select(grants, checkouts.c.credits_micro.label("sold_micro"))
        .outerjoin(
            checkouts,
            and_(
                checkouts.c.organization_id == grants.c.organization_id,
                checkouts.c.grant_id == grants.c.grant_id,
            ),
        )
        .where(grants.c.organization_id == organization_id, grants.c.grant_id == grant_id)
    ).first()
    if row is None:
        return None
    return _Grant(row.granted_micro, row.paid_minor or 0, row.paid_currency or "", row.sold_micro)


def _of_grant(settled: Settled, grant: _Grant, *, billed_minor: int) -> Iterator[str]:
    payment, reversal = settled.payment, settled.reversal
    if _paid_otherwise(payment, grant, billed_minor):
        yield (
            f"{payment.amount_minor} with {payment.tax_minor} tax was paid, the grant says "
            f"{grant.paid_minor}"
        )
    if payment.currency != grant.currency:
        yield f"{payment.currency} was paid, the grant says {grant.currency}"
    if grant.sold_micro not in {None, grant.credits_micro}:
        sold = format_micro(grant.sold_micro or 0)
        yield f"{sold} credits were sold, {format_micro(grant.credits_micro)} granted"
    if not payment.for_grant_minor:
        return
    refunded, disputed = of_plan(
        payment.amount_minor,
        payment.for_grant_minor,
        refunded=reversal.refunded,
        disputed_minor=reversal.disputed_minor,
    )
    refund, dispute = taken_back(
        grant.credits_micro,
        payment.for_grant_minor,
        refunded_minor=refunded,
        disputed_minor=disputed,
    )
    if reversal.refund_revoked_micro != refund:
        taken = format_micro(reversal.refund_revoked_micro)
        yield f"refunds claim {format_micro(refund)} credits, {taken} were taken"
    if reversal.dispute_revoked_micro > dispute:
        taken = format_micro(reversal.dispute_revoked_micro)
        yield f"disputes claim {format_micro(dispute)} credits, {taken} were taken"


def _paid_otherwise(payment: Payment, grant: _Grant, billed_minor: int) -> bool:
    """Tell whether a grant says more than was paid for it, or of what is sold by itself other.

    A plan's is paid for by its invoice: with the card, and with what the customer had in credit.
    """
    net_minor = payment.amount_minor - payment.tax_minor
    if payment.kind in _FOR_A_GRANT:
        return grant.paid_minor != net_minor
    return grant.paid_minor > max(net_minor, billed_minor)


def _only_in_the_ledger(tx: Connection, since: datetime) -> Iterator[str]:
    paid_for = exists().where(
        payments_table.c.organization_id == grants.c.organization_id,
        payments_table.c.grant_id == grants.c.grant_id,
    )
    rows = tx.execute(
        select(grants.c.organization_id, grants.c.grant_id, grants.c.external_key)
        .where(
            grants.c.created_at >= since,
            grants.c.paid_minor > 0,
            grants.c.external_key.startswith(_BOUGHT),
            ~paid_for,
        )
        .order_by(grants.c.organization_id, grants.c.grant_id)
    )
    for row in rows:
        stripes = row.external_key.rpartition(":")[2]
        yield f"{row.organization_id}: grant {row.grant_id} was given for {stripes}, nobody paid it"
