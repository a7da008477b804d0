"""A checkout from the cart to the charge, with the hosted page played by a browser's requests."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import stripe
from conftest import DECLINED, GOOD, POOR, Shop


def test_a_session_shows_what_is_bought_and_where_to_pay(shop: Shop) -> None:
    price = shop.price(2500)
    session = shop.session(
        line_items=[{"price": price.id, "quantity": 3}],
        client_reference_id="intent-1",
        metadata={"organization": "acme"},
    )
    assert session.id.startswith("cs_test_")
    assert session.url == f"{shop.url}/c/pay/{session.id}"
    assert (session.status, session.payment_status, session.livemode) == ("open", "unpaid", False)
    assert (session.amount_total, session.currency) == (7500, "usd")
    assert session.payment_intent is None
    assert session.expires_at == session.created + 24 * 3600
    items = shop.stripe.v1.checkout.sessions.line_items.list(session.id).data
    assert [(item.description, item.quantity, item.amount_total) for item in items] == [
        ("500 credits", 3, 7500)
    ]
    expanded = shop.stripe.v1.checkout.sessions.retrieve(
        session.id, {"expand": ["line_items.data.price.product"]}
    )
    assert expanded.line_items.data[0].price.product.name == "500 credits"


def test_a_price_may_be_made_for_one_line_alone(shop: Shop) -> None:
    data = {"currency": "usd", "product_data": {"name": "Overage"}, "unit_amount_decimal": "12.5"}
    session = shop.session(line_items=[{"price_data": data, "quantity": 101}])
    assert session.amount_total == 1263


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"mode": "rent"}, "mode"),
        ({"success_url": "thanks"}, "success_url"),
        ({"cancel_url": "javascript:alert(1)"}, "cancel_url"),
        ({"customer": "cus_nobody"}, "customer"),
        ({"expires_at": 1}, "expires_at"),
        ({"line_items": [{"quantity": 1}]}, "line_items[0][price]"),
        ({"payment_intent_data": {"colour": "red"}}, "payment_intent_data[colour]"),
    ],
)
def test_a_session_refuses_what_does_not_fit(
    shop: Shop, changes: dict[str, object], param: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.session(**changes)
    assert (refused.value.http_status, refused.value.param) == (400, param)
    assert shop.stripe.v1.checkout.sessions.list().data == []


def test_a_session_in_payment_mode_takes_one_time_prices_that_are_on_sale(shop: Shop) -> None:
    monthly = shop.price(recurring={"interval": "month"})
    with pytest.raises(stripe.InvalidRequestError, match="recurring price"):
        shop.session(line_items=[{"price": monthly.id, "quantity": 1}])
    withdrawn = shop.price()
    shop.stripe.v1.prices.update(withdrawn.id, {"active": False})
    with pytest.raises(stripe.InvalidRequestError, match="inactive"):
        shop.session(line_items=[{"price": withdrawn.id, "quantity": 1}])
    with pytest.raises(stripe.InvalidRequestError, match="one currency"):
        shop.session(
            line_items=[
                {"price": shop.price().id, "quantity": 1},
                {"price": shop.price(currency="eur").id, "quantity": 1},
            ]
        )


def test_the_page_says_that_no_money_moves_and_what_is_bought(shop: Shop) -> None:
    session = shop.session()
    page = requests.get(session.url, timeout=5)
    assert page.status_code == 200
    assert "Sandbox: no money moves" in page.text
    assert "500 credits" in page.text
    assert "$25.00" in page.text
    assert 'href="http://shop.example/packs"' in page.text
    for name in ("email", "number", "expiry", "cvc"):
        assert f'<label for="{name}">' in page.text
    assert " style=" not in page.text
    assert not re.search(r"<script(?![^>]*src=)", page.text)
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for asset in re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text):
        assert requests.get(shop.url + asset, timeout=5).status_code == 200


def test_paying_makes_the_charge_and_leads_back_to_the_shop(shop: Shop) -> None:
    session = shop.session(
        metadata={"organization": "acme"},
        payment_intent_data={"metadata": {"intent": "1"}, "description": "A pack"},
    )
    paid = shop.pay(str(session.url))
    assert paid.status_code == 303
    assert paid.headers["Location"] == f"http://shop.example/thanks?session={session.id}"
    session = shop.stripe.v1.checkout.sessions.retrieve(
        session.id, {"expand": ["payment_intent.latest_charge.balance_transaction"]}
    )
    assert (session.status, session.payment_status, session.url) == ("complete", "paid", None)
    assert session.customer_details.email == "ana@acme.example"
    intent = session.payment_intent
    assert (intent.status, intent.amount, intent.amount_received) == ("succeeded", 2500, 2500)
    assert intent.metadata.to_dict() == {"intent": "1"}
    charge = intent.latest_charge
    assert (charge.status, charge.paid, charge.amount) == ("succeeded", True, 2500)
    assert charge.payment_method_details.card.last4 == "4242"
    assert (charge.balance_transaction.fee, charge.balance_transaction.net) == (103, 2397)
    assert "This has been paid" in requests.get(charge.receipt_url, timeout=5).text
    assert [one.id for one in shop.stripe.v1.charges.list({"payment_intent": intent.id})] == [
        charge.id
    ]
    by_intent = shop.stripe.v1.checkout.sessions.list({"payment_intent": intent.id})
    assert [one.id for one in by_intent.data] == [session.id]


@pytest.mark.parametrize(
    ("number", "decline_code", "message"),
    [
        (DECLINED, "generic_decline", "Your card was declined."),
        (POOR, "insufficient_funds", "Your card has insufficient funds."),
    ],
)
def test_a_declined_card_leaves_the_session_open_for_another(
    shop: Shop, number: str, decline_code: str, message: str
) -> None:
    session = shop.session()
    declined = shop.pay(str(session.url), number)
    assert declined.status_code == 402
    assert message in declined.text
    session = shop.stripe.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})
    assert (session.status, session.payment_status) == ("open", "unpaid")
    intent = session.payment_intent
    assert intent.status == "requires_payment_method"
    error = intent.last_payment_error
    assert (error.type, error.code, error.decline_code) == (
        "card_error",
        "card_declined",
        decline_code,
    )
    charge = shop.stripe.v1.charges.retrieve(str(intent.latest_charge))
    assert (charge.status, charge.paid, charge.failure_code) == ("failed", False, "card_declined")
    assert charge.outcome.reason == decline_code
    assert shop.pay(str(session.url), GOOD).status_code == 303
    mended = shop.stripe.v1.payment_intents.retrieve(intent.id)
    assert (mended.status, mended.last_payment_error) == ("succeeded", None)
    assert len(shop.stripe.v1.charges.list().data) == 2
    assert len(shop.stripe.v1.payment_intents.list().data) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"number": "5555555555554444"}, "This is not a test card."),
        ({"number": ""}, "This is not a test card."),
        ({"expiry": "01/20"}, "This date is in the past."),
        ({"expiry": "13/30"}, "Enter the expiry date as month and year"),
        ({"cvc": "12"}, "Enter the security code"),
        ({"email": "ana"}, "Enter an e-mail address"),
    ],
)
def test_what_is_mistyped_is_named_beside_its_field(
    shop: Shop, changes: dict[str, str], message: str
) -> None:
    session = shop.session()
    page = shop.pay(str(session.url), **changes)
    assert page.status_code == 422
    assert message in page.text
    assert 'aria-invalid="true"' in page.text
    assert "5555555555554444" not in page.text
    assert shop.stripe.v1.payment_intents.list().data == []


def test_a_paid_session_says_so_and_does_not_pay_again(shop: Shop) -> None:
    session = shop.session()
    shop.pay(str(session.url))
    assert "This has been paid" in requests.get(str(session.url), timeout=5).text
    again = shop.pay(str(session.url))
    assert again.headers["Location"] == f"http://shop.example/thanks?session={session.id}"
    assert len(shop.stripe.v1.charges.list().data) == 1


def test_posts_at_the_same_instant_pay_once(shop: Shop) -> None:
    session = shop.session()
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: shop.pay(str(session.url)), range(12)))
    assert {answer.status_code for answer in answers} == {303}
    assert len(shop.stripe.v1.charges.list().data) == 1
    completed = shop.stripe.v1.events.list({"type": "checkout.session.completed"})
    assert len(completed.data) == 1


def test_a_session_expires_after_a_day(shop: Shop) -> None:
    session = shop.session()
    shop.clock.offset_seconds = 24 * 3600 + 1
    assert "This checkout has expired" in requests.get(str(session.url), timeout=5).text
    assert "This checkout has expired" in shop.pay(str(session.url)).text
    expired = shop.stripe.v1.checkout.sessions.retrieve(session.id)
    assert (expired.status, expired.payment_status, expired.url) == ("expired", "unpaid", None)
    events = shop.stripe.v1.events.list({"type": "checkout.session.expired"}).data
    assert [event.data.object.id for event in events] == [session.id]


def test_a_session_expires_when_it_was_told_to(shop: Shop) -> None:
    session = shop.session(expires_at=int(shop.clock()) + 3600)
    shop.clock.offset_seconds = 3601
    assert shop.stripe.v1.checkout.sessions.retrieve(session.id).status == "expired"


def test_an_open_session_can_be_expired_once(shop: Shop) -> None:
    session = shop.session()
    assert shop.stripe.v1.checkout.sessions.expire(session.id).status == "expired"
    with pytest.raises(stripe.InvalidRequestError, match="status of `expired`"):
        shop.stripe.v1.checkout.sessions.expire(session.id)
    assert [one.id for one in shop.stripe.v1.checkout.sessions.list({"status": "expired"})] == [
        session.id
    ]


def test_a_known_customer_is_not_asked_for_an_e_mail(shop: Shop) -> None:
    customer = shop.stripe.v1.customers.create({"email": "ben@acme.example"})
    session = shop.session(customer=customer.id)
    page = requests.get(str(session.url), timeout=5).text
    assert "ben@acme.example" in page
    assert 'name="email"' not in page
    shop.pay(str(session.url), email="")
    paid = shop.stripe.v1.checkout.sessions.retrieve(session.id)
    assert paid.customer_details.email == "ben@acme.example"
    assert [one.id for one in shop.stripe.v1.charges.list({"customer": customer.id})]


def test_a_card_kept_for_later_belongs_to_a_customer(shop: Shop) -> None:
    session = shop.session(payment_intent_data={"setup_future_usage": "off_session"})
    shop.pay(str(session.url))
    paid = shop.stripe.v1.checkout.sessions.retrieve(
        session.id, {"expand": ["customer", "payment_intent.payment_method"]}
    )
    assert paid.customer.email == "ana@acme.example"
    assert paid.payment_intent.setup_future_usage == "off_session"
    assert paid.payment_intent.payment_method.customer == paid.customer.id


def test_an_unknown_session_has_a_page_of_its_own(shop: Shop) -> None:
    page = requests.get(f"{shop.url}/c/pay/cs_test_nobody", timeout=5)
    assert page.status_code == 404
    assert "There is no such checkout" in page.text


def test_the_front_page_lists_the_latest_payments(shop: Shop) -> None:
    assert "None yet" in requests.get(shop.url, timeout=5).text
    shop.pay(str(shop.session().url))
    page = requests.get(shop.url, timeout=5).text
    assert "$25.00" in page
    assert "checkout.session.completed" in page
