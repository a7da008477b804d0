"""The demo's history: three customers in detail over three months, and a crowd of smaller ones.

All told through the product's own use cases.

Shaped like real usage, not copied from any: weekends are quiet, a few people make most of the cost,
sizes of model calls are log-normal, one launch day spikes, images have been growing lately. The
generator is seeded, so that the same day always tells the same story.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from demo import crowd, desk
from demo.purchases import Till
from portal import (
    access,
    accounts,
    authorization,
    catalog,
    forecast_record,
    invitations,
    keyring,
    limits,
    metering,
    onboarding,
    people,
    usage,
)
from portal.authorization import AuthorizeRequest
from portal.caps import CapRequest
from portal.core.costs import ModelUsage
from portal.core.events import StatedCost, UsageEvent
from portal.core.periods import Zone, days_between, local_day, start_of_day
from portal.core.units import MICRO
from portal.db import Database
from portal.metering import Sent
from portal.onboarding import OrganizationRequest

PASSWORD = "clearmeter-demo"  # noqa: S105 # printed for everybody who runs the demo
DAY = timedelta(days=1)
BATCH = 500
#: How long ago each of Acme's people was last seen, in their order.
SEEN_MINUTES_AGO = (34, 6, 12, 95, 1_480, 2_900, 11_600)
#: Days after the beginning on which Acme buys a pack.
PACK_DAY = 9
#: How far back Acme's forecasts were kept, to be told against what came: two months at most.
SAID_FOR = timedelta(days=62)


@dataclass(frozen=True)
class Person:
    """Somebody who uses the product; ``weight`` is their share of it."""

    member: str
    name: str
    role: str
    team: str
    weight: float


@dataclass(frozen=True)
class Customer:
    """An organization of the story. ``pace`` is its actions on a usual working day."""

    organization: str
    name: str
    timezone: str
    tier: str
    people: tuple[Person, ...]
    projects: tuple[str, ...]
    teams: tuple[tuple[str, str], ...]
    pace: dict[str, float]
    weekend: float
    cost_scale: float


ACME = Customer(
    organization="acme",
    name="Acme Writing",
    timezone="Europe/Berlin",
    tier="pro",
    people=(
        Person("ana", "Ana Brandt", "owner", "content", 0.10),
        Person("ben", "Ben Okafor", "admin", "content", 0.22),
        Person("cleo", "Cleo Marsh", "member", "design", 0.30),
        Person("dina", "Dina Sato", "member", "content", 0.24),
        Person("emil", "Emil Novak", "member", "design", 0.10),
        Person("fay", "Fay Lindqvist", "billing", "", 0.04),
        Person("gita", "Gita Rao", "viewer", "", 0.0),
    ),
    projects=("website", "newsletter", "launch"),
    teams=(("content", "Content"), ("design", "Design")),
    pace={"document": 11.5, "analysis": 2.9, "image": 9.0},
    weekend=0.22,
    cost_scale=1.0,
)
NORTHWIND = Customer(
    organization="northwind",
    name="Northwind Research",
    timezone="America/New_York",
    tier="team",
    people=(
        Person("gus", "Gus Keller", "owner", "lab", 0.03),
        Person("hana", "Hana Ito", "member", "lab", 0.62),
        Person("ivo", "Ivo Petrov", "member", "lab", 0.20),
        Person("june", "June Adeyemi", "member", "field", 0.10),
        Person("kofi", "Kofi Mensah", "member", "field", 0.05),
    ),
    projects=("atlas", "survey"),
    teams=(("lab", "Lab"), ("field", "Field")),
    pace={"document": 22.0, "analysis": 26.0, "image": 4.0},
    weekend=0.45,
    cost_scale=0.9,
)
BIRCH = Customer(
    organization="birch",
    name="Birch & Daughters",
    timezone="Asia/Kathmandu",
    tier="starter",
    people=(Person("lila", "Lila Thapa", "owner", "", 1.0),),
    projects=("letters",),
    teams=(),
    pace={"document": 1.1, "analysis": 0.25, "image": 0.8},
    weekend=0.5,
    cost_scale=0.6,
)
CUSTOMERS = (ACME, NORTHWIND, BIRCH)

#: Per action: provider, model, median input and output tokens, and how many calls it takes.
_CALLS = {
    "document": (
        ("anthropic", "claude-sonnet-4-5", 5200, 1900, 2),
        ("openai", "gpt-4o-mini", 2400, 350, 2),
    ),
    "analysis": (
        ("anthropic", "claude-sonnet-4-5", 14500, 1500, 3),
        ("google", "gemini-2.5-pro", 21000, 900, 1),
    ),
    "image": (("openai", "gpt-4o-mini", 600, 120, 1),),
}
#: Per action, what the other layers cost, in billionths of a dollar.
_OTHER_COSTS = {
    "document": (("retrieval", 1_900_000), ("storage", 240_000)),
    "analysis": (("retrieval", 7_400_000), ("processing", 5_200_000), ("orchestration", 900_000)),
    "image": (("external", 18_000_000),),
}


def tell(database: Database, till: Till, *, now: datetime) -> None:
    """Write the whole story into an empty, migrated store; Acme buys at the till."""
    with database.transaction() as tx:
        catalog.load(tx, catalog.DEFAULT_FILE.read_text(encoding="utf-8"), now=now)
        access.put_operator(tx, "olga@scribe.example", "Olga Reyes", now=now)
    for customer in CUSTOMERS:
        _found(database, customer, begins=_begins(customer, now))
        buys = customer is ACME
        for day_end, events in _days(customer, now=now):
            if buys:
                _buy(till, begins=_begins(customer, now), now=day_end)
            _send(database, events, now=day_end)
            if buys and now - day_end < SAID_FOR:
                forecast_record.keep(database, now=day_end)
    crowd.tell(database, begins=begins_at(now), now=now)
    till.close(now=now)
    _people(database, now=now)
    _present(database, now=now)
    desk.lay_out(database, till, now=now)


def _buy(till: Till, *, begins: datetime, now: datetime) -> None:
    """Do what Acme buys on the day that ends now; on its first day it takes its plan."""
    day = (now - begins).days
    if day == 0:
        till.subscribe(ACME.tier, now=begins + timedelta(hours=9))
    elif day == PACK_DAY:
        till.buy("medium", now=begins + timedelta(days=day, hours=10))
    till.renew(now=now)


def begins_at(now: datetime) -> datetime:
    """Return when the story begins, for who has to be there before it."""
    return min(_begins(customer, now) for customer in CUSTOMERS)


def _begins(customer: Customer, now: datetime) -> datetime:
    """Return the first instant, in the customer's zone, of the month two months ago."""
    zone = Zone(customer.timezone)
    today = local_day(now, zone)
    month = today.year * 12 + today.month - 1 - 2
    return start_of_day(date(month // 12, month % 12 + 1, 1), zone)


def _found(database: Database, customer: Customer, *, begins: datetime) -> None:
    onboarding.put_organization(
        database,
        customer.organization,
        OrganizationRequest(
            name=customer.name,
            email=f"billing@{customer.organization}.example",
            timezone=customer.timezone,
            # Acme pays for its plan through Stripe; the others have arranged theirs.
            tier=None if customer is ACME else customer.tier,
        ),
        now=begins,
    )
    key, by = customer.organization, "operator"
    for team, name in customer.teams:
        people.put_team(database, key, team, name=name, actor=by, now=begins)
    for project in customer.projects:
        people.put_project(database, key, project, name=project.title(), actor=by, now=begins)
    for person in customer.people:
        member, _ = onboarding.put_member(
            database,
            key,
            person.member,
            email=f"{person.member}@{key}.example",
            name=person.name,
            role=person.role,
            team=person.team,
            actor=by,
            now=begins,
        )
        with database.transaction() as tx:
            access.set_password(tx, member, PASSWORD)


def _days(customer: Customer, *, now: datetime) -> Iterator[tuple[datetime, list[UsageEvent]]]:
    """Yield each local day's end (or now) with its events, oldest first."""
    zone = Zone(customer.timezone)
    chance = random.Random(f"{customer.organization} {local_day(now, zone).isoformat()}")
    today = local_day(now, zone)
    first = local_day(_begins(customer, now), zone)
    for day in days_between(first, today + DAY):
        starts = start_of_day(day, zone)
        ends = min(now, start_of_day(day + DAY, zone) - timedelta(seconds=1))
        events = [
            event for event in _day(customer, day, starts, today, chance) if _at(event) < ends
        ]
        if events:
            yield ends, _in_runs(sorted(events, key=_at))


def _in_runs(events: list[UsageEvent]) -> list[UsageEvent]:
    """Let some of what a person makes on a day belong to what they made before it."""
    latest: dict[str, UsageEvent] = {}
    joined = []
    for event in events:
        before = latest.get(event.member)
        # By its own id, so that the rest of the story stays as it is.
        if before is not None and event.event_id[-1] in "0123":
            event = replace(event, run=before.run, project=before.project)
        latest[event.member] = event
        joined.append(event)
    return joined


def _at(event: UsageEvent) -> datetime:
    if event.time is None:
        raise AssertionError("the story dates every event")
    return event.time


def _day(
    customer: Customer, day: date, starts: datetime, today: date, chance: random.Random
) -> Iterator[UsageEvent]:
    mood = chance.lognormvariate(0, 0.22) * (customer.weekend if day.weekday() >= 5 else 1.0)
    if (today - day).days == 12 and customer is ACME:
        mood *= 2.1  # the day of a launch
    for action, pace in customer.pace.items():
        trend = 1.4 if action == "image" and 0 <= (today - day).days <= 7 else 1.0
        for _ in range(_poisson(pace * mood * trend, chance)):
            yield _event(customer, action, starts, chance)


def _poisson(mean: float, chance: random.Random) -> int:
    limit, product, count = math.exp(-mean), 1.0, -1
    while product > limit:
        product *= chance.random()
        count += 1
    return count


def _event(customer: Customer, action: str, starts: datetime, chance: random.Random) -> UsageEvent:
    person = chance.choices(customer.people, [one.weight for one in customer.people])[0]
    hour = min(23.9, max(0.1, chance.gauss(13.2, 3.1)))
    return UsageEvent(
        source="scribe/backend",
        event_id=f"{action}-{chance.getrandbits(64):016x}",
        organization_id=customer.organization,
        type=action,
        time=starts + timedelta(hours=hour),
        member=person.member,
        project=chance.choice(customer.projects),
        run=f"run-{chance.getrandbits(40):010x}",
        costs=tuple(_costs(customer, action, person, chance)),
    )


def _costs(
    customer: Customer, action: str, person: Person, chance: random.Random
) -> Iterator[StatedCost]:
    # The heaviest user of a customer also sends the largest work: that is where margins go.
    scale = customer.cost_scale * (1.0 + 2.0 * (person.weight > 0.5))
    for provider, model, median_in, median_out, calls in _CALLS[action]:
        for _ in range(calls):
            yield StatedCost(
                layer="inference",
                provider=provider,
                model=model,
                usage=ModelUsage(
                    input_tokens=round(median_in * scale * chance.lognormvariate(0, 0.7)),
                    output_tokens=round(median_out * scale * chance.lognormvariate(0, 0.5)),
                ),
            )
    for layer, amount in _OTHER_COSTS[action]:
        yield StatedCost(
            layer=layer, amount_nano_usd=round(amount * scale * chance.lognormvariate(0, 0.3))
        )


def _send(database: Database, events: list[UsageEvent], *, now: datetime) -> None:
    for first in range(0, len(events), BATCH):
        batch = [
            Sent(index, None, event=event)
            for index, event in enumerate(events[first : first + BATCH])
        ]
        answer = metering.ingest(database, batch, now=now)
        if answer.rejected:
            raise AssertionError(f"the story does not fit the product: {answer.rejected[0]}")


def _used_by(database: Database, member: str, *, now: datetime) -> int:
    with database.reading() as tx:
        organization = accounts.find_organization(tx, ACME.organization)
        start = local_day(organization.period_at(now).start, organization.zone)
        end = local_day(now, organization.zone) + DAY
        report = usage.report(
            tx, ACME.organization, start=start, end=end, filters={"member": member}
        )
    return report.totals.credits_micro


def _rounded(amount_micro: int) -> int:
    """Round up to whole tens of credits, as a person would choose a limit."""
    ten = 10 * MICRO
    return -(-amount_micro // ten) * ten


def _people(database: Database, *, now: datetime) -> None:
    """Set who was seen when, who is invited, and a key that a program of Acme's reads with."""
    key = ACME.organization
    with database.transaction() as tx:
        for minutes, person in zip(SEEN_MINUTES_AGO, ACME.people, strict=True):
            seen_at = now - timedelta(minutes=minutes)
            accounts.saw(tx, key, person.member, now=seen_at)
        ana, ben = (accounts.find_member(tx, key, member) for member in ("ana", "ben"))
    keyring.make(
        database,
        key,
        name="Finance dashboard",
        scopes=("read",),
        lifetime="365",
        by=ana,
        now=now - timedelta(days=12),
    )
    invited = invitations.invite(
        database,
        key,
        email="hugo@acme.example",
        role="member",
        team_id="design",
        by=ben,
        now=now - timedelta(hours=20),
    )
    invitations.mailed(database, invited.invitation, now=now - timedelta(hours=20))


def _present(database: Database, *, now: datetime) -> None:
    """Set what stands today: caps, and work in flight."""
    # Cleo is about to reach hers, whatever the day of the month: that is what the page is for.
    cleo = max(50 * MICRO, _used_by(database, "cleo", now=now) * 100 // 94)
    for request in (
        CapRequest("organization", "", "", "period", 3_000 * MICRO, "soft"),
        CapRequest("team", "design", "", "period", 1_000 * MICRO, "hard"),
        CapRequest("member", "cleo", "", "period", _rounded(cleo), "hard"),
    ):
        limits.set_cap(database, ACME.organization, request, actor="ben", now=now)
    for action, quantity, member in (("document", 3, "dina"), ("analysis", 2, "ben")):
        authorization.authorize(
            database,
            AuthorizeRequest(
                ACME.organization,
                action,
                quantity * MICRO,
                member=member,
                run=f"in-flight-{action}",
                expires_in_seconds=86_400,
            ),
            key=f"demo-{action}",
            now=now,
        )
