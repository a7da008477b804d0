"""Events as older versions of the API told them, for an endpoint that was never moved on.

Only what the product may meet is rendered: the fields of charges, payment intents, invoices and
subscriptions that later versions moved elsewhere. They are added, nothing is taken away.
"""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

from sandbox.lists import envelope
from sandbox.store import API_VERSION, Object, Store

# From these dates on, the fields are elsewhere.
WITHOUT_CHARGES_IN_INTENTS = "2022-11-15"
WITHOUT_SUBSCRIPTION_ON_INVOICES = "2025-03-31"


def is_version(value: object) -> bool:
    """Tell whether this is a version of the API that the sandbox can tell events in."""
    return (
        isinstance(value, str)
        and re.fullmatch(r"20[0-9]{2}-[01][0-9]-[0-3][0-9](\.[a-z]+)?", value) is not None
        and value[:10] <= API_VERSION[:10]
    )


def rendered(store: Store, event: Object, version: str) -> Object:
    """Return a copy of an event as this version of the API tells it."""
    told = deepcopy({**event, "api_version": version})
    render = _RENDERERS.get(str(told["data"]["object"].get("object")))
    if render:
        render(store, told["data"]["object"], version[:10])
    before = told["data"].get("previous_attributes", {})
    periods = before.get("items", {}).get("data") if isinstance(before.get("items"), dict) else None
    if periods and version[:10] < WITHOUT_SUBSCRIPTION_ON_INVOICES:
        before.update(_period(periods[0]))
    return told


def _charge(store: Store, charge: Object, version: str) -> None:
    if version < WITHOUT_CHARGES_IN_INTENTS:
        refunds = [one for one in store.newest_first("refund") if one["charge"] == charge["id"]]
        charge["refunds"] = _counted(f"/v1/charges/{charge['id']}/refunds", refunds)
        disputes = [one for one in store.newest_first("dispute") if one["charge"] == charge["id"]]
        charge["dispute"] = disputes[0]["id"] if disputes else None
    if version < WITHOUT_SUBSCRIPTION_ON_INVOICES:
        charge["invoice"] = _invoice_of(store, charge["payment_intent"])


def _payment_intent(store: Store, intent: Object, version: str) -> None:
    if version < WITHOUT_CHARGES_IN_INTENTS:
        made = store.newest_first("charge")
        charges = [deepcopy(one) for one in made if one["payment_intent"] == intent["id"]]
        for charge in charges:
            _charge(store, charge, version)
        intent["charges"] = _counted(f"/v1/charges?payment_intent={intent['id']}", charges)
    if version < WITHOUT_SUBSCRIPTION_ON_INVOICES:
        intent["invoice"] = _invoice_of(store, intent["id"])


def _counted(url: str, data: list[Object]) -> Object:
    return {**envelope(url, deepcopy(data)), "total_count": len(data)}


def _invoice_of(store: Store, intent: str | None) -> str | None:
    for payment in store.newest_first("invoice_payment"):
        if intent and payment["payment"].get("payment_intent") == intent:
            return str(payment["invoice"])
    return None


def _invoice(store: Store, invoice: Object, version: str) -> None:
    if version >= WITHOUT_SUBSCRIPTION_ON_INVOICES:
        return
    details = (invoice.get("parent") or {}).get("subscription_details") or {}
    payments = store.newest_first("invoice_payment")
    intents = [one["payment"] for one in payments if one["invoice"] == invoice["id"]]
    intent = intents[0].get("payment_intent") if intents else None
    paid_by = store.find(intent) if intent else None
    invoice.update(
        charge=paid_by and paid_by["latest_charge"],
        paid=invoice["status"] == "paid",
        payment_intent=intent,
        subscription=details.get("subscription"),
        subscription_details={"metadata": details.get("metadata")},
        tax=_taxed(invoice.get("total_taxes")),
        total_tax_amounts=invoice.get("total_taxes") or [],
    )
    for line in invoice["lines"]["data"]:
        _line(store, line)


def _taxed(taxes: list[Object] | None) -> int | None:
    return sum(tax["amount"] for tax in taxes) if taxes else None


def _line(store: Store, line: Object) -> None:
    parent: dict[str, Any] = line.get("parent") or {}
    of_item = parent.get("invoice_item_details") or {}
    of_subscription = parent.get("subscription_item_details") or {}
    details = of_subscription or of_item
    priced = ((line.get("pricing") or {}).get("price_details") or {}).get("price")
    line.update(
        invoice_item=of_item.get("invoice_item"),
        plan=None,
        price=deepcopy(store.find(priced)) if isinstance(priced, str) else priced,
        proration=bool(details.get("proration")),
        proration_details=details.get("proration_details") or {"credited_items": None},
        subscription=details.get("subscription"),
        subscription_item=of_subscription.get("subscription_item"),
        tax_amounts=line.get("taxes") or [],
        tax_rates=[],
        type="subscription" if of_subscription else "invoiceitem",
    )


def _subscription(_store: Store, subscription: Object, version: str) -> None:
    items = subscription["items"]["data"]
    if version < WITHOUT_SUBSCRIPTION_ON_INVOICES and items:
        subscription.update(_period(items[0]))
        one = items[0] if len(items) == 1 else {}
        subscription.update(plan=one.get("plan"), quantity=one.get("quantity"))


def _period(item: Object) -> Object:
    names = ("current_period_end", "current_period_start")
    return {name: item[name] for name in names if name in item}


_RENDERERS = {
    "charge": _charge,
    "invoice": _invoice,
    "payment_intent": _payment_intent,
    "subscription": _subscription,
}
