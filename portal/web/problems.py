"""Errors as answers: problem documents for the API, a page for people. Never a traceback."""

from __future__ import annotations

import json
from typing import Any

import structlog
from flask import Flask, Response, current_app, g, render_template, request
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from portal.core.errors import CatalogError, ClearmeterError, RateLimited, Unavailable
from portal.idempotency import problem

log = structlog.get_logger()

#: Paths that answer programs; everything else answers people.
PROGRAM_PATHS = ("/v1/", "/webhooks/", "/healthz", "/readyz", "/metrics", "/openapi.json")
RETRY_AFTER_SECONDS = 2
#: What somebody is told who opens an address that takes a form.
_FORM_ALONE = (
    "There is no page here",
    "This address takes what a form sends. Go back to the form's page and send it again.",
)
_CODES = {404: "not-found", 405: "method-not-allowed", 413: "payload-too-large"}


def register(app: Flask) -> None:
    """Answer every error in the shape its reader expects."""
    app.register_error_handler(ClearmeterError, answer)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(CSRFError, _csrf)
    app.register_error_handler(OperationalError, _store)
    app.register_error_handler(InterfaceError, _store)
    app.register_error_handler(PoolTimeout, _store)
    app.register_error_handler(Exception, _unexpected)


def error_words(error: ClearmeterError) -> str:
    """Say what is wrong with what was typed, naming the field as the page does."""
    listed = error.fields.get("errors") or []
    if not listed:
        return error.detail
    name = listed[0]["pointer"].rpartition("/")[2].replace("_", " ") or "it"
    return f"{name.capitalize()} {listed[0]['detail'].removesuffix('.')}."


def answer(error: ClearmeterError) -> tuple[Response, int]:
    """Return an error as a problem document or as a page."""
    if isinstance(error, CatalogError):
        # The request was fine: the operator has not loaded prices yet.
        error = Unavailable(error.detail)
    document = problem(error)
    if not request.path.startswith(PROGRAM_PATHS):
        document["detail"] = error_words(error)
    return _respond(document)


def _respond(document: dict[str, Any]) -> tuple[Response, int]:
    status = int(document["status"])
    if request.path.startswith(PROGRAM_PATHS):
        response = Response(
            json.dumps(document, ensure_ascii=False), content_type="application/problem+json"
        )
    else:
        page = render_template("error.html", problem=document, request_id=g.get("request_id", ""))
        response = current_app.make_response(page)
    if status == 401 and request.path.startswith("/v1/"):
        response.headers["WWW-Authenticate"] = "Bearer"
    if status in {429, 503}:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response, status


def _http(error: HTTPException) -> tuple[Response, int] | HTTPException:
    code = error.code or 500
    if code < 400:
        return error
    if code == 429:
        return answer(RateLimited("Too many requests in a short time. Wait a moment, then go on."))
    title, detail = error.name, error.description or error.name
    if isinstance(error, MethodNotAllowed) and not request.path.startswith(PROGRAM_PATHS):
        title, detail = _FORM_ALONE
    response, _ = _respond(
        {
            "type": f"/problems/{_CODES.get(code, 'invalid-request')}",
            "title": title,
            "status": code,
            "detail": detail,
        }
    )
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods or []))
    return response, code


def _csrf(_error: CSRFError) -> tuple[Response, int]:
    return _respond(
        {
            "type": "/problems/form-expired",
            "title": "This form has expired",
            "status": 400,
            "detail": "The page was open for too long, or was opened elsewhere. Go back, load it "
            "again and send it once more. Nothing was changed.",
        }
    )


def _store(error: OperationalError | InterfaceError | PoolTimeout) -> tuple[Response, int]:
    log.error("store failed", error=type(error).__name__, detail=str(error)[:500])
    # The connection may have broken after a commit: whether it was done is not known.
    return answer(
        Unavailable(
            "The store does not answer. Send the same again: with the same Idempotency-Key, or the "
            "same event ids, it is done once."
        )
    )


def _unexpected(error: Exception) -> tuple[Response, int]:
    log.error("unexpected", exc_info=error, path=request.path)
    return _respond(
        {
            "type": "/problems/internal",
            "title": "Something went wrong on our side",
            "status": 500,
            "detail": "It has been written down. Try again; if it stays, send us the request id.",
        }
    )
