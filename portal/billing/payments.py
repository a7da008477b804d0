"""Payments that settled: what was paid, for which grant, and what went back of it.

Owns ``payments`` and ``payment_movements``. Invariant: one row for each payment, keyed by Stripe's
payment intent, whichever of its news came first; a refund or a dispute that came before the
purchase has its effect in the transaction that records it, so that what goes back can never be
spent. What a payment takes from revenue has a movement for each time that changed, and they add up
to what its row says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from portal.billing import money_back
from portal.billing.effects import Quarantined
from portal.billing.money_back import Reversal
from portal.core.refunds import net_minor, of_plan
from portal.tables import payment_movements, payments
from portal.top_ups import standing
from portal.wallet import Wallet

#: A payment of which only a reversal was told so far.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Payment:
    """A payment that settled; amounts in minor units.

    ``payment_id`` is the payment intent's id, the charge's where there is none. ``amount_minor`` is
    all that was charged, with ``tax_minor`` of it: refunds are a part of that. ``kind`` is pack,
    top_up, tier or overage. ``grant_part_minor`` is what of it was for the grant where some was for
    overage, None where all was.
    """

    payment_id: str
    kind: str
    amount_minor: int
    currency: str
    settled_at: datetime | None
    tax_minor: int = 0
    grant_id: str | None = None
    charge_id: str = ""
    invoice_id: str = ""
    fee_minor: int | None = None
    grant_part_minor: int | None = None
    receipt_url: str = ""

    @property
    def for_grant_minor(self) -> int:
        """What of it was for the grant."""
        return self.amount_minor if self.grant_part_minor is None else self.grant_part_minor


@dataclass(frozen=True)
class Settled:
    """A payment as it is written down, and what went back of it."""

    payment: Payment
    reversal: Reversal

    @property
    def takes(self) -> dict[str, int]:
        """What it takes from revenue, by kind: what went back, before tax, and Stripe's fee.

        Nothing while it is not known what was paid for.
        """
        paid, back = self.payment, self.reversal
        if paid.kind == UNKNOWN:
            return {"refund": 0, "fee": 0}
        gone = back.refunded_minor + back.disputed_minor
        return {
            "refund": net_minor(gone, paid.amount_minor, tax_minor=paid.tax_minor),
            "fee": paid.fee_minor or 0,
        }

    @property
    def grant_refunded_minor(self) -> int:
        """What of the part for the grant was refunded."""
        part = self.payment.for_grant_minor
        return of_plan(
            self.payment.amount_minor, part, refunded=self.reversal.refunded, disputed_minor=0
        )[0]


def record(wallet: Wallet, payment: Payment) -> None:
    """Write a payment down, once; what refunds and disputes claim already is taken at once.

    Runs in the transaction that settles it, after the grant it paid for and before the wallet is
    written. Again it fills in what was not known. A payment that settles ends auto top-up's wait
    for somebody whom a bank had asked for. Raises Quarantined where it is known with another
    amount, currency or grant.
    """
    known = of(wallet.tx, wallet.organization_id, payment.payment_id)
    if known is None:
        new = Settled(payment, Reversal())
        wallet.tx.execute(
            insert(payments).values(
                organization_id=wallet.organization_id,
                payment_id=payment.payment_id,
                **_columns(new),
            )
        )
        _note_movements(wallet, None, new)
        _ends_wait(wallet, payment)
        return
    whole = replace(known, payment=_filled_in(known.payment, payment))
    if known.payment.kind == UNKNOWN:
        _ends_wait(wallet, payment)
    if known.payment.grant_id is None:
        whole = _followed(wallet, whole, known.reversal, before=known.reversal)
    _store(wallet, known, whole)


def _ends_wait(wallet: Wallet, payment: Payment) -> None:
    """Have a payment that settled end auto top-up's wait for somebody to pay."""
    if payment.kind != UNKNOWN:
        standing.settled(wallet.tx, wallet.organization_id, now=wallet.now)


def tell(wallet: Wallet, known: Settled | None, payment: Payment, told: Reversal) -> Settled:
    """Bring a payment and its grant to what Stripe says went back of it; returns how it stands.

    ``known`` is its row as it is in this transaction. Raises Quarantined as ``record`` does.
    """
    if known is None:
        record(wallet, payment)
        known = Settled(payment, Reversal())
    whole = Settled(_filled_in(known.payment, payment), told)
    whole = _followed(wallet, whole, told, before=known.reversal)
    _store(wallet, known, whole)
    return whole


def of(tx: Connection, organization_id: str, payment_id: str) -> Settled | None:
    """Return a payment of an organization, or None."""
    row = tx.execute(
        select(payments).where(
            payments.c.organization_id == organization_id, payments.c.payment_id == payment_id
        )
    ).first()
    return None if row is None else of_row(row)


def settled_since(tx: Connection, since: datetime) -> list[tuple[str, Settled]]:
    """Return the payments of every organization that settled since an instant, with whose."""
    rows = tx.execute(
        select(payments)
        .where(payments.c.settled_at >= since)
        .order_by(payments.c.organization_id, payments.c.settled_at, payments.c.payment_id)
    )
    return [(row.organization_id, of_row(row)) for row in rows]


#: How a dispute stands that is not decided.
UNDECIDED = ("inquiry", "open", "withdrawn")


def of_all(
    tx: Connection,
    *,
    kind: str = "",
    disputed: bool = False,
    before: tuple[datetime, str] | None = None,
    limit: int,
) -> list[tuple[str, Settled]]:
    """Return settled payments of every organization with whose, the latest first."""
    at, key = payments.c.settled_at, payments.c.payment_id
    query = select(payments).where(at.is_not(None), *_asked(kind, disputed=disputed))
    if before is not None:
        instant, last = before
        query = query.where(or_(at < instant, and_(at == instant, key < last)))
    rows = tx.execute(query.order_by(at.desc(), key.desc()).limit(limit))
    return [(row.organization_id, of_row(row)) for row in rows]


def only_told(
    tx: Connection, *, kind: str = "", disputed: bool = False, limit: int
) -> list[tuple[str, Settled]]:
    """Return payments of which only a reversal was told so far, with whose."""
    rows = tx.execute(
        select(payments)
        .where(payments.c.settled_at.is_(None), *_asked(kind, disputed=disputed))
        .order_by(payments.c.organization_id, payments.c.payment_id)
        .limit(limit)
    )
    return [(row.organization_id, of_row(row)) for row in rows]


def unsettled(tx: Connection) -> list[tuple[str, Settled]]:
    """Return the payments of which more is to be told, with whose, however old they are.

    Those that a bank has not decided about, and those of which only a reversal was told so far.
    """
    rows = tx.execute(
        select(payments)
        .where(
            or_(
                payments.c.dispute.in_(UNDECIDED),
                payments.c.kind == UNKNOWN,
            )
        )
        .order_by(payments.c.organization_id, payments.c.payment_id)
    )
    return [(row.organization_id, of_row(row)) for row in rows]


def open_disputes(tx: Connection) -> int:
    """Return how many payments of all organizations are disputed and not decided."""
    found = select(func.count()).where(payments.c.dispute.in_(UNDECIDED))
    return int(tx.execute(found).scalar_one())


def _asked(kind: str, *, disputed: bool) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [payments.c.kind == kind] if kind else []
    return [*conditions, payments.c.dispute != "none"] if disputed else conditions


def _followed(wallet: Wallet, whole: Settled, told: Reversal, *, before: Reversal) -> Settled:
    payment = whole.payment
    if payment.grant_id is None or not payment.for_grant_minor:
        return whole
    done = money_back.bring(
        wallet,
        payment.grant_id,
        payment.amount_minor,
        grant_part_minor=payment.for_grant_minor,
        before=before,
        told=told,
    )
    return replace(whole, reversal=done)


def _filled_in(known: Payment, told: Payment) -> Payment:
    """Return what is known of a payment with what was not. Raises Quarantined."""
    for what, ours, theirs in (
        ("amount", known.amount_minor, told.amount_minor),
        ("currency", known.currency, told.currency),
        ("grant", known.grant_id, told.grant_id or known.grant_id),
    ):
        if ours is not None and ours != theirs:
            raise Quarantined(
                f"Payment {known.payment_id}: the {what} is {theirs!r}, we have {ours!r}."
            )
    first = known.kind == UNKNOWN
    return Payment(
        payment_id=known.payment_id,
        kind=told.kind if first else known.kind,
        amount_minor=known.amount_minor,
        currency=known.currency,
        settled_at=told.settled_at if first else known.settled_at,
        tax_minor=told.tax_minor if first else known.tax_minor,
        grant_id=known.grant_id or told.grant_id,
        charge_id=known.charge_id or told.charge_id,
        invoice_id=known.invoice_id or told.invoice_id,
        fee_minor=known.fee_minor if told.fee_minor is None else told.fee_minor,
        grant_part_minor=known.grant_part_minor if known.grant_id else told.grant_part_minor,
        receipt_url=known.receipt_url or told.receipt_url,
    )


def _store(wallet: Wallet, known: Settled, whole: Settled) -> None:
    if known == whole:
        return
    wallet.tx.execute(
        update(payments)
        .where(
            payments.c.organization_id == wallet.organization_id,
            payments.c.payment_id == whole.payment.payment_id,
        )
        .values(**_columns(whole))
    )
    _note_movements(wallet, known, whole)


def _note_movements(wallet: Wallet, before: Settled | None, after: Settled) -> None:
    """Write down by how much it takes more from revenue, or less; a fee as of the payment.

    What is told in parts at one instant is one movement, so that their order does not matter.
    """
    known = before.takes if before else {}
    for kind, amount in after.takes.items():
        more = amount - known.get(kind, 0)
        if not more:
            continue
        settled_at = after.payment.settled_at if kind == "fee" else None
        key = {
            "organization_id": wallet.organization_id,
            "payment_id": after.payment.payment_id,
            "kind": kind,
            "at": settled_at or wallet.now,
        }
        this = [payment_movements.c[name] == value for name, value in key.items()]
        found = select(payment_movements.c.amount_minor).where(*this)
        so_far = wallet.tx.execute(found).scalar() or 0
        wallet.tx.execute(delete(payment_movements).where(*this))
        if so_far + more:
            movement = key | {"amount_minor": so_far + more}
            wallet.tx.execute(insert(payment_movements).values(movement))


def _columns(settled: Settled) -> dict[str, object]:
    payment, reversal = settled.payment, settled.reversal
    return {
        "kind": payment.kind,
        "amount_minor": payment.amount_minor,
        "tax_minor": payment.tax_minor,
        "currency": payment.currency,
        "fee_minor": payment.fee_minor,
        "grant_id": payment.grant_id,
        "grant_part_minor": payment.grant_part_minor,
        "receipt_url": payment.receipt_url,
        "stripe_charge_id": payment.charge_id or None,
        "stripe_invoice_id": payment.invoice_id or None,
        "settled_at": payment.settled_at,
        "refunded_minor": reversal.refunded_minor,
        "plan_refunded_minor": reversal.plan_refunded_minor,
        "overage_refunded_minor": reversal.overage_refunded_minor,
        "disputed_minor": reversal.disputed_minor,
        "dispute": reversal.dispute,
        "stripe_dispute_id": reversal.dispute_id or None,
        "refund_revoked_micro": reversal.refund_revoked_micro,
        "refund_missed_micro": reversal.refund_missed_micro,
        "dispute_revoked_micro": reversal.dispute_revoked_micro,
    }


def of_row(row: Row[tuple[object, ...]]) -> Settled:
    """Return a payment, and what went back of it, as its row says."""
    return Settled(
        Payment(
            payment_id=row.payment_id,
            kind=row.kind,
            amount_minor=row.amount_minor,
            currency=row.currency,
            settled_at=row.settled_at,
            tax_minor=row.tax_minor,
            grant_id=row.grant_id,
            charge_id=row.stripe_charge_id or "",
            invoice_id=row.stripe_invoice_id or "",
            fee_minor=row.fee_minor,
            grant_part_minor=row.grant_part_minor,
            receipt_url=row.receipt_url,
        ),
        Reversal(
            refunded_minor=row.refunded_minor,
            plan_refunded_minor=row.plan_refunded_minor,
            overage_refunded_minor=row.overage_refunded_minor,
            disputed_minor=row.disputed_minor,
            dispute=row.dispute,
            dispute_id=row.stripe_dispute_id or "",
            refund_revoked_micro=row.refund_revoked_micro,
            refund_missed_micro=row.refund_missed_micro,
            dispute_revoked_micro=row.dispute_revoked_micro,
        ),
    )
