"""The sandbox's clock, which can be moved forward, and what it does to unpaid subscriptions.

Everything that falls due on the way is settled in order, each at its own instant. Signatures of
webhooks keep the real time, since the receiver judges their age by its own clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, jsonify

from sandbox import renewals
from sandbox.api import Gate
from sandbox.errors import ApiError, parameter_invalid
from sandbox.store import Cause

AHEAD_SECONDS_MAX = 10 * 366 * 24 * 60 * 60


def add_to(control: Blueprint, gate: Gate, body: Callable[[], dict[str, Any]]) -> None:
    """Add the clock and the settings of recurring billing to the control endpoints."""

    @control.get("/clock")
    def clock() -> Response:
        with gate.store.acting(Cause(gate.base_url())):
            return jsonify(now=gate.store.now())

    @control.post("/clock")
    def move() -> Response:
        with gate.store.acting(Cause(gate.base_url())):
            gate.store.advance(_seconds(body(), gate.store.now()))
        with gate.store.acting(Cause(gate.base_url())):
            return jsonify(now=gate.store.now())

    @control.get("/billing")
    def billing() -> Response:
        return jsonify(after_retries=renewals.after_retries(gate.store))

    @control.post("/billing")
    def set_billing() -> Response:
        chosen = body().get("after_retries")
        if chosen not in renewals.AFTER_RETRIES:
            allowed = ", ".join(renewals.AFTER_RETRIES)
            raise parameter_invalid("after_retries", f"after_retries must be one of {allowed}.")
        renewals.set_after_retries(gate.store, chosen)
        return jsonify(after_retries=chosen)


def _seconds(asked: dict[str, Any], now: int) -> int:
    if len(asked) != 1 or not asked.keys() <= {"advance_seconds", "to"}:
        raise ApiError("Give one of advance_seconds and to.")
    name, value = next(iter(asked.items()))
    if not isinstance(value, int) or isinstance(value, bool):
        raise parameter_invalid(name, f"{name} must be a whole number of seconds.")
    seconds = value - now if name == "to" else value
    if not 0 <= seconds <= AHEAD_SECONDS_MAX:
        raise parameter_invalid(name, "The clock only goes forward, by ten years at most.")
    return seconds
