"""The one door to Stripe: the only importer of ``stripe``.

Invariant: no call is made while a database transaction is open, every call that changes something
carries an idempotency key of ours, and what comes back is a plain record. There is no branch for a
stand-in: ``STRIPE_API_BASE`` is merely another address.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import stripe

from portal.core.errors import InvalidRequest, NotFound, Unavailable
from portal.db import in_transaction

#: How old a signature may be, against replay: Stripe's own default.
TOLERANCE_SECONDS = 300
LARGEST_EVENT_BYTES = 1024 * 1024
TIMEOUT_SECONDS = 20
_HOSTED_CHECKOUT = "https://checkout.stripe.com"


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


@dataclass(frozen=True)
class StripeEvent:
    """What an event hints at: which object of which kind may have changed."""

    event_id: str
    type: str
    object_id: str
    livemode: bool


class BadSignature(InvalidRequest):
    """A webhook that Stripe did not sign with one of our secrets."""

    status = 400
    title = "The signature does not fit"


class Gateway:
    """Stripe, as one application uses it."""

    def __init__(self, secret_key: str, api_base: str = "") -> None:
        self.configured = bool(secret_key)
        self.livemode = "_live_" in secret_key
        self.checkout_origin = api_base or _HOSTED_CHECKOUT
        self._client = None
        if secret_key:
            self._client = stripe.StripeClient(
                secret_key,
                base_addresses={"api": api_base} if api_base else {},
                max_network_retries=2,
                http_client=stripe.RequestsClient(timeout=TIMEOUT_SECONDS),
            )

    @contextmanager
    def _calling(self) -> Iterator[Any]:
        """Give the client for one call and turn its failures into ours."""
        if in_transaction():
            raise AssertionError("Stripe must not be called while a transaction is open")
        if self._client is None:
            raise Unavailable("Payments are not set up here yet. Nothing was charged.")
        try:
            yield self._client.v1
        except (stripe.APIConnectionError, stripe.RateLimitError) as error:
            raise Unavailable("Stripe does not answer. Nothing was charged; try again.") from error
        except stripe.InvalidRequestError as error:
            if error.http_status == 404:
                raise NotFound("payment", str(error.param or "")) from error
            raise Unavailable(f"Stripe refused the request: {error.user_message}") from error
        except stripe.StripeError as error:
            raise Unavailable("Stripe could not do this now. Nothing was charged.") from error

    def create_customer(self, organization_id: str, *, name: str, email: str) -> str:
        """Make Stripe's customer of an organization, once; returns its id."""
        params: dict[str, Any] = {"name": name, "metadata": {"organization": organization_id}}
        if email:
            params["email"] = email
        with self._calling() as v1:
            customer = v1.customers.create(
                params, {"idempotency_key": f"clearmeter-customer-{organization_id}"}
            )
            return str(customer.id)

    def ensure_price(
        self,
        product: str,
        *,
        name: str,
        amount_minor: int,
        currency: str,
        interval: str | None = None,
    ) -> str:
        """Return the price of a product at exactly this amount, making both where needed.

        A price that exists is never edited: another amount is another price. With an ``interval``
        (month or year) it recurs.
        """
        recurs = f"-{interval}ly" if interval else ""
        lookup_key = f"{product}-{currency}-{amount_minor}{recurs}"
        with self._calling() as v1:
            found = v1.prices.list({"lookup_keys": [lookup_key], "active": True, "limit": 1}).data
            if found:
                return str(found[0].id)
            self._ensure_product(v1, product, name)
            params: dict[str, Any] = {
                "product": product,
                "unit_amount": amount_minor,
                "currency": currency,
                "lookup_key": lookup_key,
            }
            if interval:
                params["recurring"] = {"interval": interval}
            price = v1.prices.create(params, {"idempotency_key": f"clearmeter-price-{lookup_key}"})
            return str(price.id)

    def _ensure_product(self, v1: Any, product: str, name: str) -> None:
        try:
            v1.products.retrieve(product)
        except stripe.InvalidRequestError as error:
            if error.http_status != 404:
                raise
            v1.products.create(
                {"id": product, "name": name},
                {"idempotency_key": f"clearmeter-product-{product}"},
            )

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
            return _session(session)

    def checkout_session(self, session_id: str) -> CheckoutSession:
        """Return a Checkout session as Stripe has it now. Raises NotFound."""
        with self._calling() as v1:
            return _session(v1.checkout.sessions.retrieve(session_id))

    def checkout_sessions_since(self, since: datetime) -> list[CheckoutSession]:
        """Return every Checkout session made since an instant, newest first."""
        with self._calling() as v1:
            found = v1.checkout.sessions.list(
                {"created": {"gte": int(since.timestamp())}, "limit": 100}
            )
            return [_session(session) for session in found.auto_paging_iter()]


def _session(session: Any) -> CheckoutSession:
    metadata = session.to_dict().get("metadata") or {}
    return CheckoutSession(
        session_id=str(session.id),
        url=str(session.url or ""),
        status=str(session.status or ""),
        payment_status=str(session.payment_status),
        amount_total_minor=session.amount_total,
        currency=str(session.currency or ""),
        customer_id=_id_of(session.customer),
        payment_intent_id=_id_of(session.payment_intent),
        livemode=bool(session.livemode),
        organization_id=str(metadata.get("organization", "")),
        checkout_id=str(metadata.get("checkout", "")),
    )


def _id_of(value: Any) -> str:
    """Return the id of an object that may be expanded, be an id, or be missing."""
    return str(getattr(value, "id", value) or "")


def verify(payload: bytes, signature: str, secrets: tuple[str, ...]) -> StripeEvent:
    """Return a webhook's event. Raises BadSignature where none of the secrets signed it."""
    if len(payload) > LARGEST_EVENT_BYTES:
        raise InvalidRequest("The event is larger than 1 MiB.")
    if not any(_signed(payload, signature, secret) for secret in secrets):
        raise BadSignature("None of the signing secrets fits. Check STRIPE_WEBHOOK_SECRET.")
    try:
        event = json.loads(payload)
        found = (event["id"], event["type"], event["data"]["object"]["id"], event["livemode"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidRequest("The body is not one of Stripe's events.") from error
    event_id, kind, object_id, livemode = found
    if not all(isinstance(one, str) and one for one in (event_id, kind, object_id)):
        raise InvalidRequest("The body is not one of Stripe's events.")
    return StripeEvent(event_id, kind, object_id, livemode is True)


def _signed(payload: bytes, signature: str, secret: str) -> bool:
    try:
        stripe.WebhookSignature.verify_header(
            payload.decode("utf-8"), signature, secret, TOLERANCE_SECONDS
        )
    except (stripe.SignatureVerificationError, UnicodeDecodeError):
        return False
    return True
