"""A seller of subscriptions: plans, subscribers, and time that passes."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime
from typing import Any

import pytest
import stripe
from conftest import GOOD, Shop

HOUR, DAY = 3600, 86400


def months_later(instant: int, months: int = 1) -> int:
    """Return the same day of a later month, or that month's last."""
    moment = datetime.fromtimestamp(instant, UTC)
    count = moment.month - 1 + months
    year, month = moment.year + count // 12, count % 12 + 1
    day = min(moment.day, calendar.monthrange(year, month)[1])
    return int(moment.replace(year=year, month=month, day=day).timestamp())


class Seller:
    """The seller's side of subscriptions, through the real library."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.v1 = shop.stripe.v1
        self.basic = self.plan("Basic", 2000)
        self.pro = self.plan("Pro", 5000)

    def plan(self, name: str, amount_minor: int, interval: str = "month") -> str:
        """Make a recurring price; return its id."""
        product = {"name": name}
        return self.shop.price(
            amount_minor, product_data=product, recurring={"interval": interval}
        ).id

    def session(self, price: str | None = None, **more: Any) -> stripe.checkout.Session:
        """Open a checkout for a subscription."""
        items = [{"price": price or self.basic, "quantity": 1}]
        return self.shop.session(**{"mode": "subscription", "line_items": items, **more})

    def subscribe(self, price: str | None = None, **more: Any) -> stripe.Subscription:
        """Have a customer subscribe; return the subscription."""
        session = self.session(price, **more)
        paid = self.shop.pay(str(session.url), GOOD)
        assert paid.status_code == 303, paid.text
        found = self.v1.checkout.sessions.retrieve(session.id)
        return self.subscription(str(found.subscription))

    def subscription(self, identifier: str) -> stripe.Subscription:
        return self.v1.subscriptions.retrieve(identifier)

    def change(self, subscription: stripe.Subscription, price: str, **more: Any) -> Any:
        """Change the price, by default billed at once and only if paid."""
        return self.v1.subscriptions.update(
            subscription.id,
            {
                "items": [{"id": subscription["items"].data[0].id, "price": price}],
                "proration_behavior": "always_invoice",
                "payment_behavior": "pending_if_incomplete",
                **more,
            },
        )

    def preview(self, subscription: stripe.Subscription, price: str, **more: Any) -> Any:
        """Preview what a change of the price is billed with."""
        return self.v1.invoices.create_preview(
            {
                "subscription": subscription.id,
                "subscription_details": {
                    "items": [{"id": subscription["items"].data[0].id, "price": price}],
                    "proration_behavior": "always_invoice",
                    **more,
                },
            }
        )

    def card_fails_from_now_on(self, subscription: stripe.Subscription) -> None:
        """Have the issuer decline the card that was saved."""
        store = self.shop.app.extensions["sandbox"].store
        method = store.get("payment_method", subscription.default_payment_method)
        method["card"]["fingerprint"] = "sandbox" + "4000000000000002"[-9:]

    def card_pays_again(self, subscription: stripe.Subscription) -> None:
        store = self.shop.app.extensions["sandbox"].store
        method = store.get("payment_method", subscription.default_payment_method)
        method["card"]["fingerprint"] = "sandbox" + GOOD.replace(" ", "")[-9:]

    def to(self, instant: int) -> int:
        """Move the sandbox's clock to an instant."""
        return int(self.shop.control("clock", to=instant)["now"])

    def wait(self, seconds: int) -> int:
        """Move the sandbox's clock forward."""
        return int(self.shop.control("clock", advance_seconds=seconds)["now"])

    def events(self, *stems: str) -> list[Any]:
        """Return the events whose type starts with one of these, oldest first."""
        found = self.v1.events.list({"limit": 100}).data[::-1]
        return [event for event in found if event.type.startswith(stems or ("",))]

    def types(self, *stems: str) -> list[str]:
        return [event.type for event in self.events(*stems)]

    def invoices(self, subscription: stripe.Subscription) -> list[Any]:
        """Return the invoices of a subscription, newest first."""
        return list(self.v1.invoices.list({"subscription": subscription.id}).data)


@pytest.fixture
def seller(shop: Shop) -> Seller:
    return Seller(shop)
