"""Overage on invoices: items on a draft, and invoices of our own where no renewal comes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import stripe

from portal.billing.gateway.caller import Caller
from portal.billing.gateway.shapes import id_of
from portal.core.errors import Unavailable
from portal.core.periods import Period

#: The metadata by which items and invoices of overage are known again.
MARK = "overage"
#: How often a draft for the same bills is begun anew within the day that Stripe remembers keys.
_DRAFTS_MOST = 10


@dataclass(frozen=True)
class OverageItem:
    """A line to be put on an invoice; the amount in minor units, below zero to give back."""

    key: str
    amount_minor: int
    currency: str
    description: str
    period: Period


@dataclass(frozen=True)
class OverageInvoice:
    """How an invoice that carries overage stands, and whether it was made for that alone."""

    invoice_id: str
    status: str
    own: bool
    page_url: str

    @property
    def takes_items(self) -> bool:
        """Whether more can be put on it."""
        return self.status == "draft"


class OverageCalls(Caller):
    """What is asked of Stripe to bill overage."""

    automatic_tax = False

    def overage_invoice(self, invoice_id: str) -> OverageInvoice | None:
        """Return an invoice as Stripe has it now; None where it was deleted as a draft."""
        with self._calling() as v1:
            return _standing(v1, invoice_id)

    def overage_items(self, invoice_id: str) -> dict[str, str]:
        """Return the items of overage on an invoice: their ids by our key."""
        with self._calling() as v1:
            found = v1.invoice_items.list({"invoice": invoice_id, "limit": 100})
            metadata = ((item.id, _metadata(item)) for item in found.auto_paging_iter())
            return {told[MARK]: str(identifier) for identifier, told in metadata if MARK in told}

    def add_overage(
        self, organization_id: str, customer_id: str, invoice_id: str, item: OverageItem
    ) -> str:
        """Put an item on a draft, once; returns its id. No discount is taken off it."""
        with self._calling() as v1:
            made = v1.invoice_items.create(
                {
                    "customer": customer_id,
                    "invoice": invoice_id,
                    "amount": item.amount_minor,
                    "currency": item.currency,
                    "description": item.description,
                    "discountable": False,
                    "metadata": {"organization": organization_id, MARK: item.key},
                    "period": {
                        "start": int(item.period.start.timestamp()),
                        "end": int(item.period.end.timestamp()),
                    },
                },
                {"idempotency_key": f"clearmeter-overage-{invoice_id}-{item.key}"},
            )
            return str(made.id)

    def own_overage_invoice(
        self, organization_id: str, customer_id: str, currency: str, *, key: str
    ) -> OverageInvoice:
        """Return a draft for overage alone: one that was begun already, or a new one."""
        with self._calling() as v1:
            drafts = v1.invoices.list({"customer": customer_id, "status": "draft", "limit": 100})
            for draft in drafts.auto_paging_iter():
                if _invoice(draft).own:
                    return _invoice(draft)
            params: dict[str, Any] = {
                "customer": customer_id,
                "auto_advance": False,
                "collection_method": "charge_automatically",
                "currency": currency,
                "metadata": {"organization": organization_id, MARK: key},
                "pending_invoice_items_behavior": "exclude",
            }
            stem = f"clearmeter-overage-invoice-{organization_id}-{key}"
            if self.automatic_tax:
                params["automatic_tax"] = {"enabled": True}
                stem += "-taxed"
            # Stripe remembers a key also of a draft that was closed or deleted since.
            for time in range(_DRAFTS_MOST):
                made_by = stem + (f"-{time}" if time else "")
                made = v1.invoices.create(params, {"idempotency_key": made_by})
                draft = _standing(v1, made.id)
                if draft is not None and draft.takes_items:
                    return draft
        raise Unavailable("Every draft for this overage was closed or deleted. Ask again later.")

    def withdraw_overage(self, item_id: str) -> str:
        """Take back an item whose draft was deleted; returns the invoice it went on instead.

        That is nothing where it is on none: then it is on none from now on either.
        """
        with self._calling() as v1:
            try:
                item = v1.invoice_items.retrieve(item_id)
            except stripe.InvalidRequestError as error:
                if error.http_status != 404:
                    raise
                return ""
            if item.invoice:
                return id_of(item.invoice)
            v1.invoice_items.delete(item_id)
            return ""

    def waiting_overage(self, customer_id: str) -> dict[str, str]:
        """Return a customer's items of overage that are on no invoice: their ids by our key."""
        with self._calling() as v1:
            found = v1.invoice_items.list({"customer": customer_id, "pending": True, "limit": 100})
            metadata = ((item.id, _metadata(item)) for item in found.auto_paging_iter())
            return {told[MARK]: str(identifier) for identifier, told in metadata if MARK in told}

    def collect_overage(self, invoice: OverageInvoice, *, method_id: str) -> OverageInvoice:
        """Finalize an invoice of our own and have it paid; returns how it stands then.

        It is charged to ``method_id``, or to Stripe's default where that is empty: what a plan is
        paid with is the plan's default and not the customer's. Where it cannot be paid now it stays
        open, with a page to pay it on, and Stripe tries again.
        """
        invoice_id = invoice.invoice_id
        charged = {"payment_method": method_id} if method_id else {}
        with self._calling() as v1:
            if invoice.takes_items:
                v1.invoices.finalize_invoice(
                    invoice_id,
                    {"auto_advance": True},
                    {"idempotency_key": f"clearmeter-overage-finalize-{invoice_id}"},
                )
            # Declined, nothing to pay with, or paid already: the invoice itself says which.
            with suppress(stripe.CardError, stripe.InvalidRequestError):
                v1.invoices.pay(invoice_id, {"off_session": True} | charged)
            return _invoice(v1.invoices.retrieve(invoice_id))


def _standing(v1: Any, invoice_id: str) -> OverageInvoice | None:
    try:
        return _invoice(v1.invoices.retrieve(invoice_id))
    except stripe.InvalidRequestError as error:
        if error.http_status != 404:
            raise
        return None


def _metadata(thing: Any) -> dict[str, Any]:
    return thing.to_dict().get("metadata") or {}


def _invoice(invoice: Any) -> OverageInvoice:
    return OverageInvoice(
        invoice_id=str(invoice.id),
        status=str(invoice.status or ""),
        own=MARK in _metadata(invoice),
        page_url=str(invoice.to_dict().get("hosted_invoice_url") or ""),
    )
