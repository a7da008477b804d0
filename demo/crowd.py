"""The rest of the demo's customers: enough of them, heavy and light, for figures to say something.

Each is told in a few batches: what a small customer does in a month is a handful of events. Some
are there for one thing: who costs far more than they pay, who is leaving, who works past their
credits, who only measures.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from portal import accounts, metering, onboarding
from portal.core.costs import ModelUsage
from portal.core.events import StatedCost, UsageEvent
from portal.core.periods import Zone, local_day, start_of_day
from portal.core.units import MICRO
from portal.db import Database
from portal.metering import Sent
from portal.onboarding import OrganizationRequest

DAY = timedelta(days=1)
#: How far back a batch reaches: late events are taken for 35 days.
STEP = timedelta(days=29)


@dataclass(frozen=True)
class Small:
    """A small customer: their plan, actions a month, and the size of the work they send.

    ``lately`` is what their last month is of the ones before.
    """

    name: str
    tier: str
    monthly: int
    size: float
    lately: float = 1.0
    charging: str = "on"

    @property
    def key(self) -> str:
        """The organization's id."""
        return self.name.split()[0].lower()


CROWD = (
    Small("Meridian Legal", "pro", 64, 8.0, lately=1.25),
    Small("Harbor & Pine", "pro", 72, 2.0, lately=0.22),
    Small("Kestrel Studio", "starter", 52, 2.4, lately=1.6),
    Small("Tidewater Media", "starter", 30, 3.1, charging="shadow"),
    Small("Alder Insurance", "team", 60, 9.0),
    Small("Brightwell Clinics", "pro", 44, 4.2),
    Small("Cobalt Freight", "pro", 38, 3.0),
    Small("Dune Architects", "starter", 24, 1.6),
    Small("Elm Street Books", "starter", 9, 0.4),
    Small("Fenwick Tours", "starter", 13, 0.7),
    Small("Glasshouse Foods", "pro", 40, 2.6),
    Small("Hollis Accounting", "pro", 48, 3.4),
    Small("Inlet Surveying", "starter", 16, 0.9),
    Small("Juniper Schools", "pro", 36, 1.8),
    Small("Kite Logistics", "starter", 21, 1.2),
    Small("Larkspur Events", "starter", 7, 0.3),
    Small("Mosaic Translations", "team", 66, 7.5),
    Small("Nimbus Weather", "starter", 18, 1.1),
    Small("Orchard Health", "pro", 42, 3.8),
    Small("Piper Recruiting", "starter", 26, 1.5),
    Small("Quarry Stone", "starter", 5, 0.25),
    Small("Redwood Energy", "team", 54, 6.8),
    Small("Sable Fashion", "starter", 19, 0.8),
    Small("Thistle Charity", "starter", 8, 0.35),
)


def tell(database: Database, *, begins: datetime, now: datetime) -> None:
    """Write the story of each of them."""
    zone = Zone("Europe/London")
    begins = start_of_day(local_day(begins + DAY, zone).replace(day=1), zone)
    for small in CROWD:
        _found(database, small, begins=begins)
        chance = random.Random(small.name)
        for first, last in _steps(begins, now):
            latest = last == now
            events = list(_events(small, first, last, chance, latest=latest))
            batch = [Sent(place, None, event=event) for place, event in enumerate(events)]
            answer = metering.ingest(database, batch, now=last)
            if answer.rejected:
                raise AssertionError(f"the story does not fit the product: {answer.rejected[0]}")


def _steps(begins: datetime, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    first = begins + DAY
    while first < now:
        last = min(first + STEP, now)
        yield first, last
        first = last


def _found(database: Database, small: Small, *, begins: datetime) -> None:
    onboarding.put_organization(
        database,
        small.key,
        OrganizationRequest(
            name=small.name,
            email=f"billing@{small.key}.example",
            timezone="Europe/London",
            tier=small.tier,
            charging=small.charging,
        ),
        now=begins,
    )
    with database.transaction() as tx:
        for member, name, role in (
            ("owner", "Robin Vale", "owner"),
            ("maker", "Sam Roe", "member"),
        ):
            accounts.put_member(
                tx,
                small.key,
                member,
                email=f"{member}@{small.key}.example",
                name=name,
                role=role,
                team_id="",
                now=begins,
            )


def _events(
    small: Small, first: datetime, last: datetime, chance: random.Random, *, latest: bool
) -> Iterator[UsageEvent]:
    share = (last - first) / STEP
    pace = small.monthly * share * (small.lately if latest else 1.0)
    times = sorted(chance.random() for _ in range(max(1, round(pace))))
    for part in times:
        kind, price = chance.choice((("document", 5), ("document", 5), ("analysis", 10)))
        quantity = chance.randint(1, 4)
        size = 0.62 * small.size * chance.lognormvariate(0, 0.4) * price / 5
        yield UsageEvent(
            source="scribe/backend",
            event_id=f"{kind}-{chance.getrandbits(64):016x}",
            organization_id=small.key,
            type=kind,
            quantity_micro=quantity * MICRO,
            time=first + (last - first) * part,
            member=chance.choice(("owner", "maker", "maker")),
            run=f"run-{chance.getrandbits(40):010x}",
            request_type=chance.choice(("draft", "summary", "translation")),
            costs=(
                StatedCost(
                    layer="inference",
                    provider="anthropic",
                    model="claude-sonnet-4-5",
                    usage=ModelUsage(
                        input_tokens=round(14_000 * size * quantity),
                        output_tokens=round(2_400 * size * quantity),
                    ),
                ),
                StatedCost(layer="retrieval", amount_nano_usd=round(4_000_000 * size)),
                StatedCost(layer="storage", amount_nano_usd=round(900_000 * size)),
            ),
        )
