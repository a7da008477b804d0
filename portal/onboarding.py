"""Organizations as the operator puts them in place: whole, with wallet, tier and first grant."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from portal import accounts, audit, caps, idempotency, people, reversals, tiers, wallet
from portal.accounts import Member, Organization
from portal.core.errors import InvalidRequest, NotFound
from portal.core.units import format_micro
from portal.db import Database
from portal.desk import open_desk
from portal.idempotency import Answer
from portal.wallet import Paid, Wallet


@dataclass(frozen=True)
class OrganizationRequest:
    """An organization as the operator states it."""

    name: str
    email: str | None = None
    timezone: str | None = None
    currency: str | None = None
    tier: str | None = None
    seats: int | None = None
    charging: str | None = None


def put_organization(
    database: Database,
    organization_id: str,
    request: OrganizationRequest,
    *,
    actor: str = "operator",
    now: datetime,
) -> tuple[Organization, bool]:
    """Make or change an organization; the second value tells whether it is new.

    What is left out stays as it is, but that on another tier use is charged, or only measured, as
    that is sold; the currency is set once, and another time zone takes effect with the next billing
    period. Raises InvalidRequest.
    """
    with database.transaction() as tx:
        new = accounts.create_organization(
            tx,
            organization_id,
            name=request.name,
            email=request.email,
            timezone=request.timezone or "UTC",
            currency=request.currency or "usd",
            charging=request.charging or "on",
            now=now,
        )
        if new:
            wallet.create(tx, organization_id)
        desk = open_desk(tx, organization_id, now=now)
        organization = desk.organization
        if not new:
            _unchangeable(organization, request)
            accounts.update_organization(
                tx,
                organization_id,
                name=request.name,
                email=request.email or organization.email or None,
                charging=request.charging or organization.charging,
            )
        tier = request.tier
        if tier is None and request.seats is not None:
            tier = organization.tier
            if tier is None:
                raise InvalidRequest.at("/seats", "are those of a tier: send the tier too")
        if tier is not None:
            tiers.subscribe(
                tx,
                desk.wallet,
                organization,
                tier=tier,
                seats=request.seats,
                charging_stated=request.charging is not None,
                now=desk.now,
            )
        if request.timezone is not None:
            change_zone(desk.wallet, request.timezone, actor)
        desk.wallet.write()
        becomes = accounts.find_organization(tx, organization_id)
        _note_changes(tx, organization, becomes, actor=actor, now=desk.now)
        return becomes, new


def _note_changes(
    tx: Connection, before: Organization, after: Organization, *, actor: str, now: datetime
) -> None:
    """Put on record what the operator changed of an organization; its time zone is already."""
    plan = {"seats": {"from": before.seats, "to": after.seats}}
    changes: list[tuple[str, str, dict[str, Any]]] = []
    if (before.name, before.email) != (after.name, after.email):
        was = {"name": before.name, "email": before.email}
        now_is = {"name": after.name, "email": after.email}
        changed = {field: said for field, said in now_is.items() if said != was[field]}
        changes.append(
            ("settings.changed", "", changed | {"was": {field: was[field] for field in changed}})
        )
    if (before.tier, before.seats) != (after.tier, after.seats):
        changes.append(("tier.put", after.tier or "", {"from": before.tier, **plan}))
    if before.charging != after.charging:
        changes.append(("tier.charging", after.tier or "", {"charging": after.charging}))
    for act, target, detail in changes:
        audit.note(
            tx,
            after.organization_id,
            actor=actor,
            act=act,
            target=target,
            detail=detail,
            now=now,
        )


def _unchangeable(organization: Organization, request: OrganizationRequest) -> None:
    if request.currency not in {None, organization.currency}:
        raise InvalidRequest.at(
            "/currency", f"is {organization.currency!r} and cannot be changed here"
        )


def change_zone(purse: Wallet, timezone: str, actor: str) -> None:
    """Change the time zone from the next billing period on, or take back such a change.

    Raises InvalidRequest for a zone that is none.
    """
    accounts.check_zone(timezone)
    tx, now = purse.tx, purse.now
    organization = accounts.find_organization(tx, purse.organization_id)
    calendar = organization.calendar.in_zone(timezone, now=now, running=organization.subscribed)
    if calendar == organization.calendar:
        return
    accounts.keep_calendar(tx, organization.organization_id, calendar)
    caps.recut(tx, replace(organization, calendar=calendar), now=now)
    coming = calendar.zone.to_come(now)
    audit.note(
        tx,
        organization.organization_id,
        actor=actor,
        act="timezone.changed" if coming else "timezone.change_cancelled",
        target=timezone,
        detail={
            "from": organization.zone.name_at(now),
            "effective_at": (coming.at if coming else now).isoformat(),
        },
        now=now,
    )


def put_member(
    database: Database,
    organization_id: str,
    member_id: str,
    *,
    email: str,
    name: str | None = None,
    role: str | None = None,
    team: str | None = None,
    actor: str = "operator",
    now: datetime,
) -> tuple[Member, bool]:
    """Make or change a member; what is left out stays as it is.

    A new person is named by their address and is a plain member. Raises NotFound, InvalidRequest.
    """
    address = email.strip().lower()
    with database.transaction() as tx:
        accounts.find_organization(tx, organization_id)
        before = None
        with suppress(NotFound):
            before = accounts.find_member(tx, organization_id, member_id)
        known = before or Member(
            organization_id, member_id, "", address.partition("@")[0], "member", ""
        )
        found, new = accounts.put_member(
            tx,
            organization_id,
            member_id,
            email=address,
            name=name or known.name,
            role=role or known.role,
            team_id=known.team_id if team is None else team,
            now=now,
        )
        people.note_change(tx, before, found, actor=actor, now=now)
        return found, new


@dataclass(frozen=True)
class GrantRequest:
    """Credits somebody gives an organization, in millionths, and why."""

    credits_micro: int
    source: str
    reason: str
    expires_at: datetime | None = None
    effective_at: datetime | None = None
    priority: int | None = None
    paid: Paid | None = None


def grant(
    database: Database, organization_id: str, request: GrantRequest, *, actor: str, now: datetime
) -> str:
    """Grant credits and return the grant's id. Raises NotFound, InvalidRequest."""
    with _purse(database, organization_id, now) as purse:
        return _grant(purse, request, actor)


def grant_once(
    database: Database,
    organization_id: str,
    request: GrantRequest,
    *,
    key: str | None,
    actor: str,
    now: datetime,
) -> Answer:
    """Grant credits and answer with the grant; the same key and request grant once.

    Raises NotFound, InvalidRequest, IdempotencyConflict.
    """
    with _purse(database, organization_id, now) as purse:

        def act() -> tuple[int, dict[str, Any]]:
            return 201, {
                "id": _grant(purse, request, actor),
                "source": request.source,
                "granted": format_micro(request.credits_micro),
                "effective_at": (request.effective_at or now).isoformat(),
                "expires_at": request.expires_at.isoformat() if request.expires_at else None,
            }

        return idempotency.once(
            purse.tx,
            organization_id,
            route="grant",
            key=key,
            content=repr(request),
            now=now,
            act=act,
        )


def void_grant(
    database: Database,
    organization_id: str,
    grant_id: str,
    *,
    reason: str,
    actor: str,
    key: str | None = None,
    now: datetime,
) -> int:
    """Take back what is left of a grant; returns what was taken now, in millionths.

    What holds pin of it is taken as they give it back; what was spent stays spent. The same ``key``
    again does nothing and answers the same. Raises NotFound, IdempotencyConflict.
    """
    with _purse(database, organization_id, now) as purse:

        def act() -> tuple[int, dict[str, Any]]:
            taken = reversals.void(purse, grant_id)
            audit.note(
                purse.tx,
                organization_id,
                actor=actor,
                act="grant.voided",
                target=grant_id,
                detail={"credits": format_micro(taken), "reason": reason},
                now=now,
            )
            return 200, {"taken_micro": taken}

        answer = idempotency.once(
            purse.tx,
            organization_id,
            route="void",
            key=key,
            content=[grant_id, reason],
            now=now,
            act=act,
        )
        return int(json.loads(answer.body)["taken_micro"])


@contextmanager
def _purse(database: Database, organization_id: str, now: datetime) -> Iterator[Wallet]:
    with database.transaction() as tx:
        purse = open_desk(tx, organization_id, now=now).wallet
        yield purse
        purse.write()


def _grant(purse: Wallet, request: GrantRequest, actor: str) -> str:
    if request.paid is not None:
        currency = accounts.find_organization(purse.tx, purse.organization_id).currency
        if request.paid.currency != currency:
            raise InvalidRequest.at("/paid/currency", f"must be the organization's, {currency!r}")
    grant_id = purse.grant(
        source=request.source,
        credits_micro=request.credits_micro,
        effective_at=request.effective_at,
        expires_at=request.expires_at,
        priority=request.priority,
        paid=request.paid,
        reason=request.reason,
    )
    audit.note(
        purse.tx,
        purse.organization_id,
        actor=actor,
        act="grant.made",
        target=grant_id,
        detail={"credits": format_micro(request.credits_micro), "reason": request.reason},
        now=purse.now,
    )
    return grant_id
