"""Lists and expansion: how objects leave the sandbox.

Newest first, a page at a time, by a cursor that is an object's id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

from sandbox.errors import ApiError, resource_missing
from sandbox.store import Object, Store

PAGE_LENGTH = 10
EXPANSION_DEPTH_MAX = 4

# Fields that an object shows only to those who expand them, by kind and name, each with its maker.
INCLUDABLE: dict[tuple[str, str], Callable[[Store, Object], Object]] = {}


def envelope(url: str, data: list[Object], *, has_more: bool = False) -> Object:
    """Wrap objects as Stripe wraps a list."""
    return {"object": "list", "data": data, "has_more": has_more, "url": url}


def page(url: str, things: list[Object], params: dict[str, Any]) -> Object:
    """Cut one page out of things that are newest first."""
    limit: int = params.get("limit", PAGE_LENGTH)
    after, before = params.get("starting_after"), params.get("ending_before")
    if after and before:
        raise ApiError(
            "You cannot parameterize both starting_after and ending_before simultaneously."
        )
    if before:
        newer = things[: _position(things, before, "ending_before")]
        return envelope(url, newer[-limit:], has_more=len(newer) > limit)
    older = things[_position(things, after, "starting_after") + 1 :] if after else things
    return envelope(url, older[:limit], has_more=len(older) > limit)


def _position(things: list[Object], identifier: str, param: str) -> int:
    for index, thing in enumerate(things):
        if thing["id"] == identifier:
            return index
    raise resource_missing("object", identifier, param)


def matching(things: Iterable[Object], params: dict[str, Any], fields: Iterable[str]) -> list[Any]:
    """Keep what was created in the interval asked for and agrees on the fields asked for."""
    interval = params.get("created", {})
    asked = [field for field in fields if field in params]
    return [
        thing
        for thing in things
        if _within(thing["created"], interval)
        and all(thing[field] == params[field] for field in asked)
    ]


def _within(instant: int, interval: dict[str, int]) -> bool:
    tests: dict[str, Callable[[int], bool]] = {
        "gt": instant.__gt__,
        "gte": instant.__ge__,
        "lt": instant.__lt__,
        "lte": instant.__le__,
    }
    return all(tests[name](bound) for name, bound in interval.items())


def expanded(store: Store, answer: Object, paths: Iterable[str]) -> Object:
    """Return a copy of the answer in which the ids on these paths have become their objects."""
    copy = deepcopy(answer)
    for path in paths:
        steps = path.split(".")
        if len(steps) > EXPANSION_DEPTH_MAX:
            raise ApiError(
                f"You cannot expand more than {EXPANSION_DEPTH_MAX} levels of a property. "
                f"Property: {path}"
            )
        _expand(store, copy, steps, path)
    return copy


def _expand(store: Store, within: Any, steps: list[str], path: str) -> None:
    if isinstance(within, list):
        for thing in within:
            _expand(store, thing, steps, path)
        return
    if not steps or within is None:
        return
    name = steps[0]
    if isinstance(within, dict) and name not in within:
        _include(store, within, name)
    if not isinstance(within, dict) or name not in within:
        raise ApiError(f"This property cannot be expanded ({path}).")
    if isinstance(within[name], str):
        found = store.find(within[name])
        if found is None:
            raise ApiError(f"This property cannot be expanded ({path}).")
        within[name] = deepcopy(found)
    elif isinstance(within[name], list):
        within[name] = [_found(store, thing) for thing in within[name]]
    _expand(store, within[name], steps[1:], path)


def _found(store: Store, thing: Any) -> Any:
    found = store.find(thing) if isinstance(thing, str) else None
    return deepcopy(found) if found else thing


def _include(store: Store, within: Object, name: str) -> None:
    include = INCLUDABLE.get((str(within.get("object")), name))
    if include:
        within[name] = deepcopy(include(store, within))
