"""Invoices: what was billed, line by line, and what of it is paid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import stripe

from portal.billing.gateway.caller import Caller
from portal.billing.gateway.shapes import id_of

_PAYMENTS = ["payments"]


@dataclass(frozen=True)
class InvoiceLine:
    """One line; ``amount_minor`` is as priced, ``net_minor`` after discounts and without tax."""

    line_id: str
    product_id: str
    price_id: str
    description: str
    amount_minor: int
    net_minor: int
    quantity: int
    proration: bool
    start: datetime
    end: datetime
    subscription_id: str
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class InvoiceState:
    """An invoice as Stripe has it now; ``payment_id`` is the payment intent that pays it.

    ``charge_minor`` is what Stripe charges for it in all: nothing where that is too little to be
    charged, or where the customer's balance pays. ``due_minor`` is what of it is not paid yet. One
    that ``advances`` is closed and charged by Stripe itself in time.
    """

    invoice_id: str
    number: str
    status: str
    reason: str
    customer_id: str
    subscription_id: str
    organization_id: str
    livemode: bool
    currency: str
    subtotal_minor: int
    tax_minor: int
    total_minor: int
    charge_minor: int
    paid_minor: int
    due_minor: int
    starting_balance_minor: int
    created_at: datetime
    finalized_at: datetime | None
    paid_at: datetime | None
    attempted: bool
    advances: bool
    page_url: str
    file_url: str
    payment_id: str
    charge_id: str
    lines: Sequence[InvoiceLine]

    @property
    def carried_minor(self) -> int:
        """What it adds to the customer's next invoice; below zero what it takes off that.

        Worked out, as Stripe tells the balance afterwards only of an invoice that is closed.
        """
        return self.total_minor + self.starting_balance_minor - self.charge_minor

    @property
    def issued_at(self) -> datetime:
        """When it was opened; of a draft, when it was made."""
        return self.finalized_at or self.created_at


class InvoiceCalls(Caller):
    """What is asked of Stripe's invoices."""

    def invoice(self, invoice_id: str) -> InvoiceState:
        """Return an invoice as Stripe has it now, with all its lines. Raises NotFound."""
        with self._calling() as v1:
            return _whole(v1, v1.invoices.retrieve(invoice_id, {"expand": _PAYMENTS}))

    def invoices_of(self, subscription_id: str, *, since: datetime) -> list[InvoiceState]:
        """Return the invoices of a subscription made since an instant, oldest first."""
        with self._calling() as v1:
            return _listed(v1, {"subscription": subscription_id}, since)[::-1]

    def invoices_since(self, since: datetime) -> list[InvoiceState]:
        """Return every invoice made since an instant, newest first."""
        with self._calling() as v1:
            return _listed(v1, {}, since)

    def preview_change(
        self, subscription_id: str, item_id: str, *, price_id: str, quantity: int, as_of: datetime
    ) -> InvoiceState:
        """Return the invoice that a change of price would be billed with, prorated from ``as_of``.

        Nothing is kept: it is what ``change_price`` of the same instant charges.
        """
        details = {
            "items": [{"id": item_id, "price": price_id, "quantity": quantity}],
            "proration_behavior": "always_invoice",
            "proration_date": int(as_of.timestamp()),
        }
        with self._calling() as v1:
            found = v1.invoices.create_preview(
                {"subscription": subscription_id, "subscription_details": details}
            )
            return invoice_of(found.to_dict())

    def hindrance(self, invoice_id: str) -> str:
        """Return why an open invoice is not paid: ``authentication``, ``declined``, or nothing."""
        payment_id = self.invoice(invoice_id).payment_id
        if not payment_id:
            return ""
        with self._calling() as v1:
            intent = v1.payment_intents.retrieve(payment_id).to_dict()
        if intent.get("status") == "requires_action":
            return "authentication"
        return "declined" if intent.get("last_payment_error") else ""

    def finalize_invoice(self, invoice_id: str) -> None:
        """Close a draft and have it charged; one that is closed already stays as it is."""
        with self._calling() as v1:
            if v1.invoices.retrieve(invoice_id).status != "draft":
                return
            v1.invoices.finalize_invoice(
                invoice_id,
                {"auto_advance": True},
                {"idempotency_key": f"clearmeter-finalize-{invoice_id}"},
            )


def _listed(v1: Any, which: dict[str, Any], since: datetime) -> list[InvoiceState]:
    params = which | {"created": {"gte": int(since.timestamp())}, "limit": 100}
    params["expand"] = [f"data.{name}" for name in _PAYMENTS]
    return [_whole(v1, one) for one in v1.invoices.list(params).auto_paging_iter()]


def _whole(v1: Any, found: stripe.Invoice) -> InvoiceState:
    """Read an invoice, with the lines that it does not show by itself."""
    told = found.to_dict()
    if told["lines"].get("has_more"):
        every = v1.invoices.line_items.list(found.id, {"limit": 100}).auto_paging_iter()
        told["lines"] = {"data": [one.to_dict() for one in every]}
    return invoice_of(told)


def invoice_of(told: Mapping[str, Any]) -> InvoiceState:
    """Read an invoice, whatever version of the API shaped it."""
    details = (told.get("parent") or {}).get("subscription_details") or {}
    moments = told.get("status_transitions") or {}
    metadata = dict(details.get("metadata") or {}) | dict(told.get("metadata") or {})
    payment_id, charge_id = _payment(told)
    return InvoiceState(
        invoice_id=str(told.get("id") or ""),
        number=str(told.get("number") or ""),
        status=str(told.get("status") or "draft"),
        reason=str(told.get("billing_reason") or ""),
        customer_id=id_of(told.get("customer")),
        subscription_id=id_of(details.get("subscription") or told.get("subscription")),
        organization_id=str(metadata.get("organization", "")),
        livemode=bool(told.get("livemode")),
        currency=str(told["currency"]),
        subtotal_minor=int(told["subtotal"]),
        tax_minor=_tax(told),
        total_minor=int(told["total"]),
        charge_minor=int(told["amount_due"]),
        paid_minor=int(told.get("amount_paid") or 0),
        due_minor=int(told.get("amount_remaining") or 0),
        starting_balance_minor=int(told.get("starting_balance") or 0),
        created_at=instant_of(told["created"]),
        finalized_at=maybe_instant(moments.get("finalized_at")),
        paid_at=maybe_instant(moments.get("paid_at")),
        attempted=bool(told.get("attempted")),
        advances=bool(told.get("auto_advance")),
        page_url=str(told.get("hosted_invoice_url") or ""),
        file_url=str(told.get("invoice_pdf") or ""),
        payment_id=payment_id,
        charge_id=charge_id,
        lines=tuple(_line(one) for one in told["lines"]["data"]),
    )


def instant_of(seconds: int) -> datetime:
    """Return Stripe's seconds since 1970 as an instant in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def maybe_instant(seconds: int | None) -> datetime | None:
    """Return Stripe's seconds as an instant, where there are any."""
    return None if seconds is None else instant_of(seconds)


def _tax(told: Mapping[str, Any]) -> int:
    taxes = told.get("total_taxes") or told.get("total_tax_amounts")
    if taxes:
        return sum(int(one["amount"]) for one in taxes)
    return int(told.get("tax") or 0)


def _payment(told: Mapping[str, Any]) -> tuple[str, str]:
    """Return the payment intent and the charge that pay an invoice, as far as it tells.

    One that was paid otherwise, by a transfer, was asked for and given up: that pays nothing.
    """
    every = (told.get("payments") or {}).get("data") or []
    asked = [one for one in every if one.get("status") != "canceled"]
    if told.get("paid_out_of_band") or (every and not asked):
        return "", ""
    asked = sorted(asked, key=lambda one: (one.get("status") != "paid", not one.get("is_default")))
    for one in asked:
        payment = one.get("payment") or {}
        intent, charge = id_of(payment.get("payment_intent")), id_of(payment.get("charge"))
        if intent or charge:
            return intent, charge
    return id_of(told.get("payment_intent")), id_of(told.get("charge"))


def _included_tax(told: Mapping[str, Any]) -> int:
    """Return the tax that is within a line's amount, where prices include it."""
    of_today = [one for one in told.get("taxes") or [] if one.get("tax_behavior") == "inclusive"]
    older = [one for one in told.get("tax_amounts") or [] if one.get("inclusive")]
    return sum(int(one["amount"]) for one in of_today or older)


def _line(told: Mapping[str, Any]) -> InvoiceLine:
    parent = told.get("parent") or {}
    item = parent.get("subscription_item_details") or parent.get("invoice_item_details") or {}
    details = (told.get("pricing") or {}).get("price_details") or {}
    price = told.get("price") or told.get("plan") or {}
    discounts = sum(int(one["amount"]) for one in told.get("discount_amounts") or [])
    amount = int(told["amount"])
    return InvoiceLine(
        line_id=str(told.get("id") or ""),
        product_id=id_of(details.get("product") or price.get("product")),
        price_id=id_of(details.get("price") or price.get("id")),
        description=str(told.get("description") or ""),
        amount_minor=amount,
        net_minor=amount - discounts - _included_tax(told),
        quantity=int(told.get("quantity") or 1),
        proration=bool(item.get("proration", told.get("proration", False))),
        start=instant_of(told["period"]["start"]),
        end=instant_of(told["period"]["end"]),
        subscription_id=id_of(item.get("subscription") or told.get("subscription")),
        metadata={key: str(value) for key, value in (told.get("metadata") or {}).items()},
    )
