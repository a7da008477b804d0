"""How everything an act can be about is called, to whoever reads: names instead of keys.

Invariant: to a customer nobody of the operator's has a name but the operator itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from sqlalchemy import Connection

from portal import accounts, catalog, keys
from portal.accounts import Organization
from portal.core import actors
from portal.core.catalog import money_words
from portal.core.errors import CatalogError
from portal.core.periods import Zone, local_day
from portal.web import formats

UTC_ZONE = Zone("UTC")
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
        return self.tiers.get(key) or key.replace("_", " ").capitalize()

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
        """Write an instant with its time of day."""
        return f"{self.day(instant)}, {formats.clock(instant, self.zone)}"


def names_of(
    tx: Connection,
    organization: Organization,
    *,
    brand: str,
    operators: bool = False,
    now: datetime,
) -> Names:
    """Return how an organization's things are called; the operator reads times in UTC."""
    key, zone = organization.organization_id, UTC_ZONE if operators else organization.zone
    members, teams, projects = (
        accounts.names(tx, key, scope) for scope in ("member", "team", "project")
    )
    try:
        versions = catalog.price_books_of(tx).versions
    except CatalogError:
        versions = ()
    # What is sold no longer is still called as it was; what is sold has its newest name.
    return Names(
        brand,
        organization.currency,
        zone,
        local_day(now, zone),
        operators,
        members,
        teams,
        projects,
        keys={one.key_id: one.name for one in keys.of_organization(tx, key)},
        actions={name: one.plural for book in versions for name, one in book.actions.items()},
        tiers={name: one.name for book in versions for name, one in book.tiers.items()},
        packs={name: one.name for book in versions for name, one in book.packs.items()},
    )
