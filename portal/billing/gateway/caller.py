"""How Stripe is called: outside every transaction, with failures in our own words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import stripe

from portal.core.errors import NotFound, Unavailable
from portal.db import in_transaction

TIMEOUT_SECONDS = 20


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
                http_client=stripe.RequestsClient(timeout=TIMEOUT_SECONDS),
            )

    @contextmanager
    def _calling(self) -> Iterator[Any]:
        """Give the client for one call and turn its failures into ours.

        Raises Unavailable where Stripe does not answer or refuses, NotFound where it knows of no
        such object.
        """
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
