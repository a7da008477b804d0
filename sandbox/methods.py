"""Payment methods: what a payer pays with, and whose it is.

Which test card or account it is, its fingerprint tells. What the API does not show (whether its
payer authenticated when it was set up) is kept beside it.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sandbox import cards, debits, shapes
from sandbox.api import Route, retrieve
from sandbox.cards import Card, KnownCard
from sandbox.debits import BankDebit
from sandbox.errors import ApiError, card_declined, parameter_invalid, parameter_missing
from sandbox.lists import matching, page
from sandbox.parameters import (
    Kind,
    asked,
    choice,
    clearable,
    email,
    integer,
    listed,
    merged,
    metadata,
    record,
    text,
)
from sandbox.store import Object, Store, new_id

Way = Card | BankDebit  # what a payer chose on a page
_BILLING_FIELDS: dict[str, Kind] = {
    "address": record(
        dict.fromkeys(
            ("city", "country", "line1", "line2", "postal_code", "state"), clearable(text)
        )
    ),
    "email": clearable(email),
    "name": clearable(text),
    "phone": clearable(text),
}
_TYPES = choice("card", "sepa_debit", "us_bank_account")


def create_method(store: Store, card: Card, *, email: str | None, customer: str | None) -> Object:
    """Make a payment method of a card, kept with the customer where there is one."""
    method = shapes.new("payment_method", id=new_id("pm_1"), created=store.now())
    method["billing_details"]["email"] = email
    method["card"].update(
        brand="visa",
        display_brand="visa",
        exp_month=card.exp_month,
        exp_year=card.exp_year,
        fingerprint=fingerprint(card.kind.number),
        last4=card.kind.number[-4:],
    )
    method["card"]["networks"]["available"] = ["visa"]
    return _keep(store, method, customer)


def create_debit(
    store: Store, debit: BankDebit, currency: str, *, email: str | None, customer: str | None
) -> Object:
    """Make a payment method of a bank account, kept with the customer where there is one."""
    method = shapes.new("payment_method", id=new_id("pm_1"), created=store.now())
    del method["card"]
    kind = debits.type_for(currency)
    details = debits.details(kind, debit)
    method.update({"type": kind, kind: {**details, "fingerprint": fingerprint(debit.name)}})
    method["billing_details"]["email"] = email
    return _keep(store, method, customer)


def create_of(
    store: Store, way: Way, currency: str, *, email: str | None, customer: str | None = None
) -> Object:
    """Make a payment method of whatever a payer chose on a page."""
    if isinstance(way, BankDebit):
        return create_debit(store, way, currency, email=email, customer=customer)
    return create_method(store, way, email=email, customer=customer)


def _keep(store: Store, method: Object, customer: str | None) -> Object:
    secret = {"id": _secret_id(method), "set_up": False}
    store.add("payment_method.secret", secret)
    store.add("payment_method", method)
    if customer:
        attach_to(store, method, customer)
    return method


def _secret_id(method: Object) -> str:
    return f"{method['id']}/secret"


def fingerprint(known_as: str) -> str:
    """Return the fingerprint of a test card's number, or of a test account's name."""
    return f"sandbox{known_as[-9:]}"


_BY_FINGERPRINT: dict[str, KnownCard | BankDebit] = {
    **{fingerprint(card.number): card for card in cards.CARDS},
    **{fingerprint(debit.name): debit for debit in debits.DEBITS},
}


def kind_of(method: Object) -> KnownCard | BankDebit:
    """Return which test card or test account a method is."""
    return _BY_FINGERPRINT[method[method["type"]]["fingerprint"]]


def wants_challenge(store: Store, method: Object) -> bool:
    """Tell whether the issuer would have the payer authenticate the next payment."""
    challenge = kind_of(method).challenge
    set_up: bool = store.get("payment_method.secret", _secret_id(method))["set_up"]
    return challenge == "always" or (challenge == "until_set_up" and not set_up)


def mark_set_up(store: Store, method: Object) -> None:
    """Remember that the payer authenticated when the method was saved for later."""
    store.get("payment_method.secret", _secret_id(method))["set_up"] = True


def attach_to(store: Store, method: Object, customer: str) -> Object:
    """Give a method to a customer, for later payments."""
    if method["customer"] != customer:
        method["customer"] = customer
        store.emit("payment_method.attached", method)
    return method


def usable(store: Store, identifier: str, param: str, *, customer: str | None) -> Object:
    """Return the method to pay or set up with; a test method's name makes one of its own."""
    if identifier in cards.BY_NAME:
        return create_method(store, _card_named(store, identifier), email=None, customer=None)
    method = store.get("payment_method", identifier, param)
    if store.has("payment_method.detached", f"{identifier}/detached"):
        raise parameter_invalid(
            param,
            "The provided PaymentMethod was previously used with a PaymentIntent without Customer "
            "attachment, or was detached from a Customer. It may not be used again.",
        )
    if method["customer"] and method["customer"] != customer:
        message = (
            "The provided PaymentMethod belongs to a Customer. Include the Customer it belongs to "
            "in the `customer` parameter."
        )
        raise parameter_invalid(param, message, None)
    return method


def chosen(store: Store, params: Object, customer: str | None) -> Object | None:
    """Return the method that is given to pay or set up an intent with, if one is."""
    if "payment_method" not in params:
        return None
    return usable(store, params["payment_method"], "payment_method", customer=customer)


def _card_named(store: Store, name: str) -> Card:
    year = datetime.fromtimestamp(store.now(), UTC).year + 1
    return Card(cards.BY_NAME[name], 12, year)


def create(store: Store, params: Object) -> Object:
    """Make a payment method of a test card's number."""
    if params["type"] != "card":
        raise parameter_invalid("type", "The API makes payment methods of test cards only.")
    if "card" not in params:
        raise parameter_missing("card")
    typed = params["card"]
    try:
        card = cards.read_card(
            typed["number"],
            f"{typed['exp_month']}/{typed['exp_year'] % 100:02}",
            typed.get("cvc", "123"),
            now=datetime.fromtimestamp(store.now(), UTC),
        )
    except cards.CardProblems as found:
        field, message = next(iter(found.problems.items()))
        raise ApiError(
            message, status=402, kind="card_error", code=f"invalid_{field}", param=field
        ) from None
    method = create_method(store, card, email=None, customer=None)
    return _described(method, params)


def _described(method: Object, params: Object) -> Object:
    given = params.get("billing_details", {})
    details = method["billing_details"]
    details.update({**given, "address": {**details["address"], **given.get("address", {})}})
    if "metadata" in params:
        method["metadata"] = merged(method["metadata"], params["metadata"])
    return method


def update(store: Store, params: Object, identifier: str) -> Object:
    """Change a method's billing details, expiry or metadata."""
    method = store.get("payment_method", identifier)
    before = {key: method[key] for key in ("billing_details", "metadata")}
    changed = _described(
        {
            "billing_details": {**before["billing_details"]},
            "metadata": {**before["metadata"]},
        },
        params,
    )
    if "card" in params and "card" in method:
        changed["card"] = {**method["card"], **params["card"]}
    return store.change("payment_method.updated", method, changed)


def attach(store: Store, params: Object, identifier: str) -> Object:
    """Give a method to a customer; a card that cannot be saved is refused here."""
    customer: str = params["customer"]
    store.get("customer", customer, "customer")
    method = usable(store, identifier, "payment_method", customer=customer)
    decline = kind_of(method).setup_decline
    if decline:
        raise card_declined(decline.message, decline.code)
    return attach_to(store, method, customer)


def detach(store: Store, _params: Object, identifier: str) -> Object:
    """Take a method from its customer, for good; nobody's default it remains."""
    method = store.get("payment_method", identifier)
    if method["customer"] is None:
        raise ApiError(
            "The payment method you provided is not attached to a customer so detachment is "
            "impossible."
        )
    customer = store.get("customer", method["customer"])
    store.add("payment_method.detached", {"id": f"{identifier}/detached"})
    store.change("payment_method.detached", method, {"customer": None})
    settings = customer["invoice_settings"]
    if settings["default_payment_method"] == identifier:
        changed = {**settings, "default_payment_method": None}
        store.change("customer.updated", customer, {"invoice_settings": changed})
    for subscription in store.newest_first("subscription"):
        if subscription["default_payment_method"] == identifier:
            changes = {"default_payment_method": None}
            store.change("customer.subscription.updated", subscription, changes)
    return method


def list_all(store: Store, params: Object) -> Object:
    """List a customer's methods, by type where one is given."""
    owned = [one for one in store.newest_first("payment_method") if one["customer"]]
    found = matching(owned, params, ["customer", "type"])
    return page("/v1/payment_methods", found, params)


def list_of_customer(store: Store, params: Object, customer: str) -> Object:
    """List one customer's methods."""
    store.get("customer", customer)
    answer = list_all(store, {**params, "customer": customer})
    return {**answer, "url": f"/v1/customers/{customer}/payment_methods"}


_LISTED = {"type": _TYPES, "allow_redisplay": choice("always", "limited", "unspecified")}
ROUTES = (
    Route(
        "POST",
        "/v1/payment_methods",
        asked(
            {
                "billing_details": record(_BILLING_FIELDS),
                "card": record(
                    {
                        "cvc": text,
                        "exp_month": integer(1, 12),
                        "exp_year": integer(2000, 2099),
                        "number": text,
                    },
                    required=["number", "exp_month", "exp_year"],
                ),
                "metadata": metadata,
                "type": _TYPES,
            },
            required=["type"],
        ),
        create,
    ),
    retrieve("payment_method", "/v1/payment_methods"),
    Route(
        "POST",
        "/v1/payment_methods/<identifier>",
        asked(
            {
                "billing_details": record(_BILLING_FIELDS),
                "card": record({"exp_month": integer(1, 12), "exp_year": integer(2000, 2099)}),
                "metadata": metadata,
            }
        ),
        update,
    ),
    Route("GET", "/v1/payment_methods", listed({"customer": text, **_LISTED}), list_all),
    Route("GET", "/v1/customers/<customer>/payment_methods", listed(_LISTED), list_of_customer),
    Route(
        "POST",
        "/v1/payment_methods/<identifier>/attach",
        asked({"customer": text}, required=["customer"]),
        attach,
    ),
    Route("POST", "/v1/payment_methods/<identifier>/detach", asked({}), detach),
)
