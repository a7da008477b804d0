"""A statement as rows and as CSV (RFC 4180), the same for programs and for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from portal.core.units import format_micro
from portal.statements import Statement
from portal.web.cells import safe_cell


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
    line = io.StringIO()
    writer = csv.DictWriter(line, columns, lineterminator="\r\n", restval="")
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
    writer.writeheader()
    for row in (opening, *rows, closing):
        text = {name: safe_cell(str(row.get(name) or "")) for name in columns if name != "credits"}
        writer.writerow({**text, "credits": row["credits"]})
        yield line.getvalue()
        line.seek(0)
        line.truncate()
