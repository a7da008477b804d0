"""Setting caps: make, change, raise, revalue, remove. The only writer of caps themselves.

Under the wallet's lock. Invariant: what a cap has counted stays, however its limit changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, insert, update

from portal import accounts, alerts, catalog
from portal.accounts import Organization
from portal.caps.counters import raise_limit
from portal.caps.standing import find, in_force
from portal.caps.windows import open_windows
from portal.core.caps import THRESHOLDS, Cap, CapState
from portal.core.catalog import PriceBook
from portal.core.errors import CapExists, InvalidRequest
from portal.core.units import credits_within
from portal.ids import new_id
from portal.tables import caps


@dataclass(frozen=True)
class CapRequest:
    """A cap as somebody asks for it.

    Its limit is in millionths of a credit, or an amount in minor units: one of the two.
    """

    scope: str
    target: str
    action: str
    window: str
    limit_micro: int | None
    mode: str
    limit_minor: int | None = None
    thresholds: tuple[int, ...] = THRESHOLDS


@dataclass(frozen=True)
class CapChange:
    """What somebody changes about a cap; None stays as it is."""

    limit_micro: int | None = None
    limit_minor: int | None = None
    mode: str | None = None
    thresholds: tuple[int, ...] | None = None


#: A limit in credits stays well inside 64 bits, however little a credit costs.
LARGEST_LIMIT_MICRO = 10**16


def create(
    tx: Connection, organization: Organization, request: CapRequest, *, now: datetime
) -> CapState:
    """Make a cap, under the wallet's lock; its window counts from its start.

    Raises InvalidRequest for a target or an action that does not exist, or a cap that exists.
    """
    book = catalog.in_force(tx, at=now)
    _check(tx, organization, request, book)
    _refuse_twin(tx, organization.organization_id, request)
    cap_id = new_id("cap")
    values = {
        "organization_id": organization.organization_id,
        "cap_id": cap_id,
        "scope": request.scope,
        "target": request.target,
        "action": request.action,
        "window_kind": request.window,
        "limit_micro": _limit(request.limit_micro, request.limit_minor, organization, book),
        "limit_minor": request.limit_minor,
        "mode": request.mode,
        "thresholds": list(request.thresholds),
        "created_at": now,
    }
    tx.execute(insert(caps).values(values))
    cap = find(tx, organization.organization_id, cap_id)
    return open_windows(tx, organization, [cap], at=now)[0]


def _refuse_twin(
    tx: Connection, organization_id: str, asked: CapRequest | Cap, *, but: str = ""
) -> None:
    """Refuse a cap that would count the same in the same way as another one in force.

    ``but`` is the cap that is changed to it. Raises CapExists.
    """
    wanted = (asked.scope, asked.target, asked.action, asked.window, asked.mode)
    for cap in in_force(tx, organization_id):
        same = (cap.scope, cap.target, cap.action, cap.window, cap.mode) == wanted
        if same and cap.cap_id != but:
            raise CapExists(cap.cap_id, cap.mode)


def _limit(
    limit_micro: int | None, limit_minor: int | None, organization: Organization, book: PriceBook
) -> int:
    """Return a limit in millionths of a credit, whichever way it was stated."""
    if limit_minor is None:
        if limit_micro is None:
            raise AssertionError("a cap has a limit in credits or in money")
        return limit_micro
    if book.currency != organization.currency:
        raise InvalidRequest.at(
            "/limit/amount",
            f"cannot be counted: credits are priced in {book.currency.upper()}, this organization "
            f"is billed in {organization.currency.upper()}. Set the limit in credits",
        )
    value = book.credit_value(organization.tier)
    if value is None:
        raise InvalidRequest.at(
            "/limit/amount", "cannot be counted: no plan prices a credit. Set the limit in credits"
        )
    within = credits_within(limit_minor, value)
    if limit_minor and not within:
        raise InvalidRequest.at("/limit/amount", "is less than the smallest part of a credit costs")
    return min(within, LARGEST_LIMIT_MICRO)


def _check(
    tx: Connection, organization: Organization, request: CapRequest, book: PriceBook
) -> None:
    if request.scope == "organization":
        if request.target:
            raise InvalidRequest.at("/target", "belongs to a team, member or project cap only")
    elif request.target not in accounts.names(tx, organization.organization_id, request.scope):
        raise InvalidRequest.at("/target", f"is not a {request.scope} of this organization")
    if request.action and request.action not in book.actions:
        raise InvalidRequest.at("/action", f"is not one of {', '.join(book.actions)}")


def change(
    tx: Connection, organization: Organization, cap_id: str, change_: CapChange, *, now: datetime
) -> CapState:
    """Raise or lower a cap, or change what it does; what it counted stays.

    Under the wallet's lock. Raises NotFound, and InvalidRequest where another cap is its twin then.
    """
    cap = find(tx, organization.organization_id, cap_id)
    new = replace(
        cap, mode=change_.mode or cap.mode, thresholds=change_.thresholds or cap.thresholds
    )
    if change_.limit_micro is not None or change_.limit_minor is not None:
        book = catalog.in_force(tx, at=now)
        limit = _limit(change_.limit_micro, change_.limit_minor, organization, book)
        new = replace(new, limit_micro=limit, limit_minor=change_.limit_minor)
    if new.mode != cap.mode:
        _refuse_twin(tx, organization.organization_id, new, but=cap_id)
    before = open_windows(tx, organization, [cap], at=now)[0]
    _store(tx, organization.organization_id, new)
    after = replace(before, cap=new)
    alerts.watch(tx, organization.organization_id, before, after, now=now)
    return after


def raise_for_window(
    tx: Connection, organization: Organization, cap_id: str, amount_micro: int, *, now: datetime
) -> CapState:
    """Add to a cap's limit for the window of now; the next one has the cap's own limit again.

    Under the wallet's lock. Raises NotFound, and InvalidRequest where it would be too large.
    """
    cap = find(tx, organization.organization_id, cap_id)
    before = open_windows(tx, organization, [cap], at=now)[0]
    if before.limit_micro + amount_micro > LARGEST_LIMIT_MICRO:
        raise InvalidRequest.at("/credits", "is more than a limit may be")
    after = replace(before, raised_micro=before.raised_micro + amount_micro)
    raise_limit(tx, organization.organization_id, before, amount_micro)
    alerts.watch(tx, organization.organization_id, before, after, now=now)
    return after


def _store(tx: Connection, organization_id: str, cap: Cap) -> None:
    tx.execute(
        update(caps)
        .where(caps.c.organization_id == organization_id, caps.c.cap_id == cap.cap_id)
        .values(
            limit_micro=cap.limit_micro,
            limit_minor=cap.limit_minor,
            mode=cap.mode,
            thresholds=list(cap.thresholds),
        )
    )


def revalue(tx: Connection, organization: Organization, *, now: datetime) -> None:
    """Count anew after a change of tier: in the windows of the period that begins with it.

    Limits that are stated in money are what a credit is worth on the tier of now; they stay where
    credits are priced in another currency.
    """
    in_force_now = in_force(tx, organization.organization_id)
    open_windows(tx, organization, in_force_now, at=now)
    priced = catalog.in_force(tx, at=now).currency == organization.currency
    for cap in in_force_now:
        if priced and cap.limit_minor is not None:
            change(tx, organization, cap.cap_id, CapChange(limit_minor=cap.limit_minor), now=now)


def remove(tx: Connection, organization_id: str, cap_id: str, *, now: datetime) -> Cap:
    """Remove a cap. Raises NotFound."""
    cap = find(tx, organization_id, cap_id)
    tx.execute(
        update(caps)
        .where(caps.c.organization_id == organization_id, caps.c.cap_id == cap_id)
        .values(removed_at=now)
    )
    return cap
