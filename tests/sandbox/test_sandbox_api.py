"""The API as the real library sees it: keys, parameters, lists, expansion, idempotency."""

from __future__ import annotations

import threading
import time

import pytest
import requests
import stripe
from conftest import KEY, Shop, client


def test_a_product_and_its_price_are_made_found_and_changed(shop: Shop) -> None:
    product = shop.stripe.v1.products.create(
        {"name": "Pack", "description": "Credits", "metadata": {"credits": "500", "kind": "pack"}}
    )
    price = shop.stripe.v1.prices.create(
        {"product": product.id, "currency": "USD", "unit_amount": 2500, "lookup_key": "pack_500"}
    )
    changed = shop.stripe.v1.products.update(
        product.id,
        {"name": "Pack of 500", "description": "", "metadata": {"kind": "", "tier": "pro"}},
    )
    assert (changed.name, changed.description) == ("Pack of 500", None)
    assert changed.metadata.to_dict() == {"credits": "500", "tier": "pro"}
    found = shop.stripe.v1.prices.list({"lookup_keys": ["other", "pack_500"], "active": True})
    assert [one.id for one in found.data] == [price.id]
    assert (price.currency, price.unit_amount_decimal, price.type) == ("usd", 2500, "one_time")
    assert shop.stripe.v1.prices.retrieve(price.id, {"expand": ["product"]}).product.name == (
        "Pack of 500"
    )


def test_a_default_price_may_come_with_its_product(shop: Shop) -> None:
    product = shop.stripe.v1.products.create(
        {"name": "Pack", "default_price_data": {"currency": "usd", "unit_amount": 900}}
    )
    assert shop.stripe.v1.prices.retrieve(str(product.default_price)).product == product.id


def test_a_lookup_key_belongs_to_one_price_until_it_is_transferred(shop: Shop) -> None:
    first = shop.price(lookup_key="pack")
    with pytest.raises(stripe.InvalidRequestError, match=first.id):
        shop.price(lookup_key="pack")
    second = shop.price(lookup_key="pack", transfer_lookup_key=True)
    found = shop.stripe.v1.prices.list({"lookup_keys": ["pack"]}).data
    assert [price.id for price in found] == [second.id]


def test_a_recurring_price_keeps_its_interval(shop: Shop) -> None:
    price = shop.price(recurring={"interval": "month"})
    assert price.type == "recurring"
    assert price.recurring is not None
    assert (price.recurring.interval, price.recurring.interval_count) == ("month", 1)


@pytest.mark.parametrize(
    ("given", "kept", "whole"),
    [("12.50", "12.5", None), ("0100.0", "100", 100), ("0", "0", 0), (".5", "0.5", None)],
)
def test_a_price_may_have_fractions_of_a_cent(
    shop: Shop, given: str, kept: str, whole: int | None
) -> None:
    params = {"currency": "usd", "product_data[name]": "Unit", "unit_amount_decimal": given}
    price = requests.post(f"{shop.url}/v1/prices", params, auth=(KEY, ""), timeout=5).json()
    assert (price["unit_amount_decimal"], price["unit_amount"]) == (kept, whole)


def test_customers_are_found_by_e_mail(shop: Shop) -> None:
    ana = shop.stripe.v1.customers.create({"email": "ana@acme.example", "name": "Ana"})
    shop.stripe.v1.customers.create({"email": "ben@acme.example"})
    found = shop.stripe.v1.customers.list({"email": "ana@acme.example"}).data
    assert [customer.id for customer in found] == [ana.id]
    changed = shop.stripe.v1.customers.update(
        ana.id, {"address": {"country": "DE", "city": "Bonn"}, "invoice_settings": {"footer": "x"}}
    )
    assert changed.address is not None
    assert (changed.address.city, changed.address.line1) == ("Bonn", None)
    assert shop.stripe.v1.customers.retrieve(ana.id).name == "Ana"


def test_lists_come_newest_first_in_pages(shop: Shop) -> None:
    made = [shop.stripe.v1.customers.create({"name": str(n)}).id for n in range(12)]
    newest_first = made[::-1]
    first = shop.stripe.v1.customers.list()
    assert (first.object, first.url, first.has_more) == ("list", "/v1/customers", True)
    assert [one.id for one in first.data] == newest_first[:10]
    rest = shop.stripe.v1.customers.list({"starting_after": newest_first[9]})
    assert ([one.id for one in rest.data], rest.has_more) == (newest_first[10:], False)
    before = shop.stripe.v1.customers.list({"ending_before": newest_first[9], "limit": 3})
    assert ([one.id for one in before.data], before.has_more) == (newest_first[6:9], True)
    everyone = shop.stripe.v1.customers.list({"limit": 5}).auto_paging_iter()
    assert [one.id for one in everyone] == newest_first


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"starting_after": "cus_nobody"}, "starting_after"),
        ({"colour": "red"}, "colour"),
        ({"created": {"after": 1}}, "created[after]"),
    ],
)
def test_a_list_refuses_what_it_cannot_read(
    shop: Shop, params: dict[str, object], param: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.stripe.v1.customers.list(params)
    assert (refused.value.http_status, refused.value.param) == (400, param)


def test_lists_are_cut_by_age(shop: Shop) -> None:
    old = shop.stripe.v1.customers.create({"name": "old"})
    shop.clock.offset_seconds = 3600
    new = shop.stripe.v1.customers.create({"name": "new"})
    recent = shop.stripe.v1.customers.list({"created": {"gt": old.created}}).data
    assert [one.id for one in recent] == [new.id]
    exact = shop.stripe.v1.customers.list({"created": old.created}).data
    assert [one.id for one in exact] == [old.id]


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"name": "x", "colour": "red"}, "parameter_unknown", "colour"),
        ({"description": "x"}, "parameter_missing", "name"),
        ({"name": ""}, "parameter_invalid_empty", "name"),
        ({"name": "x", "default_price_data": {"unit_amount": 1}}, "parameter_missing", None),
        (
            {"name": "x", "default_price_data": {"currency": "usd", "unit_amount": 1.5}},
            "parameter_invalid_integer",
            "default_price_data[unit_amount]",
        ),
        ({"name": "x", "metadata": {"k" * 41: "v"}}, None, f"metadata[{'k' * 41}]"),
        ({"name": "x", "url": "javascript:alert(1)"}, "url_invalid", "url"),
    ],
)
def test_parameters_are_refused_as_stripe_refuses_them(
    shop: Shop, params: dict[str, object], code: str | None, param: str | None
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.stripe.v1.products.create(params)
    assert (refused.value.http_status, refused.value.code) == (400, code)
    assert refused.value.param == (param or "default_price_data[currency]")
    assert refused.value.request_id.startswith("req_")
    assert shop.stripe.v1.products.list().data == []


def test_an_unknown_id_is_404_in_the_path_and_400_in_a_parameter(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="No such product: 'prod_no'") as refused:
        shop.stripe.v1.products.retrieve("prod_no")
    assert (refused.value.http_status, refused.value.code) == (404, "resource_missing")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.session(line_items=[{"price": "price_no", "quantity": 1}])
    assert (refused.value.http_status, refused.value.code) == (400, "resource_missing")
    assert refused.value.param == "line_items[0][price]"


def test_a_path_that_is_not_played_says_so(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="plays only a part") as refused:
        shop.stripe.v1.payouts.list()
    assert refused.value.http_status == 404


@pytest.mark.parametrize("key", ["sk_live_x", "rk_live_x", "pk_test_x", "rk_test_x", "sk_test_"])
def test_only_secret_test_keys_are_taken(shop: Shop, key: str) -> None:
    with pytest.raises(stripe.AuthenticationError) as refused:
        client(shop.url, key).v1.products.list()
    assert refused.value.http_status == 401
    assert ("live key" in str(refused.value)) == ("live" in key)


def test_a_request_without_a_key_is_refused(shop: Shop) -> None:
    response = requests.get(f"{shop.url}/v1/products", timeout=5)
    assert response.status_code == 401
    assert "did not provide an API key" in response.json()["error"]["message"]


def test_a_key_may_come_as_a_user_name(shop: Shop) -> None:
    response = requests.get(f"{shop.url}/v1/products", auth=(KEY, ""), timeout=5)
    assert response.status_code == 200


def test_the_version_and_a_request_id_come_back(shop: Shop) -> None:
    response = requests.get(
        f"{shop.url}/v1/products", auth=(KEY, ""), headers={"Stripe-Version": "x"}, timeout=5
    )
    assert response.headers["Stripe-Version"] == "x"
    assert response.headers["Request-Id"].startswith("req_")


def test_a_body_of_json_is_refused(shop: Shop) -> None:
    response = requests.post(
        f"{shop.url}/v1/products", auth=(KEY, ""), json={"name": "x"}, timeout=5
    )
    assert response.status_code == 400


def test_what_cannot_be_expanded_is_refused(shop: Shop) -> None:
    shop.price()
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        shop.stripe.v1.prices.list({"expand": ["data.colour"]})


def test_one_idempotency_key_has_one_effect_and_one_answer(shop: Shop) -> None:
    params, options = {"name": "Ana"}, {"idempotency_key": "first"}
    first = shop.stripe.v1.customers.create(params, options)
    second = shop.stripe.v1.customers.create(params, options)
    assert first.id == second.id
    assert "Idempotent-Replayed" not in first.last_response.headers
    assert second.last_response.headers["Idempotent-Replayed"] == "true"
    assert len(shop.stripe.v1.customers.list().data) == 1


def test_an_idempotency_key_serves_one_purpose(shop: Shop) -> None:
    options = {"idempotency_key": "first"}
    shop.stripe.v1.customers.create({"name": "Ana"}, options)
    with pytest.raises(stripe.IdempotencyError, match="same parameters") as refused:
        shop.stripe.v1.customers.create({"name": "Ben"}, options)
    assert refused.value.http_status == 400
    with pytest.raises(stripe.IdempotencyError, match="same endpoint"):
        shop.stripe.v1.products.create({"name": "Ana"}, options)


def test_a_refused_request_may_be_mended_under_its_key(shop: Shop) -> None:
    options = {"idempotency_key": "first"}
    with pytest.raises(stripe.InvalidRequestError):
        shop.stripe.v1.products.create({}, options)
    assert shop.stripe.v1.products.create({"name": "x"}, options).name == "x"


def test_an_idempotency_key_is_forgotten_after_a_day(shop: Shop) -> None:
    options = {"idempotency_key": "first"}
    first = shop.stripe.v1.customers.create({"name": "Ana"}, options)
    shop.clock.offset_seconds = 24 * 3600
    assert shop.stripe.v1.customers.create({"name": "Ana"}, options).id != first.id


def test_an_idempotency_key_in_use_is_a_conflict(shop: Shop) -> None:
    options = {"idempotency_key": "first"}
    store = shop.app.extensions["sandbox"].store
    with store.acting(store.cause):  # holds up the first request in the middle of its work
        first = threading.Thread(
            target=shop.stripe.v1.customers.create, args=({"name": "Ana"}, options)
        )
        first.start()
        deadline = time.monotonic() + 5
        while "first" not in shop.app.extensions["sandbox"].memory._entries:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with pytest.raises(stripe.StripeError) as refused:
            client(shop.url).v1.customers.create({"name": "Ana"}, options)
    first.join(5)
    assert refused.value.http_status == 409
    assert refused.value.json_body["error"]["code"] == "idempotency_key_in_use"
    assert len(shop.stripe.v1.customers.list().data) == 1


def test_a_reset_forgets_everything(shop: Shop) -> None:
    shop.stripe.v1.customers.create({"name": "Ana"}, {"idempotency_key": "first"})
    shop.control("reset")
    assert shop.stripe.v1.customers.list().data == []
    assert shop.stripe.v1.events.list().data == []
    assert shop.deliveries() == []
    assert shop.stripe.v1.customers.create({"name": "Ben"}, {"idempotency_key": "first"}).id
