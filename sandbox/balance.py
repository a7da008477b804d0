"""The account's balance: one transaction for each thing that moved it, with Stripe's fee.

A fee is 2.9 % and 30 minor units of what is charged, rounded half up, and is not given back.
"""

from __future__ import annotations

from sandbox import shapes
from sandbox.api import Route, retrieve
from sandbox.lists import matching, page
from sandbox.parameters import currency, listed, text
from sandbox.store import Object, Store, new_id

AVAILABLE_AFTER_SECONDS = 2 * 24 * 60 * 60
# How a transaction of a type is called in reports, where that is another word.
_CATEGORIES = {"adjustment": "dispute", "payment": "charge", "refund_failure": "refund_failure"}


def processing_fee_minor(amount_minor: int) -> int:
    """Return Stripe's fee for a charge, in minor units."""
    return (amount_minor * 29 + 500) // 1000 + 30


def book(
    store: Store,
    source: Object,
    *,
    kind: str,
    amount_minor: int,
    fee_minor: int = 0,
    fee_for: str = "Stripe processing fees",
    category: str | None = None,
    description: str | None = None,
) -> Object:
    """Book what an object moved: its amount (negative where money leaves), less a fee."""
    fee = {
        "amount": fee_minor,
        "application": None,
        "currency": source["currency"],
        "description": fee_for,
        "type": "stripe_fee",
    }
    transaction = shapes.new(
        "balance_transaction",
        id=new_id("txn_3"),
        amount=amount_minor,
        available_on=store.now() + AVAILABLE_AFTER_SECONDS,
        created=store.now(),
        currency=source["currency"],
        description=description,
        fee=fee_minor,
        fee_details=[fee] if fee_minor else [],
        net=amount_minor - fee_minor,
        reporting_category=category or _CATEGORIES.get(kind, kind),
        source=source["id"],
        type=kind,
    )
    return store.add("balance_transaction", transaction)


def release(store: Store) -> None:
    """Make available what has waited long enough."""
    for transaction in store.newest_first("balance_transaction"):
        if transaction["status"] == "available":
            return  # and so is everything before it
        if transaction["available_on"] <= store.now():
            transaction["status"] = "available"


def list_all(store: Store, params: Object) -> Object:
    """List transactions by type, source, currency and age."""
    fields = ["currency", "source", "type"]
    found = matching(store.newest_first("balance_transaction"), params, fields)
    return page("/v1/balance_transactions", found, params)


ROUTES = (
    retrieve("balance_transaction", "/v1/balance_transactions"),
    Route(
        "GET",
        "/v1/balance_transactions",
        listed({"currency": currency, "source": text, "type": text}),
        list_all,
    ),
)
