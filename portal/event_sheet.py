"""An organization's events as records of CSV, part by part: as many as there are, in little memory.

Reads only. Invariant: the parts together are the events that ``usage.list_events`` lists, each once
and newest first, and no connection is held while somebody slow takes what was read. PostgreSQL
writes its records itself; whoever sends them on sees to it that no spreadsheet runs a cell.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Numeric, Select, Text, case, cast, func, select

from portal.core.units import MICRO, format_micro
from portal.db import Database
from portal.tables import events
from portal.usage import after_place, fitting

#: What stands in a record, in order; the last three are numbers.
COLUMNS = (
    "time", "id", "source", "type", "member", "team", "project", "run",
    "quantity", "credits", "uncollected",
)  # fmt: skip
NUMBERS = 3
#: So many events are read at once.
PART = 20_000
_KEY = (events.c.occurred_at, events.c.source, events.c.event_id)
_LABELS = tuple(
    events.c[name]
    for name in ("event_id", "source", "type", "member_id", "team_id", "project_id", "run_id")
)
_AMOUNTS = (
    events.c.quantity_micro,
    events.c.credits_micro - events.c.uncollected_micro,
    events.c.uncollected_micro,
)


def parts(
    database: Database,
    organization_id: str,
    *,
    filters: Mapping[str, str] | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    with_costs: bool = False,
    part: int = PART,
) -> Iterator[bytes]:
    """Yield events as records of CSV in UTF-8, each ended by a line feed, without a header.

    Events that only cost the operator are left out unless ``with_costs``.
    """
    fits = fitting(organization_id, filters or {}, start, end, with_costs=with_costs)
    place: tuple[datetime, str, str] | None = None
    while True:
        where = fits if place is None else [*fits, after_place(place)]
        with database.reading() as tx:
            number, records = _read(tx, where, part)
        if records:
            yield records
            place = _place(records)
        if number < part:
            return


def _read(tx: Connection, where: list[ColumnElement[bool]], part: int) -> tuple[int, bytes]:
    """Return how many events were read, and their records."""
    if tx.dialect.name != "postgresql":
        return _written(tx, _query(*_KEY[:1], *_LABELS, *_AMOUNTS, where=where, part=part))
    columns = [_instant(), *(func.nullif(one, "") for one in _LABELS), *map(_decimal, _AMOUNTS)]
    query = _query(*columns, where=where, part=part).compile(dialect=tx.dialect)
    raw: Any = tx.connection.driver_connection
    with raw.cursor() as cursor:
        with cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT csv)", query.params) as copied:
            records = b"".join(copied)
        return cursor.rowcount, records


def _query(*columns: Any, where: list[ColumnElement[bool]], part: int) -> Select[Any]:
    return select(*columns).where(*where).order_by(*(one.desc() for one in _KEY)).limit(part)


def _instant() -> ColumnElement[Any]:
    # As JSON an instant is written twice as fast as by a pattern, and as RFC 3339 wants it.
    plain = func.to_json(func.timezone("UTC", events.c.occurred_at))
    return func.btrim(cast(plain, Text), '"').concat("+00:00")


def _decimal(amount_micro: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return millionths as ``format_micro`` writes them."""
    exact = func.trim_scale(cast(amount_micro, Numeric) * cast("0.000001", Numeric))
    # Most are whole, and whole ones are written in a tenth of the time.
    whole = cast(amount_micro // MICRO, Text)
    return case((amount_micro % MICRO == 0, whole), else_=cast(exact, Text))


def _written(tx: Connection, query: Select[Any]) -> tuple[int, bytes]:
    out = io.StringIO()
    # With both characters as the end of a record, a cell with either is wrapped.
    writer, number = csv.writer(out, lineterminator="\r\n"), 0
    for at, *cells in tx.execute(query):
        number += 1
        amounts = map(format_micro, cells[-NUMBERS:])
        writer.writerow([at.isoformat(), *cells[:-NUMBERS], *amounts])
    records = out.getvalue()
    return number, (records if '"' in records else records.replace("\r\n", "\n")).encode()


def _place(records: bytes) -> tuple[datetime, str, str]:
    """Return where the last of some records stands."""
    if b'"' in records:
        *_, last = csv.reader(io.StringIO(records.decode(), newline=""))
    else:
        last = records.rstrip(b"\n").rsplit(b"\n", 1)[-1].decode().split(",")
    return datetime.fromisoformat(last[0]), last[2], last[1]
