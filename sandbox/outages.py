"""Control of faults: ``/_sandbox/faults`` puts them in force, shows them and ends them."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify

from sandbox.api import Gate
from sandbox.control import json_object, refused
from sandbox.errors import ApiError, parameter_missing
from sandbox.faults import STATUSES, Fault

KINDS = ("latency", "status", "timeout_after", "reset", "reset_after")
SECONDS_MAX = 120.0


def blueprint(gate: Gate) -> Blueprint:
    """Make the endpoints."""
    outages = Blueprint("outages", __name__, url_prefix="/_sandbox/faults")
    outages.register_error_handler(ApiError, refused)

    @outages.get("")
    def show() -> Response:
        return jsonify(faults=gate.faults.told())

    @outages.post("")
    def add() -> Response:
        return jsonify(gate.faults.add(read_fault(json_object())).told())

    @outages.delete("")
    def clear() -> Response:
        gate.faults.clear()
        return jsonify(faults=[])

    return outages


def read_fault(body: dict[str, Any]) -> Fault:
    """Read a fault as control takes it; refuse what does not fit."""
    unknown = body.keys() - {"kind", "method", "path", "times", "seconds", "status"}
    if unknown:
        raise ApiError(f"A fault has no {', '.join(sorted(unknown))}.", param=min(unknown))
    if "kind" not in body:
        raise parameter_missing("kind")
    for name, fits, wanted in (
        ("kind", lambda it: it in KINDS, f"one of {', '.join(KINDS)}"),
        ("method", lambda it: it in ("*", "GET", "POST", "DELETE"), "GET, POST, DELETE or *"),
        ("path", lambda it: isinstance(it, str), "a path, with * for any text"),
        ("times", lambda it: it is None or _whole(it), "a whole number from 1, or null for all"),
        ("seconds", _duration, f"from 0 to {SECONDS_MAX:.0f}"),
        ("status", lambda it: it in STATUSES, "400, 429, 500 or 503"),
    ):
        if name in body and not fits(body[name]):
            raise ApiError(f"{name} must be {wanted}.", param=name)
    return Fault(**body)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _duration(value: object) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= SECONDS_MAX
    )
