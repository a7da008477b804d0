"""What people and endpoints are told, as they choose it: each choice in one transaction, on record.

An endpoint's secret is returned by the act that makes it, and never again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from portal import audit, lookout
from portal.accounts import Member, Organization
from portal.core.errors import InvalidRequest
from portal.db import Database
from portal.lookout import Threshold
from portal.notices import delivered, egress, endpoints, kinds, mailing, outbox
from portal.notices.delivered import Delivery
from portal.notices.endpoints import Endpoint
from portal.notices.kinds import GROUPS, MAIL, PAGE, Group
from portal.notices.links import EVERYTHING, Unsubscribing
from portal.notices.words import Words, describe

#: How many messages and deliveries a page shows.
SHOWN = 20


@dataclass(frozen=True)
class Told:
    """A message in words, and when it was."""

    words: Words
    at: datetime
    state: str


@dataclass(frozen=True)
class Hearing:
    """What somebody hears and how, and the last things there were to hear."""

    groups: Sequence[tuple[Group, bool]]
    threshold: Threshold
    told: Sequence[Told]


def hearing(
    tx: Connection, organization: Organization, member: Member, *, now: datetime
) -> Hearing:
    """Return what a member hears by mail, group by group, and what they were told of last."""
    organization_id = organization.organization_id
    chosen = mailing.chosen(tx, organization_id, member.member_id)
    groups = [
        (one, chosen.get(one.key, MAIL if member.role in one.mailed else PAGE) == MAIL)
        for one in kinds.groups_for(member)
    ]
    names = mailing.names_of(tx, organization, now=now)
    latest = outbox.latest(tx, organization_id, limit=SHOWN * 5)
    told = [
        Told(describe(one, names), one.at, one.state) for one in latest if kinds.hears(one, member)
    ]
    return Hearing(groups, lookout.threshold(tx, organization_id), told[:SHOWN])


def choose(database: Database, member: Member, mailed: Sequence[str]) -> None:
    """Keep which groups a member hears of by mail; the rest stands on the page alone."""
    choices = {one.key: MAIL if one.key in mailed else PAGE for one in kinds.groups_for(member)}
    with database.transaction() as tx:
        mailing.choose(tx, member.organization_id, member.member_id, choices)


def unsubscribe(database: Database, whose: Unsubscribing) -> None:
    """Let somebody hear no more of a group, or of anything, by mail."""
    keys = [one.key for one in GROUPS if whose.group in {one.key, EVERYTHING}]
    with database.transaction() as tx:
        choices = dict.fromkeys(keys, PAGE)
        mailing.choose(tx, whose.organization_id, whose.member_id, choices)


def set_threshold(database: Database, member: Member, chosen: Threshold, *, now: datetime) -> None:
    """Set below what a balance is low. Raises InvalidRequest."""
    if chosen.percent is not None and not 0 <= chosen.percent <= 100:
        raise InvalidRequest.at("/low", "must be 0 to 100 percent")
    with database.transaction() as tx:
        before = lookout.threshold(tx, member.organization_id)
        lookout.set_threshold(tx, member.organization_id, chosen)
        audit.note(
            tx,
            member.organization_id,
            actor=member.member_id,
            act="alerts.low_balance",
            detail={
                "percent": chosen.percent,
                "credits_micro": chosen.micro,
                "was": {"percent": before.percent, "credits_micro": before.micro},
            },
            now=now,
        )


@dataclass(frozen=True)
class Listening:
    """The endpoints of an organization, or of the operator, and their last deliveries."""

    endpoints: Sequence[Endpoint]
    deliveries: Mapping[str, Sequence[Delivery]]


def listening(tx: Connection, organization_id: str | None) -> Listening:
    """Return the endpoints with what was last delivered to each."""
    found = endpoints.of(tx, organization_id)
    deliveries = {
        one.endpoint_id: delivered.to_endpoint(tx, one.endpoint_id, limit=SHOWN) for one in found
    }
    return Listening(found, deliveries)


def deliveries(
    tx: Connection, organization_id: str | None, endpoint_id: str, *, limit: int
) -> Sequence[Delivery]:
    """Return the last deliveries to an endpoint, the newest first. Raises NotFound."""
    endpoints.find(tx, organization_id, endpoint_id)
    return delivered.to_endpoint(tx, endpoint_id, limit=limit)


@dataclass(frozen=True)
class Keeper:
    """Who keeps endpoints: of which organization (None: the operator), by whom, with which key."""

    organization_id: str | None
    actor: str
    portal_key: str
    loopback: bool = False

    def secret(self, endpoint: Endpoint) -> str:
        """Return an endpoint's secret of now."""
        return endpoints.secret(self.portal_key, endpoint.endpoint_id, endpoint.generation)


def make_endpoint(
    database: Database, keeper: Keeper, url: str, types: Sequence[str], *, now: datetime
) -> tuple[Endpoint, str]:
    """Make an endpoint; returns it with its secret. Raises InvalidRequest."""
    egress.target_of(url, loopback=keeper.loopback)
    with database.transaction() as tx:
        made = endpoints.create(
            tx, keeper.organization_id, url, tuple(types), actor=keeper.actor, now=now
        )
        _note(tx, keeper, "webhook.made", made, now)
    return made, keeper.secret(made)


def rotate_endpoint(
    database: Database, keeper: Keeper, endpoint_id: str, *, now: datetime
) -> tuple[Endpoint, str]:
    """Give an endpoint a new secret; returns it. Raises NotFound."""
    with database.transaction() as tx:
        found = endpoints.rotate(tx, keeper.organization_id, endpoint_id, now=now)
        _note(tx, keeper, "webhook.rotated", found, now)
    return found, keeper.secret(found)


def switch_endpoint(
    database: Database, keeper: Keeper, endpoint_id: str, *, on: bool, now: datetime
) -> None:
    """Switch an endpoint on or off. Raises NotFound."""
    with database.transaction() as tx:
        found = endpoints.switch(
            tx, keeper.organization_id, endpoint_id, on=on, why="Switched off here.", now=now
        )
        _note(tx, keeper, "webhook.on" if on else "webhook.off", found, now)


def remove_endpoint(database: Database, keeper: Keeper, endpoint_id: str, *, now: datetime) -> None:
    """Remove an endpoint. Raises NotFound."""
    with database.transaction() as tx:
        found = endpoints.find(tx, keeper.organization_id, endpoint_id)
        endpoints.remove(tx, keeper.organization_id, endpoint_id, now=now)
        _note(tx, keeper, "webhook.removed", found, now)


def replay(
    database: Database,
    keeper: Keeper,
    endpoint_id: str,
    delivery_id: str,
    *,
    now: datetime,
) -> None:
    """Send one delivery again, under the same id. Raises NotFound."""
    with database.transaction() as tx:
        found = endpoints.find(tx, keeper.organization_id, endpoint_id)
        delivered.replay(tx, endpoint_id, delivery_id, now=now)
        _note(tx, keeper, "webhook.replayed", found, now)


def send_again(database: Database, chosen: Sequence[str], *, actor: str, now: datetime) -> int:
    """Send deliveries that were given up again, under the same ids; returns how many.

    For the operator, whoever's endpoint it is; on record with whose it is. What is on its way again
    already, or is not there, is left out.
    """
    with database.transaction() as tx:
        found = delivered.dead_among(tx, chosen)
        for delivery_id, endpoint_id, owner in found:
            delivered.replay(tx, endpoint_id, delivery_id, now=now)
            audit.note(
                tx, owner, actor=actor, act="webhook.replayed", target=endpoint_id,
                detail={"delivery": delivery_id}, now=now,
            )  # fmt: skip
    return len(found)


def _note(tx: Connection, keeper: Keeper, act: str, endpoint: Endpoint, now: datetime) -> None:
    """Write an act on record; what the operator does with their own is nobody's record here."""
    if keeper.organization_id is not None:
        audit.note(
            tx,
            keeper.organization_id,
            actor=keeper.actor,
            act=act,
            target=endpoint.endpoint_id,
            detail={"url": endpoint.url},
            now=now,
        )
