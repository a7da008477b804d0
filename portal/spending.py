"""Caps as people read them: whose they are by name, how far each has gone, and which is tightest.

Reads only; ``limits`` is where caps are set. A member sees the caps that count their own work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from portal import accounts, caps, catalog, overage, worst_case
from portal.accounts import Member, Organization
from portal.core.caps import Cap, CapState, tightest
from portal.core.catalog import Action, PriceBook
from portal.core.errors import CatalogError

#: From here on a cap asks for attention, in thousandths of its limit.
NEAR_PERMILLE = 900
WHOLE_PERMILLE = 1000


@dataclass(frozen=True)
class CapLine:
    """A cap with what its window has counted; amounts in millionths of a credit."""

    cap: Cap
    subject: str
    action: Action | None
    spent_micro: int
    held_micro: int
    left_micro: int
    resets_at: datetime

    @property
    def used_micro(self) -> int:
        """Spent and held together."""
        return self.spent_micro + self.held_micro

    @property
    def used_permille(self) -> int:
        """How much of the limit is used, in thousandths, never above a thousand."""
        if self.cap.limit_micro == 0:
            return WHOLE_PERMILLE
        return min(WHOLE_PERMILLE, self.used_micro * WHOLE_PERMILLE // self.cap.limit_micro)

    @property
    def level(self) -> str:
        """One of ``calm``, ``near`` and ``reached``."""
        if self.used_permille >= WHOLE_PERMILLE:
            return "reached"
        return "near" if self.used_permille >= NEAR_PERMILLE else "calm"


@dataclass(frozen=True)
class Choices:
    """What a cap can be about: names by id, actions by key."""

    teams: Mapping[str, str]
    members: Mapping[str, str]
    projects: Mapping[str, str]
    actions: Mapping[str, Action]

    def subject_of(self, scope: str, target: str) -> str:
        """Return whom a scope and a target mean, in words."""
        if scope == "organization":
            return "Everyone"
        if scope == "team":
            name = self.teams.get(target, target)
            return name if name.lower().endswith("team") else f"{name} team"
        known = self.members if scope == "member" else self.projects
        return known.get(target, target)


@dataclass(frozen=True)
class Spending:
    """The spending page: every cap the reader may see, and the one that leaves the least room."""

    as_of: datetime
    lines: Sequence[CapLine]
    tightest: CapLine | None
    available_micro: int
    choices: Choices

    @property
    def balance_is_tightest(self) -> bool:
        """Whether the credits at hand leave less room than any cap that blocks."""
        return self.tightest is None or self.available_micro < self.tightest.left_micro


@dataclass(frozen=True)
class WhenEmpty:
    """What happens when credits run out, with what going on costs; amounts in minor units.

    ``price_micro_minor`` is None where the plan sells no credits beyond its own.
    """

    on_empty: str
    price_micro_minor: int | None
    limit_minor: int | None
    used_minor: int
    used_micro: int
    worst_minor: int | None
    currency: str


def when_empty(
    tx: Connection, organization: Organization, book: PriceBook | None, *, now: datetime
) -> WhenEmpty | None:
    """Return what the organization chose for when its credits run out; None without prices."""
    if book is None:
        return None
    found = overage.standing(tx, organization, book, at=now)
    return WhenEmpty(
        organization.on_empty,
        book.overage_price(organization.tier),
        organization.overage_limit_minor,
        found.amount_minor,
        found.credits_micro,
        worst_case.of_period(tx, organization, book, found, at=now).amount_minor,
        organization.currency,
    )


def book_at(tx: Connection, now: datetime) -> PriceBook | None:
    """Return the price book in force, or None where none was loaded yet."""
    try:
        return catalog.in_force(tx, at=now)
    except CatalogError:
        return None


def choices(tx: Connection, organization_id: str, book: PriceBook | None) -> Choices:
    """Return the names an organization's spending can be broken down and limited by."""
    return Choices(
        teams=accounts.names(tx, organization_id, "team"),
        members=accounts.names(tx, organization_id, "member"),
        projects=accounts.names(tx, organization_id, "project"),
        actions=book.actions if book else {},
    )


def spending(
    tx: Connection,
    organization: Organization,
    member: Member,
    known: Choices,
    *,
    available_micro: int,
    now: datetime,
) -> Spending:
    """Return the caps ``member`` may see with what each has counted at ``now``."""
    in_force = caps.in_force(tx, organization.organization_id)
    wanted = [cap for cap in in_force if member.sees_all_use or _counts(cap, member)]
    states = caps.states(tx, organization, wanted, at=now)
    lines = [_line(state, known) for state in states]
    return Spending(now, lines, _tightest(states, lines), available_micro, known)


def _counts(cap: Cap, member: Member) -> bool:
    """Tell whether a cap is this member's business: their own, or a shared one that stops them."""
    if cap.scope == "member":
        return cap.target == member.member_id
    # Anybody may work for any project, so its cap can stop anybody.
    shared = cap.scope in {"organization", "project"}
    return cap.hard and (shared or (cap.scope == "team" and cap.target == member.team_id))


def _line(state: CapState, known: Choices) -> CapLine:
    return CapLine(
        cap=state.cap,
        subject=known.subject_of(state.cap.scope, state.cap.target),
        action=known.actions.get(state.cap.action),
        spent_micro=state.spent_micro,
        held_micro=state.held_micro,
        left_micro=state.remaining_micro,
        resets_at=state.window.end,
    )


def _tightest(states: Iterable[CapState], lines: Sequence[CapLine]) -> CapLine | None:
    found = tightest(states)
    if found is None:
        return None
    return next(line for line in lines if line.cap.cap_id == found.cap.cap_id)
