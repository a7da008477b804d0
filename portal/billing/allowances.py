"""What paid invoices of a subscription give: a cycle's allowance, and what an upgrade adds to it.

Reads grants, and writes them through the wallet. Invariant: each cycle is given once, each upgrade
once, keyed by Stripe's objects; whatever order invoices are paid and told in, a cycle is given the
same in all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from sqlalchemy import and_, bindparam, case, func, or_, select

from portal import catalog
from portal.billing import payments as settled
from portal.billing.effects import Quarantined
from portal.billing.gateway import InvoiceLine, InvoiceState, PaymentState, tier_of_product
from portal.billing.invoices import kind_of
from portal.core.catalog import PriceBook
from portal.core.cycles import Cycle
from portal.core.ledger import Account
from portal.core.periods import Period
from portal.core.upgrades import (
    Earlier,
    Included,
    Step,
    at_list,
    before_discounts,
    beginning,
    credits_of_all,
    largest_of,
)
from portal.tables import grants, transfers
from portal.wallet import Paid, Wallet

#: What allowances that began before an instant and live beyond it gave, by their lives.
_LIVING = (
    select(
        grants.c.effective_at,
        grants.c.expires_at,
        grants.c.granted_micro,
        func.coalesce(
            func.sum(
                case(
                    (transfers.c.to_account == Account.REVOKED, transfers.c.amount_micro),
                    # A refund that failed gave it back.
                    else_=-transfers.c.amount_micro,
                )
            ),
            0,
        ).label("revoked_micro"),
    )
    .outerjoin(
        transfers,
        and_(
            transfers.c.organization_id == grants.c.organization_id,
            or_(
                transfers.c.from_account == grants.c.grant_id,
                # What a dispute had frozen names the grant it was of, and so does what came back.
                transfers.c.reference == grants.c.grant_id,
            ),
            or_(
                transfers.c.to_account == Account.REVOKED,
                transfers.c.from_account == Account.REVOKED,
            ),
        ),
    )
    .where(
        grants.c.organization_id == bindparam("org"),
        grants.c.source == "allowance",
        grants.c.effective_at < bindparam("at_"),
        grants.c.expires_at > bindparam("at_"),
    )
    .group_by(grants.c.grant_id, grants.c.effective_at, grants.c.expires_at, grants.c.granted_micro)
    .order_by(grants.c.grant_id)
)
_GRANTED = select(grants.c.external_key, grants.c.grant_id, grants.c.granted_micro).where(
    grants.c.organization_id == bindparam("org"),
    grants.c.external_key.in_(bindparam("keys_", expanding=True)),
)


@dataclass(frozen=True)
class _Upgrade:
    """The steps that one paid invoice bills in one cycle, and what they cost after discounts.

    ``tier`` is the name of the one it leads to.
    """

    invoice_id: str
    steps: Sequence[Step]
    paid: Paid
    tier: str


def included(book: PriceBook, tier: str, quantity: int) -> Included:
    """Return what a tier asks for a cycle and includes in it; seats are paid, credits are not."""
    found = book.plan_of(tier)
    if found is None:
        return Included(0, 0)
    price = found.price_minor or 0
    return Included(price * quantity if found.kind == "per_seat" else price, found.allowance_micro)


def steps_of(lines: Iterable[InvoiceLine], book: PriceBook, *, cycle: Period) -> list[Step]:
    """Return the changes of tier that an invoice prorates, in the order they took effect.

    Of each change one line gives back the tier before and one charges the tier after it. Stripe's
    lines are less than the list price by the discounts that run, which take off no credits.
    """
    prorated = sorted(
        (one for one in lines if kind_of(one) == "proration"), key=lambda one: one.start
    )
    found = []
    for at, of_change in groupby(prorated, key=lambda one: one.start):
        parts = list(of_change)
        back = [one for one in parts if one.amount_minor < 0]
        charged = [one for one in parts if one.amount_minor >= 0]
        if not charged:
            continue
        origin = _included_by(back[-1], book) if back else Included(0, 0)
        target = _included_by(charged[-1], book)
        charge = sum(one.amount_minor for one in parts)
        listed = at_list(origin, target, at=at, cycle=cycle)
        found.append(Step(at, origin, target, before_discounts(charge, listed)))
    return found


def _included_by(line: InvoiceLine, book: PriceBook) -> Included:
    return included(book, tier_of_product(line.product_id), line.quantity)


def give(
    wallet: Wallet,
    subscription_id: str,
    cycle: Cycle,
    found: Sequence[InvoiceState],
    charges: Mapping[str, PaymentState],
) -> tuple[int, dict[str, str]]:
    """Grant what the paid invoices of a subscription include, and book their payments.

    ``found`` are its invoices, oldest first, whole cycles of them; ``charges`` tell of payments
    that are not known whole yet, by their ids. Returns the most that any tier of the cycle that
    runs includes, in millionths, and the invoices whose payment does not fit, with why.
    """
    given: dict[str, str] = {}
    for invoice in found:
        if invoice.status == "paid":
            given |= _give_cycle(wallet, subscription_id, invoice)
    largest = 0
    for period in _cycles(cycle, found):
        begun = _begun(wallet, period, found)
        more, most = _give_upgrades(wallet, period, begun, found)
        given = more | given
        if wallet.now in period:
            largest = most
    misfits = {}
    for invoice in found:
        try:
            book(wallet, invoice, given.get(invoice.invoice_id), charges)
        except Quarantined as error:
            misfits[invoice.invoice_id] = error.detail
    return largest, misfits


def check(wallet: Wallet, invoice: InvoiceState) -> None:
    """Refuse an invoice whose payment is known otherwise, before it gives anything.

    Raises Quarantined.
    """
    payment_id = invoice.payment_id or invoice.charge_id
    if invoice.status != "paid" or not invoice.paid_minor or not payment_id:
        return
    known = settled.of(wallet.tx, wallet.organization_id, payment_id)
    ours = (invoice.paid_minor, invoice.currency)
    if known and (known.payment.amount_minor, known.payment.currency) != ours:
        raise Quarantined(
            f"Invoice {invoice.invoice_id} was paid with {invoice.paid_minor} {invoice.currency} "
            f"by {payment_id}, which we have with {known.payment.amount_minor} "
            f"{known.payment.currency}."
        )


def _whole(invoice: InvoiceState) -> list[InvoiceLine]:
    """Return the lines of an invoice that bill a whole cycle, which no proration does."""
    if not invoice.reason.startswith("subscription"):
        return []
    return [one for one in invoice.lines if kind_of(one) == "tier"]


def _give_cycle(wallet: Wallet, subscription_id: str, invoice: InvoiceState) -> dict[str, str]:
    """Grant the allowance of the cycle that an invoice bills whole; returns the grant, by it."""
    lines = _whole(invoice)
    if not lines:
        return {}
    line = lines[-1]
    period = Period(line.start, line.end)
    tier = catalog.in_force(wallet.tx, at=period.start).plan_of(tier_of_product(line.product_id))
    if tier is None:
        return {}
    key = f"allowance:{subscription_id}:{int(period.start.timestamp())}"
    known = _granted(wallet, [key])
    if key in known:
        return {invoice.invoice_id: known[key][0]}
    credits_micro = beginning(
        tier.allowance_micro, cycle=period, earlier=_living(wallet, period.start)
    )
    if not credits_micro:
        return {}
    grant_id = wallet.grant(
        source="allowance",
        credits_micro=credits_micro,
        effective_at=period.start,
        expires_at=period.end,
        paid=Paid(max(0, sum(one.net_minor for one in lines)), invoice.currency),
        reason=f"Included in {tier.name}",
        external_key=key,
    )
    return {invoice.invoice_id: grant_id}


def _cycles(cycle: Cycle, found: Sequence[InvoiceState]) -> list[Period]:
    """Return the cycles in which the invoices have something, in order."""
    starts = [line.start for invoice in found for line in invoice.lines if kind_of(line) != "other"]
    return sorted({cycle.at(start) for start in starts}, key=lambda one: one.start)


def _begun(wallet: Wallet, period: Period, found: Sequence[InvoiceState]) -> int:
    """Return what the tier includes that a cycle began with, in millionths."""
    book = catalog.in_force(wallet.tx, at=period.start)
    lines = [line for invoice in found for line in _whole(invoice) if line.start == period.start]
    return max((_included_by(line, book).allowance_micro for line in lines), default=0)


def _give_upgrades(
    wallet: Wallet, period: Period, begun_micro: int, found: Sequence[InvoiceState]
) -> tuple[dict[str, str], int]:
    """Grant what paid upgrades add to a cycle; returns the grants by invoice, and the largest.

    What was granted already counts: an invoice that is paid after a later one gives no more than
    both would have given in their order.
    """
    upgrades = _upgrades(wallet, period, found)
    steps = sorted(
        ((step, one.invoice_id) for one in upgrades for step in one.steps),
        key=lambda pair: pair[0].at,
    )
    in_order = [step for step, _ in steps]
    added: dict[str, int] = {}
    credits_ = credits_of_all(in_order, cycle=period, begun_micro=begun_micro)
    for (_, invoice_id), more in zip(steps, credits_, strict=True):
        added[invoice_id] = added.get(invoice_id, 0) + more
    keys = {one.invoice_id: f"upgrade:{one.invoice_id}" for one in upgrades}
    known = _granted(wallet, list(keys.values()))
    room = sum(credits_) - sum(micro for _, micro in known.values())
    given = {}
    for one in upgrades:
        key = keys[one.invoice_id]
        credits_micro = min(room, added[one.invoice_id])
        if key in known:
            given[one.invoice_id] = known[key][0]
        elif credits_micro > 0:
            room -= credits_micro
            given[one.invoice_id] = wallet.grant(
                source="allowance",
                credits_micro=credits_micro,
                effective_at=one.steps[0].at,
                expires_at=period.end,
                paid=one.paid,
                reason=f"Added by {one.tier}",
                external_key=key,
            )
    return given, largest_of(in_order, begun_micro=begun_micro)


def _upgrades(wallet: Wallet, period: Period, found: Sequence[InvoiceState]) -> list[_Upgrade]:
    listed = []
    for invoice in found:
        lines = [
            one
            for one in invoice.lines
            if kind_of(one) == "proration" and one.start in period and one.end == period.end
        ]
        if invoice.status != "paid" or not lines:
            continue
        book = catalog.in_force(wallet.tx, at=lines[0].start)
        steps = steps_of(lines, book, cycle=period)
        if steps:
            paid = Paid(max(0, sum(one.net_minor for one in lines)), invoice.currency)
            listed.append(_Upgrade(invoice.invoice_id, steps, paid, _led_to(lines, book)))
    return listed


def _led_to(lines: Sequence[InvoiceLine], book: PriceBook) -> str:
    """Return the name of the tier that the last change of an invoice leads to."""
    charged = [one for one in lines if one.amount_minor >= 0]
    key = tier_of_product(sorted(charged, key=lambda one: one.start)[-1].product_id)
    found = book.plan_of(key)
    return found.name if found else "the larger plan"


def book(
    wallet: Wallet,
    invoice: InvoiceState,
    grant_id: str | None,
    charges: Mapping[str, PaymentState],
) -> None:
    """Book the payment of an invoice, and what it paid for; where nothing was paid, nothing.

    What an invoice says of something bought otherwise, a pack, is booked with that.
    """
    payment_id = invoice.payment_id or invoice.charge_id
    ours = {kind_of(one) for one in invoice.lines} - {"other"}
    if invoice.status != "paid" or not invoice.paid_minor or not payment_id or not ours:
        return
    charge = charges.get(payment_id)
    settled.record(
        wallet,
        settled.Payment(
            payment_id=payment_id,
            kind="overage" if ours == {"overage"} else "tier",
            amount_minor=invoice.paid_minor,
            currency=invoice.currency,
            settled_at=invoice.paid_at or wallet.now,
            tax_minor=min(invoice.tax_minor, invoice.paid_minor),
            grant_id=grant_id,
            charge_id=charge.charge_id if charge else invoice.charge_id,
            invoice_id=invoice.invoice_id,
            fee_minor=charge.fee_minor if charge else None,
            grant_part_minor=plan_part_minor(invoice) if grant_id else None,
            receipt_url=charge.receipt_url if charge else "",
        ),
    )


def plan_part_minor(invoice: InvoiceState) -> int | None:
    """Return what of a payment was for the plan, in minor units, by the invoice's lines.

    Tax and what the customer's balance paid count for each line in proportion. None where nothing
    but the plan was billed.
    """
    plan = sum(one.net_minor for one in invoice.lines if kind_of(one) in {"tier", "proration"})
    rest = sum(one.net_minor for one in invoice.lines) - plan
    if not any(kind_of(one) == "overage" for one in invoice.lines) or plan + rest <= 0:
        return None
    part = (2 * invoice.paid_minor * plan + plan + rest) // (2 * (plan + rest))
    return max(0, min(invoice.paid_minor, part))


def _granted(wallet: Wallet, external_keys: Sequence[str]) -> dict[str, tuple[str, int]]:
    rows = wallet.tx.execute(_GRANTED, {"org": wallet.organization_id, "keys_": external_keys})
    return {row.external_key: (row.grant_id, row.granted_micro) for row in rows}


def _living(wallet: Wallet, instant: datetime) -> list[Earlier]:
    rows = wallet.tx.execute(_LIVING, {"org": wallet.organization_id, "at_": instant})
    return [
        Earlier(
            Period(row.effective_at, row.expires_at), row.granted_micro - int(row.revoked_micro)
        )
        for row in rows
    ]
