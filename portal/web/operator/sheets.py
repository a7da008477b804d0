"""Tables as CSV (RFC 4180), safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from flask import Response, stream_with_context

from portal.web.cells import safe_cell


def sheet(name: str, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Response:
    """Send a table as a file of this name."""

    def lines() -> Iterator[str]:
        yield _line(titles)
        for row in rows:
            yield _line(row)

    response = Response(stream_with_context(lines()), content_type="text/csv; charset=utf-8")
    response.headers.set("Content-Disposition", "attachment", filename=f"{name}.csv")
    return response


def _line(cells: Sequence[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow([_cell(one) for one in cells])
    return out.getvalue()


def _cell(text: str) -> str:
    """Return a cell; a number below zero stays a number."""
    return text if text[1:].replace(".", "", 1).isdigit() else safe_cell(text)
