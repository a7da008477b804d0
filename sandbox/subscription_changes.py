"""What a change of a subscription's items comes to, before anybody decides to make it.

The preview and the update ask here, so that what is previewed is what is billed.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

from sandbox import discounts
from sandbox.errors import ApiError, parameter_invalid, parameter_missing
from sandbox.periods import end_of_period
from sandbox.proration import Debit, Proration, debit
from sandbox.store import Object, Store
from sandbox.subscriptions import credits_for, make_item, period_of, plan_of


@dataclass(frozen=True)
class Change:
    """The items as they will be, and what is billed for it."""

    items: list[Object]
    prorations: list[Proration]
    restarts: bool  # whether a new period starts now, billed in full
    bills_now: bool


def plan(
    store: Store, subscription: Object, wanted: list[Object], *, behavior: str, at: int | None
) -> Change:
    """Work out a change: the items, the prorations at that instant (now by default).

    Raises where an item or a price does not fit, and where the instant is outside the period.
    """
    start, end = period_of(subscription)
    at = store.now() if at is None else at
    if not start <= at <= end:
        message = "The proration_date must be within the current billing period."
        raise parameter_invalid("proration_date", message)
    before = subscription["items"]["data"]
    after = _items_after(store, subscription, wanted)
    restarts = _restarts(before, after)
    if restarts:
        now = store.now()
        period = (now, end_of_period(now, after[0]["price"]["recurring"]))
        for item in after:
            item.update(current_period_start=period[0], current_period_end=period[1])
    lines: list[Proration] = []
    if behavior != "none":
        known = {item["id"]: item for item in after}
        touched = [one for one in before if restarts or _differ(one, known.get(one["id"]))]
        lines = credits_for(store, touched, at)
        if not restarts:
            old = {item["id"]: item for item in before}
            kept = discounts.kept_share(store, subscription)
            lines += [
                debit(item, store.get("product", item["price"]["product"])["name"], at, kept)
                for item in after
                if _differ(item, old.get(item["id"]))
            ]
    return Change(
        after, lines, restarts, restarts or (behavior == "always_invoice" and bool(lines))
    )


def _items_after(store: Store, subscription: Object, wanted: list[Object]) -> list[Object]:
    items = {item["id"]: deepcopy(item) for item in subscription["items"]["data"]}
    for index, one in enumerate(wanted):
        name = f"items[{index}]"
        if "id" in one:
            if one["id"] not in items:
                raise parameter_invalid(f"{name}[id]", f"No such subscription item: '{one['id']}'")
            if one.get("deleted"):
                del items[one["id"]]
                continue
        price = _price(store, one, name, subscription["currency"])
        if "id" in one:
            _reprice(items[one["id"]], one, price)
        elif price is None:
            raise parameter_missing(f"{name}[price]")
        else:
            quantity = one.get("quantity", 1)
            added = make_item(store, subscription["id"], price, quantity, period_of(subscription))
            items[added["id"]] = added
    after = list(items.values())
    if not after:
        raise ApiError("A subscription must have at least one item: cancel it instead.")
    if len({_interval(item) for item in after}) > 1:
        raise parameter_invalid("items", "All prices must have the same billing interval.")
    return after


def _price(store: Store, one: Object, name: str, currency: str) -> Object | None:
    if "price" not in one:
        return None
    price = store.get("price", one["price"], f"{name}[price]")
    message = None
    if price["type"] != "recurring":
        message = f"The price `{price['id']}` is not recurring; a subscription's must be."
    elif not price["active"]:
        message = f"The price `{price['id']}` is inactive, so it cannot be subscribed to."
    elif price["currency"] != currency:
        message = f"The price `{price['id']}` is in another currency than the subscription."
    if message:
        raise parameter_invalid(f"{name}[price]", message)
    return price


def _reprice(item: Object, one: Object, price: Object | None) -> None:
    if price:
        item.update(price=deepcopy(price), plan=plan_of(price))
    item["quantity"] = one.get("quantity", item["quantity"])


def _interval(item: Object) -> tuple[str, int]:
    recurring = item["price"]["recurring"]
    return recurring["interval"], recurring["interval_count"]


def _differ(one: Object, other: Object | None) -> bool:
    return (
        other is None
        or one["price"]["id"] != other["price"]["id"]
        or one["quantity"] != other["quantity"]
    )


def _restarts(before: list[Object], after: list[Object]) -> bool:
    """Tell whether the change starts a new period: another interval, or from free to paid."""
    free = not any(item["price"]["unit_amount"] != 0 for item in before)
    paid = any(item["price"]["unit_amount"] != 0 for item in after)
    return _interval(before[0]) != _interval(after[0]) or (free and paid)


def debits_of(change: Change, lines: list[Object], invoice: str | None) -> dict[str, Debit]:
    """Return what was billed for each item, by its id, of the lines made of the prorations."""
    return {
        proration.item["id"]: Debit(
            proration.amount, proration.start, proration.end, invoice, (line["id"],)
        )
        for proration, line in zip(change.prorations, lines, strict=True)
        if proration.credited is None
    }


def is_change(subscription: Object, items: list[Object]) -> bool:
    """Tell whether these items differ from the subscription's."""
    known = {item["id"]: item for item in subscription["items"]["data"]}
    return len(items) != len(known) or any(_differ(one, known.get(one["id"])) for one in items)
