"""The express lane: authorize and capture as one call of the store, where the store can do that.

On PostgreSQL two functions (migrations/functions/express.sql) do the plain, successful case of each
in one round trip, so that a busy organization's wallet is locked for as short as can be. Whatever
is out of the ordinary they leave alone, and the caller goes the way the rules are told in.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from sqlalchemy.exc import DataError

from portal import catalog, cost_books
from portal.catalog import PriceBooks
from portal.core.costs import CostLine
from portal.core.units import format_micro
from portal.cost_books import CostBooks
from portal.db import Database

if TYPE_CHECKING:
    from portal.holds import Hold

_AUTHORIZE = f"SELECT clearmeter_authorize({', '.join(f'${one + 1}' for one in range(16))})"
_CAPTURE = f"SELECT clearmeter_capture({', '.join(f'${one + 1}' for one in range(12))})"
_books: WeakKeyDictionary[Database, PriceBooks] = WeakKeyDictionary()
_cost_books: WeakKeyDictionary[Database, CostBooks] = WeakKeyDictionary()


def offered(database: Database) -> bool:
    """Tell whether the store has the lane and it is open."""
    return database.express and database.dialect == "postgresql"


def price_books(database: Database) -> PriceBooks:
    """Return the price books as last read; the store itself checks which one is in force."""
    known = _books.get(database)
    if known is None:
        with database.reading() as tx:
            known = _books[database] = catalog.price_books_of(tx)
    return known


def cost_books_of(database: Database) -> CostBooks:
    """Return the cost books as last read; the store itself checks that there is no newer one."""
    known = _cost_books.get(database)
    if known is None:
        with database.reading() as tx:
            known = _cost_books[database] = cost_books.cost_books_of(tx)
    return known


def authorize(
    database: Database,
    organization_id: str,
    hold: Hold,
    *,
    lasts_seconds: int,
    key: str | None,
    print_: str,
) -> str | None:
    """Place a hold and return the answer's body, or None where the long way has to be gone."""
    described = {
        "id": hold.hold_id,
        "status": hold.status,
        "action": hold.action,
        "credits": format_micro(hold.credits_micro),
        "quantity": format_micro(hold.quantity_micro),
    }
    body = json.dumps(described, ensure_ascii=False, separators=(",", ":"))
    answer = database.call(
        _AUTHORIZE,
        (
            *(organization_id, hold.hold_id, hold.action),
            *(hold.quantity_micro, hold.credits_micro, hold.price_micro, hold.price_book_version),
            *(hold.member, hold.team, hold.project, hold.run),
            *(hold.authorized_at, lasts_seconds, key, print_, body.removesuffix("}")),
        ),
    )
    if answer is None:
        # It may be the prices that changed: look them up again.
        _books.pop(database, None)
    return answer


def capture(
    database: Database,
    hold_id: str,
    *,
    only: str | None,
    quantity_micro: int | None,
    occurred_at: datetime | None,
    now: datetime,
    key: str | None,
    print_: str,
    content_print: str,
    properties: dict[str, Any] | None,
    lines: Sequence[CostLine],
) -> str | None:
    """Capture a hold and return the answer's body, or None where the long way has to be gone."""
    if any(line.suspect for line in lines):
        return None
    model = next((line.model for line in lines if line.model), "")
    values = (
        *(only, hold_id, quantity_micro, occurred_at, now, key, print_, content_print),
        json.dumps(properties) if properties else None,
        model,
        json.dumps([_cost(*one) for one in enumerate(lines)]) if lines else None,
        cost_books_of(database).newest if lines else 0,
    )
    try:
        answer = database.call(_CAPTURE, values)
    except DataError:
        # The store's own zone files do not have the organization's time zone.
        return None
    if answer is None:
        _cost_books.pop(database, None)
    return answer


def _cost(number: int, line: CostLine) -> dict[str, Any]:
    return {
        "line": number,
        "layer": line.layer,
        "quality": line.quality.value,
        "amount_nano_usd": line.amount_nano_usd,
        "provider": line.provider,
        "model": line.model,
        "resource": line.resource,
        "input_tokens": line.usage.input_tokens,
        "output_tokens": line.usage.output_tokens,
        "cached_input_tokens": line.usage.cached_input_tokens,
        "cache_write_tokens": line.usage.cache_write_tokens,
        "reasoning_tokens": line.usage.reasoning_tokens,
        "price_source": line.price_source,
        "stated_nano_usd": line.stated_nano_usd,
    }
