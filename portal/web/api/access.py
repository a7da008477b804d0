"""Who calls the API, and what their key allows."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import cast

from flask import g, request
from sqlalchemy.exc import OperationalError

from portal import accounts, desk, keys, tiers
from portal.accounts import Organization
from portal.core.errors import NotAllowed, NotFound, Unauthenticated, Unavailable
from portal.keys import Caller
from portal.web.api import queries
from portal.web.services import services


def guard() -> None:
    """Recognize the key of every request before anything else.

    Raises Unauthenticated, and InvalidRequest for a parameter the call does not take.
    """
    kind, _, key = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not key.strip():
        raise Unauthenticated("Send Authorization: Bearer followed by a key.")
    parts, now = services(), services().clock()
    g.caller = keys.caller_of(parts.database, key.strip(), now=now)
    if g.caller.unseen:
        _remember_use(g.caller, now)
    queries.check(request.endpoint or "", dict(request.args.lists()))


def _remember_use(caller: Caller, now: datetime) -> None:
    """Write down that the key is in use; a store that is busy has more important things to do."""
    with suppress(Unavailable, OperationalError), services().database.transaction() as tx:
        keys.used(tx, caller.key_id, now=now)


def caller() -> Caller:
    """Return whose request this is."""
    return cast(Caller, g.caller)


def need(scope: str) -> None:
    """Refuse a key without a scope. Raises NotAllowed."""
    if scope not in caller().scopes:
        raise NotAllowed(f"This key lacks the scope {scope!r}. Make one that has it.")


def need_service() -> None:
    """Refuse an organization's key. Raises NotAllowed."""
    if not caller().is_service:
        raise NotAllowed("Only the operator's service key may do this.")


def current(organization_id: str) -> Organization:
    """Return an organization the key may see, in the period running now. Raises NotFound."""
    parts, now = services(), services().clock()
    with parts.database.reading() as tx:
        found = accounts.find_organization(tx, own(organization_id))
    if tiers.is_due(found, now=now):
        found = desk.begin_due(parts.database, organization_id, now=now)
    return found


def own(organization_id: str) -> str:
    """Return the id where the key may see that organization. Raises NotFound as if it were not."""
    mine = caller().organization_id
    if mine is not None and mine != organization_id:
        raise NotFound("organization", organization_id)
    return organization_id
