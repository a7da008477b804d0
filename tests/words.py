"""What of an act on record has no words for its readers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portal.web import record

#: Beside a field that was changed: what it was before.
BEFORE = "was"


def fields_of(act: str) -> set[str]:
    """Return the fields of an act's details that are said, or known to say nothing."""
    said = {name for part in record.PARTS.get(act, ()) for name in part.fields}
    return said | record.SILENT.get(act, frozenset())


def without_words(act: str, detail: Mapping[str, Any] | None) -> list[str]:
    """Return the act where it has no words, and each of its details that has none."""
    called = record.CALLED | record.OPERATORS_OWN
    unnamed = [act] if act not in called else []
    before = (detail or {}).get(BEFORE) or {}
    known = fields_of(act) | {BEFORE}
    return unnamed + [
        f"{act}: {name}" for name in {**(detail or {}), **before} if name not in known
    ]
