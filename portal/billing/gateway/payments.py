"""Payments that were made: charges with what was given back of them or is disputed.

Reads both shapes: a charge with its refunds listed or with only their sum, a dispute with the
money it moved listed or with only the first of it named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import stripe

from portal.billing.gateway.caller import Caller
from portal.billing.gateway.shapes import id_of
from portal.core.errors import ClearmeterError, NotFound
from portal.core.refunds import Dispute, Disputed, Refunded, disputed

_FEE = "balance_transaction"
#: The metadata by which a refund says what it is of: ``plan`` or ``overage``.
PART = "part"
#: The metadata by which it says which row of ours it is of.
ORDER = "refund"
_NEVER_MADE = ("failed", "canceled")


@dataclass(frozen=True)
class RefundState:
    """Money that goes back; the amount in minor units.

    ``order_id`` is our own row's id where it was asked for here, ``failure`` why it failed.
    """

    refund_id: str
    charge_id: str
    amount_minor: int
    status: str
    created_at: datetime
    order_id: str = ""
    failure: str = ""

    @property
    def failed(self) -> bool:
        """Whether the money never reached whoever paid: it is the operator's again."""
        return self.status in _NEVER_MADE


class RefundRefused(ClearmeterError):
    """Stripe will not make this refund, however often it is asked: why, in its own words."""

    code = "refund-refused"
    title = "Stripe refuses this refund"


@dataclass(frozen=True)
class PaymentState:
    """A payment as Stripe has it now; amounts in minor units.

    ``payment_id`` is the payment intent's id, the charge's where there is none. ``fee_minor`` is
    None until Stripe knows it.
    """

    payment_id: str
    charge_id: str
    customer_id: str
    amount_minor: int
    refunded: Refunded
    currency: str
    fee_minor: int | None
    succeeded: bool
    livemode: bool
    paid_at: datetime
    disputes: tuple[Dispute, ...]
    receipt_url: str = ""
    #: Its refunds that failed, where they were listed.
    failed: tuple[RefundState, ...] = ()

    @property
    def disputed(self) -> Disputed:
        """What all its disputes come to."""
        return disputed(self.disputes)


class PaymentCalls(Caller):
    """What is asked of Stripe about payments, and how one is given back."""

    def payment(self, object_id: str) -> PaymentState:
        """Return a payment as Stripe has it now, by its own id or a refund's or dispute's of it.

        Raises NotFound, also for an intent that nothing was charged for.
        """
        with self._calling() as v1:
            charge_id = _charge_id(v1, object_id)
            if not charge_id:
                raise NotFound("payment", object_id)
            charge = v1.charges.retrieve(charge_id, {"expand": [_FEE]})
            found = v1.disputes.list({"charge": charge_id, "limit": 100})
            return _read(v1, charge, found.data, with_refunds=True)

    def payments_since(self, since: datetime) -> list[PaymentState]:
        """Return every payment that was made, refunded or disputed since an instant, each once."""
        made = {"created": {"gte": int(since.timestamp())}, "limit": 100}
        with self._calling() as v1:
            listed = v1.charges.list(made | {"expand": [f"data.{_FEE}"]})
            charges = {one.id: one for one in listed.auto_paging_iter()}
            touched = [
                id_of(one.charge)
                for kind in (v1.refunds, v1.disputes)
                for one in kind.list(made).auto_paging_iter()
            ]
            # What goes back of a customer's cash balance was no charge.
            for charge_id in dict.fromkeys(filter(None, touched)):
                if charge_id not in charges:
                    charges[charge_id] = v1.charges.retrieve(charge_id, {"expand": [_FEE]})
            return [_with_disputes(v1, one, touched) for one in _that_count(charges.values())]

    def charges_with_failed_refunds(self, since: datetime) -> list[str]:
        """Return the charges of which a refund that was made since an instant has failed."""
        made = {"created": {"gte": int(since.timestamp())}, "limit": 100}
        with self._calling() as v1:
            found = v1.refunds.list(made).auto_paging_iter()
            failed = [id_of(one.charge) for one in found if one.status in _NEVER_MADE]
        return list(dict.fromkeys(failed))

    def refund(self, charge_id: str, amount_minor: int, *, of: str, refund_id: str) -> RefundState:
        """Give a part of a payment back, ``of`` the plan or of overage where that is said.

        ``refund_id`` is our own row's: with the same one it is the same refund, for a day. Raises
        RefundRefused where Stripe never makes it so, Unavailable where it is not known.
        """
        metadata = {ORDER: refund_id} | ({PART: of} if of else {})
        with self._calling() as v1:
            try:
                refund = v1.refunds.create(
                    {"charge": charge_id, "amount": amount_minor, "metadata": metadata},
                    {"idempotency_key": f"clearmeter-{refund_id}"},
                )
            except stripe.InvalidRequestError as error:
                raise RefundRefused(str(error.user_message or error)) from error
            return read_refund(refund.to_dict())

    def find_refund(self, charge_id: str, refund_id: str) -> RefundState | None:
        """Look up what became of a refund of ours; None where Stripe never made it."""
        with self._calling() as v1:
            found = v1.refunds.list({"charge": charge_id, "limit": 100})
            for refund in found.auto_paging_iter():
                told = refund.to_dict()
                if (read := read_refund(told)).order_id == refund_id:
                    return read
        return None


def _charge_id(v1: Any, object_id: str) -> str:
    kind = object_id.partition("_")[0]
    if kind in {"dp", "du", "pdp"}:
        return id_of(v1.disputes.retrieve(object_id).charge)
    if kind in {"re", "pyr"}:
        return id_of(v1.refunds.retrieve(object_id).charge)
    if kind == "pi":
        return id_of(v1.payment_intents.retrieve(object_id).latest_charge)
    return object_id


def _that_count(charges: Iterable[Any]) -> list[Any]:
    """Return of each payment the charge that paid it, or where none did the first that is told.

    Every try of one payment is a charge of its own, and at most one of them succeeds.
    """
    found: dict[str, Any] = {}
    for charge in charges:
        payment_id = id_of(charge.payment_intent) or str(charge.id)
        if payment_id not in found or charge.paid:
            found[payment_id] = charge
    return list(found.values())


def _with_disputes(v1: Any, charge: Any, touched: list[str]) -> PaymentState:
    disputes = []
    if charge.disputed or charge.id in touched:
        disputes = v1.disputes.list({"charge": charge.id, "limit": 100}).data
    return _read(v1, charge, disputes, with_refunds=charge.id in touched)


def _read(v1: Any, charge: Any, disputes: Iterable[Any], *, with_refunds: bool) -> PaymentState:
    """Read a charge with its disputes, and with its refunds, which it does not show by itself.

    They are listed after it was read: what they say is never older.
    """
    told = charge.to_dict()
    if with_refunds or charge.amount_refunded:
        found = v1.refunds.list({"charge": charge.id, "limit": 100}).auto_paging_iter()
        told["refunds"] = {"data": [one.to_dict() for one in found]}
    return read_payment(told, [one.to_dict() for one in disputes])


def _refunded(charge: Mapping[str, Any]) -> Refunded:
    """Return what was refunded: the sum of those that did not fail, as far as they are listed."""
    listing = charge.get("refunds") or {}
    made = [one for one in listing.get("data") or [] if one.get("status") not in _NEVER_MADE]
    by_part = {
        part: sum(one["amount"] for one in made if (one.get("metadata") or {}).get(PART) == part)
        for part in ("plan", "overage")
    }
    total = sum(one["amount"] for one in made)
    if not listing.get("data") or listing.get("has_more"):
        total = max(charge["amount_refunded"], total)
    return Refunded(total, by_part["plan"], by_part["overage"])


def read_payment(
    charge: Mapping[str, Any], disputes: Iterable[Mapping[str, Any]] = ()
) -> PaymentState:
    """Read a charge, of any version of the API, and its disputes."""
    fee = charge.get(_FEE)
    refunds = [read_refund(one) for one in (charge.get("refunds") or {}).get("data") or []]
    return PaymentState(
        payment_id=id_of(charge.get("payment_intent")) or charge["id"],
        charge_id=charge["id"],
        customer_id=id_of(charge.get("customer")),
        amount_minor=charge["amount"],
        refunded=_refunded(charge),
        currency=charge["currency"],
        fee_minor=fee["fee"] if isinstance(fee, Mapping) else None,
        # The oldest charges only say whether they were paid.
        succeeded=charge.get("status", "succeeded" if charge["paid"] else "") == "succeeded",
        livemode=charge["livemode"],
        paid_at=datetime.fromtimestamp(charge["created"], UTC),
        disputes=tuple(read_dispute(one) for one in disputes),
        receipt_url=str(charge.get("receipt_url") or ""),
        failed=tuple(one for one in refunds if one.failed),
    )


def read_dispute(dispute: Mapping[str, Any]) -> Dispute:
    """Read a dispute, of any version of the API."""
    booked = dispute.get("balance_transactions")
    if booked is None:
        # What older versions name is the withdrawal, made when the dispute was opened.
        moved = bool(dispute.get(_FEE))
        withdrawn = dispute["amount"] if moved else 0
    else:
        moved = bool(booked)
        withdrawn = max(0, -sum(one["amount"] for one in booked))
    return Dispute(
        dispute_id=dispute.get("id") or "",
        status=dispute["status"],
        amount_minor=dispute["amount"],
        withdrawn_minor=withdrawn,
        moved=moved,
    )


def read_refund(refund: Mapping[str, Any]) -> RefundState:
    """Read a refund, of any version of the API."""
    return RefundState(
        refund_id=refund["id"],
        charge_id=id_of(refund.get("charge")),
        amount_minor=refund["amount"],
        status=refund.get("status") or "succeeded",
        created_at=datetime.fromtimestamp(refund["created"], UTC),
        order_id=str((refund.get("metadata") or {}).get(ORDER) or ""),
        failure=str(refund.get("failure_reason") or ""),
    )
