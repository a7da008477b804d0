"""Faults on demand: what the network and an overloaded Stripe do to a call of the API.

A fault meets the next calls whose method and path fit, as many as it was given. It changes when and
whether a call is answered, never what the work did: ``timeout_after`` and ``reset_after`` do all of
the work, and the idempotency key remembers its answer for whoever asks again.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase

from flask import Response, request

from sandbox.errors import ApiError
from sandbox.store import new_id

STATUSES = {
    400: (
        "invalid_request_error",
        "resource_missing",
        "This customer has no attached payment source or default payment method.",
    ),
    429: ("invalid_request_error", "rate_limit", "Request rate limit exceeded."),
    500: ("api_error", None, "An unknown error occurred."),
    503: ("api_error", None, "Stripe is temporarily unavailable. Try again shortly."),
}
POLL_SECONDS = 0.05


@dataclass
class Fault:
    """One fault and the calls it is for; ``times`` counts down, None stands for all calls."""

    kind: str
    method: str = "*"
    path: str = "*"
    times: int | None = 1
    seconds: float = 30.0  # of latency, or until a connection is held no longer
    status: int = 500
    met: int = 0
    id: str = field(default_factory=lambda: new_id("fault_", 12))

    def told(self) -> dict[str, object]:
        """Return the fault as control shows it."""
        return asdict(self)


class Cut(Exception):
    """The connection is to be cut before the work."""


class Faulty(ApiError):
    """An answer that a fault gives in place of the work."""


class Met:
    """The faults that one call met: at most one delay, and at most one of the others."""

    def __init__(self, faults: list[Fault]) -> None:
        self._delays = [fault for fault in faults if fault.kind == "latency"]
        others = [fault for fault in faults if fault.kind != "latency"]
        self._fault = others[0] if others else None

    def wait(self) -> None:
        """Let the latency pass."""
        if self._delays:
            time.sleep(self._delays[0].seconds)

    def before(self) -> None:
        """Do to the call what comes before its work; raise what comes instead of it."""
        self.wait()
        if self._fault and self._fault.kind == "reset":
            raise Cut
        if self._fault and self._fault.kind == "status":
            kind, code, message = STATUSES[self._fault.status]
            raise Faulty(message, status=self._fault.status, kind=kind, code=code)

    def after(self, response: Response) -> Response:
        """Do to the answer what comes after the work."""
        if self._fault is None or self._fault.kind in ("reset", "status"):
            return response
        connection = request.environ.get("werkzeug.socket")
        if self._fault.kind == "timeout_after":
            _hold(connection, self._fault.seconds)
            return cut()
        return _cut_in_the_middle(response, connection)


class Faults:
    """The faults in force, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Put a fault in force."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def told(self) -> list[dict[str, object]]:
        """Return all faults asked for, those that are used up as well."""
        with self._lock:
            return [fault.told() for fault in self._faults]

    def clear(self) -> None:
        """Put an end to all faults."""
        with self._lock:
            self._faults.clear()

    def meet(self, method: str, path: str) -> Met:
        """Return what a call meets, and count it."""
        with self._lock:
            fitting = [
                fault
                for fault in self._faults
                if fault.times != 0
                and fault.method in ("*", method)
                and fnmatchcase(path, fault.path)
            ]
            delays = [fault for fault in fitting if fault.kind == "latency"][:1]
            others = [fault for fault in fitting if fault.kind != "latency"][:1]
            for fault in delays + others:
                fault.met += 1
                if fault.times is not None:
                    fault.times -= 1
            return Met(delays + others)


def cut() -> Response:
    """Cut the connection; what is returned does not arrive."""
    _shut(request.environ.get("werkzeug.socket"))
    response = Response(_broken(b"", None), 200, mimetype="application/json")
    response.headers["Content-Length"] = "1"
    return response


def _cut_in_the_middle(response: Response, connection: socket.socket | None) -> Response:
    body = response.get_data()
    halved = Response(
        _broken(body[: len(body) // 2], connection), response.status_code, response.headers
    )
    halved.headers["Content-Length"] = str(len(body))
    return halved


def _broken(some: bytes, connection: socket.socket | None) -> Iterator[bytes]:
    yield some
    _shut(connection)


def _shut(connection: socket.socket | None) -> None:
    """Reset a connection; where the server does not show it, the short body has to do."""
    if connection is None:
        return
    linger_not_at_all = struct.pack("ii", 1, 0)
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not_at_all)
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the client was quicker


def _hold(connection: socket.socket | None, seconds: float) -> None:
    """Hold the connection without a word, until the client gives up or the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if connection is None:
            time.sleep(POLL_SECONDS)
            continue
        readable, _, _ = select.select([connection], [], [], POLL_SECONDS)
        try:
            if readable and connection.recv(1, socket.MSG_PEEK) == b"":
                return
        except OSError:
            return
