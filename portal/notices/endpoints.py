"""Where webhooks go: the endpoints of an organization and of the operator, and their secrets.

Owns ``webhook_endpoints``. Invariant: no secret is stored. It is derived from the portal's own key
and the endpoint's generation, so a copy of the store signs nothing; after a rotation the one before
signs too, for a day.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, RowMapping, insert, or_, select, update

from portal.core.errors import InvalidRequest, NotFound
from portal.ids import new_id
from portal.notices.kinds import TYPES, type_of
from portal.tables import webhook_endpoints

OVERLAP = timedelta(days=1)
#: Of one organization, or of the operator.
MOST = 10


@dataclass(frozen=True)
class Endpoint:
    """An address that is told; ``organization_id`` is None where it is the operator's."""

    endpoint_id: str
    organization_id: str | None
    url: str
    kinds: tuple[str, ...]
    generation: int
    rotated_at: datetime | None
    created_at: datetime
    disabled_at: datetime | None
    disabled_why: str

    def wants(self, kind: str) -> bool:
        """Whether it is to hear of a kind; of all where it names no types."""
        return not self.kinds or type_of(kind) in self.kinds

    def generations(self, now: datetime) -> list[int]:
        """Return which secrets sign now, the newest first."""
        overlaps = self.rotated_at is not None and now < self.rotated_at + OVERLAP
        return [self.generation, self.generation - 1] if overlaps else [self.generation]


def secret(portal_key: str, endpoint_id: str, generation: int) -> str:
    """Return an endpoint's secret, as Standard Webhooks writes one."""
    said = f"webhook endpoint {endpoint_id} {generation}"
    derived = hmac.new(portal_key.encode(), said.encode(), hashlib.sha256).digest()
    return "whsec_" + base64.b64encode(derived).decode()


def _endpoint(row: RowMapping) -> Endpoint:
    return Endpoint(
        row["endpoint_id"],
        row["organization_id"],
        row["url"],
        tuple(row["kinds"]),
        row["generation"],
        row["rotated_at"],
        row["created_at"],
        row["disabled_at"],
        row["disabled_why"],
    )


_KEPT = select(webhook_endpoints).where(webhook_endpoints.c.removed_at.is_(None))


def listening(tx: Connection, organization_id: str) -> list[Endpoint]:
    """Return the endpoints that hear of an organization: its own, and the operator's."""
    query = _KEPT.where(
        or_(
            webhook_endpoints.c.organization_id == organization_id,
            webhook_endpoints.c.organization_id.is_(None),
        ),
        webhook_endpoints.c.disabled_at.is_(None),
    )
    return [_endpoint(row) for row in tx.execute(query).mappings()]


def of(tx: Connection, organization_id: str | None) -> list[Endpoint]:
    """Return the endpoints of an organization, or with None the operator's, the oldest first."""
    query = _KEPT.where(_owned_by(organization_id)).order_by(
        webhook_endpoints.c.created_at, webhook_endpoints.c.endpoint_id
    )
    return [_endpoint(row) for row in tx.execute(query).mappings()]


def _owned_by(organization_id: str | None) -> ColumnElement[bool]:
    column = webhook_endpoints.c.organization_id
    return column.is_(None) if organization_id is None else column == organization_id


def find(tx: Connection, organization_id: str | None, endpoint_id: str) -> Endpoint:
    """Return one of an organization's endpoints, or of the operator's. Raises NotFound."""
    for one in of(tx, organization_id):
        if one.endpoint_id == endpoint_id:
            return one
    raise NotFound("endpoint", endpoint_id)


def lookup(tx: Connection, endpoint_id: str) -> Endpoint | None:
    """Return an endpoint whoever's it is, or None where it was removed."""
    row = tx.execute(_KEPT.where(webhook_endpoints.c.endpoint_id == endpoint_id)).mappings().first()
    return _endpoint(row) if row else None


def create(
    tx: Connection,
    organization_id: str | None,
    url: str,
    kinds: tuple[str, ...],
    *,
    actor: str,
    now: datetime,
) -> Endpoint:
    """Make an endpoint; the caller has checked its address. Raises InvalidRequest."""
    for kind in kinds:
        if kind not in TYPES:
            raise InvalidRequest.at("/types", f"has {kind[:40]}, which is not told")
    known = of(tx, organization_id)
    if any(one.url == url and set(one.kinds) == set(kinds) for one in known):
        raise InvalidRequest.at("/url", "is told the same already")
    if len(known) >= MOST:
        raise InvalidRequest.at("/url", f"is one too many: {MOST} endpoints are the most")
    endpoint_id = new_id("we")
    tx.execute(
        insert(webhook_endpoints).values(
            endpoint_id=endpoint_id,
            organization_id=organization_id,
            url=url,
            kinds=list(kinds),
            created_by=actor,
            created_at=now,
        )
    )
    return find(tx, organization_id, endpoint_id)


def _change(tx: Connection, endpoint_id: str, **values: object) -> None:
    tx.execute(
        update(webhook_endpoints)
        .where(webhook_endpoints.c.endpoint_id == endpoint_id)
        .values(**values)
    )


def rotate(
    tx: Connection, organization_id: str | None, endpoint_id: str, *, now: datetime
) -> Endpoint:
    """Give it a new secret; the one before signs too for a day. Raises NotFound."""
    before = find(tx, organization_id, endpoint_id)
    _change(tx, endpoint_id, generation=before.generation + 1, rotated_at=now)
    return find(tx, organization_id, endpoint_id)


def switch(
    tx: Connection,
    organization_id: str | None,
    endpoint_id: str,
    *,
    on: bool,
    why: str = "",
    now: datetime,
) -> Endpoint:
    """Let it be told, or not. Raises NotFound."""
    find(tx, organization_id, endpoint_id)
    _change(tx, endpoint_id, disabled_at=None if on else now, disabled_why="" if on else why)
    return find(tx, organization_id, endpoint_id)


def remove(tx: Connection, organization_id: str | None, endpoint_id: str, *, now: datetime) -> None:
    """Remove it; what it was told stays on record. Raises NotFound."""
    find(tx, organization_id, endpoint_id)
    _change(tx, endpoint_id, removed_at=now)
