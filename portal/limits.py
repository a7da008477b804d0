"""Setting limits, as an admin or the operator does: under the wallet's lock and on record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection

from portal import accounts, alerts, audit, caps, catalog, notices
from portal.accounts import Organization
from portal.alerts import CapAlert
from portal.caps import CapChange, CapRequest
from portal.core.caps import Cap, CapState
from portal.core.catalog import PriceBook
from portal.core.errors import InvalidRequest
from portal.core.units import credits_within, format_micro
from portal.db import Database
from portal.desk import Desk, open_desk
from portal.top_ups import standing
from portal.top_ups.standing import AutoTopUp
from portal.top_ups.terms import TopUpRequest, pack_for


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
            detail=_of_whom(state.cap) | _as_set(state.cap),
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
    """Raise, lower, harden or soften a cap; what it counted stays.

    Raises NotFound, and InvalidRequest where another cap in force is its twin then.
    """
    with _locked(database, organization_id, now) as desk:
        before = caps.find(desk.tx, organization_id, cap_id)
        state = caps.change(desk.tx, desk.organization, cap_id, change, now=desk.now)
        audit.note(
            desk.tx,
            organization_id,
            actor=actor,
            act="cap.changed",
            target=cap_id,
            detail=_of_whom(state.cap) | _as_set(state.cap) | {"was": _as_set(before)},
            now=now,
        )
        return _watched(desk.tx, organization_id, [state])[0]


def remove_cap(
    database: Database, organization_id: str, cap_id: str, *, actor: str, now: datetime
) -> None:
    """Remove a cap. Raises NotFound."""
    with _locked(database, organization_id, now) as desk:
        cap = caps.remove(desk.tx, organization_id, cap_id, now=desk.now)
        audit.note(
            desk.tx,
            organization_id,
            actor=actor,
            act="cap.removed",
            target=cap_id,
            detail=_of_whom(cap) | _as_set(cap),
            now=now,
        )


def _of_whom(cap: Cap) -> dict[str, object]:
    """Return whose work a cap counts, and in which window, as the record has it."""
    about = {"scope": cap.scope, "of": cap.target, "window": cap.window}
    return {**about, "action": cap.action} if cap.action else {**about}


def _as_set(cap: Cap) -> dict[str, object]:
    """Return what of a cap can be changed, as the record has it."""
    detail: dict[str, object] = {
        "limit": format_micro(cap.limit_micro),
        "mode": cap.mode,
        "thresholds": list(cap.thresholds),
    }
    return detail if cap.limit_minor is None else detail | {"limit_minor": cap.limit_minor}


@dataclass(frozen=True)
class SpendingRequest:
    """What an organization does when its credits run out; the limit in minor units."""

    on_empty: str
    overage_limit_minor: int | None = None
    auto_top_up: TopUpRequest | None = None


def set_spending(
    database: Database, organization_id: str, request: SpendingRequest, *, actor: str, now: datetime
) -> Organization:
    """Choose between stopping when credits run out, buying more, and going on up to a limit.

    What was used or bought already stays so. Raises NotFound, and InvalidRequest where the choice
    lacks its limits, where the tier sells no credits beyond its own, or a pack is not sold.
    """
    with _locked(database, organization_id, now) as desk:
        organization = desk.organization
        book = catalog.in_force(desk.tx, at=desk.now)
        if request.on_empty == "overage":
            _check_overage(book, organization, request)
        _keep_top_up(desk, book, request, actor)
        limit = request.overage_limit_minor
        kept = organization.overage_limit_minor if limit is None else limit
        accounts.set_spending(
            desk.tx, organization_id, on_empty=request.on_empty, overage_limit_minor=kept
        )
        detail: dict[str, object] = {
            "on_empty": request.on_empty,
            "overage_limit_minor": kept,
            "was": {
                "on_empty": organization.on_empty,
                "overage_limit_minor": organization.overage_limit_minor,
            },
        }
        if request.auto_top_up is not None:
            detail["auto_top_up"] = asdict(request.auto_top_up)
        audit.note(
            desk.tx, organization_id, actor=actor, act="spending.set", detail=detail, now=now
        )
        return accounts.find_organization(desk.tx, organization_id)


def _check_overage(book: PriceBook, organization: Organization, request: SpendingRequest) -> None:
    if request.overage_limit_minor is None:
        raise InvalidRequest.at("/overage_limit", "is needed to go on when credits run out")
    if book.currency != organization.currency:
        raise InvalidRequest.at(
            "/on_empty",
            f"cannot be overage: credits are priced in {book.currency.upper()}, this organization "
            f"is billed in {organization.currency.upper()}",
        )
    price = book.overage_price(organization.tier)
    if price is None:
        raise InvalidRequest.at(
            "/on_empty", "cannot be overage: the plan sells no credits beyond its own"
        )
    limit = request.overage_limit_minor
    if limit and not credits_within(limit, price):
        raise InvalidRequest.at(
            "/overage_limit", "is less than the smallest part of a credit costs"
        )


def _keep_top_up(desk: Desk, book: PriceBook, request: SpendingRequest, actor: str) -> None:
    """Store what auto top-up is to do, and let it begin where it may."""
    tx, organization = desk.tx, desk.organization
    organization_id, on = organization.organization_id, request.on_empty == "top_up"
    mine = standing.settings(tx, organization_id)
    asked = request.auto_top_up or (mine.asked if mine else None)
    if on and asked is None:
        raise InvalidRequest.at("/auto_top_up", "is needed to buy credits when they run low")
    if asked is not None and (on or request.auto_top_up):
        pack_for(book, organization, asked)
    if request.auto_top_up is not None:
        standing.keep(tx, organization_id, request.auto_top_up, actor=actor, now=desk.now)
    if on and not standing.after_dispute(tx, organization_id):
        raise InvalidRequest.at("/on_empty", "cannot be top_up while a payment is disputed")
    over = standing.NOTICES if not on else (standing.LIMIT_REACHED,)
    for kind in over:
        notices.end_all(tx, organization_id, kind, now=desk.now)


def auto_top_up(database: Database, organization_id: str) -> AutoTopUp | None:
    """Return what auto top-up is set to do and how it stands; None where nothing was ever set."""
    with database.reading() as tx:
        return standing.settings(tx, organization_id)
