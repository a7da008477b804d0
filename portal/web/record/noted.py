"""An act's details as they are read, and the parts that say them.

Pure. A field that was changed is written down as a pair, or beside what it ``was``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeGuard

from portal.core.units import MICRO
from portal.web import formats
from portal.web.record.names import Names


@dataclass(frozen=True)
class Noted:
    """An act's details with the names they are read by."""

    target: str
    detail: Mapping[str, Any]
    names: Names

    @property
    def before(self) -> Mapping[str, Any]:
        """What was before, by field, as far as it was written down."""
        pairs = {name: one["from"] for name, one in self.detail.items() if _is_pair(one)}
        return {**pairs, **self.detail.get("was", {})}

    def now(self, name: str) -> Any:
        """Return what a field is since the act; None where it says nothing."""
        found = self.detail.get(name)
        return found["to"] if _is_pair(found) else found


def _is_pair(found: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(found, Mapping) and set(found) == {"from", "to"}


@dataclass(frozen=True)
class Part:
    """Something an act's details say, out of which of its fields; "" where they do not say it.

    ``operators`` marks what is no customer's to read.
    """

    fields: tuple[str, ...]
    say: Callable[[Noted], str]
    operators: bool = False


def credits_words(micro: int) -> str:
    return f"{formats.exact_amount(micro)} {'credit' if micro == MICRO else 'credits'}"


def listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def quoted(value: Any) -> str:
    return f"“{value}”"


def value(
    name: str, write: Callable[[Noted, Any], str], label: str = "", *, operators: bool = False
) -> Part:
    """Return the part that says a field, or from what to what it changed."""

    def say(noted: Noted) -> str:
        value, before = noted.now(name), noted.before
        words = write(noted, value) if value not in (None, "") else "none"
        if name not in before:
            told = "" if words == "none" else words
            return f"{label}: {told}" if label and told else told
        was = write(noted, before[name]) if before[name] not in (None, "") else "none"
        return "" if was == words else f"{label} from {was} to {words}".strip()

    return Part((name,), say, operators)


def instant(value: str) -> datetime:
    return datetime.fromisoformat(value)


def money(name: str, words: str = "{}") -> Part:
    """Return the part that says an amount of money, where there is any."""

    def say(noted: Noted) -> str:
        amount = noted.now(name)
        return words.format(noted.names.money(amount)) if amount else ""

    return Part((name,), say)
