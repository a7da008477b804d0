"""Products, prices and customers: what is sold, and to whom."""

from __future__ import annotations

from typing import Any

import stripe

from portal.billing.gateway.caller import Caller


class CatalogCalls(Caller):
    """What is asked of Stripe's catalogue and customers."""

    def create_customer(self, organization_id: str, *, name: str, email: str) -> str:
        """Make Stripe's customer of an organization, once; returns its id."""
        params: dict[str, Any] = {"name": name, "metadata": {"organization": organization_id}}
        if email:
            params["email"] = email
        with self._calling() as v1:
            key = f"clearmeter-customer-{organization_id}"
            return str(self._made(v1.customers.create, params, key).id)

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
            key = f"clearmeter-price-{lookup_key}"
            return str(self._made(v1.prices.create, params, key).id)

    def _ensure_product(self, v1: Any, product: str, name: str) -> None:
        try:
            v1.products.retrieve(product)
        except stripe.InvalidRequestError as error:
            if error.http_status != 404:
                raise
            key = f"clearmeter-product-{product}"
            self._made(v1.products.create, {"id": product, "name": name}, key)
