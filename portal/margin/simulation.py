"""Simulations: asked for, run organization by organization, kept and compared.

The only writer of ``simulations`` and ``simulated_customers``. Invariant: what one batch found and
how far it came are committed together, by whoever holds the lease, so that a run that was stopped
anywhere goes on from there and counts nobody twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, func, insert, or_, select, update

from portal import accounts
from portal.clock import Clock
from portal.core.errors import (
    CatalogError,
    ClearmeterError,
    FieldError,
    InvalidRequest,
    NotFound,
)
from portal.core.replay import TokenPrices
from portal.core.simulation import (
    GRANDFATHER_PERMILLE,
    Kind,
    Outcome,
    Side,
    Spread,
    Summary,
    assumptions_of,
    summarize,
)
from portal.db import Database
from portal.ids import new_id
from portal.margin.simulation_runs import Notes, Run, SimulationRequest, scenario_of
from portal.rows import insert_rows
from portal.tables import organizations, simulated_customers, simulations, subscriptions

#: So many organizations between two commits.
BATCH = 50
#: What so few organizations take, whoever asks may wait for.
AT_ONCE = 25
LEASE = timedelta(minutes=10)
#: The most days that are replayed at once.
LONGEST_DAYS = 731
#: Somewhere it may be tomorrow already, and the day that runs counts as well.
_FURTHEST_DAY = timedelta(days=2)


@dataclass(frozen=True)
class Simulation:
    """A simulation: what was asked, how far it has come, and what it found once it is done."""

    simulation_id: str
    name: str
    request: SimulationRequest
    status: str
    done: int
    total: int
    notes: Notes
    assumptions: Sequence[str]
    started_by: str
    created_at: datetime
    finished_at: datetime | None
    summary: Summary | None
    failure: str


def take_on(
    database: Database, request: SimulationRequest, *, actor: str, now: datetime
) -> Simulation:
    """Take a simulation on; run it at once where few organizations make it short.

    Raises InvalidRequest, for a bad price book with the line.
    """
    simulation_id = new_id("sim")
    with database.transaction() as tx:
        _check(tx, request, now=now)
        total = tx.execute(select(func.count()).select_from(organizations)).scalar_one()
        tx.execute(
            insert(simulations).values(
                simulation_id=simulation_id,
                name=request.name,
                request=_written(request),
                status="queued",
                total=total,
                notes=asdict(Notes()),
                started_by=actor,
                created_at=now,
            )
        )
    if total <= AT_ONCE:
        go_on(database, simulation_id, clock=lambda: now)
    with database.reading() as tx:
        return find(tx, simulation_id)


def _check(tx: Connection, request: SimulationRequest, *, now: datetime) -> None:
    if not request.start < request.end:
        raise InvalidRequest.at("/end", "must be later than start; the end day itself is left out")
    if (request.end - request.start).days > LONGEST_DAYS:
        raise InvalidRequest.at("/end", f"is more than {LONGEST_DAYS} days after start")
    if request.end > (now + _FURTHEST_DAY).date():
        raise InvalidRequest.at("/end", "lies in the future: only what happened is replayed")
    try:
        scenario = scenario_of(tx, request, at=now)
    except CatalogError as error:
        raise InvalidRequest(error.detail, [FieldError("/book", error.detail)]) from error
    if scenario.kind is not Kind.BOOK or scenario.book is None:
        return
    for key, target in request.tiers.items():
        if target not in scenario.book.tiers:
            raise InvalidRequest.at(
                f"/tiers/{key}", f"is not one of {', '.join(scenario.book.tiers)}"
            )
    in_use = set(tx.execute(select(subscriptions.c.tier).distinct()).scalars())
    missing = sorted(in_use - set(request.tiers) - set(scenario.book.tiers))
    if missing:
        raise InvalidRequest.at(
            "/tiers",
            f"must say what stands for {', '.join(missing)}: customers have it, the book does not",
        )


def waiting(tx: Connection, *, now: datetime) -> list[str]:
    """Return the simulations that nobody works on, oldest first."""
    query = (
        select(simulations.c.simulation_id)
        .where(
            simulations.c.status.in_(("queued", "running")),
            or_(simulations.c.leased_until.is_(None), simulations.c.leased_until <= now),
        )
        .order_by(simulations.c.created_at, simulations.c.simulation_id)
    )
    return list(tx.execute(query).scalars())


def run_waiting(database: Database, *, clock: Clock) -> int:
    """Run every simulation that waits; returns how many were finished here."""
    with database.reading() as tx:
        found = waiting(tx, now=clock())
    return sum(go_on(database, simulation_id, clock=clock) for simulation_id in found)


def go_on(database: Database, simulation_id: str, *, clock: Clock) -> bool:
    """Run a simulation from where it stands; False where another works on it.

    What cannot be priced at all fails with the reason.
    """
    lease = new_id("lease")
    if not _claim(database, simulation_id, lease, now=clock()):
        return False
    try:
        while not _batch(database, simulation_id, lease, now=clock()):
            pass
    except _LeaseLost:
        return False
    except ClearmeterError as error:
        with database.transaction() as tx:
            _keep(tx, simulation_id, lease, status="failed", failure=error.detail, lease_=None)
    return True


class _LeaseLost(Exception):
    """Another process took the simulation over."""


def _claim(database: Database, simulation_id: str, lease: str, *, now: datetime) -> bool:
    with database.transaction() as tx:
        claimed = tx.execute(
            update(simulations)
            .where(
                simulations.c.simulation_id == simulation_id,
                simulations.c.status.in_(("queued", "running")),
                or_(simulations.c.leased_until.is_(None), simulations.c.leased_until <= now),
            )
            .values(status="running", lease=lease, leased_until=now + LEASE)
        )
    return claimed.rowcount == 1


def _keep(
    tx: Connection, simulation_id: str, lease: str, *, lease_: str | None, **values: object
) -> None:
    """Write how far a simulation has come. Raises _LeaseLost where it is another's by now."""
    kept = tx.execute(
        update(simulations)
        .where(simulations.c.simulation_id == simulation_id, simulations.c.lease == lease)
        .values(lease=lease_, **values)
    )
    if kept.rowcount != 1:
        raise _LeaseLost


def _batch(database: Database, simulation_id: str, lease: str, *, now: datetime) -> bool:
    """Replay the next organizations, or sum up after the last; tells whether all is done."""
    with database.reading(patient=True) as tx:
        row = _row(tx, simulation_id)
        request = _read(row["request"])
        scenario = scenario_of(tx, request, at=row["created_at"])
        found = accounts.list_organizations(tx, after=row["done_until"], limit=BATCH)
        run = Run(tx, request, scenario, _notes(row["notes"]))
        outcomes = [one for one in map(run.outcome, found) if one is not None]
        summary = None if found else summarize(_outcomes(tx, simulation_id))
    with database.transaction() as tx:
        if summary is not None:
            _keep(
                tx, simulation_id, lease, lease_=None, leased_until=None, status="done",
                result=asdict(summary), finished_at=now,
            )  # fmt: skip
            return True
        _keep(
            tx, simulation_id, lease, lease_=lease, leased_until=now + LEASE,
            done_until=found[-1].organization_id, done=row["done"] + len(found),
            notes=asdict(run.notes),
        )  # fmt: skip
        insert_rows(tx, simulated_customers, [_kept(simulation_id, one) for one in outcomes])
    return False


def _kept(simulation_id: str, one: Outcome) -> dict[str, Any]:
    row = asdict(one)
    return {"organization_id": row.pop("customer"), "simulation_id": simulation_id, **row}


def _outcome(row: RowMapping) -> Outcome:
    return Outcome(
        row["organization_id"],
        row["currency"],
        row["rate_nano_usd"],
        row["revenue_minor"],
        row["today_minor"],
        row["cost_nano_usd"],
        row["swing_permille"],
        row["today_swing_permille"],
        row["uncollected_micro"],
    )


def _outcomes(tx: Connection, simulation_id: str) -> Iterator[Outcome]:
    query = select(simulated_customers).where(simulated_customers.c.simulation_id == simulation_id)
    return map(_outcome, tx.execute(query).mappings())


def _row(tx: Connection, simulation_id: str) -> RowMapping:
    query = select(simulations).where(simulations.c.simulation_id == simulation_id)
    row = tx.execute(query).mappings().first()
    if row is None:
        raise NotFound("simulation", simulation_id)
    return row


def find(tx: Connection, simulation_id: str) -> Simulation:
    """Return a simulation as it stands. Raises NotFound."""
    return _simulation(_row(tx, simulation_id))


def listed(
    tx: Connection, *, before: tuple[datetime, str] | None = None, limit: int = 50
) -> list[Simulation]:
    """Return simulations, newest first, those that began before the place ``before``."""
    query = select(simulations).order_by(
        simulations.c.created_at.desc(), simulations.c.simulation_id.desc()
    )
    if before is not None:
        at, simulation_id = before
        query = query.where(
            or_(
                simulations.c.created_at < at,
                and_(simulations.c.created_at == at, simulations.c.simulation_id < simulation_id),
            )
        )
    return [_simulation(row) for row in tx.execute(query.limit(limit)).mappings()]


#: How customers of a simulation can be put in order: each with its column, the largest first.
SORTS = {
    "more": simulated_customers.c.revenue_minor - simulated_customers.c.today_minor,
    "revenue": simulated_customers.c.revenue_minor,
    "cost": simulated_customers.c.cost_nano_usd,
    "swing": simulated_customers.c.swing_permille,
}


def customers(
    tx: Connection,
    simulation_id: str,
    *,
    sort: str = "more",
    after: tuple[int, str] | None = None,
    limit: int | None = 50,
) -> Iterator[Outcome]:
    """Yield what a simulation found for each customer, the largest of ``sort`` first.

    ``after`` is that figure and the id of the last one seen. Raises InvalidRequest for an order
    that does not exist.
    """
    if sort not in SORTS:
        raise InvalidRequest.at("/sort", f"is not one of {', '.join(SORTS)}")
    figure, name = SORTS[sort], simulated_customers.c.organization_id
    query = select(simulated_customers).where(simulated_customers.c.simulation_id == simulation_id)
    if after is not None:
        query = query.where(or_(figure < after[0], and_(figure == after[0], name > after[1])))
    query = query.order_by(figure.desc(), name).limit(limit)
    with tx.execute(query, execution_options={"yield_per": 1_000}) as rows:
        yield from map(_outcome, rows.mappings())


def figure_of(outcome: Outcome, sort: str) -> int:
    """Return the figure by which an outcome stands where it does in a list."""
    return {
        "more": outcome.more_minor,
        "revenue": outcome.revenue_minor,
        "cost": outcome.cost_nano_usd,
        "swing": outcome.swing_permille,
    }[sort]


def to_grandfather(tx: Connection, simulation_id: str, *, limit: int = 100) -> list[Outcome]:
    """Return the customers to keep on today's price, who would pay the most more first."""
    columns = simulated_customers.c
    query = (
        select(simulated_customers)
        .where(
            columns.simulation_id == simulation_id,
            columns.today_minor > 0,
            (columns.revenue_minor - columns.today_minor) * 1000
            > columns.today_minor * GRANDFATHER_PERMILLE,
        )
        .order_by((columns.revenue_minor - columns.today_minor).desc(), columns.organization_id)
    )
    found = (_outcome(row) for row in tx.execute(query).mappings())
    return [one for one in found if one.grandfathered][:limit]


def _simulation(row: RowMapping) -> Simulation:
    request = _read(row["request"])
    return Simulation(
        simulation_id=row["simulation_id"],
        name=row["name"],
        request=request,
        status=row["status"],
        done=row["done"],
        total=row["total"],
        notes=_notes(row["notes"]),
        assumptions=assumptions_of(request.kind),
        started_by=row["started_by"],
        created_at=row["created_at"],
        finished_at=row["finished_at"],
        summary=_summary(row["result"]) if row["result"] else None,
        failure=row["failure"],
    )


def _written(request: SimulationRequest) -> dict[str, Any]:
    return {
        **asdict(request),
        "start": request.start.isoformat(),
        "end": request.end.isoformat(),
    }


def _read(document: Mapping[str, Any]) -> SimulationRequest:
    tokens = document["tokens"]
    return SimulationRequest(
        **{
            **document,
            "kind": Kind(document["kind"]),
            "start": date.fromisoformat(document["start"]),
            "end": date.fromisoformat(document["end"]),
            "tokens": TokenPrices(**tokens) if tokens else None,
        }
    )


def _notes(document: Mapping[str, Any]) -> Notes:
    return Notes(**document)


def _summary(document: Mapping[str, Any]) -> Summary:
    sides = {name: _side(document[name]) for name in ("simulated", "today")}
    return Summary(**{**document, **sides})


def _side(document: Mapping[str, Any]) -> Side:
    spreads = ("margins_nano_usd", "margins_permille", "swings_permille")
    found: dict[str, Spread | None] = {
        name: Spread(**document[name]) if document[name] else None for name in spreads
    }
    return Side(**{**document, **found})
