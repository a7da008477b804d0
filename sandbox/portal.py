"""Sessions of the customer portal: a link for one customer, for an hour, and what it lets them do.

A new card becomes the customer's default and nothing else: a subscription that has a method of its
own, as each that was begun in Checkout, is charged to that as before.
"""

from __future__ import annotations

from sandbox import challenge, methods, setup, shapes
from sandbox.api import Route
from sandbox.cards import Card
from sandbox.errors import parameter_invalid, parameter_missing
from sandbox.parameters import Kind, asked, choice, each, integer, record, text, web_address
from sandbox.store import Object, Store, new_id

LIFETIME_SECONDS = 60 * 60
FLOWS = (
    "payment_method_update",
    "subscription_cancel",
    "subscription_update",
    "subscription_update_confirm",
)
ENDED = ("canceled", "incomplete_expired")
_OF_SUBSCRIPTION = record({"subscription": text}, required=["subscription"])
_CONFIRMED_ITEM = record({"id": text, "price": text, "quantity": integer(1)}, required=["id"])
_AFTER: dict[str, Kind] = {
    "hosted_confirmation": record({"custom_message": text}),
    "redirect": record({"return_url": web_address}, required=["return_url"]),
    "type": choice("hosted_confirmation", "portal_homepage", "redirect"),
}


def create(store: Store, params: Object) -> Object:
    """Make a link to the portal for a customer."""
    store.get("customer", params["customer"], "customer")
    secret = new_id("test_", 32)
    session = shapes.new(
        "billing_portal.session",
        id=new_id("bps_1"),
        created=store.now(),
        customer=params["customer"],
        flow=_flow(store, params),
        locale=params.get("locale"),
        return_url=params.get("return_url"),
        url=f"{store.cause.base_url}/p/session/{secret}",
    )
    # Kept by what stands in the link: whoever has it is the customer.
    store.add("billing_portal.link", {"id": secret, "session": session})
    return session


def _flow(store: Store, params: Object) -> Object | None:
    given = params.get("flow_data")
    if given is None:
        return None
    kind: str = given["type"]
    for part in ("subscription_cancel", "subscription_update", "subscription_update_confirm"):
        if part == kind and part not in given:
            raise parameter_missing(f"flow_data[{part}]")
        if part in given:
            owner = store.get(
                "subscription",
                given[part]["subscription"],
                f"flow_data[{part}][subscription]",
            )["customer"]
            if owner != params["customer"]:
                message = "The subscription is not one of this customer."
                raise parameter_invalid(f"flow_data[{part}][subscription]", message)
    after = given.get("after_completion", {"type": "portal_homepage"})
    if after["type"] == "redirect" and "redirect" not in after:
        raise parameter_missing("flow_data[after_completion][redirect]")
    blank = {"hosted_confirmation": None, "redirect": None}
    parts = ("subscription_cancel", "subscription_update", "subscription_update_confirm")
    return {
        "after_completion": {**blank, **after},
        "type": kind,
        **{part: given.get(part) for part in parts},
    }


def find(store: Store, secret: str) -> Object | None:
    """Return the session of a link, if there is one and its hour is not over."""
    if not store.has("billing_portal.link", secret):
        return None
    session: Object = store.get("billing_portal.link", secret)["session"]
    return session if store.now() < session["created"] + LIFETIME_SECONDS else None


def save_card(store: Store, session: Object, card: Card) -> Object:
    """Set a card up for the customer; return the setup intent, whose status tells the outcome."""
    customer = store.get("customer", session["customer"])
    intent = setup.create_intent(store, customer=customer["id"])
    known = {"id": f"{intent['id']}/portal", "session": session}
    store.add("billing_portal.setup", known)
    method = methods.create_method(store, card, email=customer["email"], customer=None)
    if setup.attempt(store, intent, method) == "succeeded":
        make_default(store, customer, method)
    return intent


def make_default(store: Store, customer: Object, method: Object) -> None:
    """Have the customer pay with a method from now on what has no method of its own."""
    settings = {**customer["invoice_settings"], "default_payment_method": method["id"]}
    store.change("customer.updated", customer, {"invoice_settings": settings})


def running(store: Store, customer: Object) -> list[Object]:
    """Return a customer's subscriptions that have not ended, the newest first."""
    owned = [one for one in store.newest_first("subscription") if one["customer"] == customer["id"]]
    return [one for one in owned if one["status"] not in ENDED]


def cancel(store: Store, subscription: Object) -> None:
    """Have a subscription end with its period, as its customer wishes."""
    ends_at = subscription["items"]["data"][0]["current_period_end"]
    changes = {
        "cancel_at": ends_at,
        "cancel_at_period_end": True,
        "canceled_at": store.now(),
        "cancellation_details": {
            "comment": None,
            "feedback": None,
            "reason": "cancellation_requested",
        },
    }
    store.change("customer.subscription.updated", subscription, changes)


def after(session: Object) -> str:
    """Return where a customer goes who has done what the link was made for."""
    flow = session["flow"]
    if flow and flow["after_completion"]["type"] == "redirect":
        return str(flow["after_completion"]["redirect"]["return_url"])
    return f"{session['url']}?done=1"


def _follow(store: Store, intent: Object) -> None:
    if _session_of(store, intent) and intent["status"] == "succeeded":
        customer = store.get("customer", intent["customer"])
        make_default(store, customer, store.get("payment_method", intent["payment_method"]))


def _way_back(store: Store, intent: Object, succeeded: bool) -> str | None:
    session = _session_of(store, intent)
    if session is None:
        return None
    return after(session) if succeeded else f"{session['url']}?failed={intent['id']}"


def _session_of(store: Store, intent: Object) -> Object | None:
    identifier = f"{intent['id']}/portal"
    if not store.has("billing_portal.setup", identifier):
        return None
    session: Object = store.get("billing_portal.setup", identifier)["session"]
    return session


setup.FOLLOWERS.append(_follow)
challenge.WAYS_BACK.append(_way_back)
ROUTES = (
    Route(
        "POST",
        "/v1/billing_portal/sessions",
        asked(
            {
                "configuration": text,
                "customer": text,
                "flow_data": record(
                    {
                        "after_completion": record(_AFTER, required=["type"]),
                        "subscription_cancel": _OF_SUBSCRIPTION,
                        "subscription_update": _OF_SUBSCRIPTION,
                        "subscription_update_confirm": record(
                            {"items": each(_CONFIRMED_ITEM, 1), "subscription": text},
                            required=["items", "subscription"],
                        ),
                        "type": choice(*FLOWS),
                    },
                    required=["type"],
                ),
                "locale": text,
                "return_url": web_address,
            },
            required=["customer"],
        ),
        create,
    ),
)
