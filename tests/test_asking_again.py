"""Asking Stripe again is asking for the same, whatever has changed here or there in between."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import stripe

from portal import accounts
from portal.billing.customers import ensure_customer
from portal.billing.gateway import Gateway
from portal.core.errors import InvalidRequest, Unavailable
from tests.cast import ok
from tests.clock import Clock
from tests.shop import Shop
from tests.subscribers import Subscriber, subscriber

PACK = "clearmeter-pack-small"


@pytest.fixture
def acme(sqlite_store: str, clock: Clock) -> Iterator[Subscriber]:
    with subscriber(sqlite_store, clock) as made:
        yield made


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library need not wait between its tries: nobody else is there to be spared."""
    monkeypatch.setattr(stripe.HTTPClient, "INITIAL_DELAY", 0)
    monkeypatch.setattr(stripe.HTTPClient, "MAX_DELAY", 0)


def small(payments: Gateway) -> str:
    return payments.ensure_price(PACK, name="Small", amount_minor=3_900, currency="usd")


def test_a_price_that_was_archived_is_made_anew(shop: Shop) -> None:
    first = small(shop.payments)
    for _ in range(2):
        shop.stripe.v1.prices.update(first, {"active": False})
        again = small(shop.payments)
        assert again != first
        assert shop.stripe.v1.prices.retrieve(again).active
        first = again
    shop.returned(shop.buy())
    assert shop.packs == ["500"]


def test_a_price_of_another_amount_under_our_name_is_not_sold_at(shop: Shop) -> None:
    first = small(shop.payments)
    wrong = shop.stripe.v1.prices.create(
        {
            "product": PACK, "unit_amount": 1, "currency": "usd", "transfer_lookup_key": True,
            "lookup_key": f"{PACK}-usd-3900",
        }
    )  # fmt: skip
    assert small(shop.payments) in {first, *sold_at(shop, 3_900)}
    assert small(shop.payments) != wrong.id


def sold_at(shop: Shop, amount_minor: int) -> list[str]:
    found = shop.stripe.v1.prices.list({"product": PACK}).data
    return [one.id for one in found if one.unit_amount == amount_minor]


def test_an_organization_that_was_renamed_has_the_customer_it_had(shop: Shop) -> None:
    shop.fail_calls("reset_after", "/v1/customers")
    with pytest.raises(Unavailable):
        customer_of(shop)
    renamed = {"name": "Acme Works", "email": "pay@acme.example"}
    ok(shop.customer.api.put(shop.customer.path, renamed))
    customer = customer_of(shop)
    (known,) = shop.stripe.v1.customers.list().data
    assert (known.id, known.name, known.email) == (customer, "Acme Works", "pay@acme.example")


def test_no_two_organizations_have_one_customer(shop: Shop) -> None:
    customer = customer_of(shop)
    shop.found("zenith")
    with (
        pytest.raises(InvalidRequest, match="another organization"),
        shop.database.transaction() as tx,
    ):
        accounts.remember_stripe_customer(tx, "zenith", customer)


def customer_of(shop: Shop) -> str:
    with shop.database.reading() as tx:
        organization = accounts.find_organization(tx, "acme")
    return ensure_customer(shop.database, shop.payments, organization)


def test_a_change_that_is_scheduled_again_may_be_another_by_now(acme: Subscriber) -> None:
    acme.subscribe("pro")
    price = acme.price("seat")
    for seats in (2, 3, 2):
        state = acme.payments.subscription(acme.billed.stripe_subscription_id)
        acme.payments.schedule_price(state, change_id="tx_1", price_id=price, quantity=seats)
        acme.sync(acme.billed.stripe_subscription_id)
        assert (acme.billed.scheduled_tier, acme.billed.scheduled_seats) == ("seat", seats)


def test_what_stripe_refuses_is_said_in_our_words_and_kept_in_its_own(
    shop: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    small(shop.payments)
    with pytest.raises(Unavailable) as refusal:
        shop.payments.ensure_price(PACK, name="Small", amount_minor=3_900, currency="nothing")
    assert refusal.value.detail == "Stripe could not do this now. Nothing was charged."
    logged = [json.loads(line) for line in capfd.readouterr().err.splitlines() if "refused" in line]
    assert logged[-1]["request_id"].startswith("req_")
    assert "currency" in logged[-1]["reason"].lower()
