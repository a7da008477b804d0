"""Stripe's webhooks as they come in: verified on the raw body, and read as a hint."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import stripe

from portal.core.errors import InvalidRequest

#: How old a signature may be, against replay: Stripe's own default.
TOLERANCE_SECONDS = 300
LARGEST_EVENT_BYTES = 1024 * 1024


@dataclass(frozen=True)
class StripeEvent:
    """What an event hints at: which object of which kind may have changed.

    ``object_id`` is empty where the object has no id, as of an invoice that is yet to come.
    """

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
        found = (event["id"], event["type"], event["data"]["object"], event["livemode"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidRequest("The body is not one of Stripe's events.") from error
    event_id, kind, about, livemode = found
    named = isinstance(about, dict) and all(isinstance(one, str) for one in (event_id, kind))
    object_id = _object_id(about) if named else None
    if not (event_id and kind) or object_id is None:
        raise InvalidRequest("The body is not one of Stripe's events.")
    return StripeEvent(event_id, kind, object_id, livemode is True)


def _object_id(about: dict[str, Any]) -> str | None:
    """Return the object's id; of a dispute that older versions tell without one, its charge's."""
    found = about.get("id") or about.get("charge") or ""
    return found if isinstance(found, str) else None


def _signed(payload: bytes, signature: str, secret: str) -> bool:
    try:
        stripe.WebhookSignature.verify_header(
            payload.decode("utf-8"), signature, secret, TOLERANCE_SECONDS
        )
    except (stripe.SignatureVerificationError, UnicodeDecodeError):
        return False
    return True
