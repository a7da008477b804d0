"""What a hold is worth and what is said of it: its price, its answer, how it ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from portal import holds
from portal.core.errors import AuthorizationSettled, InvalidRequest
from portal.core.rating import rate
from portal.core.units import format_micro
from portal.db import Database
from portal.holds import Hold

LARGEST_HOLD_MICRO = 10**15


def credits_for(quantity_micro: int, price_micro: int) -> int:
    """Return what a quantity costs. Raises InvalidRequest where that is too much to hold."""
    credits_micro = rate(quantity_micro=quantity_micro, price_micro=price_micro)
    if credits_micro > LARGEST_HOLD_MICRO:
        raise InvalidRequest.at("/quantity", "is too large for the action's price")
    return credits_micro


def describe(hold: Hold) -> dict[str, Any]:
    """Return an open hold as an answer shows it."""
    return {
        "id": hold.hold_id,
        "status": hold.status,
        "action": hold.action,
        "credits": format_micro(hold.credits_micro),
        "quantity": format_micro(hold.quantity_micro),
        "expires_at": hold.expires_at.isoformat(),
    }


def settled(hold: Hold) -> AuthorizationSettled:
    """Return the error that says how an authorization ended, with its original answer."""
    original = (hold.outcome or {}).get("answer", {"id": hold.hold_id, "status": hold.status})
    how = (
        "ended at its deadline"
        if hold.status == "expired"
        else f"was {hold.status} by another call"
    )
    return AuthorizationSettled(f"This authorization {how}.", original=original)


def on_hold(database: Database, hold_id: str, only: str | None) -> str:
    """Return the organization a hold is of. Raises NotFound."""
    with database.reading() as tx:
        return holds.organization_of(tx, hold_id, only=only)


def state_of(
    database: Database, hold_id: str, *, only: str | None, now: datetime
) -> dict[str, Any]:
    """Return an authorization as it stands at ``now``. Raises NotFound."""
    with database.reading() as tx:
        organization_id = holds.organization_of(tx, hold_id, only=only)
        hold = holds.find(tx, organization_id, hold_id)
    if hold.lapsed(now):
        hold = replace(hold, status="expired")
    answer = describe(hold)
    if hold.outcome and "answer" in hold.outcome:
        answer |= hold.outcome["answer"]
    return answer
