"""The parameters a call takes in its address. One that no call has is refused, not ignored:
a misspelt filter must not answer the whole organization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from portal import usage
from portal.core.errors import FieldError, InvalidRequest
from portal.margin import margins

_PAGE = {"cursor": "where the last page ended", "limit": "how many, 1 to 200"}
_LABELS = {name: f"only this {name}" for name in usage.FILTERS}

_MARGIN_DAYS = {
    "start": "the first day, 2026-11-01; this month's where it is left out",
    "end": "the day after the last one; tomorrow where it is left out",
}

_LAST_QUARTER = {
    "start": "the first day; three calendar months that have ended where it is left out",
    "end": "the day after the last one",
}

#: By endpoint: each parameter's name and what it means.
QUERIES: dict[str, dict[str, str]] = {
    "api.list_organizations": _PAGE,
    "api.get_balance": {"at": "a past instant; now where it is left out"},
    "api.get_statement": {
        "period": "current, previous, or a day or time of the period",
        "detail": "days, or movements for every one",
    },
    "api.get_rejected_events": {"code": "only those refused with this code", **_PAGE},
    "api.get_usage": {
        "start": "the first local day, 2026-11-01, or its first instant",
        "end": "the local day after the last one, or its first instant",
        "group_by": "one or more of " + ", ".join(usage.GROUPS),
        "include": "cost, for service keys",
        **_LABELS,
    },
    "api.get_forecast": {"at": "as of this past instant: from what was used until then"},
    "api.get_events": {
        "start": "from this instant, or local day, on",
        "end": "before this instant, or local day",
        **_LABELS,
        **_PAGE,
    },
    "api.get_margin_signals": _LAST_QUARTER,
    "api.get_margin_routing": _LAST_QUARTER,
    "api.get_simulations": _PAGE,
    "api.get_simulated_customers": {"sort": "more, revenue, cost or swing", **_PAGE},
    "api.get_margin": _MARGIN_DAYS,
    "api.list_margins": {
        **_MARGIN_DAYS,
        "sort": "one of " + ", ".join(margins.SORTS) + "; a minus before it: the largest first",
        **_PAGE,
    },
    "api.get_margin_of_organization": _MARGIN_DAYS,
    "api.get_event": {"source": "the event's source, where two share an id"},
}


def check(endpoint: str, given: Mapping[str, Sequence[str]]) -> None:
    """Refuse parameters the call does not take, or takes once. Raises InvalidRequest."""
    known = QUERIES.get(endpoint, {})
    unknown = sorted(set(given) - set(known))
    if unknown:
        takes = f"this call takes {', '.join(known)}" if known else "this call takes none"
        raise InvalidRequest(
            f"{unknown[0]!r} is not a parameter here; {takes}.",
            [FieldError(f"/{name}", f"is not a parameter; {takes}") for name in unknown],
        )
    for name, values in given.items():
        if len(values) > 1:
            raise InvalidRequest.at(f"/{name}", "is given more than once")
