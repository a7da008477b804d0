"""Which caps stand: the one reader of caps as they were set.

Only caps that were not removed stand; one that was is found nowhere here.
"""

from __future__ import annotations

from sqlalchemy import Connection, RowMapping, bindparam, select

from portal.core.caps import Cap, Spender
from portal.core.errors import NotFound
from portal.tables import caps

_IN_FORCE = (
    select(caps)
    .where(caps.c.organization_id == bindparam("org"), caps.c.removed_at.is_(None))
    .order_by(caps.c.created_at, caps.c.cap_id)
)


def cap_of(row: RowMapping) -> Cap:
    """Return a cap from its row, or from a row that has its columns."""
    return Cap(
        cap_id=row["cap_id"],
        scope=row["scope"],
        target=row["target"],
        action=row["action"],
        window=row["window_kind"],
        limit_micro=row["limit_micro"],
        mode=row["mode"],
        limit_minor=row["limit_minor"],
        thresholds=tuple(row["thresholds"]),
    )


def in_force(tx: Connection, organization_id: str) -> list[Cap]:
    """Return the organization's caps, widest scope first."""
    rows = tx.execute(_IN_FORCE, {"org": organization_id}).mappings()
    order = {"organization": 0, "team": 1, "project": 2, "member": 3}
    return sorted((cap_of(row) for row in rows), key=lambda cap: order[cap.scope])


def find(tx: Connection, organization_id: str, cap_id: str) -> Cap:
    """Return a cap in force. Raises NotFound."""
    for cap in in_force(tx, organization_id):
        if cap.cap_id == cap_id:
            return cap
    raise NotFound("cap", cap_id)


def applying(tx: Connection, organization_id: str, spender: Spender) -> list[Cap]:
    """Return every cap in force that counts this spender's work."""
    return [cap for cap in in_force(tx, organization_id) if cap.applies_to(spender)]
