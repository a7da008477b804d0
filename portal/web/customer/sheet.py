"""Usage as CSV (RFC 4180): exactly the table that is shown, safe to open in a spreadsheet."""

from __future__ import annotations

from collections.abc import Iterator

from portal.breakdown import Breakdown, Row
from portal.core.units import format_micro
from portal.web.cells import line, safe_cell

TITLES = {
    "action": "Action",
    "day": "Day",
    "member": "Member",
    "team": "Team",
    "project": "Project",
}


def lines(page: Breakdown) -> Iterator[str]:
    """Write the header and a line for each row of the table."""
    by_day = page.selection.group == "day"
    uncollected = page.totals.uncollected_micro != 0
    heads = [TITLES[page.selection.group], "Made", "Credits"]
    heads += ["Not charged"] if uncollected else []
    yield line(heads if by_day else [*heads, "Share in percent", "Change in percent"])
    for row in page.rows:
        cells = _cells(row, uncollected=uncollected)
        yield line(cells if by_day else [*cells, str(row.share_percent), _change(row)])


def _cells(row: Row, *, uncollected: bool) -> list[str]:
    totals = row.totals
    name = row.day.isoformat() if row.day else safe_cell(row.name)
    amounts = [totals.quantity_micro, totals.credits_micro]
    amounts += [totals.uncollected_micro] if uncollected else []
    return [name, *map(format_micro, amounts)]


def _change(row: Row) -> str:
    return "" if row.change_percent is None else str(row.change_percent)
