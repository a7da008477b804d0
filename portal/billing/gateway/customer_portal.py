"""Stripe's customer portal: where people change how they pay and what stands on their invoices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from portal.billing.gateway.caller import Caller
from portal.billing.gateway.shapes import id_of


@dataclass(frozen=True)
class SavedMethod:
    """What will be charged, in words: a brand with its last digits, or the kind of a debit."""

    kind: str
    brand: str
    last4: str
    exp_month: int | None
    exp_year: int | None


class CustomerPortalCalls(Caller):
    """What is asked of Stripe's customer portal, and what it shows of a payment method."""

    def portal_page(self, customer_id: str, *, return_url: str, flow: str = "") -> str:
        """Return an address, for one customer and a short time, of the portal or one act in it."""
        params: dict[str, Any] = {"customer": customer_id, "return_url": return_url}
        if flow:
            after = {"type": "redirect", "redirect": {"return_url": return_url}}
            params["flow_data"] = {"type": flow, "after_completion": after}
        with self._calling() as v1:
            return str(v1.billing_portal.sessions.create(params).url)

    def method_in_words(self, customer_id: str) -> SavedMethod | None:
        """Return the method that is charged by default, or was saved last; None where none is."""
        with self._calling() as v1:
            customer = v1.customers.retrieve(customer_id).to_dict()
            default = id_of((customer.get("invoice_settings") or {}).get("default_payment_method"))
            if default:
                return _method(v1.payment_methods.retrieve(default).to_dict())
            found = v1.payment_methods.list({"customer": customer_id, "limit": 1}).data
            return _method(found[0].to_dict()) if found else None

    def method_of_subscription(self, subscription_id: str) -> SavedMethod | None:
        """Return the method of a subscription's own; None where the customer's default pays it."""
        with self._calling() as v1:
            expanded = {"expand": ["default_payment_method"]}
            told = v1.subscriptions.retrieve(subscription_id, expanded).to_dict()
            own = told.get("default_payment_method")
            return _method(own) if own else None


def _method(told: dict[str, Any]) -> SavedMethod:
    kind = str(told.get("type") or "")
    details = told.get(kind) or {}
    return SavedMethod(
        kind,
        str(details.get("brand") or details.get("bank_name") or ""),
        str(details.get("last4") or ""),
        details.get("exp_month"),
        details.get("exp_year"),
    )
