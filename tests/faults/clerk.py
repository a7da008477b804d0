"""What one clerk would answer: an organization with one pile of credits and one cap on all of it.

A state is a tuple, an operation asked is ``(act, …)``, an answer what ``test_linear_histories``
keeps of an HTTP answer. Amounts are millionths of a credit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.faults.linear import UNKNOWN

#: Of one document.
PRICE_MICRO = 5_000_000


class Books(NamedTuple):
    """All that one clerk needs to remember."""

    available: int
    limit: int
    held: int = 0
    spent: int = 0
    uncollected: int = 0
    #: Authorizations whose id a client knows: (id, documents).
    open: frozenset[tuple[str, int]] = frozenset()
    #: Those that ended: (id, status, charged).
    ended: frozenset[tuple[str, str, int]] = frozenset()

    @property
    def room(self) -> int:
        """What the cap leaves."""
        return max(0, self.limit - self.spent - self.held)

    @property
    def counted(self) -> tuple[int, int, int]:
        return (self.spent, self.held, self.room)

    @property
    def standing(self) -> tuple[int, int, int]:
        return (self.available, self.held, self.uncollected)


def step(books: Books, asked: tuple[Any, ...], answer: Any) -> Books | None:
    """Return the books after an operation, None where the clerk would not have answered so."""
    act, *given = asked
    after, expected = _ACTS[act](books, *given)
    if answer is UNKNOWN:
        # Nobody learnt the id of an authorization whose answer was lost.
        return after
    if act == "authorize":
        return _authorized(books, after, given[0], answer)
    return after if answer in expected else None


def _authorized(books: Books, after: Books, documents: int, answer: Any) -> Books | None:
    """Take the id from the answer, which only the real clerk could choose."""
    status, *told = answer
    needed = documents * PRICE_MICRO
    if status == 201:
        hold_id, available, held = told
        if after is books or (available, held) != after.standing[:2]:
            return None
        return after._replace(open=after.open | {(hold_id, documents)})
    refusals = {"cap-reached": books.room, "insufficient-credits": books.available}
    code, remaining = told
    return books if refusals[code] == remaining < needed else None


def _authorize(books: Books, documents: int) -> tuple[Books, list[Any]]:
    needed = documents * PRICE_MICRO
    if needed > min(books.room, books.available):
        return books, []
    return books._replace(available=books.available - needed, held=books.held + needed), []


def _capture(books: Books, hold_id: str, documents: int) -> tuple[Books, list[Any]]:
    found = [hold for hold in books.open if hold[0] == hold_id]
    if not found:
        return books, _settled(books, hold_id)
    hold = found[0]
    held, due = hold[1] * PRICE_MICRO, documents * PRICE_MICRO
    charged = min(held, due)
    after = books._replace(
        available=books.available + held - charged,
        held=books.held - held,
        spent=books.spent + charged,
        open=books.open - {hold},
    )
    extra = min(due - charged, after.room, after.available)
    left = due - charged - extra
    status = "captured" if due else "released"
    after = after._replace(
        available=after.available - extra,
        spent=after.spent + extra,
        uncollected=after.uncollected + left,
        ended=after.ended | {(hold_id, status, charged + extra)},
    )
    return after, [(200, status, charged + extra, held - charged, left)]


def _release(books: Books, hold_id: str) -> tuple[Books, list[Any]]:
    return _capture(books, hold_id, 0)


def _settled(books: Books, hold_id: str) -> list[Any]:
    """What ended before is answered with how it ended."""
    return [(409, status, charged) for ended, status, charged in books.ended if ended == hold_id]


def _grant(books: Books, micro: int) -> tuple[Books, list[Any]]:
    return books._replace(available=books.available + micro), [(201,)]


def _change_cap(books: Books, limit: int) -> tuple[Books, list[Any]]:
    after = books._replace(limit=limit)
    return after, [(200, *after.counted)]


def _see_cap(books: Books) -> tuple[Books, list[Any]]:
    return books, [(200, *books.counted)]


def _see_balance(books: Books) -> tuple[Books, list[Any]]:
    return books, [(200, *books.standing)]


_ACTS: dict[str, Any] = {
    "authorize": _authorize,
    "capture": _capture,
    "release": _release,
    "grant": _grant,
    "change cap": _change_cap,
    "see cap": _see_cap,
    "see balance": _see_balance,
}
