"""What there is now: the balance by its grants, what ends next, and what it would buy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from portal.balances import Balance
from portal.core.catalog import Action, PriceBook
from portal.core.ledger import Lot

MOST_LOTS = 4
MOST_EXAMPLES = 2
INCLUDED = frozenset({"allowance", "rollover"})


@dataclass(frozen=True)
class LotLine:
    """A grant in the order of burn-down; ``tone`` is its colour."""

    lot: Lot
    tone: str


@dataclass(frozen=True)
class Standing:
    """What there is now; amounts in millionths of a credit."""

    balance: Balance
    lots: Sequence[LotLine]
    more_lots: int
    more_lots_micro: int
    gone_micro: int
    next_expiry: LotLine | None
    buys: Sequence[tuple[int, Action]]


def standing_of(balance: Balance, book: PriceBook | None, favourites: Sequence[str]) -> Standing:
    """Return what there is now, as the page shows it."""
    lines = [LotLine(lot, _tone(lot)) for lot in balance.lots]
    issued = sum(lot.granted_micro for lot in balance.lots)
    shown, rest = lines[:MOST_LOTS], lines[MOST_LOTS:]
    dated = [line for line in lines if line.lot.expires_at is not None]
    return Standing(
        balance=balance,
        lots=shown,
        more_lots=len(rest),
        more_lots_micro=sum(line.lot.remaining_micro for line in rest),
        gone_micro=max(0, issued - balance.available_micro - balance.held_micro),
        next_expiry=min(dated, key=lambda line: line.lot.expires_at or balance.as_of, default=None),
        buys=book.examples(balance.available_micro, first=favourites, most=MOST_EXAMPLES)
        if book
        else [],
    )


def _tone(lot: Lot) -> str:
    if lot.source in INCLUDED:
        return "included"
    return "pack" if lot.source == "pack" else "gift"
