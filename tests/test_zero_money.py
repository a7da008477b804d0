"""Credits that come to no money, and money that comes to no credits, are refused where set."""

from __future__ import annotations

from typing import Any

import pytest

from portal import catalog
from portal.core.catalog import parse
from portal.core.errors import CatalogError
from portal.db import Database
from tests.cast import Api, Customer, ok, refused
from tests.clock import Clock

BOOK = """
currency = "usd"

[actions.document]
name = "Document"
credits = 5

[tiers.pro]
name = "Pro"
price = 99.00
credits = 2500
overage = {overage}

[packs.small]
name = "Some"
credits = {credits}
price = {price}
"""


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"overage": "0"}, "overage.*above zero"),
        ({"overage": "0.000000001"}, "overage"),
        ({"credits": "0"}, "credits: must be above zero"),
        ({"credits": "0.0000001"}, "credits"),
        ({"price": "0"}, "price: must be above zero"),
        ({"price": "0.004"}, "price"),
    ],
)
def test_a_book_sells_no_credits_for_nothing(what: dict[str, str], said: str) -> None:
    fine = {"overage": "0.06", "credits": "500", "price": "39.00"}
    assert parse(BOOK.format(**fine)).packs["small"].price_minor == 3_900
    with pytest.raises(CatalogError, match=said):
        parse(BOOK.format(**(fine | what)))


@pytest.fixture
def dear(api: Api, acme: Customer, database: Database, clock: Clock) -> Customer:
    """Acme on a plan whose further credits cost a million dollars each."""
    document = BOOK.format(overage="1000000", credits="500", price="39.00")
    with database.transaction() as tx:
        catalog.load(tx, document, now=clock())
    ok(api.put(acme.path, {"name": "Acme", "tier": "pro"}))
    return acme


def spending(customer: Customer, limit: str) -> Any:
    body = {"on_empty": "overage", "overage_limit": limit}
    return customer.api.patch(f"{customer.path}/spending", body)


def cap(customer: Customer, amount: str) -> Any:
    body = {"scope": "organization", "limit": {"amount": amount, "currency": "usd"}}
    return customer.api.post(f"{customer.path}/caps", body)


def test_a_limit_in_money_that_allows_no_part_of_a_credit_is_refused(dear: Customer) -> None:
    problem = refused(cap(dear, "0.01"), 422, "invalid-request")
    assert problem["errors"][0]["pointer"] == "/limit/amount"
    problem = refused(spending(dear, "0.01"), 422, "invalid-request")
    assert problem["errors"][0]["pointer"] == "/overage_limit"
    # A millionth of a credit is one.
    ok(spending(dear, "1.00"))
    ok(cap(dear, "1.00"), 201)
