"""Stripe's webhooks: verified on the raw body, then handed to the inbox."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from portal.billing import inbox
from portal.billing.gateway import LARGEST_EVENT_BYTES, verify
from portal.core.errors import PayloadTooLarge
from portal.web.security import csrf
from portal.web.services import services

blueprint = Blueprint("webhooks", __name__)
csrf.exempt(blueprint)


@blueprint.post("/webhooks/stripe")
def stripe_events() -> Response:
    """Take one of Stripe's events."""
    if (request.content_length or 0) > LARGEST_EVENT_BYTES:
        raise PayloadTooLarge("The event is larger than 1 MiB.")
    parts = services()
    event = verify(
        request.get_data(),
        request.headers.get("Stripe-Signature", ""),
        parts.settings.stripe_webhook_secrets,
    )
    outcome = inbox.receive(parts.database, parts.payments, event, now=parts.clock())
    return jsonify(received=True, outcome=outcome)
