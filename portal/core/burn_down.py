"""What a pace of spending does to the credits at hand: when they run out, which expire unused.

Pure: grants in burn-down order and a pace in, instants and amounts out. The order is the ledger's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from portal.core.ledger import Lot

_SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class BurnDown:
    """How the lots end: when the last credit goes, and what each leaves unspent at its expiry.

    ``spent_micro`` is what the lots paid for until then. Not ``paced`` where nothing is known of
    the pace: then everything that expires is left unspent.
    """

    runs_out_at: datetime | None
    unspent_micro: Mapping[str, int]
    paced: bool = False
    spent_micro: int = 0


@dataclass(frozen=True)
class Stretch:
    """A steady pace until an instant."""

    micro_per_second: Fraction
    until: datetime


def burn_down(
    lots: Sequence[Lot], *, micro_per_second: Fraction, now: datetime, until: datetime
) -> BurnDown:
    """Spend ``lots``, first to be spent first, at a steady pace from ``now`` until ``until``."""
    return burn_along(lots, [Stretch(micro_per_second, until)], now=now)


def burn_along(lots: Sequence[Lot], stretches: Iterable[Stretch], *, now: datetime) -> BurnDown:
    """Spend ``lots``, first to be spent first, from ``now`` on, one stretch after the other."""
    course = list(stretches)
    left = {lot.grant_id: Fraction(lot.remaining_micro) for lot in lots}
    unspent: dict[str, int] = {}
    paced = any(stretch.micro_per_second > 0 for stretch in course)

    def spent() -> int:
        issued = sum(lot.remaining_micro for lot in lots)
        return issued - sum(unspent.values()) - int(sum(left.values()))

    at = now
    for stretch in course:
        while at < stretch.until:
            alive = [lot for lot in lots if left[lot.grant_id] > 0]
            if not alive:
                return BurnDown(at if paced else None, unspent, paced, spent())
            ends = [lot.expires_at for lot in alive if lot.expires_at is not None]
            stop = min([stretch.until, *ends])
            at = _spend(left, alive[0].grant_id, stretch.micro_per_second, at, stop)
            for lot in alive:
                if lot.expires_at is not None and lot.expires_at <= at and left[lot.grant_id] > 0:
                    unspent[lot.grant_id] = int(left[lot.grant_id])
                    left[lot.grant_id] = Fraction(0)
    return BurnDown(None, unspent, paced, spent())


def _spend(
    left: dict[str, Fraction], grant_id: str, pace: Fraction, at: datetime, stop: datetime
) -> datetime:
    """Spend one lot until it is empty or ``stop`` comes; returns when that was."""
    seconds = Fraction((stop - at) // timedelta(microseconds=1), 1_000_000)
    if pace and left[grant_id] <= pace * seconds:
        lasted = left[grant_id] / pace
        left[grant_id] = Fraction(0)
        return min(stop, at + max(timedelta(microseconds=1), float(lasted) * _SECOND))
    left[grant_id] -= pace * seconds
    return stop


def pace_of(amount_micro: int, over: timedelta) -> Fraction:
    """Return the pace, in millionths a second, that spends an amount over a span."""
    microseconds = over // timedelta(microseconds=1)
    if amount_micro <= 0 or microseconds <= 0:
        return Fraction(0)
    return Fraction(amount_micro * 1_000_000, microseconds)
