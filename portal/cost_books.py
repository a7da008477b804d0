"""Dated cost books: load, show, and the one in force at an instant.

Invariant: a version never changes once stored, so a parsed one is kept in memory for good, by its
content; before the first version nothing is in force.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, select

from portal.core.cost_book import CostBook, parse_cost_book
from portal.tables import cost_books
from portal.versions import store_version

EXAMPLE_FILE = Path(__file__).with_name("example_cost_book.toml")

#: What every reader of costs asks first: small, however long the documents are.
_EVERY_VERSION = select(
    cost_books.c.version, cost_books.c.effective_at, cost_books.c.digest
).order_by(cost_books.c.effective_at)


@dataclass(frozen=True)
class CostBooks:
    """All versions, oldest first."""

    versions: tuple[CostBook, ...]

    @property
    def newest(self) -> int:
        """The number of the newest version, 0 where there is none."""
        return max((book.version for book in self.versions), default=0)

    def in_force(self, at: datetime) -> CostBook | None:
        """Return the version in force at an instant. None before the first."""
        current = None
        for book in self.versions:
            if book.effective_at is not None and book.effective_at <= at:
                current = book
        return current


#: Parsed documents by their content: what stands here never goes stale.
_SHELF: dict[str, CostBook] = {}


def _book(tx: Connection, version: int, effective_at: datetime, digest: str) -> CostBook:
    """Return a stored version, reading its document only where it was never read before."""
    known = _SHELF.get(digest)
    if known is None or (known.version, known.effective_at) != (version, effective_at):
        document = tx.execute(
            select(cost_books.c.document).where(cost_books.c.version == version)
        ).scalar_one()
        parsed = parse_cost_book(document)
        known = replace(parsed, version=version, effective_at=effective_at)
        _SHELF[digest] = known
    return known


def cost_books_of(tx: Connection) -> CostBooks:
    """Return every version; none where the operator never loaded one."""
    rows = tx.execute(_EVERY_VERSION).all()
    return CostBooks(tuple(_book(tx, row.version, row.effective_at, row.digest) for row in rows))


def load(
    tx: Connection, document: str, *, effective_at: datetime | None = None, now: datetime
) -> tuple[CostBook, bool]:
    """Store a new version; the second value is False where the newest already says the same.

    ``effective_at`` is from when it is in force, where that is not the document's own date. Raises
    CatalogError for a bad file, and for a date that would change costs already in use.
    """
    book = parse_cost_book(document)
    version, begins, new = store_version(
        tx,
        cost_books,
        document,
        effective_at=effective_at or book.effective_at,
        now=now,
        digest=hashlib.sha256(document.encode()).hexdigest(),
    )
    return replace(book, version=version, effective_at=begins), new
