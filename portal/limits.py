"""Setting caps, as an admin or the operator does: under the wallet's lock and on record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import Connection

from portal import accounts, audit, caps, holds, tiers
from portal.accounts import Organization
from portal.caps import CapRequest
from portal.core.caps import CapState
from portal.core.units import format_micro
from portal.db import Database
from portal.wallet import Wallet


@contextmanager
def _locked(
    database: Database, organization_id: str, now: datetime
) -> Iterator[tuple[Connection, Organization]]:
    with database.transaction() as tx:
        wallet = Wallet(tx, organization_id, now=now)
        organization = tiers.renew(tx, wallet, accounts.find_organization(tx, organization_id))
        holds.expire_lapsed(tx, wallet)
        yield tx, organization
        wallet.write()


def list_caps(database: Database, organization_id: str, *, now: datetime) -> list[CapState]:
    """Return the organization's caps with what each has counted at ``now``. Raises NotFound."""
    with database.reading() as tx:
        organization = accounts.find_organization(tx, organization_id)
        return caps.states(tx, organization, caps.in_force(tx, organization_id), at=now)


def set_cap(
    database: Database, organization_id: str, request: CapRequest, *, actor: str, now: datetime
) -> CapState:
    """Make a cap. Raises NotFound, InvalidRequest."""
    with _locked(database, organization_id, now) as (tx, organization):
        state = caps.create(tx, organization, request, now=now)
        audit.note(
            tx,
            organization_id,
            actor=actor,
            act="cap.set",
            target=state.cap.cap_id,
            detail={"limit": format_micro(request.limit_micro), "scope": request.scope},
            now=now,
        )
        return state


def change_cap(
    database: Database,
    organization_id: str,
    cap_id: str,
    *,
    limit_micro: int | None = None,
    mode: str | None = None,
    actor: str,
    now: datetime,
) -> CapState:
    """Raise, lower, harden or soften a cap; what it counted stays. Raises NotFound."""
    with _locked(database, organization_id, now) as (tx, organization):
        state = caps.change(tx, organization, cap_id, limit_micro=limit_micro, mode=mode, now=now)
        audit.note(
            tx,
            organization_id,
            actor=actor,
            act="cap.changed",
            target=cap_id,
            detail={"limit": format_micro(state.cap.limit_micro), "mode": state.cap.mode},
            now=now,
        )
        return state


def remove_cap(
    database: Database, organization_id: str, cap_id: str, *, actor: str, now: datetime
) -> None:
    """Remove a cap. Raises NotFound."""
    with _locked(database, organization_id, now) as (tx, _organization):
        caps.remove(tx, organization_id, cap_id, now=now)
        audit.note(tx, organization_id, actor=actor, act="cap.removed", target=cap_id, now=now)
