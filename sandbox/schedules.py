"""Subscription schedules: what a subscription's items will be, phase after phase.

A phase begins where the last one ends. Where that is also the end of a billing period, the items
change first, so that the renewal bills the new ones. Phases that are set anew have the discounts
they name and no others. After the last phase the schedule is complete and lets go of its
subscription, or ends it.
"""

from __future__ import annotations

from copy import deepcopy

from sandbox import shapes, subscription_changes, subscription_updates, subscriptions
from sandbox.api import Route, retrieve
from sandbox.errors import ApiError, parameter_invalid, parameter_missing
from sandbox.lists import matching, page
from sandbox.parameters import (
    Raw,
    asked,
    boolean,
    choice,
    created,
    each,
    integer,
    listed,
    merged,
    metadata,
    record,
    text,
)
from sandbox.periods import end_of_period
from sandbox.store import Object, Store, new_id


def _instant(raw: Raw, name: str) -> int | str:
    return "now" if raw == "now" else integer()(raw, name)


_PHASE = record(
    {
        "discounts": each(record({"discount": text}, ["discount"]), 20),
        "duration": record(
            {"interval": choice("day", "week", "month", "year"), "interval_count": integer(1)},
            required=["interval"],
        ),
        "end_date": _instant,
        "items": each(
            record({"metadata": metadata, "price": text, "quantity": integer(1)}, ["price"]), 20
        ),
        "metadata": metadata,
        "proration_behavior": subscription_updates.BEHAVIORS,
        "start_date": _instant,
    },
    required=["items"],
)


def attend(store: Store) -> None:
    """Have phases change when it is time, and schedules end with their subscriptions."""
    store.when_due("subscription_schedule", _phase_ends, rank=1)
    store.follow(_follow)


def create(store: Store, params: Object) -> Object:
    """Put a subscription on a schedule, whose only phase is the period it is in."""
    subscription = store.get("subscription", params["from_subscription"], "from_subscription")
    subscriptions.check_running(subscription)
    if subscription["schedule"]:
        message = (
            "You cannot migrate a subscription that is already attached to a schedule: "
            f"{subscription['schedule']}"
        )
        raise parameter_invalid("from_subscription", message)
    start, end = subscriptions.period_of(subscription)
    items = [_phase_item(item["price"], item["quantity"]) for item in subscription["items"]["data"]]
    schedule = shapes.new(
        "subscription_schedule",
        id=new_id("sub_sched_1"),
        created=store.now(),
        current_phase={"end_date": end, "start_date": start},
        customer=subscription["customer"],
        metadata=merged({}, params.get("metadata", {})),
        phases=[
            _phase(
                subscription["currency"],
                items,
                start,
                end,
                discounts=[_phase_discount(one) for one in subscription["discounts"]],
            )
        ],
        subscription=subscription["id"],
    )
    schedule["default_settings"]["default_payment_method"] = subscription["default_payment_method"]
    if subscription["cancel_at_period_end"]:
        schedule["end_behavior"] = "cancel"
    store.add("subscription_schedule", schedule)
    store.wake(end, "subscription_schedule", schedule["id"])
    store.emit("subscription_schedule.created", schedule)
    changes = {"schedule": schedule["id"]}
    store.change("customer.subscription.updated", subscription, changes)
    return schedule


def _phase_item(price: Object, quantity: int, own: Object | None = None) -> Object:
    return {
        "billing_thresholds": None,
        "discounts": [],
        "metadata": own or {},
        "plan": price["id"],
        "price": price["id"],
        "quantity": quantity,
        "tax_rates": [],
    }


def _phase_discount(discount: str) -> Object:
    return {"coupon": None, "discount": discount, "promotion_code": None}


def _phase(currency: str, items: list[Object], start: int, end: int, **more: object) -> Object:
    unset = (
        *("application_fee_percent", "billing_cycle_anchor", "billing_thresholds"),
        *("collection_method", "default_payment_method", "description", "invoice_settings"),
        *("on_behalf_of", "transfer_data", "trial_end"),
    )
    return {
        **dict.fromkeys(unset),
        "add_invoice_items": [],
        "currency": currency,
        "default_tax_rates": [],
        "discounts": [],
        "end_date": end,
        "items": items,
        "metadata": {},
        "proration_behavior": "create_prorations",
        "start_date": start,
        **more,
    }


def update(store: Store, params: Object, identifier: str) -> Object:
    """Change a schedule's phases, from the current one on, and what comes after the last."""
    schedule = _active(store, identifier, "update")
    changes = {key: params[key] for key in ("end_behavior",) if key in params}
    if "metadata" in params:
        changes["metadata"] = merged(schedule["metadata"], params["metadata"])
    if "default_settings" in params:
        changes["default_settings"] = schedule["default_settings"] | params["default_settings"]
    if "phases" in params:
        changes["phases"] = _phases(store, schedule, params["phases"])
        current = _current(changes["phases"], store.now())
        changes["current_phase"] = {key: current[key] for key in ("end_date", "start_date")}
        for phase in changes["phases"]:
            store.wake(phase["end_date"], "subscription_schedule", identifier)
    store.change("subscription_schedule.updated", schedule, changes)
    if "phases" in params:
        behavior = params.get("proration_behavior", "create_prorations")
        _adopt(store, schedule, _current(schedule["phases"], store.now()), behavior)
    return schedule


def _phases(store: Store, schedule: Object, wanted: list[Object]) -> list[Object]:
    if not wanted:
        raise parameter_missing("phases")
    now = store.now()
    past = [phase for phase in schedule["phases"] if phase["end_date"] <= now]
    current = _current(schedule["phases"], now)
    kept: list[Object] = []
    start: int = current["start_date"]
    for index, one in enumerate(wanted):
        name = f"phases[{index}]"
        given = now if one.get("start_date") == "now" else one.get("start_date", start)
        if any(given == phase["start_date"] for phase in past):
            continue
        if given != start:
            message = (
                "You can not modify the start date of the current phase."
                if start == current["start_date"]
                else "A phase must start where the one before it ends."
            )
            raise parameter_invalid(f"{name}[start_date]", message)
        phase = _read_phase(store, one, name, start, schedule)
        kept.append(phase)
        start = phase["end_date"]
    if not kept or kept[-1]["end_date"] <= now:
        raise parameter_invalid("phases", "The last phase must end in the future.")
    return past + kept


def _read_phase(store: Store, one: Object, name: str, start: int, schedule: Object) -> Object:
    items = []
    prices = []
    for index, item in enumerate(one["items"]):
        price = store.get("price", item["price"], f"{name}[items][{index}][price]")
        if price["type"] != "recurring":
            message = f"The price `{price['id']}` is not recurring; a subscription's must be."
            raise parameter_invalid(f"{name}[items][{index}][price]", message)
        prices.append(price)
        items.append(_phase_item(price, item.get("quantity", 1), item.get("metadata")))
    if not items:
        raise parameter_missing(f"{name}[items]")
    if "end_date" in one and "duration" in one:
        raise parameter_invalid(name, "Give one of end_date and duration, not both.")
    if "end_date" in one:
        end = store.now() if one["end_date"] == "now" else one["end_date"]
    else:
        given: Object = one.get("duration") or prices[0]["recurring"]
        length = {"interval_count": 1, **given}
        end = end_of_period(start, length)
    if end <= start:
        raise parameter_invalid(f"{name}[end_date]", "A phase must end after it starts.")
    kept = [found["discount"] for found in one.get("discounts", [])]
    for index, discount in enumerate(kept):
        store.get("discount", discount, f"{name}[discounts][{index}][discount]")
    return _phase(
        schedule["phases"][0]["currency"],
        items,
        start,
        end,
        discounts=[_phase_discount(discount) for discount in kept],
        metadata=merged({}, one.get("metadata", {})),
        proration_behavior=one.get("proration_behavior", "create_prorations"),
    )


def _current(phases: list[Object], now: int) -> Object:
    return next((one for one in phases if one["start_date"] <= now < one["end_date"]), phases[-1])


def _adopt(store: Store, schedule: Object, phase: Object, behavior: str) -> None:
    """Make the subscription's items, discounts and method those of a phase."""
    subscription = store.get("subscription", schedule["subscription"])
    given = {
        "default_payment_method": schedule["default_settings"]["default_payment_method"],
        "discounts": [one["discount"] for one in phase["discounts"]],
    }
    if any(subscription[field] != value for field, value in given.items()):
        store.change("customer.subscription.updated", subscription, given)
    before = subscription["items"]["data"]
    wanted = []
    for old, new in zip(before, phase["items"], strict=False):
        wanted.append({"id": old["id"], "price": new["price"], "quantity": new["quantity"]})
    wanted += [{"id": old["id"], "deleted": True} for old in before[len(phase["items"]) :]]
    wanted += [
        {"price": new["price"], "quantity": new["quantity"]}
        for new in phase["items"][len(before) :]
    ]
    # At the very end of a period nothing is left to prorate: the renewal bills the new items.
    at_end = subscriptions.period_of(subscription)[1] == store.now()
    change = subscription_changes.plan(
        store, subscription, wanted, behavior="none" if at_end else behavior, at=None
    )
    if subscription_changes.is_change(subscription, change.items):
        subscription_updates.drop_pending(store, subscription)
        subscription_updates.apply(store, subscription, change, {})


def _phase_ends(store: Store, identifier: str) -> None:
    schedule = store.get("subscription_schedule", identifier)
    ended = schedule["status"] != "active"
    if ended or schedule["current_phase"]["end_date"] != store.now():
        return  # its phases have been changed since
    coming = [one for one in schedule["phases"] if one["start_date"] == store.now()]
    if not coming:
        _complete(store, schedule)
        return
    phase = coming[0]
    current = {key: phase[key] for key in ("end_date", "start_date")}
    store.change("subscription_schedule.updated", schedule, {"current_phase": current})
    _adopt(store, schedule, phase, phase["proration_behavior"])


def _complete(store: Store, schedule: Object) -> None:
    subscription = store.get("subscription", schedule["subscription"])
    schedule.update(status="completed", completed_at=store.now(), current_phase=None)
    if schedule["end_behavior"] == "cancel":
        store.emit("subscription_schedule.completed", schedule)
        subscriptions.end(store, subscription, {})
    else:
        schedule.update(subscription=None, released_subscription=subscription["id"])
        store.emit("subscription_schedule.completed", schedule)
        store.change("customer.subscription.updated", subscription, {"schedule": None})


def release(store: Store, _params: Object, identifier: str) -> Object:
    """Let go of a subscription, which goes on as it is now."""
    schedule = _active(store, identifier, "release")
    subscription = store.get("subscription", schedule["subscription"])
    schedule.update(
        status="released",
        current_phase=None,
        released_at=store.now(),
        released_subscription=subscription["id"],
        subscription=None,
    )
    store.emit("subscription_schedule.released", schedule)
    store.change("customer.subscription.updated", subscription, {"schedule": None})
    return schedule


def cancel(store: Store, _params: Object, identifier: str) -> Object:
    """End a schedule and its subscription now."""
    schedule = _active(store, identifier, "cancel")
    subscriptions.cancel(store, {}, schedule["subscription"])
    return schedule


def _active(store: Store, identifier: str, verb: str) -> Object:
    schedule = store.get("subscription_schedule", identifier)
    if schedule["status"] != "active":
        raise ApiError(
            f"You cannot {verb} a subscription schedule that is currently in the "
            f"`{schedule['status']}` status."
        )
    return schedule


def _follow(store: Store, happened: str, about: Object) -> None:
    """Follow what becomes of a subscription: end with it, and keep what it is now as the phase."""
    if happened not in ("customer.subscription.deleted", "customer.subscription.updated"):
        return
    identifier = about["schedule"]
    schedule = store.get("subscription_schedule", identifier) if identifier else None
    if schedule is None or schedule["status"] != "active":
        return
    if happened == "customer.subscription.updated":
        _keep_items(store, schedule, about["items"]["data"])
    else:
        schedule.update(status="canceled", canceled_at=store.now(), current_phase=None)
        store.emit("subscription_schedule.canceled", schedule)


def _keep_items(store: Store, schedule: Object, items: list[Object]) -> None:
    """Keep the items that a subscription was changed to as those of the current phase."""
    start = schedule["current_phase"]["start_date"]
    phases = deepcopy(schedule["phases"])
    for phase in phases:
        told = [(item["price"], item["quantity"]) for item in phase["items"]]
        now = [(item["price"]["id"], item["quantity"]) for item in items]
        if phase["start_date"] == start and told != now:
            phase["items"] = [_phase_item(item["price"], item["quantity"]) for item in items]
    store.change("subscription_schedule.updated", schedule, {"phases": phases})


def list_all(store: Store, params: Object) -> Object:
    """List schedules by customer, what became of them, and age."""
    found = matching(store.newest_first("subscription_schedule"), params, ["customer"])
    for field in ("canceled_at", "completed_at", "released_at"):
        if field in params:
            told = [{**one, "created": one[field]} for one in found if one[field] is not None]
            kept = {one["id"] for one in matching(told, {"created": params[field]}, [])}
            found = [one for one in found if one["id"] in kept]
    if params.get("scheduled"):
        found = [one for one in found if one["status"] == "not_started"]
    return page("/v1/subscription_schedules", found, params)


_SET = {
    "default_settings": record({"default_payment_method": text}),
    "end_behavior": choice("cancel", "release"),
    "metadata": metadata,
}
ROUTES = (
    Route(
        "POST",
        "/v1/subscription_schedules",
        asked({"from_subscription": text, "metadata": metadata}, ["from_subscription"]),
        create,
    ),
    retrieve("subscription_schedule", "/v1/subscription_schedules"),
    Route(
        "POST",
        "/v1/subscription_schedules/<identifier>",
        asked(
            {
                **_SET,
                "phases": each(_PHASE, 10),
                "proration_behavior": subscription_updates.BEHAVIORS,
            }
        ),
        update,
    ),
    Route(
        "GET",
        "/v1/subscription_schedules",
        listed(
            {
                "canceled_at": created,
                "completed_at": created,
                "customer": text,
                "released_at": created,
                "scheduled": boolean,
            }
        ),
        list_all,
    ),
    Route("POST", "/v1/subscription_schedules/<identifier>/release", asked({}), release),
    Route("POST", "/v1/subscription_schedules/<identifier>/cancel", asked({}), cancel),
)
