"""Control of the sandbox itself, under ``/_sandbox/``: for tests and demonstrations.

Stripe has none of this. No key is asked for. Bodies are JSON and must say so, which keeps other
sites' forms out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, jsonify, request

from sandbox import clock, versions
from sandbox.api import Gate
from sandbox.errors import ApiError, parameter_invalid, parameter_unknown
from sandbox.events import is_of_type
from sandbox.parameters import web_address
from sandbox.store import Cause
from sandbox.webhooks import Courier

COPIES_MAX = 50
DELAY_SECONDS_MAX = 3600


def _flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise parameter_invalid(name, f"{name} must be true or false.")
    return value


def _copies(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= COPIES_MAX:
        raise parameter_invalid(name, f"{name} must be a whole number from 1 to {COPIES_MAX}.")
    return value


def _seconds(value: object, name: str) -> float:
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not 0 <= value <= DELAY_SECONDS_MAX
    ):
        raise parameter_invalid(name, f"{name} must be from 0 to {DELAY_SECONDS_MAX}.")
    return value


def _types(value: object, name: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise parameter_invalid(name, f"{name} must be a list of event types, or null for all.")
    return tuple(value)


def _version(value: object, name: str) -> object:
    if value is not None and not versions.is_version(value):
        raise parameter_invalid(name, f"{name} must be a version like 2020-08-27, or null.")
    return value


_BEHAVIOUR: dict[str, Callable[[Any, str], Any]] = {
    "url": lambda value, name: None if value is None else web_address(value, name),
    "copies": _copies,
    "delay_seconds": _seconds,
    "drop": _flag,
    "shuffle": _flag,
    "paused": _flag,
    "twins": _flag,
    "types": _types,
    "api_version": _version,
}


def json_object() -> dict[str, Any]:
    """Return the request's body, which is one JSON object."""
    body = request.get_json()
    if not isinstance(body, dict):
        raise ApiError("Send one JSON object.")
    return body


def refused(refusal: ApiError) -> tuple[Response, int]:
    """Answer a request to control that does not fit."""
    return jsonify(error=refusal.body()), refusal.status


def blueprint(gate: Gate, courier: Courier) -> Blueprint:
    """Make the control endpoints."""
    control = Blueprint("control", __name__, url_prefix="/_sandbox")

    control.register_error_handler(ApiError, refused)

    @control.get("/deliveries")
    def deliveries() -> Response:
        told = courier.deliveries()
        pending = sum(one["state"] == "pending" for one in told)
        return jsonify(deliveries=told, pending=pending)

    @control.get("/webhooks")
    def behaviour() -> Response:
        return jsonify(courier.behaviour)

    @control.post("/webhooks")
    def behave() -> Response:
        changes = {}
        for name, value in json_object().items():
            if name not in _BEHAVIOUR:
                raise parameter_unknown(name)
            changes[name] = _BEHAVIOUR[name](value, name)
        courier.behave(changes)
        return jsonify(courier.behaviour)

    @control.post("/redeliver")
    def redeliver() -> Response:
        body = json_object()
        if len({"event", "type"} & body.keys()) != 1 or body.keys() - {"event", "type", "copies"}:
            raise ApiError("Name one of event and type, and copies if more than one is wanted.")
        copies = _copies(body.get("copies", 1), "copies")
        with gate.store.acting(Cause(gate.base_url())):
            if "event" in body:
                events = [dict(gate.store.get("event", str(body["event"])))]
            else:
                newest_first = gate.store.newest_first("event")
                events = [
                    dict(one)
                    for one in newest_first[::-1]
                    if is_of_type(one["type"], str(body["type"]))
                ]
        # Outside the lock: the receiver may well ask the API before it answers.
        sent = [
            {"event": event["id"], "type": event["type"], "status": status}
            for event in events
            for status in courier.send_now(event, copies)
        ]
        return jsonify(deliveries=sent)

    clock.add_to(control, gate, json_object)

    @control.post("/reset")
    def reset() -> Response:
        gate.faults.clear()
        gate.store.clear()
        gate.memory.clear()
        courier.clear()
        return jsonify(reset=True)

    return control
