"""How everything an act can be about is called, to whoever reads: names instead of keys.

Invariant: to a customer nobody of the operator's has a name but the operator itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection

from portal import accounts, catalog, keys
from portal.accounts import Organization
from portal.audit import Act
from portal.core import actors
from portal.core.catalog import money_words, tier_called
from portal.core.periods import Zone, local_day
from portal.web import formats

_UTC = Zone("UTC")
_BY_ITSELF = {"stripe": "Stripe", "clearmeter": "By itself"}


@dataclass(frozen=True)
class Names:
    """What is called how, by id or key, and how times and money are written.

    ``brand`` is what the operator is called, ``today`` the day on which it is read. ``operators``
    says that it is the operator who reads.
    """

    brand: str
    currency: str
    zone: Zone
    today: date
    operators: bool = False
    organization: str = ""
    members: Mapping[str, str] = field(default_factory=dict)
    teams: Mapping[str, str] = field(default_factory=dict)
    projects: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    actions: Mapping[str, str] = field(default_factory=dict)
    tiers: Mapping[str, str] = field(default_factory=dict)
    packs: Mapping[str, str] = field(default_factory=dict)

    def who(self, actor: str) -> str:
        """Return who acted; to a customer never which of the operator's people."""
        kind, _, name = actor.partition(":")
        if self.operators and actors.is_operators(kind) and name:
            return name
        return _BY_ITSELF.get(actor) or actors.called(actor, self.members, self.brand)

    def tier(self, key: str) -> str:
        """Return what a plan is called; one that no book knows is its key in plain letters."""
        return tier_called(key, self.tiers)

    def money(self, amount_minor: int) -> str:
        """Write an amount in minor units of the organization's currency."""
        return money_words(amount_minor, self.currency)

    def day(self, instant: datetime) -> str:
        """Write the day of an instant."""
        return formats.day(instant, self.zone, self.today)

    def last_day(self, end: datetime) -> str:
        """Write the last day before an end."""
        return formats.last_day(end, self.zone, self.today)

    def moment(self, instant: datetime) -> str:
        """Write an instant with its time of day, as the clocks of the page show it."""
        zone = _UTC if self.operators else self.zone
        return f"{formats.day(instant, zone, self.today)}, {formats.clock(instant, zone)}"


#: How what an act speaks of is called.
NamesOf = Callable[[Act], Names]


def names_of(
    tx: Connection,
    organization: Organization,
    *,
    brand: str,
    operators: bool = False,
    now: datetime,
) -> Names:
    """Return how an organization's things are called.

    Its days are its own for whoever reads; the operator's clocks show UTC.
    """
    key = organization.organization_id
    members, teams, projects = (
        accounts.names(tx, key, scope) for scope in ("member", "team", "project")
    )
    return Names(
        brand,
        organization.currency,
        organization.zone,
        local_day(now, organization.zone),
        operators,
        members=members,
        teams=teams,
        projects=projects,
        keys={one.key_id: one.name for one in keys.of_organization(tx, key)},
        **_sold(tx, now),
    )


def names_among(tx: Connection, acts: Sequence[Act], *, brand: str, now: datetime) -> NamesOf:
    """Return how what acts of any organizations speak of is called, for the operator to read.

    It costs the same few questions of the store however many organizations there are.
    """
    owners = accounts.find_organizations(tx, {one.organization_id for one in acts})
    spoken_of = {word for one in acts for word in _words(one)}
    members, teams, projects = (
        accounts.names_among(tx, scope, owners, spoken_of)
        for scope in ("member", "team", "project")
    )
    # Of no organization: amounts are the operator's own, in dollars.
    nobodys = Names(brand, "usd", _UTC, local_day(now, _UTC), operators=True, **_sold(tx, now))
    known = {
        key: replace(
            nobodys,
            organization=one.name,
            currency=one.currency,
            zone=one.zone,
            today=local_day(now, one.zone),
            members=members[key],
            teams=teams[key],
            projects=projects[key],
        )
        for key, one in owners.items()
    }
    return lambda act: known.get(act.organization_id, nobodys)


def _words(act: Act) -> Iterator[str]:
    """Tell every word that may be somebody's key in what was written down of an act."""
    told = [act.actor, act.target, *act.detail.values()]
    for one in told:
        yield from (word for word in (one.values() if isinstance(one, Mapping) else [one])
                    if isinstance(word, str))  # fmt: skip


def _sold(tx: Connection, now: datetime) -> dict[str, Any]:
    """Return what actions, plans and packs are called.

    What is sold no longer is still called as it was; what is sold has its newest name.
    """
    versions = catalog.in_force_until(tx, at=now)
    return {
        "actions": {key: one.plural for book in versions for key, one in book.actions.items()},
        "tiers": catalog.tier_names(tx, at=now),
        "packs": {key: one.name for book in versions for key, one in book.packs.items()},
    }
