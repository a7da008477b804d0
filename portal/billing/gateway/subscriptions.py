"""Subscriptions: what a customer is billed for again and again, and how that is changed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import stripe

from portal.billing.gateway.caller import Caller
from portal.billing.gateway.checkout import CheckoutSession, read_session
from portal.billing.gateway.invoices import instant_of, maybe_instant
from portal.billing.gateway.shapes import id_of

#: Products of tiers are named so, with the tier's key behind it.
TIER_PRODUCT = "clearmeter-tier-"
_ENDED = ("canceled", "incomplete_expired")


def tier_of_product(product_id: str) -> str:
    """Return the key of the tier a product is, or nothing where it is none of ours."""
    return product_id.removeprefix(TIER_PRODUCT) if product_id.startswith(TIER_PRODUCT) else ""


@dataclass(frozen=True)
class Change:
    """Another tier that waits: for a payment until ``at``, or for the instant ``at`` itself."""

    tier: str
    quantity: int
    at: datetime


@dataclass(frozen=True)
class SubscriptionState:
    """A subscription as Stripe has it now; the cycle to the second, in UTC.

    ``price_minor`` is what one of its quantity costs for a cycle, by the price it was sold at.
    """

    subscription_id: str
    status: str
    customer_id: str
    organization_id: str
    checkout_id: str
    livemode: bool
    currency: str
    tier: str
    item_id: str
    price_id: str
    price_minor: int
    quantity: int
    interval: str
    anchor: datetime
    cycle_start: datetime
    cycle_end: datetime
    cancels_at: datetime | None
    ended_at: datetime | None
    created_at: datetime
    latest_invoice_id: str
    schedule_id: str
    awaited: Change | None
    scheduled: Change | None = None
    discount_ids: tuple[str, ...] = ()


class SubscriptionCalls(Caller):
    """What is asked of Stripe's subscriptions and their schedules."""

    automatic_tax = False

    def create_tier_checkout(
        self,
        *,
        checkout_id: str,
        organization_id: str,
        customer_id: str,
        price_id: str,
        quantity: int,
        success_url: str,
        cancel_url: str,
    ) -> CheckoutSession:
        """Open a Checkout session for a tier; the same checkout again is the same session."""
        metadata = {"organization": organization_id, "tier_checkout": checkout_id}
        params: dict[str, Any] = {
            "mode": "subscription",
            "customer": customer_id,
            "client_reference_id": checkout_id,
            "line_items": [{"price": price_id, "quantity": quantity}],
            "metadata": metadata,
            "subscription_data": {"metadata": metadata},
            "allow_promotion_codes": True,
            "success_url": success_url,
            "cancel_url": cancel_url,
        }
        if self.automatic_tax:
            params["automatic_tax"] = {"enabled": True}
            params["customer_update"] = {"address": "auto", "name": "auto"}
            params["tax_id_collection"] = {"enabled": True}
        with self._calling() as v1:
            session = v1.checkout.sessions.create(
                params, {"idempotency_key": f"clearmeter-{checkout_id}"}
            )
            return read_session(session.to_dict())

    def expire_checkout(self, session_id: str) -> None:
        """Close a Checkout session that is still open; one that is not stays as it is."""
        with self._calling() as v1:
            if v1.checkout.sessions.retrieve(session_id).status == "open":
                v1.checkout.sessions.expire(session_id)

    def subscription(self, subscription_id: str) -> SubscriptionState:
        """Return a subscription as Stripe has it now, and what is scheduled. Raises NotFound."""
        with self._calling() as v1:
            state = subscription_of(v1.subscriptions.retrieve(subscription_id).to_dict())
            return _with_schedule(v1, state)

    def subscription_of_schedule(self, schedule_id: str) -> str:
        """Return the subscription that a schedule is or was about; '' while it has begun none.

        Raises NotFound.
        """
        with self._calling() as v1:
            found = v1.subscription_schedules.retrieve(schedule_id)
            return id_of(found.subscription or found.released_subscription)

    def subscriptions_since(self, since: datetime) -> list[SubscriptionState]:
        """Return the subscriptions made since an instant, newest first, whatever became of them."""
        with self._calling() as v1:
            found = v1.subscriptions.list(
                {"status": "all", "created": {"gte": int(since.timestamp())}, "limit": 100}
            )
            return [subscription_of(one.to_dict()) for one in found.auto_paging_iter()]

    def change_price(
        self,
        state: SubscriptionState,
        *,
        change_id: str,
        price_id: str,
        quantity: int,
        as_of: datetime,
    ) -> None:
        """Have another price billed at once, prorated from ``as_of``; it holds once it is paid."""
        with self._calling() as v1:
            v1.subscriptions.update(
                state.subscription_id,
                {
                    "items": [{"id": state.item_id, "price": price_id, "quantity": quantity}],
                    "proration_behavior": "always_invoice",
                    "proration_date": int(as_of.timestamp()),
                    "payment_behavior": "pending_if_incomplete",
                },
                {"idempotency_key": f"clearmeter-{change_id}"},
            )

    def schedule_price(
        self, state: SubscriptionState, *, change_id: str, price_id: str, quantity: int
    ) -> None:
        """Have another price billed from the next cycle on, with the discounts that run now.

        What a phase does not name Stripe takes away: the customer would pay more than was agreed.
        """
        with self._calling() as v1:
            schedule_id = state.schedule_id
            if not schedule_id:
                schedule_id = v1.subscription_schedules.create(
                    {"from_subscription": state.subscription_id},
                    {"idempotency_key": f"clearmeter-{change_id}-schedule"},
                ).id
            end = int(state.cycle_end.timestamp())
            now = {"price": state.price_id, "quantity": state.quantity}
            following = {"price": price_id, "quantity": quantity}
            kept: dict[str, Any] = {}
            if state.discount_ids:
                kept["discounts"] = [{"discount": one} for one in state.discount_ids]
            phases: dict[str, Any] = {
                "end_behavior": "release",
                "proration_behavior": "none",
                "phases": [
                    {
                        "items": [now],
                        "start_date": int(state.cycle_start.timestamp()),
                        "end_date": end,
                        **kept,
                    },
                    {
                        "items": [following],
                        "start_date": end,
                        "proration_behavior": "none",
                        **kept,
                    },
                ],
            }
            # Without a key of ours: said twice it is the same, and by the next try it may have to
            # be said otherwise, in another cycle or with other discounts.
            v1.subscription_schedules.update(schedule_id, phases)

    def unschedule(self, state: SubscriptionState) -> None:
        """Let go of what is scheduled and of a cancellation ahead: the subscription goes on."""
        with self._calling() as v1:
            if state.schedule_id:
                v1.subscription_schedules.release(state.schedule_id)
            if state.cancels_at is None:
                return
            told = v1.subscriptions.retrieve(state.subscription_id).to_dict()
            if told.get("cancel_at_period_end"):
                v1.subscriptions.update(state.subscription_id, {"cancel_at_period_end": False})
            elif told.get("cancel_at"):
                # A day that was chosen in Stripe's dashboard.
                v1.subscriptions.update(state.subscription_id, {"cancel_at": ""})

    def drop_awaited(self, invoice_id: str) -> None:
        """Give a change up that waits for its payment: it can never be paid any more.

        One that was paid or given up meanwhile stays as it is.
        """
        with self._calling() as v1:
            if v1.invoices.retrieve(invoice_id).status != "open":
                return
            # Paid in this very moment: the subscription itself says so.
            with suppress(stripe.InvalidRequestError):
                v1.invoices.void_invoice(
                    invoice_id, {}, {"idempotency_key": f"clearmeter-drop-{invoice_id}"}
                )

    def charge_what_was_chosen(self, customer_id: str, subscription_id: str) -> bool:
        """Have a subscription charged to the default that was saved after its own method.

        Checkout gives a subscription a method of its own, and Stripe's portal changes only the
        customer's default, which that outweighs. What is scheduled would bring the old one back.
        Tells whether anything changed. Raises NotFound.
        """
        with self._calling() as v1:
            customer = v1.customers.retrieve(customer_id).to_dict()
            chosen = id_of((customer.get("invoice_settings") or {}).get("default_payment_method"))
            told = v1.subscriptions.retrieve(subscription_id).to_dict()
            own = id_of(told.get("default_payment_method"))
            ended = told["status"] in _ENDED
            if ended or not chosen or not own or own == chosen:
                return False
            saved = [v1.payment_methods.retrieve(one).created for one in (own, chosen)]
            if saved != sorted(saved):
                return False
            settled = {"default_payment_method": chosen}
            v1.subscriptions.update(subscription_id, settled)
            if schedule_id := id_of(told.get("schedule")):
                v1.subscription_schedules.update(schedule_id, {"default_settings": settled})
            return True

    def cancel_at_end(self, state: SubscriptionState, *, change_id: str) -> None:
        """Have a subscription end with its cycle."""
        with self._calling() as v1:
            v1.subscriptions.update(
                state.subscription_id,
                {"cancel_at_period_end": True},
                {"idempotency_key": f"clearmeter-{change_id}"},
            )


def subscription_of(told: Mapping[str, Any]) -> SubscriptionState:
    """Read a subscription, whatever version of the API shaped it."""
    item = _item(told["items"]["data"])
    price = item.get("price") or item.get("plan") or {}
    cycle = item if item.get("current_period_start") else told
    recurring = price.get("recurring") or price
    metadata = told.get("metadata") or {}
    end = instant_of(cycle["current_period_end"])
    leaves = told.get("cancel_at_period_end")
    return SubscriptionState(
        subscription_id=str(told["id"]),
        status=str(told["status"]),
        customer_id=id_of(told.get("customer")),
        organization_id=str(metadata.get("organization", "")),
        checkout_id=str(metadata.get("tier_checkout", "")),
        livemode=bool(told.get("livemode")),
        currency=str(told.get("currency") or price.get("currency") or ""),
        tier=tier_of_product(id_of(price.get("product"))),
        item_id=str(item["id"]),
        price_id=str(price.get("id") or ""),
        price_minor=int(price.get("unit_amount") or price.get("amount") or 0),
        quantity=int(item.get("quantity") or told.get("quantity") or 1),
        interval=str(recurring.get("interval") or ""),
        anchor=instant_of(told.get("billing_cycle_anchor") or cycle["current_period_start"]),
        cycle_start=instant_of(cycle["current_period_start"]),
        cycle_end=end,
        cancels_at=maybe_instant(told.get("cancel_at")) or (end if leaves else None),
        ended_at=maybe_instant(told.get("ended_at")),
        created_at=instant_of(told.get("created") or told["start"]),
        latest_invoice_id=id_of(told.get("latest_invoice")),
        schedule_id=id_of(told.get("schedule")),
        awaited=_awaited(told.get("pending_update")),
        discount_ids=tuple(id_of(one) for one in _discounts(told)),
    )


def _discounts(told: Mapping[str, Any]) -> list[Any]:
    """Return the discounts that run; older versions tell of a single one."""
    single = told.get("discount")
    return told.get("discounts") or ([single] if single else [])


def _item(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the item that is a tier of ours, or the first where none is."""
    ours = (one for one in items if tier_of_product(_product(one)))
    return next(ours, items[0])


def _product(item: Mapping[str, Any]) -> str:
    return id_of((item.get("price") or item.get("plan") or {}).get("product"))


def _awaited(pending: Mapping[str, Any] | None) -> Change | None:
    items = (pending or {}).get("subscription_items")
    if not pending or not items:
        return None
    item = _item(items)
    return Change(
        tier_of_product(_product(item)),
        int(item.get("quantity") or 1),
        instant_of(pending["expires_at"]),
    )


def _with_schedule(v1: Any, state: SubscriptionState) -> SubscriptionState:
    if not state.schedule_id:
        return state
    told = v1.subscription_schedules.retrieve(state.schedule_id).to_dict()
    current = told.get("current_phase")
    if not current:
        return state
    if told.get("end_behavior") == "cancel" and state.cancels_at is None:
        state = replace(state, cancels_at=instant_of(told["phases"][-1]["end_date"]))
    coming = [one for one in told["phases"] if one["start_date"] >= current["end_date"]]
    if not coming:
        return state
    item = coming[0]["items"][0]
    price: stripe.Price = v1.prices.retrieve(id_of(item["price"]))
    scheduled = Change(
        tier_of_product(id_of(price.product)),
        int(item.get("quantity") or 1),
        instant_of(coming[0]["start_date"]),
    )
    if (scheduled.tier, scheduled.quantity) == (state.tier, state.quantity):
        return state
    return replace(state, scheduled=scheduled)
