"""The margin of many customers, against one sequential scan of the rollup of costs.

The rollups are written by the store itself, set by set, just as a month of work would have left
them: each customer has costs in several layers, use, a tier's fee and bought credits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import date

from sqlalchemy import text

from bench.events import prepare_books
from bench.loading import in_bulk, settle
from bench.machine import Machine
from bench.report import Found, at_most, in_turns, median
from portal.core.margin.figures import Span
from portal.db import Database
from portal.margin import margins, whole

MONTH = Span(date(2026, 11, 1), date(2026, 12, 1))
FEW, MANY = 10_000, 100_000
#: A page gives up sooner; here it is to be measured, however busy the machine.
PATIENCE_S = 3600
#: Each day of a customer has so many lines of cost: layers, models, members.
LINES = 4

_LONG_TABLES = ("cost_daily", "usage_daily", "revenue_daily", "tier_fees")
_SETS = (
    """
    INSERT INTO organizations (organization_id, name, timezone, calendar, currency, charging,
        on_empty, created_at)
    SELECT 'org' || n, 'Customer ' || n, 'UTC', '{"zones": [], "anchors": []}'::jsonb, 'usd', 'on',
        'stop', timestamptz '2026-10-01'
    FROM generate_series(1, :many) AS n
    """,
    """
    INSERT INTO wallets (organization_id) SELECT organization_id FROM organizations
    """,
    """
    INSERT INTO tier_terms (organization_id, since, tier, period_start, period_end, billed)
    SELECT organization_id, timestamptz '2026-10-01', 'pro', timestamptz '2026-10-01',
        timestamptz '2026-11-01', false
    FROM organizations
    """,
    """
    INSERT INTO tier_fees (organization_id, fee_id, tier, amount_minor, first_day, days, from_day,
        until_day)
    SELECT organization_id, 'fee' || m, 'pro', 9900, :first_day + 30 * m, 30, :first_day + 30 * m,
        :first_day + 30 * m + 30
    FROM organizations, generate_series(-1, 1) AS m
    """,
    """
    INSERT INTO cost_daily (organization_id, day, layer, quality, provider, model, action,
        member_id, cost_nano_usd, input_tokens, output_tokens, lines)
    SELECT organization_id, date '2026-11-01' + d,
        (ARRAY['inference', 'inference', 'retrieval', 'storage'])[l],
        (ARRAY['priced', 'priced', 'measured', 'priced'])[l], 'openai', 'gpt-' || l, 'document',
        'member', 1000000 * (1 + length(organization_id) * d % 7) + l, 500, 50, 3
    FROM organizations, generate_series(0, 29) AS d, generate_series(1, :lines) AS l
    """,
    """
    INSERT INTO usage_daily (organization_id, day, action, member_id, team_id, project_id, model,
        quantity_micro, credits_micro, uncollected_micro, events)
    SELECT organization_id, date '2026-11-01' + d, 'document', 'member', '', '', 'gpt-1', 3000000,
        15000000, 0, 3
    FROM organizations, generate_series(0, 29) AS d
    """,
    """
    INSERT INTO revenue_daily (organization_id, day, part, origin, action, team_id, credits_micro,
        amount_minor)
    SELECT organization_id, date '2026-11-01' + d, 'credits_used', 'grant', 'document', '',
        15000000, 117
    FROM organizations, generate_series(0, 29) AS d
    """,
)


def rows(machine: Machine) -> Iterator[Found]:
    """Measure a page of customers in order of their margin, and the totals of all of them."""
    many = MANY if machine.full else FEW
    database = Database(machine.postgresql())
    prepare_books(database)
    _write(database, many)
    scan = _timed(database, "SELECT sum(cost_nano_usd), sum(lines) FROM cost_daily")

    def page() -> float:
        return _read(database, "page")

    def totals() -> float:
        return _read(database, "totals")

    for name, side in (("a page of 50 by margin", page), ("totals", totals)):
        ours, theirs = in_turns(side, scan)
        yield at_most(
            f"margin over {many:,} organizations, {name}",
            median(ours) * 1000, median(theirs) * 1000, "scan of the rollup", 10, "ms",
        )  # fmt: skip
    database.close()


def _write(database: Database, many: int) -> None:
    values = {"many": many, "lines": LINES, "first_day": MONTH.start.toordinal()}
    with database.transaction() as tx, in_bulk(tx, _LONG_TABLES):
        for one in _SETS:
            wanted = {name: value for name, value in values.items() if f":{name}" in one}
            tx.execute(text(one), wanted)
    settle(database)


def _timed(database: Database, statement: str) -> Callable[[], float]:
    def act() -> float:
        with database.reading(patient=True) as tx:
            # A scan from the first row to the last, by one process.
            tx.execute(text("SET LOCAL max_parallel_workers_per_gather = 0"))
            started = time.perf_counter()
            tx.execute(text(statement)).all()
            return time.perf_counter() - started

    return act


def _read(database: Database, what: str) -> float:
    with database.figures(within_s=PATIENCE_S) as tx:
        tx.execute(text("SET LOCAL max_parallel_workers_per_gather = 0"))
        started = time.perf_counter()
        if what == "page":
            found = margins.of_organizations(tx, MONTH, sort="-margin", limit=50)
            if len(found) != 50:
                raise RuntimeError("the page is not full")
        elif not whole.totals(tx, MONTH).cost_nano_usd:
            raise RuntimeError("the totals are empty")
        return time.perf_counter() - started
