"""How Stripe is called: outside every transaction, with failures in our own words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import stripe
import structlog

from portal.billing.gateway.circuit import Circuit, Client
from portal.core.errors import NotFound, Unavailable
from portal.db import in_transaction

log = structlog.get_logger()

#: How long a connection may take, and then an answer.
TIMEOUT_SECONDS = (4, 20)
_REFUSED = "Stripe could not do this now. Nothing was charged."


class CallRefused(Unavailable):
    """Stripe answered that it will not do what it was asked for: asking again is in vain."""


class Caller:
    """The client, and the one way to use it."""

    def __init__(self, secret_key: str, api_base: str = "") -> None:
        self.configured = bool(secret_key)
        self.livemode = "_live_" in secret_key
        self._client = None
        if secret_key:
            self._client = stripe.StripeClient(
                secret_key,
                base_addresses={"api": api_base} if api_base else {},
                max_network_retries=2,
                http_client=Client(timeout_seconds=TIMEOUT_SECONDS, circuit=Circuit()),
            )

    def _made(self, create: Callable[..., Any], params: Mapping[str, Any], key: str) -> Any:
        """Make what everybody who needs it makes by the same key, and return it.

        A failure of Stripe's own is remembered with the key for a day, which would keep it from
        being made that long: then it is made by another. What is made so must do no harm twice.
        """
        try:
            return create(params, {"idempotency_key": key})
        except stripe.APIError as error:
            if (error.headers or {}).get("Idempotent-Replayed") != "true":
                raise
            return create(params, {"idempotency_key": f"{key}-{uuid4()}"})

    @contextmanager
    def _calling(self) -> Iterator[Any]:
        """Give the client for one call and turn its failures into ours, in our own words.

        Raises Unavailable where Stripe does not answer, CallRefused where it refuses and NotFound
        where it knows of no such object.
        """
        if in_transaction():
            raise AssertionError("Stripe must not be called while a transaction is open")
        if self._client is None:
            raise Unavailable("Payments are not set up here yet. Nothing was charged.")
        try:
            yield self._client.v1
        except (stripe.APIConnectionError, stripe.RateLimitError, stripe.APIError) as error:
            # What was asked for may be done: asking again has the same key.
            raise Unavailable(
                "Stripe does not answer. Asked for again, nothing is paid twice."
            ) from error
        except (stripe.InvalidRequestError, stripe.CardError) as error:
            if error.http_status == 404:
                raise NotFound("payment", str(error.param or "")) from error
            _log(error)
            raise CallRefused(_REFUSED) from error
        except stripe.StripeError as error:
            _log(error)
            raise Unavailable(_REFUSED) from error


def _log(error: stripe.StripeError) -> None:
    """Keep Stripe's own words for the operator: a customer does not read them."""
    log.error(
        "stripe refused",
        request_id=error.request_id,
        status=error.http_status,
        code=error.code,
        reason=str(error),
    )


def keyed(stem: str, params: Mapping[str, Any]) -> dict[str, str]:
    """Return the idempotency key of a call that may be made with other parameters another time.

    The same parameters have the same key. For calls that do no harm twice.
    """
    told = json.dumps(params, sort_keys=True).encode()
    return {"idempotency_key": f"{stem}-{hashlib.sha256(told).hexdigest()[:16]}"}
