"""Products, prices and customers: what is sold, and to whom."""

from __future__ import annotations

from typing import Any

import stripe

from portal.billing.gateway.caller import Caller, keyed


class CatalogCalls(Caller):
    """What is asked of Stripe's catalogue and customers."""

    def create_customer(self, organization_id: str, *, name: str, email: str) -> str:
        """Make Stripe's customer of an organization, once; returns its id.

        What may be called otherwise another time is told of afterwards, so that asking again finds
        the same customer.
        """
        with self._calling() as v1:
            made = self._made(
                v1.customers.create,
                {"metadata": {"organization": organization_id}},
                f"clearmeter-customer-{organization_id}",
            )
            told: dict[str, Any] = {"name": name} | ({"email": email} if email else {})
            v1.customers.update(made.id, told)
            return str(made.id)

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
            if found and (found[0].unit_amount, found[0].currency) == (amount_minor, currency):
                return str(found[0].id)
            self._ensure_product(v1, product, name)
            params: dict[str, Any] = {
                "product": product,
                "unit_amount": amount_minor,
                "currency": currency,
                "lookup_key": lookup_key,
                # One that was archived keeps the key to itself otherwise.
                "transfer_lookup_key": True,
            }
            if interval:
                params["recurring"] = {"interval": interval}
            key = f"clearmeter-price-{lookup_key}"
            made = self._made(v1.prices.create, params, key)
            while not v1.prices.retrieve(made.id).active:
                # Made within the day and archived since: Stripe remembers it with the key.
                made = self._made(v1.prices.create, params, f"{key}-after-{made.id}")
            return str(made.id)

    def _ensure_product(self, v1: Any, product: str, name: str) -> None:
        try:
            v1.products.retrieve(product)
        except stripe.InvalidRequestError as error:
            if error.http_status != 404:
                raise
            params = {"id": product, "name": name}
            key = keyed(f"clearmeter-product-{product}", params)["idempotency_key"]
            self._made(v1.products.create, params, key)
