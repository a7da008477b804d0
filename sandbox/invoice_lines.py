"""The lines of an invoice: where each comes from, and what they add up to.

All of an invoice's lines are kept beside it; the invoice itself shows the first ten, as Stripe
does. Whenever they change, the invoice's amounts are added up again.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from babel.numbers import format_currency, get_currency_precision

from sandbox import shapes
from sandbox.invoice_totals import add_up
from sandbox.lists import PAGE_LENGTH, envelope
from sandbox.proration import Debit, full_amount, rounded
from sandbox.store import Object, Store, new_id


def pricing(price: Object | None, unit_amount_decimal: str) -> Object:
    """Tell which price a line comes from; an amount of its own has none."""
    details = {"price": price["id"], "product": price["product"]} if price else None
    return {
        "price_details": details,
        "type": "price_details",
        "unit_amount_decimal": unit_amount_decimal,
    }


def of_subscription_item(store: Store, item: Object, start: int, end: int) -> Object:
    """Make the line of an item for a whole period."""
    price, quantity = item["price"], item["quantity"]
    amount = rounded(full_amount(price, quantity))
    name = store.get("product", price["product"])["name"]
    return shapes.new(
        "line_item",
        id=new_id("il_1"),
        amount=amount,
        currency=price["currency"],
        description=f"{quantity} × {name} (at {_rate(price)})",
        metadata=dict(item["metadata"]),
        parent=_from_subscription(item["subscription"], item["id"]),
        period={"end": end, "start": start},
        pricing=pricing(price, price["unit_amount_decimal"]),
        quantity=quantity,
        quantity_decimal=str(quantity),
        subscription=item["subscription"],
        subtotal=amount,
    )


def _from_subscription(
    subscription: str, item: str, *, invoice_item: str | None = None, credited: Debit | None = None
) -> Object:
    return {
        "invoice_item_details": None,
        "subscription_item_details": {
            "invoice_item": invoice_item,
            "proration": invoice_item is not None,
            "proration_details": {"credited_items": _credited(credited)},
            "subscription": subscription,
            "subscription_item": item,
        },
        "type": "subscription_item_details",
    }


def _credited(debit: Debit | None) -> Object | None:
    if debit is None or debit.invoice is None:
        return None
    return {"invoice": debit.invoice, "invoice_line_items": list(debit.lines)}


def of_invoice_item(item: Object, credited: Debit | None = None) -> Object:
    """Make the line of an invoice item."""
    details = (item["parent"] or {}).get("subscription_details") or {}
    subscription = details.get("subscription")
    parent: Object
    if item["proration"]:
        parent = _from_subscription(
            details["subscription"],
            details["subscription_item"],
            invoice_item=item["id"],
            credited=credited,
        )
    else:
        parent = {
            "invoice_item_details": {
                "invoice_item": item["id"],
                "proration": False,
                "proration_details": {"credited_items": None},
                "subscription": subscription,
            },
            "subscription_item_details": None,
            "type": "invoice_item_details",
        }
    return shapes.new(
        "line_item",
        id=new_id("il_1"),
        parent=parent,
        subscription=subscription,
        subtotal=item["amount"],
        **{
            field: item[field]
            for field in ("amount", "currency", "description", "discountable", "period", "pricing")
        },
        **{field: item[field] for field in ("quantity", "quantity_decimal")},
        metadata=dict(item["metadata"]),
    )


def _rate(price: Object) -> str:
    code = price["currency"].upper()
    amount = Decimal(price["unit_amount_decimal"]).scaleb(-get_currency_precision(code))
    recurring = price["recurring"]
    every = recurring["interval"]
    if recurring["interval_count"] > 1:
        every = f"every {recurring['interval_count']} {every}s"
    money = format_currency(amount, code, locale="en_US", decimal_quantization=amount % 1 == 0)
    return f"{money} / {every}"


def _kept_at(invoice: Object) -> str:
    return f"{invoice['id']}/lines"


def all_of(store: Store, invoice: Object) -> list[Object]:
    """Return all lines of an invoice that is kept."""
    lines: list[Object] = store.get("invoice.lines", _kept_at(invoice))["data"]
    return lines


def put(store: Store, invoice: Object, lines: Iterable[Object]) -> None:
    """Add lines to an invoice."""
    if not store.has("invoice.lines", _kept_at(invoice)):
        store.add("invoice.lines", {"id": _kept_at(invoice), "data": []})
    kept = all_of(store, invoice)
    kept.extend(lines)
    show(store, invoice, kept)


def replace(store: Store, invoice: Object, invoice_item: str, by: Object | None) -> None:
    """Change or take away the line of an invoice item."""
    kept = all_of(store, invoice)
    for index, line in enumerate(kept):
        if item_of(line) == invoice_item:
            kept[index : index + 1] = [{**by, "id": line["id"]}] if by else []
            break
    show(store, invoice, kept)


def item_of(line: Object) -> str | None:
    """Return the invoice item a line comes from, if any."""
    details: dict[str, Any] = line["parent"][line["parent"]["type"]]
    found: str | None = details["invoice_item"]
    return found


def show(store: Store, invoice: Object, lines: list[Object]) -> None:
    """Show these lines on an invoice and add them up."""
    for line in lines:
        line["invoice"] = invoice["id"]
    add_up(store, invoice, lines)
    url = f"/v1/invoices/{invoice['id']}/lines"
    invoice["lines"] = envelope(url, lines[:PAGE_LENGTH], has_more=len(lines) > PAGE_LENGTH)
