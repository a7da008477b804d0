"""Checkout sessions: where a buyer is sent to pay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from portal.billing.gateway.caller import Caller
from portal.billing.gateway.shapes import id_of

_CHARGED = "payment_intent.latest_charge.balance_transaction"
#: An intent like this has ended without a payment, unless a session is still open to try again.
_UNPAID = ("requires_payment_method", "canceled")


@dataclass(frozen=True)
class CheckoutSession:
    """What Clearmeter reads of a Checkout session; amounts in minor units.

    The total is the subtotal less the discount, and the tax where that is not in the price.
    ``failed`` says that a method which takes its time has not paid in the end.
    """

    session_id: str
    url: str
    status: str
    payment_status: str
    amount_subtotal_minor: int | None
    amount_total_minor: int | None
    discount_minor: int
    tax_minor: int
    currency: str
    customer_id: str
    payment_intent_id: str
    charge_id: str
    invoice_id: str
    fee_minor: int | None
    paid_at: datetime | None
    failed: bool
    livemode: bool
    organization_id: str
    checkout_id: str
    tier_checkout_id: str
    subscription_id: str

    @property
    def paid(self) -> bool:
        """Whether all of it is paid: also where a promotion left nothing to pay."""
        free = self.payment_status == "no_payment_required" and self.amount_total_minor == 0
        return self.payment_status == "paid" or (free and self.status == "complete")


class CheckoutCalls(Caller):
    """What is asked of Stripe's Checkout."""

    automatic_tax = False

    def create_checkout(
        self,
        *,
        checkout_id: str,
        organization_id: str,
        customer_id: str,
        price_id: str,
        success_url: str,
        cancel_url: str,
        keep_method: bool = False,
    ) -> CheckoutSession:
        """Open a Checkout session for one pack; the same checkout again is the same session.

        With ``keep_method`` the method it is paid with may be charged later, with nobody there.
        """
        metadata = {"organization": organization_id, "checkout": checkout_id}
        intent: dict[str, Any] = {"metadata": metadata}
        if keep_method:
            intent["setup_future_usage"] = "off_session"
        params: dict[str, Any] = {
            "mode": "payment",
            "customer": customer_id,
            "client_reference_id": checkout_id,
            "line_items": [{"price": price_id, "quantity": 1}],
            "metadata": metadata,
            "payment_intent_data": intent,
            "invoice_creation": {"enabled": True, "invoice_data": {"metadata": metadata}},
            "allow_promotion_codes": True,
            "success_url": success_url,
            "cancel_url": cancel_url,
        }
        if self.automatic_tax:
            params["automatic_tax"] = {"enabled": True}
            # Tax is by the buyer's address, which Stripe asks for and keeps.
            params["customer_update"] = {"address": "auto", "name": "auto"}
        with self._calling() as v1:
            session = v1.checkout.sessions.create(
                params, {"idempotency_key": f"clearmeter-{checkout_id}"}
            )
            return read_session(session.to_dict())

    def checkout_session(self, session_id: str) -> CheckoutSession:
        """Return a Checkout session as Stripe has it now. Raises NotFound."""
        with self._calling() as v1:
            session = v1.checkout.sessions.retrieve(session_id, {"expand": [_CHARGED]})
            return read_session(session.to_dict())

    def checkout_sessions_since(self, since: datetime) -> list[CheckoutSession]:
        """Return every Checkout session made since an instant, newest first."""
        with self._calling() as v1:
            found = v1.checkout.sessions.list(
                {
                    "created": {"gte": int(since.timestamp())},
                    "limit": 100,
                    "expand": [f"data.{_CHARGED}"],
                }
            )
            return [read_session(session.to_dict()) for session in found.auto_paging_iter()]


def read_session(session: Mapping[str, Any]) -> CheckoutSession:
    """Read a Checkout session, of any version of the API, whatever is expanded of it."""
    metadata = session.get("metadata") or {}
    details = session.get("total_details") or {}
    intent = _object(session.get("payment_intent"))
    charge = _object(intent.get("latest_charge"))
    fee = _object(charge.get("balance_transaction"))
    complete = session.get("status") == "complete"
    unpaid = complete and session["payment_status"] == "unpaid"
    return CheckoutSession(
        session_id=session["id"],
        url=session.get("url") or "",
        status=session.get("status") or "",
        payment_status=session["payment_status"],
        amount_subtotal_minor=session.get("amount_subtotal"),
        amount_total_minor=session.get("amount_total"),
        discount_minor=details.get("amount_discount") or 0,
        tax_minor=details.get("amount_tax") or 0,
        currency=session.get("currency") or "",
        customer_id=id_of(session.get("customer")),
        payment_intent_id=id_of(session.get("payment_intent")),
        charge_id=id_of(intent.get("latest_charge")),
        invoice_id=id_of(session.get("invoice")),
        fee_minor=fee.get("fee"),
        paid_at=datetime.fromtimestamp(charge["created"], UTC) if "created" in charge else None,
        failed=unpaid and intent.get("status") in _UNPAID,
        livemode=session["livemode"],
        organization_id=metadata.get("organization", ""),
        checkout_id=metadata.get("checkout", ""),
        tier_checkout_id=metadata.get("tier_checkout", ""),
        subscription_id=id_of(session.get("subscription")),
    )


def _object(value: Any) -> Mapping[str, Any]:
    """Return what is expanded; nothing of what is not."""
    return value if isinstance(value, Mapping) else {}
