"""Dated price books: load, show, and the one in force at an instant.

Invariant: a version never changes once stored, so a parsed one may be kept in memory for good; the
first version also stands for all time before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from sqlalchemy import Connection, select

from portal.core import catalog as core
from portal.core.catalog import Action, Pack, PriceBook, Tier
from portal.core.documents import TableReader
from portal.core.errors import CatalogError, InvalidRequest, UnknownAction
from portal.tables import price_books
from portal.versions import store_version

DEFAULT_FILE = Path(__file__).with_name("default_catalog.toml")


_EVERY_VERSION = select(price_books).order_by(price_books.c.effective_at)


@dataclass(frozen=True)
class PriceBooks:
    """All versions, oldest first."""

    versions: tuple[PriceBook, ...]

    def in_force(self, at: datetime) -> PriceBook:
        """Return the version in force at an instant."""
        current = self.versions[0]
        for book in self.versions[1:]:
            if _begun(book, at):
                current = book
        return current

    def pricing(self, action: str, *, at: datetime, now: datetime) -> PriceBook | None:
        """Return the version that prices an action at an instant.

        The one in force then; where that did not know the action yet, the first since that does,
        so that work reported before its price was set is rated once it is. None where none does.
        """
        then = self.in_force(at)
        if action in then.actions:
            return then
        since = (
            book
            for book in self.versions
            if book.effective_at is not None
            and at < book.effective_at <= now
            and action in book.actions
        )
        return next(since, None)


@lru_cache(maxsize=256)
def _parsed(version: int, effective_at: datetime, document: str) -> PriceBook:
    return replace(core.parse(document), version=version, effective_at=effective_at)


@lru_cache(maxsize=32)
def _in_turn(rows: tuple[tuple[int, datetime, str], ...]) -> tuple[PriceBook, ...]:
    """Parse versions, oldest first, each with the tiers that it sells no more."""
    books: list[PriceBook] = []
    known: dict[str, Tier] = {}
    for version, effective_at, document in rows:
        book = _parsed(version, effective_at, document)
        retired = {key: tier for key, tier in known.items() if key not in book.tiers}
        books.append(replace(book, retired=retired))
        known |= book.tiers
    return tuple(books)


def _every_version(tx: Connection) -> tuple[PriceBook, ...]:
    rows = tx.execute(_EVERY_VERSION)
    return _in_turn(tuple((row.version, row.effective_at, row.document) for row in rows))


def price_books_of(tx: Connection) -> PriceBooks:
    """Return every version. Raises CatalogError where none was loaded yet."""
    versions = _every_version(tx)
    if not versions:
        raise CatalogError("No price book is loaded yet. Run: flask --app app catalog load")
    return PriceBooks(versions)


def in_force_until(tx: Connection, *, at: datetime) -> Sequence[PriceBook]:
    """Return the versions that were ever in force by an instant, oldest first; none is no error."""
    versions = _every_version(tx)
    return [one for one in versions if one is versions[0] or _begun(one, at)]


def tier_names(tx: Connection, *, at: datetime) -> dict[str, str]:
    """Return what plans are called, by key: one that is sold no longer as it was called last."""
    return {
        key: tier.name for book in in_force_until(tx, at=at) for key, tier in book.tiers.items()
    }


def _begun(book: PriceBook, at: datetime) -> bool:
    return book.effective_at is not None and book.effective_at <= at


def in_force(tx: Connection, *, at: datetime) -> PriceBook:
    """Return the price book in force at an instant. Raises CatalogError where there is none."""
    return price_books_of(tx).in_force(at)


def load(
    tx: Connection, document: str, *, effective_at: datetime | None = None, now: datetime
) -> tuple[PriceBook, bool]:
    """Store a new version; the second value is False where the newest already says the same.

    ``effective_at`` is from when it is in force, where that is not the document's own date. Raises
    CatalogError for a bad file, for a date that would change prices already in use, and for a tier
    that would be billed by another interval than it was: who has it would change with it.
    """
    book = core.parse(document)
    check_intervals(tx, book)
    version, begins, new = store_version(
        tx, price_books, document, effective_at=effective_at or book.effective_at, now=now
    )
    return replace(book, version=version, effective_at=begins), new


def check_intervals(tx: Connection, book: PriceBook) -> None:
    """Refuse a book that bills a tier by another interval than it was. Raises CatalogError."""
    _keep_intervals(book, _every_version(tx))


def _keep_intervals(book: PriceBook, earlier: tuple[PriceBook, ...]) -> None:
    for old in earlier:
        for key, tier in book.tiers.items():
            was = old.tiers.get(key, tier).interval
            if was != tier.interval:
                raise TableReader(book.document, f"tiers.{key}", {}).refuse(
                    "interval",
                    f"is {tier.interval!r}, but version {old.version} bills this tier by the "
                    f"{was}; make another tier for it",
                )


def action_of(book: PriceBook, key: str) -> Action:
    """Return an action of the book. Raises UnknownAction."""
    try:
        return book.actions[key]
    except KeyError:
        known = ", ".join(book.actions)
        raise UnknownAction(
            f"The price book has no action {key!r}. It has: {known}.",
            errors=[{"pointer": "/action", "detail": f"expected one of {known}"}],
        ) from None


def tier_of(book: PriceBook, key: str) -> Tier:
    """Return a tier of the book. Raises InvalidRequest."""
    if key not in book.tiers:
        raise InvalidRequest.at("/tier", f"is not one of {', '.join(book.tiers)}")
    return book.tiers[key]


def pack_of(book: PriceBook, key: str) -> Pack:
    """Return a pack of the book. Raises InvalidRequest."""
    if key not in book.packs:
        raise InvalidRequest.at("/pack", f"is not one of {', '.join(book.packs)}")
    return book.packs[key]
