"""Cells and lines of a CSV (RFC 4180) that no spreadsheet takes for a formula.

Invariant: every text from outside goes through ``safe_cell``, no number does; what is written is
read back equal by any reader of RFC 4180.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Sequence

#: What makes a spreadsheet calculate, call out or split, where it stands first.
_FIRST = frozenset("=+-@;|\t\r\n\x00")
#: A name from the days of Dynamic Data Exchange, which some programs still answer.
_DDE = re.compile(r"dde\b", re.IGNORECASE)
#: Categories of characters that are not seen: spreadsheets skip them before they look.
_UNSEEN = ("Zs", "Zl", "Zp", "Cf", "Cc")
#: What a cell is wrapped for: also what other programs split lines at than by a comma.
_WRAPPED = re.compile(r'[",;|\t\r\n]|^\s|\s$')


def safe_cell(text: str) -> str:
    """Return a text that no spreadsheet runs (OWASP: CSV injection)."""
    return f"'{text}" if _is_run(text) else text


def _is_run(text: str) -> bool:
    if text and text[0] in _FIRST:
        return True
    # A fullwidth sign counts as the plain one, and what is not seen does not count.
    plain = unicodedata.normalize("NFKC", text)
    seen = next(
        (place for place, one in enumerate(plain) if unicodedata.category(one) not in _UNSEEN),
        len(plain),
    )
    first = plain[seen : seen + 1]
    return (first in _FIRST and first != "") or bool(_DDE.match(plain, seen))


def line(cells: Sequence[str]) -> str:
    """Write one record; a cell that holds what separates is wrapped in quotes."""
    return ",".join(_wrapped(cell) for cell in cells) + "\r\n"


def _wrapped(cell: str) -> str:
    if not _WRAPPED.search(cell):
        return cell
    doubled = cell.replace('"', '""')
    return f'"{doubled}"'


#: What a cell is wrapped for, in bytes: then every cell is looked at by itself.
_WRAPS = (b'"', b"\t", b";", b"|", b"\r")
#: The same where a cell begins with no plain letter or digit, or may begin with an exchange's name,
_BEGINS = re.compile(rb"[,\n](?:[^A-Za-z0-9,\n]|[dD](?:[dD]|[^\x00-\x7f]))")
#: or ends with what may be a space.
_ENDS = re.compile(rb"[^\n!-~][,\n]")


def safe_records(records: bytes, *, numbers: int) -> bytes:
    """Return many records of CSV as ``safe_cell`` and ``line`` write them.

    Records come in UTF-8, ended by a line feed alone or after a carriage return; the last
    ``numbers`` cells of each stay as they are. Most have nothing to be run: they are looked over.
    """
    wrapped = any(one in records for one in _WRAPS) or _ENDS.search(records)
    if not wrapped and not _BEGINS.search(b"\n" + records):
        return records.replace(b"\n", b"\r\n")
    written = []
    for cells in csv.reader(io.StringIO(records.decode(), newline="")):
        texts = map(safe_cell, cells[:-numbers])
        written.append(line([*texts, *cells[-numbers:]]))
    return "".join(written).encode()
