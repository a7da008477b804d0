"""Currencies whose minor unit is no hundredth: what a book asks is what a bank takes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from portal import catalog
from portal.billing import payments as book
from portal.billing import refunds
from portal.core.errors import InvalidRequest
from tests.cast import Customer, ok
from tests.shop import Shop, session_of

BOOK = """
currency = "{currency}"
effective_at = 2021-01-01T00:00:00Z

[actions.analysis]
name = "Analysis"
credits = 10

[tiers.pro]
name = "Pro"
price = {price}
credits = 2500

[packs.small]
name = "Some"
credits = 500
price = {price}
"""


@pytest.mark.parametrize(
    ("currency", "price", "minor", "said", "back", "too_fine"),
    [
        ("jpy", "3900", 3_900, "¥3,120", 3_120, "0.5"),
        ("kwd", "12.340", 12_340, "KWD\u00a09.870", 9_870, "0.005"),
        # By Stripe's own table: 500 is five shillings, and there is nothing smaller than one.
        ("ugx", "39000.00", 3_900_000, "UGX\u00a031,200.00", 3_120_000, "0.50"),
    ],
)
def test_a_pack_is_charged_and_given_back_to_the_unit(
    shop: Shop, currency: str, price: str, minor: int, said: str, back: int, too_fine: str
) -> None:
    prices = BOOK.format(currency=currency, price=price)
    with shop.database.transaction() as tx:
        catalog.load(tx, prices, now=datetime(2021, 1, 1, tzinfo=UTC))
    buyer = Customer(shop.customer.api, "buyer")
    ok(buyer.api.put(buyer.path, {"name": "Buyer", "currency": currency}), 201)
    ok(buyer.api.put(f"{buyer.path}/members/ana", {"email": "a@b.example", "role": "owner"}), 201)
    url = shop.open(of="buyer")
    assert shop.pay(url).status_code == 303
    shop.tell("checkout.session.", of=session_of(url))
    assert buyer.balance()["available"] == "500"
    (charge,) = shop.stripe.v1.charges.list().data
    assert (charge.amount, charge.currency) == (minor, currency)
    ok(buyer.capture(buyer.hold("analysis", 10)))
    payment = shop.payment_of(session_of(url))
    asked = {
        "organization_id": "buyer", "payment_id": payment, "reason": "", "actor": "operator:olga",
        "now": shop.clock(),
    }  # fmt: skip
    with pytest.raises(InvalidRequest):
        refunds.give_back(shop.database, shop.payments, amount=too_fine, **asked)  # type: ignore[arg-type]
    done = refunds.give_back(shop.database, shop.payments, amount=None, **asked)  # type: ignore[arg-type]
    assert done.amount == said
    with shop.database.reading() as tx:
        settled = book.of(tx, "buyer", payment)
    assert settled is not None
    assert settled.reversal.refunded_minor == back
    assert shop.differences() == []
