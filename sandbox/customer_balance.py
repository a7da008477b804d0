"""A customer's balance: what is owed to them (negative) or by them, towards the next invoice.

It changes only by transactions, each of which tells the balance it left.
"""

from __future__ import annotations

from sandbox import shapes
from sandbox.api import Route
from sandbox.lists import matching, page
from sandbox.parameters import listed, text
from sandbox.store import Object, Store, new_id


def change(
    store: Store, customer: Object, amount: int, kind: str, *, currency: str, invoice: str
) -> None:
    """Add to a customer's balance on an invoice's account; a negative amount is a credit."""
    if amount == 0:
        return
    balance = customer["balance"] + amount
    store.change("customer.updated", customer, {"balance": balance})
    store.add(
        "customer_balance_transaction",
        shapes.new(
            "customer_balance_transaction",
            id=new_id("cbtxn_1"),
            amount=amount,
            created=store.now(),
            currency=currency,
            customer=customer["id"],
            ending_balance=balance,
            invoice=invoice,
            type=kind,
        ),
    )


def _list_all(store: Store, params: Object, identifier: str) -> Object:
    store.get("customer", identifier)
    every = store.newest_first("customer_balance_transaction")
    own = [one for one in every if one["customer"] == identifier]
    found = matching(own, params, ["invoice"])
    return page(f"/v1/customers/{identifier}/balance_transactions", found, params)


ROUTES = (
    Route(
        "GET",
        "/v1/customers/<identifier>/balance_transactions",
        listed({"invoice": text}),
        _list_all,
    ),
)
