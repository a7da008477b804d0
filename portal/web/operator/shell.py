"""What every page of the operator's stands in: the blueprint, its one guard, and how acts answer.

Invariant: to whoever is not signed in as the operator nothing here exists; each act carries a key
that its form was made with, so that the same form sent twice acts once.
"""

from __future__ import annotations

import re
from typing import cast

from flask import Blueprint, Response, abort, flash, redirect, request, session, url_for
from werkzeug.wrappers import Response as AnyResponse

from portal.access import VIEW, Visitor
from portal.core.errors import (
    ClearmeterError,
    IdempotencyConflict,
    InvalidRequest,
    Unavailable,
)
from portal.ids import new_id
from portal.office import viewing
from portal.web.problems import answer, error_words
from portal.web.security import Session
from portal.web.services import services

blueprint = Blueprint("operator", __name__, url_prefix="/operator")

_KEY = re.compile(r"form_[0-9a-z]{20}", re.ASCII)


def current_session() -> Session:
    """Return the visitor's session."""
    return cast(Session, session._get_current_object())  # type: ignore[attr-defined] # a proxy


@blueprint.before_request
def operators_only() -> AnyResponse | None:
    """Answer as if there were nothing here, except to the operator."""
    visitor: Visitor = getattr(session, "visitor", Visitor())
    if visitor.watched_by:
        away = request.endpoint != "operator.end_view"
        return redirect(url_for("customer.overview")) if away else None
    if not visitor.operator_email:
        abort(404)
    _end_lapsed_view(visitor.operator_email)
    return None


def _end_lapsed_view(operator: str) -> None:
    view = current_session().pop(VIEW, None)
    if view is not None:
        parts = services()
        with parts.database.transaction() as tx:
            viewing.end(tx, view, operator=operator, now=parts.clock())


def operator() -> str:
    """Return the address of the operator who reads this page."""
    visitor: Visitor = current_session().visitor
    return visitor.operator_email or visitor.watched_by


def actor() -> str:
    """Return how the operator stands on record."""
    return f"operator:{operator()}"


def form_key() -> str:
    """Return a new key for a form, which the form brings back."""
    return new_id("form")


def sent_key() -> str:
    """Return the key of the form that was sent. Raises InvalidRequest."""
    key = request.form.get("key", "")
    if not _KEY.fullmatch(key):
        raise InvalidRequest("This form is not whole. Load its page again and send it once more.")
    return key


def reason() -> str:
    """Return the reason that was typed, which goes on record. Raises InvalidRequest."""
    given = request.values.get("reason", "").strip()
    if not given:
        raise InvalidRequest.at("/reason", "is needed: it goes on record")
    if len(given) > viewing.LONGEST_REASON:
        raise InvalidRequest.at("/reason", f"has at most {viewing.LONGEST_REASON} characters")
    return given


@blueprint.errorhandler(InvalidRequest)
@blueprint.errorhandler(IdempotencyConflict)
@blueprint.errorhandler(Unavailable)
def say_and_stay(error: ClearmeterError) -> AnyResponse | tuple[Response, int]:
    """Lead back to the page a form was sent from, and say there why it was not taken."""
    back = request.form.get("back", "")
    if request.method != "POST" or not _ours(back):
        return answer(error)
    flash(error_words(error), "bad")
    return redirect(back, 303)


def _ours(path: str) -> bool:
    """Tell whether a path is one of these pages: nothing else is ever led to."""
    return bool(re.fullmatch(r"/operator/[A-Za-z0-9_./?=&%:@+-]*", path)) and "//" not in path
