"""Costs nobody believes yet: what senders stated far from the cost book, and what was decided.

Owns ``cost_reviews``. Invariants: a line is decided once; accepting adds a line of the difference
and moves the rollup by it, in the transaction of the decision; nothing that was booked is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, select, update

from portal import audit, events
from portal.core.errors import InvalidRequest, NotFound
from portal.core.units import format_nano_usd
from portal.db import Database
from portal.tables import cost_reviews, event_costs
from portal.wallet import Wallet

ACCEPTED, REJECTED = "accepted", "rejected"


@dataclass(frozen=True)
class Suspect:
    """One cost line that waits for a decision; amounts in billionths of a US dollar."""

    organization_id: str
    review_id: str
    source: str
    event_id: str
    line: int
    layer: str
    subject: str
    stated_nano_usd: int
    booked_nano_usd: int
    price_source: str
    raised_at: datetime


_SAME_LINE = and_(
    *(
        cost_reviews.c[name] == event_costs.c[name]
        for name in ("organization_id", "source", "event_id", "line")
    )
)


_SUSPECTS = select(
    cost_reviews,
    event_costs.c.layer,
    event_costs.c.model,
    event_costs.c.resource,
    event_costs.c.stated_nano_usd,
    event_costs.c.amount_nano_usd,
    event_costs.c.price_source,
).join(event_costs, _SAME_LINE)


def waiting(tx: Connection, *, organization_id: str | None = None) -> list[Suspect]:
    """Return the cost lines that wait for a decision, of one organization or of all."""
    query = _SUSPECTS.where(cost_reviews.c.decision.is_(None)).order_by(
        cost_reviews.c.organization_id, cost_reviews.c.raised_at, cost_reviews.c.review_id
    )
    if organization_id is not None:
        query = query.where(cost_reviews.c.organization_id == organization_id)
    return [_suspect(row) for row in tx.execute(query)]


def _suspect(row: Any) -> Suspect:
    return Suspect(
        row.organization_id,
        row.review_id,
        row.source,
        row.event_id,
        row.line,
        row.layer,
        row.model or row.resource,
        row.stated_nano_usd,
        row.amount_nano_usd,
        row.price_source,
        row.raised_at,
    )


def decide(
    database: Database,
    review_ids: Sequence[str],
    decision: str,
    *,
    actor: str,
    now: datetime,
    organization_id: str | None = None,
    reason: str = "",
) -> list[Suspect]:
    """Accept or reject what was stated for cost lines, all of them or none; each goes on record.

    Accepted: the event costs what its sender stated. Rejected: what was booked stands. Raises
    NotFound for a line that is unknown (or another organization's, where one is named),
    InvalidRequest for one decided before.
    """
    with database.transaction() as tx:
        named = _SUSPECTS.where(cost_reviews.c.review_id.in_(review_ids)).order_by(
            cost_reviews.c.organization_id, cost_reviews.c.review_id
        )
        if organization_id is not None:
            named = named.where(cost_reviews.c.organization_id == organization_id)
        found = [_suspect(row) for row in tx.execute(named)]
        unknown = set(review_ids) - {one.review_id for one in found}
        if unknown:
            raise NotFound("cost line", min(unknown))
        for owner in sorted({one.organization_id for one in found}):
            # Rollups move under the wallet's lock, and an event's lines are numbered under it.
            Wallet(tx, owner, now=now)
        for one in found:
            _decide(tx, one, decision, actor=actor, reason=reason, now=now)
        return found


def _decide(
    tx: Connection, suspect: Suspect, decision: str, *, actor: str, reason: str, now: datetime
) -> None:
    decided = tx.execute(
        update(cost_reviews)
        .where(
            cost_reviews.c.organization_id == suspect.organization_id,
            cost_reviews.c.review_id == suspect.review_id,
            cost_reviews.c.decision.is_(None),
        )
        .values(decision=decision, decided_at=now)
        .returning(cost_reviews.c.review_id)
    ).first()
    if decided is None:
        raise InvalidRequest(f"The line {suspect.review_id!r} was decided before; that stands.")
    if decision == ACCEPTED:
        events.add_cost(
            tx,
            suspect.organization_id,
            suspect.source,
            suspect.event_id,
            suspect.line,
            difference_nano_usd=suspect.stated_nano_usd - suspect.booked_nano_usd,
            price_source=f"stated by the sender, accepted in {suspect.review_id}",
        )
    audit.note(
        tx,
        suspect.organization_id,
        actor=actor,
        act=f"cost.{decision}",
        target=suspect.review_id,
        detail={
            "source": suspect.source,
            "event": suspect.event_id,
            "line": suspect.line,
            "stated_usd": format_nano_usd(suspect.stated_nano_usd),
            "booked_usd": format_nano_usd(suspect.booked_nano_usd),
            **({"reason": reason} if reason else {}),
        },
        now=now,
    )
