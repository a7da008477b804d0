"""Events: what happened, for whoever missed the webhook."""

from __future__ import annotations

from sandbox.api import Route, retrieve
from sandbox.lists import matching, page
from sandbox.parameters import boolean, each, listed, text
from sandbox.store import Object, Store

TYPES_MAX = 20


def list_all(store: Store, params: Object) -> Object:
    """List events by type, several types, age, and whether their webhooks got through."""
    found = matching(store.newest_first("event"), params, [])
    if "type" in params:
        found = [event for event in found if is_of_type(event["type"], params["type"])]
    if "types" in params:
        found = [event for event in found if event["type"] in params["types"]]
    if "delivery_success" in params:
        delivered = params["delivery_success"]
        found = [event for event in found if (event["pending_webhooks"] == 0) == delivered]
    return page("/v1/events", found, params)


def is_of_type(kind: str, wanted: str) -> bool:
    """Compare types; the first star stands for any text, as in ``charge.*``."""
    stem, star, rest = wanted.partition("*")
    return kind.startswith(stem) and kind.endswith(rest) if star else kind == wanted


ROUTES = (
    retrieve("event", "/v1/events"),
    Route(
        "GET",
        "/v1/events",
        listed({"delivery_success": boolean, "type": text, "types": each(text, TYPES_MAX)}),
        list_all,
    ),
)
