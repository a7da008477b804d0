"""The gate of the API: key, parameters, idempotency, lock, answer, in this order.

The nouns declare their routes; everything that all requests have in common happens here, once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl

from flask import Flask, Response, request

from sandbox.errors import ApiError, key_refused, parameter_invalid, url_unrecognized
from sandbox.faults import Cut, Faults, Faulty, Met, cut
from sandbox.idempotency import Answer, Memory
from sandbox.lists import expanded
from sandbox.parameters import Kind, asked, decode
from sandbox.store import API_VERSION, Cause, Object, Store, new_id

PAIRS_MAX = 2000
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Route:
    """One endpoint: what it takes, and who answers (the store, the parameters, the path's ids)."""

    method: str
    path: str
    takes: Kind
    answer: Callable[..., Object]


class Gate:
    """Answers requests under ``/v1``, for the routes it was given."""

    def __init__(self, store: Store, memory: Memory, base_url: str | None) -> None:
        self.store = store
        self.memory = memory
        self.faults = Faults()
        self._base_url = base_url

    def base_url(self) -> str:
        """Return where browsers find the sandbox: as configured, or as this request found it."""
        return (self._base_url or request.url_root).rstrip("/")

    def register(self, app: Flask, routes: Iterable[Route]) -> None:
        """Add the routes; any other path under ``/v1`` is refused as Stripe does."""
        for route in routes:
            app.add_url_rule(
                route.path,
                endpoint=f"{route.method} {route.path}",
                view_func=self._view(route),
                methods=[route.method],
            )
        app.add_url_rule(
            "/v1/<path:_path>",
            endpoint="unrecognized",
            view_func=self._unrecognized,
            methods=["GET", "POST", "DELETE"],
        )

    def _view(self, route: Route) -> Callable[..., Response]:
        def view(**ids: str) -> Response:
            request_id = new_id("req_", 14)
            try:
                authenticate(request.headers.get("Authorization"))
                met = self.faults.meet(request.method, request.path)
                return met.after(self._once(route, ids, request_id, met))
            except ApiError as refusal:
                return _respond(_refusal(refusal, request_id), request_id)
            except Cut:
                return cut()

        return view

    def _unrecognized(self, _path: str) -> Response:
        request_id = new_id("req_", 14)
        refusal = url_unrecognized(request.method, request.path)
        return _respond(_refusal(refusal, request_id), request_id)

    def _once(self, route: Route, ids: dict[str, str], request_id: str, met: Met) -> Response:
        pairs = _pairs()
        key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
        if not key:
            answer, _ = self._perform(route, ids, pairs, Cause(self.base_url(), request_id), met)
            return _respond(answer, request_id)
        kept = self.memory.claim(key, (request.path, tuple(sorted(pairs))))
        if kept:
            met.wait()
            return _respond(kept, request_id, key=key, replayed=True)
        try:
            cause = Cause(self.base_url(), request_id, key)
            answer, began = self._perform(route, ids, pairs, cause, met)
        except BaseException:
            self.memory.release(key)
            raise
        if began:
            self.memory.keep(key, answer)
        else:
            self.memory.release(key)
        return _respond(answer, request_id, key=key)

    def _perform(
        self,
        route: Route,
        ids: dict[str, str],
        pairs: list[tuple[str, str]],
        cause: Cause,
        met: Met,
    ) -> tuple[Answer, bool]:
        """Return the answer, and whether the work began: then its outcome stands, even a refusal.

        What is refused before, for its parameters or because of too many requests, had no effect.
        """
        began, request_id = False, cause.request_id or ""
        try:
            met.before()
            params = route.takes(decode(pairs), "")
            paths = params.pop("expand", [])
            began = True
            with self.store.acting(cause):
                told = route.answer(self.store, params, **ids)
                body = json.dumps(expanded(self.store, told, paths), indent=2)
        except ApiError as refusal:
            failed = isinstance(refusal, Faulty) and refusal.status == 500
            return _refusal(refusal, request_id), began or failed
        return Answer(200, body, request_id), began


def authenticate(authorization: str | None) -> None:
    """Take a secret test key and nothing else; above all, no live key."""
    if not authorization:
        raise key_refused(
            "You did not provide an API key. Send it as a bearer token: "
            "'Authorization: Bearer sk_test_...'."
        )
    key = authorization.removeprefix("Bearer ").strip()
    if request.authorization and request.authorization.type == "basic":
        key = request.authorization.username or ""
    if key.startswith(("sk_live_", "rk_live_", "pk_live_")):
        raise key_refused(
            "This is a live key, and this is a sandbox where no money moves: "
            "it takes only test keys (sk_test_...). Use a test key here."
        )
    if not key.startswith("sk_test_") or key == "sk_test_":
        raise key_refused(f"Invalid API Key provided: {key[:8]}****. Use a key like sk_test_...")


def _pairs() -> list[tuple[str, str]]:
    query = request.query_string.decode("utf-8", "replace")
    if request.method == "GET":
        return _parsed(query)
    if request.content_length and request.mimetype != FORM:
        raise ApiError(f"Invalid request (check that your POST content type is {FORM}).")
    return _parsed(query) + _parsed(request.get_data().decode("utf-8", "replace"))


def _parsed(form: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(form, keep_blank_values=True, max_num_fields=PAIRS_MAX)
    except ValueError:
        raise parameter_invalid("", f"A request has at most {PAIRS_MAX} parameters.") from None


def _refusal(refusal: ApiError, request_id: str) -> Answer:
    return Answer(refusal.status, json.dumps({"error": refusal.body()}, indent=2), request_id)


def _respond(
    answer: Answer, request_id: str, *, key: str | None = None, replayed: bool = False
) -> Response:
    response = Response(answer.body, answer.status, mimetype="application/json")
    response.headers["Request-Id"] = request_id
    response.headers["Stripe-Version"] = request.headers.get("Stripe-Version", API_VERSION)
    if key:
        response.headers["Idempotency-Key"] = key
        response.headers["Original-Request"] = answer.request_id
    if replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response


def retrieve(kind: str, path: str) -> Route:
    """Declare the endpoint that returns one object by its id."""

    def answer(store: Store, _params: Object, identifier: str) -> Object:
        return store.get(kind, identifier)

    return Route("GET", f"{path}/<identifier>", asked({}), answer)
