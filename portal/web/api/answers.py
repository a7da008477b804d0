"""Answers as JSON: the domain's records in the words of the contract."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from flask import Response, request

from portal.accounts import Member, Organization
from portal.core.catalog import minor_places
from portal.core.errors import InvalidRequest
from portal.core.units import format_micro, format_scaled
from portal.idempotency import Answer
from portal.limits import WatchedCap

LONGEST_KEY = 128


def answer(body: Any, status: int = 200) -> tuple[Response, int]:
    """Return a body as JSON."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), default=str)
    return Response(text, content_type="application/json"), status


def stored_answer(stored: Answer) -> tuple[Response, int]:
    """Return a kept answer, byte for byte."""
    kind = "application/problem+json" if stored.refused else "application/json"
    return Response(stored.body, content_type=kind), stored.status


def idempotency_key() -> str | None:
    """Return the request's Idempotency-Key. Raises InvalidRequest."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not 1 <= len(key) <= LONGEST_KEY or not key.isprintable():
        raise InvalidRequest(f"Idempotency-Key must have 1 to {LONGEST_KEY} printable characters.")
    return key


def when(instant: datetime | None) -> str | None:
    """Return an instant as RFC 3339."""
    return None if instant is None else instant.isoformat()


def organization(found: Organization, now: datetime) -> dict[str, Any]:
    """Return an organization."""
    period, coming = found.period_at(now), found.zone.to_come(now)
    return {
        "id": found.organization_id,
        "name": found.name,
        "email": found.email or None,
        "timezone": found.zone.name_at(now),
        "timezone_next": coming.name if coming else None,
        "timezone_changes_at": when(coming.at) if coming else None,
        "currency": found.currency,
        "charging": found.charging,
        "tier": found.tier,
        "seats": found.seats,
        "period": {"start": when(period.start), "end": when(period.end)},
        "created_at": when(found.created_at),
    }


def member(found: Member) -> dict[str, Any]:
    """Return a member."""
    return {
        "id": found.member_id,
        "email": found.email,
        "name": found.name,
        "role": found.role,
        "team": found.team_id or None,
    }


def cap(watched: WatchedCap, organization: Organization) -> dict[str, Any]:
    """Return a cap with what it has counted and which of its thresholds stand reached."""
    state, found = watched.state, watched.state.cap
    limit = {"credits": format_micro(found.limit_micro)}
    if found.limit_minor is not None:
        limit["amount"] = money(found.limit_minor, organization.currency)
        limit["currency"] = organization.currency
    return {
        "id": found.cap_id,
        "scope": found.scope,
        "target": found.target or None,
        "action": found.action or None,
        "window": found.window,
        "limit": limit,
        "mode": found.mode,
        "raised": format_micro(state.raised_micro),
        "thresholds": list(found.thresholds),
        "spent": format_micro(state.spent_micro),
        "held": format_micro(state.held_micro),
        "remaining": format_micro(state.remaining_micro),
        "resets_at": when(state.window.end),
        "alerts": [
            {
                "threshold": alert.threshold,
                "raised_at": when(alert.raised_at),
                "ended_at": when(alert.ended_at),
            }
            for alert in watched.alerts
        ],
    }


def money(amount_minor: int, currency: str) -> str:
    """Return an amount in minor units as a decimal string of the currency's unit."""
    return format_scaled(amount_minor, places=minor_places(currency))
