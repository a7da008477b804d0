"""Coupons, promotion codes and automatic tax, at the checkout and on invoices."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import stripe
from conftest import Shop
from seller import DAY, HOUR, Seller, seller

__all__ = ["seller"]


def _code(seller: Seller, word: str = "SPRING", **coupon: Any) -> stripe.PromotionCode:
    terms = {"percent_off": 25, "duration": "once", **coupon}
    made = seller.v1.coupons.create({key: one for key, one in terms.items() if one is not None})
    promotion = {"type": "coupon", "coupon": made.id}
    return seller.v1.promotion_codes.create({"promotion": promotion, "code": word})


def _type(shop: Shop, url: str, **typed: str) -> requests.Response:
    """Type a code or a country into the page, and have the total updated."""
    return requests.post(url, data={"apply": "1", **typed}, allow_redirects=False, timeout=10)


def test_a_promotion_code_is_typed_on_the_page_and_lowers_what_is_paid(
    shop: Shop, seller: Seller
) -> None:
    code = _code(seller)
    session = shop.session(allow_promotion_codes=True)
    page = _type(shop, str(session.url), promotion_code="spring")
    assert "$18.75" in page.text
    shop.pay(str(session.url))
    paid = shop.stripe.v1.checkout.sessions.retrieve(
        session.id, {"expand": ["payment_intent", "line_items"]}
    )
    assert (paid.amount_subtotal, paid.amount_total) == (2500, 1875)
    assert paid.total_details.amount_discount == 625
    assert paid.discounts[0].promotion_code == code.id
    assert paid.payment_intent.amount_received == 1875
    assert paid.line_items.data[0].amount_discount == 625
    assert seller.v1.promotion_codes.retrieve(code.id).times_redeemed == 1


def test_an_applied_code_is_shown_again_and_can_be_taken_back(shop: Shop, seller: Seller) -> None:
    _code(seller)
    session = shop.session(allow_promotion_codes=True)
    _type(shop, str(session.url), promotion_code="spring")
    assert 'value="SPRING"' in requests.get(str(session.url), timeout=5).text
    _type(shop, str(session.url), promotion_code="")
    assert shop.stripe.v1.checkout.sessions.retrieve(session.id).amount_total == 2500


@pytest.mark.parametrize(
    ("terms", "word", "problem"),
    [
        ({}, "AUTUMN", "not valid"),
        ({"max_redemptions": 1}, "SPRING", "used up"),
        ({"percent_off": 99}, "SPRING", "too little to charge"),
        ({"percent_off": None, "amount_off": 5, "currency": "eur"}, "SPRING", "another currency"),
    ],
)
def test_a_code_that_does_not_fit_is_refused_on_the_page(
    shop: Shop, seller: Seller, terms: dict[str, Any], word: str, problem: str
) -> None:
    code = _code(seller, **terms)
    if problem == "used up":
        used = shop.session(discounts=[{"promotion_code": code.id}])
        shop.pay(str(used.url))
    session = shop.session(allow_promotion_codes=True)
    page = _type(shop, str(session.url), promotion_code=word)
    assert problem in page.text
    assert shop.stripe.v1.checkout.sessions.retrieve(session.id).amount_total == 2500


def test_a_coupon_for_once_lowers_the_first_invoice_only(seller: Seller) -> None:
    coupon = seller.v1.coupons.create({"percent_off": 50, "duration": "once"})
    subscription = seller.subscribe(discounts=[{"coupon": coupon.id}])
    first = seller.v1.invoices.retrieve(str(subscription.latest_invoice), {"expand": ["discounts"]})
    assert (first.subtotal, first.total, first.amount_paid) == (2000, 1000, 1000)
    assert first.discounts[0].source.coupon == coupon.id
    assert first.total_discount_amounts[0].amount == 1000
    assert first.lines.data[0].discount_amounts[0].amount == 1000
    seller.to(subscription["items"].data[0].current_period_end + HOUR)
    assert seller.invoices(subscription)[0].total == 2000
    assert seller.subscription(subscription.id).discounts == []
    assert "customer.discount.deleted" in seller.types()


def test_a_coupon_for_some_months_ends_after_them(seller: Seller) -> None:
    coupon = seller.v1.coupons.create(
        {"amount_off": 500, "currency": "usd", "duration": "repeating", "duration_in_months": 2}
    )
    subscription = seller.subscribe(discounts=[{"coupon": coupon.id}])
    seller.wait(95 * DAY)
    totals = [one.total for one in seller.invoices(subscription)][::-1]
    assert totals[:4] == [1500, 1500, 2000, 2000]


def test_what_a_discounted_period_gives_back_is_what_was_paid_for_it(seller: Seller) -> None:
    coupon = seller.v1.coupons.create({"percent_off": 50, "duration": "forever"})
    subscription = seller.subscribe(discounts=[{"coupon": coupon.id}])
    start = subscription["items"].data[0].current_period_start
    end = subscription["items"].data[0].current_period_end
    now = seller.to(start + (end - start) // 2)
    preview = seller.preview(subscription, seller.pro, proration_date=now)
    assert [line.amount for line in preview.lines.data] == [-500, 1250]
    changed = seller.change(subscription, seller.pro, proration_date=now)
    assert seller.v1.invoices.retrieve(str(changed.latest_invoice)).total == 750 == preview.total


def test_a_subscription_may_be_free_of_charge_at_first(shop: Shop, seller: Seller) -> None:
    _code(seller, percent_off=100)
    session = seller.session(allow_promotion_codes=True)
    _type(shop, str(session.url), promotion_code="SPRING")
    assert shop.pay(str(session.url)).status_code == 303
    paid = seller.v1.checkout.sessions.retrieve(session.id, {"expand": ["invoice"]})
    assert (paid.amount_total, paid.payment_status) == (0, "no_payment_required")
    assert (paid.invoice.status, paid.invoice.amount_paid) == ("paid", 0)
    assert seller.v1.charges.list().data == []
    subscription = seller.subscription(str(paid.subscription))
    seller.to(subscription["items"].data[0].current_period_end + HOUR)
    assert seller.invoices(subscription)[0].amount_paid == 2000


def test_the_parts_of_a_discount_add_up_to_the_whole(seller: Seller) -> None:
    coupon = seller.v1.coupons.create({"percent_off": 33.3, "duration": "once"})
    prices = [seller.shop.price(amount).id for amount in (101, 103, 107)]
    lines = [{"price": price, "quantity": 1} for price in prices]
    session = seller.shop.session(
        line_items=lines,
        discounts=[{"coupon": coupon.id}],
        invoice_creation={"enabled": True},
    )
    seller.shop.pay(str(session.url))
    paid = seller.v1.checkout.sessions.retrieve(session.id, {"expand": ["invoice", "line_items"]})
    items = [item.amount_discount for item in paid.line_items.data]
    parts = [line.discount_amounts[0].amount for line in paid.invoice.lines.data]
    assert sum(items) == sum(parts) == paid.total_details.amount_discount == 104
    assert paid.amount_total == paid.invoice.total == paid.invoice.amount_paid == 207


def test_tax_is_added_for_a_customer_in_germany(shop: Shop, seller: Seller) -> None:
    customer = seller.v1.customers.create({"email": "a@a.example", "address": {"country": "DE"}})
    subscription = seller.subscribe(customer=customer.id, automatic_tax={"enabled": True})
    invoice = seller.v1.invoices.retrieve(str(subscription.latest_invoice))
    assert (invoice.subtotal, invoice.total, invoice.amount_paid) == (2000, 2380, 2380)
    assert (invoice.total_excluding_tax, invoice.total_taxes[0].amount) == (2000, 380)
    assert invoice.total_taxes[0].tax_behavior == "exclusive"
    assert invoice.lines.data[0].taxes[0].taxable_amount == 2000
    assert invoice.automatic_tax.status == "complete"
    seller.to(subscription["items"].data[0].current_period_end + HOUR)
    assert seller.invoices(subscription)[0].amount_paid == 2380
    session = seller.v1.checkout.sessions.list().data[0]
    assert (session.total_details.amount_tax, session.amount_total) == (380, 2380)


def test_a_price_may_include_its_tax(seller: Seller) -> None:
    customer = seller.v1.customers.create({"email": "a@a.example", "address": {"country": "DE"}})
    price = seller.shop.price(2380, tax_behavior="inclusive")
    session = seller.shop.session(
        customer=customer.id,
        line_items=[{"price": price.id, "quantity": 1}],
        automatic_tax={"enabled": True},
    )
    assert (session.amount_total, session.total_details.amount_tax) == (2380, 380)


def test_the_payer_is_asked_for_a_country_where_it_decides_the_tax(
    shop: Shop, seller: Seller
) -> None:
    session = shop.session(automatic_tax={"enabled": True}, invoice_creation={"enabled": True})
    assert session.automatic_tax.status == "requires_location_inputs"
    assert "Choose the country" in shop.pay(str(session.url)).text
    assert "$29.75" in _type(shop, str(session.url), country="DE").text
    assert shop.pay(str(session.url)).status_code == 303
    paid = seller.v1.checkout.sessions.retrieve(session.id, {"expand": ["customer", "invoice"]})
    assert (paid.amount_total, paid.total_details.amount_tax) == (2975, 475)
    assert paid.customer_details.address.country == "DE"
    assert paid.customer.address.country == "DE"
    assert (paid.invoice.total, paid.invoice.amount_paid) == (2975, 2975)


def test_a_known_customer_without_an_address_needs_leave_to_be_asked(seller: Seller) -> None:
    customer = seller.v1.customers.create({"email": "a@a.example"})
    asked = {"customer": customer.id, "automatic_tax": {"enabled": True}}
    with pytest.raises(stripe.InvalidRequestError, match="valid address") as refused:
        seller.session(**asked)
    assert refused.value.code == "customer_tax_location_invalid"
    session = seller.session(**asked, customer_update={"address": "auto"})
    assert session.automatic_tax.enabled is True


def test_a_credit_balance_lowers_the_first_charge(seller: Seller) -> None:
    customer = seller.v1.customers.create({"email": "a@a.example", "balance": -300})
    subscription = seller.subscribe(customer=customer.id)
    invoice = seller.v1.invoices.retrieve(str(subscription.latest_invoice))
    assert (invoice.total, invoice.amount_due, invoice.amount_paid) == (2000, 1700, 1700)
    assert [one.amount for one in seller.v1.charges.list()] == [1700]


def test_codes_and_coupons_are_listed_changed_and_withdrawn(seller: Seller) -> None:
    code = _code(seller)
    coupon = str(code.promotion.coupon)
    assert [one.id for one in seller.v1.promotion_codes.list({"code": "spring"})] == [code.id]
    assert [one.id for one in seller.v1.coupons.list()] == [coupon]
    with pytest.raises(stripe.InvalidRequestError, match="already exists"):
        _code(seller)
    seller.v1.promotion_codes.update(code.id, {"active": False})
    assert seller.v1.promotion_codes.list({"active": True}).data == []
    assert seller.v1.coupons.update(coupon, {"name": "Spring"}).name == "Spring"
    assert seller.v1.coupons.delete(coupon).deleted is True


@pytest.mark.parametrize(
    "params",
    [
        {"duration": "once"},
        {"percent_off": 10, "amount_off": 5, "currency": "usd"},
        {"amount_off": 5},
        {"percent_off": 101},
        {"percent_off": 10, "duration": "repeating"},
    ],
)
def test_a_coupon_refuses_what_does_not_fit(seller: Seller, params: dict[str, Any]) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        seller.v1.coupons.create(params)
