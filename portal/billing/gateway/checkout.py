"""Checkout sessions: where a buyer is sent to pay."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from portal.billing.gateway.caller import Caller
from portal.billing.gateway.shapes import id_of


@dataclass(frozen=True)
class CheckoutSession:
    """What Clearmeter reads of a Checkout session; amounts in minor units."""

    session_id: str
    url: str
    status: str
    payment_status: str
    amount_total_minor: int | None
    currency: str
    customer_id: str
    payment_intent_id: str
    livemode: bool
    organization_id: str
    checkout_id: str
    tier_checkout_id: str = ""
    subscription_id: str = ""


class CheckoutCalls(Caller):
    """What is asked of Stripe's Checkout."""

    def create_checkout(
        self,
        *,
        checkout_id: str,
        organization_id: str,
        customer_id: str,
        price_id: str,
        success_url: str,
        cancel_url: str,
    ) -> CheckoutSession:
        """Open a Checkout session for one pack; the same checkout again is the same session."""
        metadata = {"organization": organization_id, "checkout": checkout_id}
        with self._calling() as v1:
            session = v1.checkout.sessions.create(
                {
                    "mode": "payment",
                    "customer": customer_id,
                    "client_reference_id": checkout_id,
                    "line_items": [{"price": price_id, "quantity": 1}],
                    "metadata": metadata,
                    "payment_intent_data": {"metadata": metadata},
                    "success_url": success_url,
                    "cancel_url": cancel_url,
                },
                {"idempotency_key": f"clearmeter-{checkout_id}"},
            )
            return session_of(session)

    def checkout_session(self, session_id: str) -> CheckoutSession:
        """Return a Checkout session as Stripe has it now. Raises NotFound."""
        with self._calling() as v1:
            return session_of(v1.checkout.sessions.retrieve(session_id))

    def checkout_sessions_since(self, since: datetime) -> list[CheckoutSession]:
        """Return every Checkout session made since an instant, newest first."""
        with self._calling() as v1:
            found = v1.checkout.sessions.list(
                {"created": {"gte": int(since.timestamp())}, "limit": 100}
            )
            return [session_of(session) for session in found.auto_paging_iter()]


def session_of(session: Any) -> CheckoutSession:
    """Read a Checkout session."""
    metadata = session.to_dict().get("metadata") or {}
    return CheckoutSession(
        session_id=str(session.id),
        url=str(session.url or ""),
        status=str(session.status or ""),
        payment_status=str(session.payment_status),
        amount_total_minor=session.amount_total,
        currency=str(session.currency or ""),
        customer_id=id_of(session.customer),
        payment_intent_id=id_of(session.payment_intent),
        livemode=bool(session.livemode),
        organization_id=str(metadata.get("organization", "")),
        checkout_id=str(metadata.get("checkout", "")),
        tier_checkout_id=str(metadata.get("tier_checkout", "")),
        subscription_id=id_of(session.subscription),
    )
