"""Proration: what a change within a period gives back and costs, to the second.

A credit gives back the unused share of what was really billed for an item, a debit bills the share
of the whole period that is left. Each line is rounded for itself, halves away from nought.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from sandbox.pages import day
from sandbox.store import Object


@dataclass(frozen=True)
class Debit:
    """What was last billed for a subscription's item: how much, for which time, on which lines."""

    amount: int
    start: int
    end: int
    invoice: str | None = None
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Proration:
    """One line of a change: negative where it gives back."""

    item: Object
    amount: int
    description: str
    start: int
    end: int
    credited: Debit | None = None


def rounded(exact: Decimal) -> int:
    """Round to whole minor units, halves away from nought."""
    return int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP))


def share(amount: Decimal, part_seconds: int, whole_seconds: int) -> int:
    """Return the part's share of an amount."""
    return rounded(amount * part_seconds / whole_seconds)


def full_amount(price: Object, quantity: int) -> Decimal:
    """Return what a price costs for a whole period, unrounded."""
    return Decimal(price["unit_amount_decimal"]) * quantity


def credit(item: Object, billed: Debit, name: str, at: int) -> Proration:
    """Give back the time that is left of what was billed."""
    end = billed.end
    amount = share(Decimal(billed.amount), end - at, end - billed.start)
    text = f"Unused time on {_counted(item, name)} after {day(at)}"
    return Proration(item, -amount, text, at, end, billed)


def debit(item: Object, name: str, at: int, kept_share: Decimal) -> Proration:
    """Bill the time that is left of the period, of the share that discounts leave."""
    start, end = item["current_period_start"], item["current_period_end"]
    full = full_amount(item["price"], item["quantity"]) * kept_share
    amount = share(full, end - at, end - start)
    text = f"Remaining time on {_counted(item, name)} after {day(at)}"
    return Proration(item, amount, text, at, end)


def _counted(item: Object, name: str) -> str:
    quantity: int = item["quantity"]
    return name if quantity == 1 else f"{quantity} × {name}"
