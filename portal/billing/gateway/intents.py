"""Payments with nobody there: a saved method is charged for an attempt of auto top-up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import stripe

from portal.billing.gateway.caller import Caller
from portal.billing.gateway.shapes import id_of

#: How Stripe says that the payer has to authenticate, who is not there: in an error's code, or in
#: that of the decline, where the bank itself declined or where ``error_on_requires_action`` did.
_ASKED_FOR = frozenset(
    {"authentication_required", "authentication_not_handled", "payment_intent_action_required"}
)
_EXPANDED = ["latest_charge.balance_transaction"]


@dataclass(frozen=True)
class TopUpIntent:
    """What Clearmeter reads of a payment intent; amounts in minor units.

    ``status`` is Stripe's, or ``refused`` where it would not make an intent at all. ``failure`` is
    the code of the last refusal.
    """

    intent_id: str
    status: str
    amount_minor: int
    currency: str
    customer_id: str
    charge_id: str
    fee_minor: int | None
    paid_at: datetime | None
    livemode: bool
    organization_id: str
    top_up_id: str
    failure: str = ""
    receipt_url: str = ""

    @property
    def paid(self) -> bool:
        """Whether the money arrived."""
        return self.status == "succeeded"

    @property
    def needs_authentication(self) -> bool:
        """Whether the payer has to authenticate first."""
        asked = self.status == "requires_payment_method" and self.failure in _ASKED_FOR
        return self.status == "requires_action" or asked

    @property
    def declined(self) -> bool:
        """Whether it was refused, and nothing is charged."""
        return self.status == "refused" or (
            self.status == "requires_payment_method" and self.failure != ""
        )

    @property
    def unresolved(self) -> bool:
        """Whether it neither was paid or refused, nor waits for a bank."""
        ended = self.status in {"succeeded", "processing", "canceled"}
        return not (ended or self.declined or self.needs_authentication)

    @property
    def droppable(self) -> bool:
        """Whether it can still be paid, though it should not be any more."""
        return self.intent_id != "" and self.status not in {"succeeded", "processing", "canceled"}


@dataclass(frozen=True)
class OffSession:
    """What is charged to whom, as our own row has it; the amount in minor units."""

    organization_id: str
    top_up_id: str
    customer_id: str
    method_id: str
    amount_minor: int
    currency: str
    description: str


class IntentCalls(Caller):
    """What is asked of Stripe to charge a saved payment method."""

    def saved_method(self, customer_id: str) -> str:
        """Return the payment method to charge: the default, else the one saved last; '' if none."""
        with self._calling() as v1:
            customer = v1.customers.retrieve(customer_id).to_dict()
            settings = customer.get("invoice_settings") or {}
            default = settings.get("default_payment_method")
            if default or customer.get("deleted"):
                return id_of(default)
            newest = v1.payment_methods.list({"customer": customer_id, "limit": 1}).data
            return str(newest[0].id) if newest else ""

    def charge_saved(self, wanted: OffSession) -> TopUpIntent:
        """Charge a saved method; the same attempt again is the same payment.

        Raises Unavailable where it is not known what became of it.
        """
        metadata = {"organization": wanted.organization_id, "top_up": wanted.top_up_id}
        with self._calling() as v1:
            try:
                intent = v1.payment_intents.create(
                    {
                        "amount": wanted.amount_minor,
                        "currency": wanted.currency,
                        "customer": wanted.customer_id,
                        "payment_method": wanted.method_id,
                        "off_session": True,
                        "confirm": True,
                        "error_on_requires_action": True,
                        "description": wanted.description,
                        "metadata": metadata,
                        "expand": _EXPANDED,
                    },
                    {"idempotency_key": f"clearmeter-{wanted.top_up_id}"},
                )
            except (stripe.CardError, stripe.InvalidRequestError) as error:
                return _refusal(error, wanted, livemode=self.livemode)
            return read_intent(intent.to_dict())

    def top_up_intent(self, intent_id: str) -> TopUpIntent:
        """Return a payment intent as Stripe has it now. Raises NotFound."""
        with self._calling() as v1:
            return read_intent(
                v1.payment_intents.retrieve(intent_id, {"expand": _EXPANDED}).to_dict()
            )

    def find_top_up(
        self, customer_id: str, top_up_id: str, *, since: datetime
    ) -> TopUpIntent | None:
        """Look an attempt up among a customer's payment intents; None where it is not there."""
        with self._calling() as v1:
            found = v1.payment_intents.list(
                {
                    "customer": customer_id,
                    "created": {"gte": int(since.timestamp())},
                    "expand": [f"data.{one}" for one in _EXPANDED],
                    "limit": 100,
                }
            )
            for intent in found.auto_paging_iter():
                read = read_intent(intent.to_dict())
                if read.top_up_id == top_up_id:
                    return read
        return None

    def top_up_intents_since(self, since: datetime) -> list[TopUpIntent]:
        """Return every payment of auto top-up made since an instant, newest first."""
        with self._calling() as v1:
            found = v1.payment_intents.list(
                {
                    "created": {"gte": int(since.timestamp())},
                    "expand": [f"data.{one}" for one in _EXPANDED],
                    "limit": 100,
                }
            )
            read = (read_intent(intent.to_dict()) for intent in found.auto_paging_iter())
            return [one for one in read if one.top_up_id]

    def owner_of_method(self, method_id: str) -> str:
        """Return the customer a payment method belongs to; '' where nobody's. Raises NotFound."""
        with self._calling() as v1:
            return id_of(v1.payment_methods.retrieve(method_id).customer)

    def drop_intent(self, intent_id: str) -> None:
        """See to it that a payment intent can never be paid any more. Raises Unavailable."""
        with self._calling() as v1:
            v1.payment_intents.cancel(
                intent_id, {}, {"idempotency_key": f"clearmeter-drop-{intent_id}"}
            )


def _refusal(error: Any, wanted: OffSession, *, livemode: bool) -> TopUpIntent:
    """Return the intent that a refusal shows, or what is known where it shows none."""
    told = ((error.json_body or {}).get("error") or {}).get("payment_intent")
    if told:
        return read_intent(told)
    return TopUpIntent(
        intent_id="",
        status="refused",
        amount_minor=wanted.amount_minor,
        currency=wanted.currency,
        customer_id=wanted.customer_id,
        charge_id="",
        fee_minor=None,
        paid_at=None,
        livemode=livemode,
        organization_id=wanted.organization_id,
        top_up_id=wanted.top_up_id,
        failure=str(error.code or "refused"),
    )


def read_intent(intent: dict[str, Any]) -> TopUpIntent:
    """Read a payment intent, whatever is expanded of it."""
    metadata = intent.get("metadata") or {}
    error = intent.get("last_payment_error") or {}
    charge = intent.get("latest_charge")
    moved = charge.get("balance_transaction") if isinstance(charge, dict) else None
    return TopUpIntent(
        intent_id=str(intent["id"]),
        status=str(intent.get("status") or ""),
        amount_minor=int(intent.get("amount") or 0),
        currency=str(intent.get("currency") or ""),
        customer_id=id_of(intent.get("customer")),
        charge_id=id_of(charge),
        fee_minor=int(moved["fee"]) if isinstance(moved, dict) and "fee" in moved else None,
        paid_at=datetime.fromtimestamp(charge["created"], UTC)
        if isinstance(charge, dict) and charge.get("paid")
        else None,
        livemode=bool(intent.get("livemode")),
        organization_id=str(metadata.get("organization", "")),
        top_up_id=str(metadata.get("top_up", "")),
        failure=_failure(error),
        receipt_url=str(charge.get("receipt_url") or "") if isinstance(charge, dict) else "",
    )


def _failure(error: dict[str, Any]) -> str:
    """Return the code of the last refusal: the decline's, unless the error's own says more."""
    code, decline = (str(error.get(name) or "") for name in ("code", "decline_code"))
    return code if code in _ASKED_FOR and decline not in _ASKED_FOR else decline or code
