"""Stripe's webhooks as they come in: verified on the raw body, and read as a hint."""

from __future__ import annotations

import json
from dataclasses import dataclass

import stripe

from portal.core.errors import InvalidRequest

#: How old a signature may be, against replay: Stripe's own default.
TOLERANCE_SECONDS = 300
LARGEST_EVENT_BYTES = 1024 * 1024


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
