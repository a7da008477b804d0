"""The rules of caps: whom one applies to, which window it counts in, what room it leaves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from portal.core.periods import Period, Zone, day_of, week_of

SCOPES = ("organization", "team", "member", "project")
WINDOWS = ("period", "day", "week")
MODES = ("hard", "soft")
#: Default alert thresholds, in percent of the limit (domain: Caps and alerts).
THRESHOLDS = (50, 75, 90, 100)


@dataclass(frozen=True)
class Spender:
    """Who spends and on what: the labels a cap can be about. Empty means none."""

    member: str = ""
    team: str = ""
    project: str = ""
    action: str = ""


@dataclass(frozen=True)
class Cap:
    """A limit for a scope and a window.

    ``limit_micro`` is what counts, in millionths of a credit; ``limit_minor`` is the amount of
    money it was stated as, where it was.
    """

    cap_id: str
    scope: str
    target: str
    action: str
    window: str
    limit_micro: int
    mode: str
    limit_minor: int | None = None
    thresholds: tuple[int, ...] = THRESHOLDS

    @property
    def hard(self) -> bool:
        """Whether the cap blocks new work."""
        return self.mode == "hard"

    def applies_to(self, spender: Spender) -> bool:
        """Tell whether this spender's work counts in the cap."""
        if self.action and self.action != spender.action:
            return False
        return self.scope == "organization" or getattr(spender, self.scope) == self.target


@dataclass(frozen=True)
class CapState:
    """A cap with what its current window has counted, in millionths of a credit.

    ``raised_micro`` is what was added to the limit for this window alone.
    """

    cap: Cap
    window: Period
    spent_micro: int
    held_micro: int
    raised_micro: int = 0

    @property
    def limit_micro(self) -> int:
        """The limit of this window: the cap's own and what it was raised by."""
        return self.cap.limit_micro + self.raised_micro

    @property
    def used_micro(self) -> int:
        """Spent and held together."""
        return self.spent_micro + self.held_micro

    @property
    def remaining_micro(self) -> int:
        """What is left of the limit; zero when a cap was lowered below what it had counted."""
        return max(0, self.limit_micro - self.used_micro)


def reached(state: CapState) -> set[int]:
    """Return the thresholds, in percent, that what is spent has reached. A limit of 0 has none."""
    if not state.limit_micro:
        return set()
    part = state.spent_micro * 100
    return {one for one in state.cap.thresholds if part >= one * state.limit_micro}


def window_of(window: str, instant: datetime, zone: Zone, billing_period: Period) -> Period:
    """Return the cap window that holds ``instant``, in the organization's time zone."""
    if window == "day":
        return day_of(instant, zone)
    if window == "week":
        return week_of(instant, zone)
    return billing_period


def tightest(states: Iterable[CapState]) -> CapState | None:
    """Return the hard cap that leaves the least room, or None where none is hard."""
    hard = [state for state in states if state.cap.hard]
    return min(hard, key=lambda state: state.remaining_micro) if hard else None
