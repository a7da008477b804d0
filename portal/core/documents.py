"""The operator's documents in TOML: read table by table, refused with line, key and expectation.

Owns how a price book and a cost book are read. Invariant: a misspelt key never passes silently.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from portal.core.errors import CatalogError
from portal.core.units import NotExact

KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}", re.ASCII)
_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class TableReader:
    """Reads one table of the document; every refusal names line, key and expectation."""

    def __init__(
        self, document: str, path: str, table: Mapping[str, Any], *, name: str = ""
    ) -> None:
        self.document, self.path, self.table, self.name = document, path, table, name
        self.seen: set[str] = set()

    def refuse(self, key: str, expected: str) -> CatalogError:
        """Return the error of a key of this table."""
        line = _line_of(self.document, self.path, _written(key))
        where = ".".join(part for part in (self.path, _written(key)) if part)
        return CatalogError(f"Line {line}, key {where}: {expected}.", line=line, key=where)

    def take(
        self, key: str, expected: str, convert: Callable[[Any], Any], default: Any = ...
    ) -> Any:
        """Return a converted value; ``convert`` raises ValueError where the value does not fit."""
        self.seen.add(key)
        if key not in self.table:
            if default is ...:
                raise self.refuse(key, f"is missing; expected {expected}")
            return default
        try:
            return convert(self.table[key])
        except (ValueError, TypeError) as error:
            reason = f" ({error})" if isinstance(error, NotExact) else ""
            found = repr(self.table[key])[:40]
            raise self.refuse(key, f"expected {expected}, found {found}{reason}") from error

    def finish(self) -> None:
        """Refuse keys nobody asked for: a misspelt key must not pass silently."""
        for key in self.table:
            if key not in self.seen:
                known = ", ".join(sorted(self.seen))
                raise self.refuse(key, f"is not a key of this table; expected one of {known}")


def read_document(document: str) -> TableReader:
    """Return a reader of the document's top table. Raises CatalogError where it is not TOML."""
    try:
        root = tomllib.loads(document, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+)", str(error))
        line = int(found[1]) if found else len(document.splitlines())
        raise CatalogError(f"Line {line}: is not TOML: {error}.", line=line, key="") from error
    return TableReader(document, "", root)


def entries(
    document: str, name: str, table: Mapping[str, Any], *, any_name: bool = False
) -> list[tuple[str, TableReader]]:
    """Return the tables ``[name.<key>]``, each with its reader.

    ``any_name`` takes other people's names as keys, such as a model's; else a key is one of ours.
    Raises CatalogError where there is none, or a key does not fit.
    """
    parent = TableReader(document, name, table)
    if not table:
        raise parent.refuse("", f"expected at least one [{name}.<key>] table")
    found = []
    for key, value in table.items():
        if any_name:
            if not 1 <= len(key) <= 128 or not key.isprintable():
                raise parent.refuse(key, "expected a name of 1 to 128 printable characters")
        elif not KEY.fullmatch(key):
            raise parent.refuse(key, "expected a key of a-z, 0-9, _ and -, beginning with a letter")
        path = f"{name}.{_written(key)}"
        if not isinstance(value, dict):
            raise parent.refuse(key, f"expected a table [{path}]")
        found.append((key, TableReader(document, path, value, name=key)))
    return found


def _written(key: str) -> str:
    """Return a key as TOML writes it: in quotes unless it is bare."""
    return key if not key or _BARE.fullmatch(key) else f'"{key}"'


def _line_of(document: str, path: str, key: str) -> int:
    """Find the line of ``key`` in table ``path``, or the table's own line, or 1."""
    current, header_line = "", 1
    for number, line in enumerate(document.splitlines(), start=1):
        header = re.match(r"\s*\[([^\[\]]+)\]", line)
        if header:
            current = header[1].strip()
            if current == path:
                header_line = number
        elif current == path and re.match(rf"\s*{re.escape(key)}\s*=", line):
            return number
        if key and re.match(rf"\s*\[{re.escape(f'{path}.{key}'.lstrip('.'))}[.\]]", line):
            return number
    return header_line


def a_text(value: Any) -> str:
    """Return a text of at most 200 characters that says something. Raises ValueError."""
    if not isinstance(value, str) or not value.strip() or len(value) > 200:
        raise ValueError
    return value.strip()


def a_table(value: Any) -> dict[str, Any]:
    """Return a table. Raises TypeError."""
    if not isinstance(value, dict):
        raise TypeError
    return value


def an_instant(value: Any) -> datetime:
    """Return an instant in UTC. Raises TypeError where it has no offset."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise TypeError
    return value.astimezone(UTC)
