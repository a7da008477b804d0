"""Invoice previews: what would be billed, without anything being kept."""

from __future__ import annotations

from copy import deepcopy

from sandbox import billing, invoice_items, invoice_lines, subscription_changes
from sandbox.api import Route
from sandbox.errors import ApiError, parameter_missing
from sandbox.parameters import asked, boolean, choice, integer, record, text
from sandbox.renewals import next_invoice
from sandbox.store import Object, Store, new_id
from sandbox.subscription_updates import BEHAVIORS, ITEMS, earlier_prorations, new_invoice
from sandbox.subscriptions import check_running, full_lines

_CREATE = asked(
    {
        "customer": text,
        "preview_mode": choice("next"),
        "subscription": text,
        "subscription_details": record(
            {
                "cancel_at_period_end": boolean,
                "items": ITEMS,
                "proration_behavior": BEHAVIORS,
                "proration_date": integer(),
            }
        ),
    }
)


def create(store: Store, params: Object) -> Object:
    """Preview the next invoice of a subscription, or the one that a change would be billed with."""
    if "subscription" not in params:
        raise parameter_missing("subscription")
    subscription = store.get("subscription", params["subscription"], "subscription")
    if params.get("customer", subscription["customer"]) != subscription["customer"]:
        raise ApiError("The subscription is another customer's.", param="customer")
    check_running(subscription)
    details = params.get("subscription_details", {})
    behavior = details.get("proration_behavior", "create_prorations")
    change = None
    if details.get("items"):
        change = subscription_changes.plan(
            store,
            subscription,
            details["items"],
            behavior=behavior,
            at=details.get("proration_date"),
        )
    prorations = _proration_lines(store, subscription, change) if change else []
    if change and change.bills_now:
        return _of_change(store, subscription, change, prorations)
    ends = details.get("cancel_at_period_end", subscription["cancel_at_period_end"])
    return _of_period(store, subscription, change, prorations, ends=ends)


def _proration_lines(
    store: Store, subscription: Object, change: subscription_changes.Change
) -> list[Object]:
    return [
        invoice_items.of_item(invoice_items.of_proration(store, subscription, line), line)
        for line in change.prorations
    ]


def _of_change(
    store: Store, subscription: Object, change: subscription_changes.Change, lines: list[Object]
) -> Object:
    lines = earlier_prorations(store, subscription, lines) + lines
    if change.restarts:
        lines += full_lines(store, change.items)
    return _shown(store, new_invoice(store, subscription), lines)


def _of_period(
    store: Store,
    subscription: Object,
    change: subscription_changes.Change | None,
    prorations: list[Object],
    *,
    ends: bool,
) -> Object:
    after = deepcopy(subscription)
    if change:
        after["items"]["data"] = change.items
    invoice, items = next_invoice(store, after)
    waiting = invoice_items.pending(
        store, subscription["customer"], subscription["id"], subscription["currency"]
    )
    lines = [invoice_items.of_item(item) for item in waiting] + prorations
    if not ends:
        lines += full_lines(store, items)
    if not lines:
        message = f"No upcoming invoices for customer: {subscription['customer']}"
        raise ApiError(message, status=404, code="invoice_upcoming_none")
    invoice["created"] = invoice["period_end"]
    return _shown(store, invoice, lines)


def _shown(store: Store, invoice: Object, lines: list[Object]) -> Object:
    invoice.update(id=new_id("upcoming_in_1"), auto_advance=False)
    for line in lines:
        line["id"] = new_id("il_tmp_1")
    invoice_lines.show(store, invoice, lines)
    _add_what_is_due(invoice)
    return invoice


def _add_what_is_due(invoice: Object) -> None:
    """Tell what would be charged for an invoice, and the customer's balance after it."""
    owed = invoice["total"] + invoice["starting_balance"]
    due = billing.to_charge(owed, invoice["currency"])
    invoice.update(amount_due=due, amount_remaining=due, ending_balance=owed - due)


ROUTES = (Route("POST", "/v1/invoices/create_preview", _CREATE, create),)
