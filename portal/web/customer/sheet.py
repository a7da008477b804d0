"""Usage as CSV (RFC 4180): exactly the table that is shown, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from portal.breakdown import Breakdown
from portal.core.units import format_micro

#: A cell that begins so could be run as a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
TITLES = {
    "action": "Action",
    "day": "Day",
    "member": "Member",
    "team": "Team",
    "project": "Project",
}


def lines(page: Breakdown) -> Iterator[str]:
    """Write the header and a line for each row of the table."""
    group = page.selection.group
    uncollected = page.totals.uncollected_micro > 0
    header = [TITLES[group], "Made", "Credits"]
    yield _line([*header, "Not charged"] if uncollected else header)
    for row in page.rows:
        name = row.day.isoformat() if row.day else row.name
        totals = row.totals
        cells = [
            _safe(name),
            format_micro(totals.quantity_micro),
            format_micro(totals.credits_micro),
        ]
        yield _line([*cells, format_micro(totals.uncollected_micro)] if uncollected else cells)


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text


def _line(cells: Sequence[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(cells)
    return out.getvalue()
