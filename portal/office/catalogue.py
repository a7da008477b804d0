"""The books as the operator keeps them: their versions, what differs, and a new one published.

Invariant: what is published is what was checked and shown; a version that stands is never changed,
and the same document again adds none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from portal import audit, catalog, cost_books
from portal.core import catalog as core_catalog
from portal.core.book_changes import Change, of_costs, of_prices
from portal.core.catalog import PriceBook
from portal.core.cost_book import CostBook, parse_cost_book
from portal.core.errors import CatalogError, InvalidRequest, NotFound
from portal.db import Database

Book = PriceBook | CostBook
Which = Literal["prices", "costs"]
BOOKS: tuple[Which, ...] = ("prices", "costs")
LARGEST_DOCUMENT = 60_000


@dataclass(frozen=True)
class Version:
    """A version of a book; ``standing`` is past, in force or to come."""

    number: int
    effective_at: datetime | None
    standing: str
    entries: int
    document: str


@dataclass(frozen=True)
class Shelf:
    """The versions of both books, the latest first."""

    as_of: datetime
    prices: Sequence[Version]
    costs: Sequence[Version]


@dataclass(frozen=True)
class Checked:
    """A document that was looked at: what it would change, or the line and key that are wrong."""

    which: Which
    document: str
    changes: Sequence[Change] = ()
    against: int = 0
    wrong: str = ""
    line: int = 0
    key: str = ""
    same: bool = False


def shelf(tx: Connection, *, now: datetime) -> Shelf:
    """Return what versions there are."""
    costs = cost_books.cost_books_of(tx)
    prices = _prices(tx)
    return Shelf(
        now,
        _versions(prices, _in_force(prices, now), now),
        _versions(costs.versions, costs.in_force(now), now),
    )


def _prices(tx: Connection) -> tuple[PriceBook, ...]:
    try:
        return catalog.price_books_of(tx).versions
    except CatalogError:
        return ()


def _in_force(prices: tuple[PriceBook, ...], now: datetime) -> PriceBook | None:
    return catalog.PriceBooks(prices).in_force(now) if prices else None


def _entries(book: Book) -> int:
    """Return how much a book prices."""
    if isinstance(book, PriceBook):
        return len(book.actions) + len(book.tiers) + len(book.packs)
    return len(book.models) + len(book.units)


def _versions(books: Sequence[Book], current: Book | None, now: datetime) -> list[Version]:
    found = []
    for one in sorted(books, key=lambda book: -book.version):
        is_current = current is not None and one.version == current.version
        ahead = one.effective_at is not None and one.effective_at > now and not is_current
        standing = "in force" if is_current else "to come" if ahead else "past"
        found.append(Version(one.version, one.effective_at, standing, _entries(one), one.document))
    return found


def _book(tx: Connection, which: Which, number: int) -> Book:
    books: Sequence[Book] = (
        _prices(tx) if which == "prices" else cost_books.cost_books_of(tx).versions
    )
    for one in books:
        if one.version == number:
            return one
    raise NotFound("version", str(number))


def document_of(tx: Connection, which: Which, number: int) -> str:
    """Return a version as it was loaded. Raises NotFound."""
    return _book(tx, which, number).document


def differences(tx: Connection, which: Which, old: int, new: int) -> list[Change]:
    """Return what changes from one version to another; from version 0 all is added.

    Raises NotFound.
    """
    before = _book(tx, which, old) if old else None
    return _between(before, _book(tx, which, new))


def _between(old: Book | None, new: Book) -> list[Change]:
    if isinstance(new, PriceBook):
        return of_prices(old if isinstance(old, PriceBook) else None, new)
    return of_costs(old if isinstance(old, CostBook) else None, new)


def check(tx: Connection, which: Which, document: str) -> Checked:
    """Look at a document: what it would change in the newest version, or what is wrong with it."""
    if len(document.encode()) > LARGEST_DOCUMENT:
        return Checked(
            which, document, wrong=f"The document has more than {LARGEST_DOCUMENT:,} bytes."
        )
    books: Sequence[Book]
    try:
        if which == "prices":
            book: Book = core_catalog.parse(document)
            catalog.check_intervals(tx, book)  # type: ignore[arg-type] # a price book
            books = _prices(tx)
        else:
            book, books = parse_cost_book(document), cost_books.cost_books_of(tx).versions
    except CatalogError as error:
        line, key = error.fields.get("line", 0), error.fields.get("key", "")
        return Checked(which, document, wrong=error.detail, line=line, key=key)
    newest: Book | None = None
    for one in books:
        newest = one if newest is None or one.version > newest.version else newest
    return Checked(
        which,
        document,
        changes=_between(newest, book),
        against=newest.version if newest else 0,
        same=newest is not None and newest.document == document,
    )


def publish(
    database: Database,
    which: Which,
    document: str,
    *,
    effective_at: datetime | None,
    reason: str,
    actor: str,
    now: datetime,
) -> tuple[int, datetime | None, bool]:
    """Publish a version from an instant on, now where none is named; and put it on record.

    Returns its number, from when it is in force, and whether it is new. Raises CatalogError for
    what cannot be loaded, InvalidRequest for a date that is over.
    """
    if effective_at is not None and effective_at < now:
        raise InvalidRequest.at("/from", "is over: a version begins now or later")
    try:
        return _store(database, which, document, effective_at, reason, actor, now)
    except IntegrityError:
        # Somebody published at this very moment: what they stored is there now.
        return _store(database, which, document, effective_at, reason, actor, now)


def _store(
    database: Database,
    which: Which,
    document: str,
    effective_at: datetime | None,
    reason: str,
    actor: str,
    now: datetime,
) -> tuple[int, datetime | None, bool]:
    load = catalog.load if which == "prices" else cost_books.load
    with database.transaction() as tx:
        book, new = load(tx, document, effective_at=effective_at or now, now=now)
        if new:
            begins = book.effective_at.isoformat() if book.effective_at else ""
            audit.note(
                tx,
                "",
                actor=actor,
                act=f"{which}.published",
                target=f"version {book.version}",
                detail={"effective_at": begins, "reason": reason},
                now=now,
            )
    return book.version, book.effective_at, new
