"""Organizations as the operator puts them in place: whole, with wallet, tier and first grant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from portal import accounts, audit, holds, tiers, wallet
from portal.accounts import Member, Organization
from portal.core.errors import InvalidRequest
from portal.core.units import format_micro
from portal.db import Database
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
    database: Database, organization_id: str, request: OrganizationRequest, *, now: datetime
) -> tuple[Organization, bool]:
    """Make or change an organization; the second value tells whether it is new.

    What is left out stays as it is; time zone and currency are set once. Raises InvalidRequest.
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
        purse = Wallet(tx, organization_id, now=now)
        organization = accounts.find_organization(tx, organization_id)
        if not new:
            _unchangeable(organization, request)
            accounts.update_organization(
                tx,
                organization_id,
                name=request.name,
                email=request.email or organization.email or None,
                charging=request.charging or organization.charging,
            )
        if request.tier is not None:
            tiers.subscribe(
                tx, purse, organization, tier=request.tier, seats=request.seats, now=now
            )
        purse.write()
        return accounts.find_organization(tx, organization_id), new


def _unchangeable(organization: Organization, request: OrganizationRequest) -> None:
    for name in ("timezone", "currency"):
        if getattr(request, name) not in {None, getattr(organization, name)}:
            raise InvalidRequest.at(
                f"/{name}", f"is {getattr(organization, name)!r} and cannot be changed here"
            )


def put_member(
    database: Database,
    organization_id: str,
    member_id: str,
    *,
    email: str,
    name: str,
    role: str,
    team: str,
    now: datetime,
) -> tuple[Member, bool]:
    """Make or change a member. Raises NotFound, InvalidRequest."""
    with database.transaction() as tx:
        accounts.find_organization(tx, organization_id)
        return accounts.put_member(
            tx,
            organization_id,
            member_id,
            email=email.strip().lower(),
            name=name,
            role=role,
            team_id=team,
            now=now,
        )


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
    database: Database,
    organization_id: str,
    request: GrantRequest,
    *,
    key: str | None,
    actor: str,
    now: datetime,
) -> str:
    """Grant credits and return the grant's id; the same key grants once. Raises NotFound."""
    with database.transaction() as tx:
        purse = Wallet(tx, organization_id, now=now)
        holds.expire_lapsed(tx, purse)
        grant_id = purse.grant(
            source=request.source,
            credits_micro=request.credits_micro,
            effective_at=request.effective_at,
            expires_at=request.expires_at,
            priority=request.priority,
            paid=request.paid,
            reason=request.reason,
            external_key=f"api:{key}" if key else None,
        )
        purse.write()
        audit.note(
            tx,
            organization_id,
            actor=actor,
            act="grant.made",
            target=grant_id,
            detail={"credits": format_micro(request.credits_micro), "reason": request.reason},
            now=now,
        )
        return grant_id
