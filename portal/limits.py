"""Setting caps, as an admin or the operator does: under the wallet's lock and on record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from portal import accounts, alerts, audit, caps, catalog
from portal.accounts import Organization
from portal.alerts import CapAlert
from portal.caps import CapChange, CapRequest
from portal.core.caps import CapState
from portal.core.errors import InvalidRequest
from portal.core.units import format_micro
from portal.db import Database
from portal.desk import Desk, open_desk


@contextmanager
def _locked(database: Database, organization_id: str, now: datetime) -> Iterator[Desk]:
    with database.transaction() as tx:
        desk = open_desk(tx, organization_id, now=now)
        yield desk
        desk.wallet.write()


@dataclass(frozen=True)
class WatchedCap:
    """A cap with what its window has counted, and the alerts it raised in that window."""

    state: CapState
    alerts: Sequence[CapAlert] = ()


def _watched(tx: Connection, organization_id: str, states: Sequence[CapState]) -> list[WatchedCap]:
    raised = alerts.of_windows(tx, organization_id, states)
    return [WatchedCap(state, raised.get(state.cap.cap_id, [])) for state in states]


def list_caps(database: Database, organization_id: str, *, now: datetime) -> list[WatchedCap]:
    """Return the organization's caps with what each has counted at ``now``. Raises NotFound."""
    with database.reading() as tx:
        organization = accounts.find_organization(tx, organization_id)
        states = caps.states(tx, organization, caps.in_force(tx, organization_id), at=now)
        return _watched(tx, organization_id, states)


def set_cap(
    database: Database, organization_id: str, request: CapRequest, *, actor: str, now: datetime
) -> WatchedCap:
    """Make a cap. Raises NotFound, InvalidRequest."""
    with _locked(database, organization_id, now) as desk:
        state = caps.create(desk.tx, desk.organization, request, now=desk.now)
        audit.note(
            desk.tx,
            organization_id,
            actor=actor,
            act="cap.set",
            target=state.cap.cap_id,
            detail={"limit": format_micro(state.cap.limit_micro), "scope": request.scope},
            now=now,
        )
        return _watched(desk.tx, organization_id, [state])[0]


def change_cap(
    database: Database,
    organization_id: str,
    cap_id: str,
    change: CapChange,
    *,
    actor: str,
    now: datetime,
) -> WatchedCap:
    """Raise, lower, harden or soften a cap; what it counted stays. Raises NotFound."""
    with _locked(database, organization_id, now) as desk:
        state = caps.change(desk.tx, desk.organization, cap_id, change, now=desk.now)
        audit.note(
            desk.tx,
            organization_id,
            actor=actor,
            act="cap.changed",
            target=cap_id,
            detail={"limit": format_micro(state.cap.limit_micro), "mode": state.cap.mode},
            now=now,
        )
        return _watched(desk.tx, organization_id, [state])[0]


def remove_cap(
    database: Database, organization_id: str, cap_id: str, *, actor: str, now: datetime
) -> None:
    """Remove a cap. Raises NotFound."""
    with _locked(database, organization_id, now) as desk:
        caps.remove(desk.tx, organization_id, cap_id, now=desk.now)
        audit.note(desk.tx, organization_id, actor=actor, act="cap.removed", target=cap_id, now=now)


@dataclass(frozen=True)
class SpendingRequest:
    """What an organization does when its credits run out; the limit in minor units."""

    on_empty: str
    overage_limit_minor: int | None = None


def set_spending(
    database: Database, organization_id: str, request: SpendingRequest, *, actor: str, now: datetime
) -> Organization:
    """Choose between stopping when credits run out and going on up to a limit of money.

    What is used already stays used. Raises NotFound, and InvalidRequest where the tier sells no
    credits beyond its own.
    """
    with _locked(database, organization_id, now) as desk:
        organization = desk.organization
        limit = request.overage_limit_minor
        if request.on_empty == "overage":
            if limit is None:
                raise InvalidRequest.at("/overage_limit", "is needed to go on when credits run out")
            book = catalog.in_force(desk.tx, at=desk.now)
            if book.overage_price(organization.tier) is None:
                raise InvalidRequest.at(
                    "/on_empty", "cannot be overage: the plan sells no credits beyond its own"
                )
        kept = organization.overage_limit_minor if limit is None else limit
        accounts.set_spending(
            desk.tx, organization_id, on_empty=request.on_empty, overage_limit_minor=kept
        )
        audit.note(
            desk.tx,
            organization_id,
            actor=actor,
            act="spending.set",
            detail={"on_empty": request.on_empty, "overage_limit_minor": kept},
            now=now,
        )
        return accounts.find_organization(desk.tx, organization_id)
