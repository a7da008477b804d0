"""Links from the operator's product that sign somebody in once. Owns ``portal_links``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select, update

from portal.access import sessions
from portal.core.errors import InvalidRequest, NotFound, Unauthenticated
from portal.ids import hash_secret, new_id, new_secret
from portal.tables import portal_links

LINK_LIFETIME = timedelta(minutes=10)
PAGES = ("overview", "usage", "spending", "plans")


def make_link(
    tx: Connection,
    *,
    now: datetime,
    organization_id: str | None = None,
    member_id: str | None = None,
    operator_email: str | None = None,
    page: str = "overview",
    return_url: str = "",
    lifetime: timedelta = LINK_LIFETIME,
    link_id: str | None = None,
) -> tuple[str, datetime]:
    """Make a single-use sign-in link; returns its secret and when it ends."""
    if page not in PAGES:
        raise InvalidRequest.at("/page", f"is not one of {', '.join(PAGES)}")
    token, expires_at = new_secret(), now + lifetime
    tx.execute(
        insert(portal_links).values(
            token_hash=hash_secret(token),
            link_id=link_id or new_link_id(),
            organization_id=organization_id,
            member_id=member_id,
            operator_email=operator_email,
            page=page,
            return_url=return_url,
            created_at=now,
            expires_at=expires_at,
        )
    )
    return token, expires_at


def new_link_id() -> str:
    """Return a name for a link, by which it can be taken back."""
    return new_id("ps")


@dataclass(frozen=True)
class UsedLink:
    """What a link led to."""

    organization_id: str | None
    member_id: str | None
    operator_email: str | None
    page: str
    return_url: str
    link_id: str


def use_link(tx: Connection, token: str, *, now: datetime) -> UsedLink:
    """Use a link, once. Raises Unauthenticated where it is unknown, used or past its end."""
    token_hash = hash_secret(token)
    used = tx.execute(
        update(portal_links)
        .where(
            portal_links.c.token_hash == token_hash,
            portal_links.c.used_at.is_(None),
            portal_links.c.expires_at > now,
        )
        .values(used_at=now)
    ).rowcount
    if used != 1:
        raise Unauthenticated("This link has been used or has ended. Ask for a new one.")
    row = tx.execute(select(portal_links).where(portal_links.c.token_hash == token_hash)).one()
    return UsedLink(
        row.organization_id,
        row.member_id,
        row.operator_email,
        row.page,
        row.return_url,
        row.link_id,
    )


def revoke_link(tx: Connection, link_id: str) -> str | None:
    """End an unused link, or the session it became; returns whose organization it was.

    Raises NotFound where there was no such link, or its end is long past.
    """
    row = tx.execute(
        select(portal_links.c.organization_id).where(portal_links.c.link_id == link_id)
    ).first()
    ended = sessions.end_session_of_link(tx, link_id)
    if row is None and ended is None:
        raise NotFound("portal session", link_id)
    tx.execute(delete(portal_links).where(portal_links.c.link_id == link_id))
    return row.organization_id if row is not None else ended


def void_links_of(tx: Connection, organization_id: str, member_id: str) -> None:
    """End a member's unused links."""
    tx.execute(
        delete(portal_links).where(
            portal_links.c.organization_id == organization_id,
            portal_links.c.member_id == member_id,
            portal_links.c.used_at.is_(None),
        )
    )
