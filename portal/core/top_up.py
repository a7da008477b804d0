"""The rules of auto top-up: when a pack is bought, what follows a refusal, how much may still be.

One attempt is in flight at a time; a month's attempts never come to more than its limit; nothing
is bought while it is suspended, as it is by the first decline until the payment method changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from portal.core.periods import CALENDAR_MONTH, Period, Zone, period_of

#: A call is over by then, one way or the other: nobody else asks before.
CALL_LASTS = timedelta(seconds=90)
#: So long the same key is sent again, which cannot charge twice; Stripe remembers it for a day.
REPEATED_FOR = timedelta(minutes=45)
#: What Stripe knows nothing of by then, long after the last call is over, never reached it.
GIVEN_UP_AFTER = timedelta(hours=1)
#: How often a bank that takes its time is asked about, besides listening to Stripe's news.
WHILE_PROCESSING = timedelta(hours=1)
_SHORTEST_WAIT, _LONGEST_WAIT = timedelta(seconds=10), timedelta(minutes=10)


@dataclass(frozen=True)
class Terms:
    """What is bought below which balance, and the most a month may cost."""

    threshold_micro: int
    credits_micro: int
    amount_minor: int
    monthly_limit_minor: int


@dataclass(frozen=True)
class Standing:
    """How auto top-up stands; ``used_minor`` is what the month's attempts charged or may charge."""

    suspended: str = ""
    in_flight: bool = False
    available_micro: int = 0
    used_minor: int = 0


def hindrance(terms: Terms, standing: Standing) -> str:
    """Return why nothing is bought now, or nothing where a pack is.

    One of ``suspended``, ``in_flight``, ``enough`` and ``limit``.
    """
    if standing.suspended:
        return "suspended"
    if standing.in_flight:
        return "in_flight"
    if standing.available_micro >= terms.threshold_micro:
        return "enough"
    if standing.used_minor + terms.amount_minor > terms.monthly_limit_minor:
        return "limit"
    return ""


def month_of(instant: datetime, zone: Zone) -> Period:
    """Return the month that an attempt begun at an instant counts in."""
    return period_of(instant, zone, CALENDAR_MONTH)


def months_of(period: Period, zone: Zone) -> list[Period]:
    """Return the months that have a part of a period, first to last."""
    found = [month_of(period.start, zone)]
    while found[-1].end < period.end:
        found.append(month_of(found[-1].end, zone))
    return found


def still_minor(*, limit_minor: int, used_minor: int, amount_minor: int) -> int:
    """Return what whole packs may still cost within a limit, in minor units."""
    left = max(0, limit_minor - used_minor)
    return left - left % amount_minor


def ask_again_at(*, started_at: datetime, now: datetime) -> datetime:
    """Return when to ask again about an attempt whose end is not known: ever less often."""
    return now + min(_LONGEST_WAIT, max(_SHORTEST_WAIT, (now - started_at) // 2))
