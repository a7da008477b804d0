"""Refunds: money given back, whole or in part, never more than was taken.

A charge's ``amount_refunded`` is the sum of its refunds that did not fail.
"""

from __future__ import annotations

from sandbox import balance, methods, shapes
from sandbox.api import Route, retrieve
from sandbox.errors import ApiError, parameter_invalid, parameter_missing
from sandbox.lists import INCLUDABLE, matching, page
from sandbox.pages import money
from sandbox.parameters import asked, choice, integer, listed, merged, metadata, text
from sandbox.store import Object, Store, new_id

SETTLED_AFTER_SECONDS = 180
#: How a refund stands whose amount came back to the account.
NEVER_MADE = ("failed", "canceled")
STATUS_OF_CONCERN = ("needs_response", "under_review", "lost")


def create(store: Store, params: Object) -> Object:
    """Give money back to whoever paid a charge."""
    charge = _charge(store, params)
    rest: int = charge["amount"] - charge["amount_refunded"]
    amount: int = params.get("amount", rest)
    _check(store, charge, amount, rest)
    method = store.get("payment_method", charge["payment_method"])
    kind = methods.kind_of(method)
    waits = kind.refund == "succeeds_later" or method["type"] != "card"
    refund = shapes.new(
        "refund",
        id=new_id("re_3"),
        amount=amount,
        charge=charge["id"],
        created=store.now(),
        currency=charge["currency"],
        destination_details=_destination(method["type"]),
        metadata=merged({}, params.get("metadata", {})),
        payment_intent=charge["payment_intent"],
        reason=params.get("reason"),
        status="pending" if waits else "succeeded",
    )
    store.add("refund", refund)
    refund["balance_transaction"] = _book(store, refund, method, -amount)
    if waits or kind.refund:
        due: Object = {"id": f"{refund['id']}/due", "at": store.now() + SETTLED_AFTER_SECONDS}
        store.add("refund.due", {**due, "refund": refund["id"], "fails": kind.refund})
        store.wake(due["at"], "refund.due", due["id"])
    store.emit("refund.created", refund)
    given_back = charge["amount_refunded"] + amount
    store.change(
        "charge.refunded",
        charge,
        {"amount_refunded": given_back, "refunded": given_back == charge["amount"]},
    )
    return refund


def _charge(store: Store, params: Object) -> Object:
    if ("charge" in params) == ("payment_intent" in params):
        if "charge" in params:
            message = "You cannot pass both charge and payment_intent. Pass one of them."
            raise parameter_invalid("charge", message)
        raise parameter_missing("payment_intent")
    if "charge" in params:
        charge = store.get("charge", params["charge"], "charge")
    else:
        intent = store.get("payment_intent", params["payment_intent"], "payment_intent")
        if intent["status"] != "succeeded":
            message = (
                f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
            )
            raise parameter_invalid("payment_intent", message, "payment_intent_unexpected_state")
        charge = store.get("charge", intent["latest_charge"])
    if charge["status"] != "succeeded":
        raise ApiError(f"Charge {charge['id']} was not successful; nothing can be refunded.")
    return charge


def _check(store: Store, charge: Object, amount_minor: int, rest_minor: int) -> None:
    disputes = [one for one in store.newest_first("dispute") if one["charge"] == charge["id"]]
    if any(one["status"] in STATUS_OF_CONCERN for one in disputes):
        message = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        raise ApiError(message, code="charge_disputed")
    if rest_minor == 0:
        message = f"Charge {charge['id']} has already been refunded."
        raise ApiError(message, code="charge_already_refunded")
    if amount_minor > rest_minor:
        asked_for, rest = (money(one, charge["currency"]) for one in (amount_minor, rest_minor))
        message = (
            f"Refund amount ({asked_for}) is greater than unrefunded amount on charge ({rest})"
        )
        raise parameter_invalid("amount", message)


def _destination(kind: str) -> Object:
    if kind != "card":
        return {kind: {"reference": None, "reference_status": "pending"}, "type": kind}
    card = {
        "reference_status": "pending",
        "reference_type": "acquirer_reference_number",
        "type": "refund",
    }
    return {"card": card, "type": "card"}


def _book(store: Store, refund: Object, method: Object, amount_minor: int) -> str:
    kind = "refund" if method["type"] == "card" else "payment_refund"
    told = f"REFUND FOR CHARGE ({refund['charge']})"
    booked = balance.book(
        store, refund, kind=kind, category="refund", amount_minor=amount_minor, description=told
    )
    return str(booked["id"])


def attend(store: Store) -> None:
    """Have banks answer when it is time."""
    store.when_due("refund.due", lambda store, _due: settle_due(store), rank=2)


def settle_due(store: Store, *, at_once: bool = False) -> int:
    """Let banks answer whose time has come, or all of them; return how many did."""
    answered = [
        due
        for due in store.newest_first("refund.due")[::-1]
        if due["at"] and (at_once or due["at"] <= store.now())
    ]
    for due in answered:
        due["at"] = 0
        refund = store.get("refund", due["refund"])
        if due["fails"] == "fails_later":
            fail(store, refund)
        elif refund["status"] == "pending":
            previous = {"status": refund["status"]}
            refund["status"] = "succeeded"
            _tell(store, refund, previous)
    return len(answered)


def fail(store: Store, refund: Object, status: str = "failed") -> None:
    """Have a refund fail after all, or be canceled: its amount comes back to the account."""
    charge = store.get("charge", refund["charge"])
    previous = {"status": refund["status"]}
    told = f"REFUND FAILURE ({refund['id']})"
    booked = balance.book(
        store, refund, kind="refund_failure", amount_minor=refund["amount"], description=told
    )
    refund.update(status=status, failure_balance_transaction=booked["id"])
    charge["amount_refunded"] -= refund["amount"]
    charge["refunded"] = False
    if status == "failed":
        refund["failure_reason"] = "unknown"
        store.emit("refund.failed", refund)
    _tell(store, refund, previous)


def _tell(store: Store, refund: Object, previous: Object) -> None:
    store.emit("refund.updated", refund, previous)
    store.emit("charge.refund.updated", refund, previous)


def update(store: Store, params: Object, identifier: str) -> Object:
    """Change a refund's metadata."""
    refund = store.get("refund", identifier)
    kept = merged(refund["metadata"], params["metadata"])
    if kept != refund["metadata"]:
        previous = {"metadata": refund["metadata"]}
        refund["metadata"] = kept
        _tell(store, refund, previous)
    return refund


def list_all(store: Store, params: Object) -> Object:
    """List refunds by charge, payment intent and age."""
    found = matching(store.newest_first("refund"), params, ["charge", "payment_intent"])
    return page("/v1/refunds", found, params)


def list_of_charge(store: Store, params: Object, charge: str) -> Object:
    """List one charge's refunds."""
    store.get("charge", charge)
    answer = list_all(store, {**params, "charge": charge})
    return {**answer, "url": f"/v1/charges/{charge}/refunds"}


# A charge shows its refunds to those who expand them, and to nobody else.
INCLUDABLE["charge", "refunds"] = lambda store, charge: list_of_charge(store, {}, charge["id"])
ROUTES = (
    Route(
        "POST",
        "/v1/refunds",
        asked(
            {
                "amount": integer(1),
                "charge": text,
                "metadata": metadata,
                "payment_intent": text,
                "reason": choice("duplicate", "fraudulent", "requested_by_customer"),
            }
        ),
        create,
    ),
    retrieve("refund", "/v1/refunds"),
    Route("POST", "/v1/refunds/<identifier>", asked({"metadata": metadata}, ["metadata"]), update),
    Route("GET", "/v1/refunds", listed({"charge": text, "payment_intent": text}), list_all),
    Route("GET", "/v1/charges/<charge>/refunds", listed(), list_of_charge),
)
