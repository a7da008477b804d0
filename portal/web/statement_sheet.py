"""A statement as rows and as CSV (RFC 4180), the same for programs and for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from portal.core.units import format_micro
from portal.statements import Statement
from portal.web.cells import line, safe_cell


def rows(found: Statement, detail: str) -> list[dict[str, Any]]:
    """Return each movement, or with ``days`` their sums by day, kind and source."""
    if detail == "movements":
        return [
            {
                "at": one.at.isoformat(),
                "kind": one.kind,
                "source": one.source or None,
                "credits": format_micro(one.credits_micro),
                "reference": one.reference or None,
            }
            for one in found.movements
        ]
    return [
        {
            "day": line.day.isoformat(),
            "kind": line.kind,
            "source": line.source or None,
            "credits": format_micro(line.credits_micro),
        }
        for line in found.lines
    ]


def sheet(found: Statement, rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Write the statement as RFC 4180, from the opening's line to the closing's."""
    columns = list(rows[0]) if rows else ["day", "kind", "source", "credits"]
    first = columns[0]
    opening = {
        first: found.period.start.isoformat(),
        "kind": "opening",
        "credits": format_micro(found.opening_micro),
    }
    closing = {
        first: found.until.isoformat(),
        "kind": "closing",
        "credits": format_micro(found.closing_micro),
    }
    yield line(columns)
    for row in (opening, *rows, closing):
        yield line([_cell(row, name) for name in columns])


def _cell(row: dict[str, Any], name: str) -> str:
    return str(row[name]) if name == "credits" else safe_cell(str(row.get(name) or ""))
