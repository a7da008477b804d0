"""Caps as people read them: whose they are by name, how far each has gone, and which is tightest.

Reads only; ``limits`` is where caps are set. A member sees the caps that count their own work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from portal import accounts, caps, catalog, notices, overage, raises, worst_case
from portal.accounts import Member, Organization
from portal.core.caps import Cap, CapState, tightest
from portal.core.catalog import Action, Pack, PriceBook
from portal.core.errors import CatalogError
from portal.core.top_up import month_of
from portal.notices import Notice
from portal.raises import RaiseRequest
from portal.top_ups import attempts, standing
from portal.top_ups.standing import AutoTopUp

#: From here on a cap asks for attention, in thousandths of its limit.
NEAR_PERMILLE = 900
WHOLE_PERMILLE = 1000
#: More people than this are searched for by name instead of listed.
MOST_LISTED = 50


@dataclass(frozen=True)
class CapLine:
    """A cap with what its window has counted; amounts in millionths of a credit.

    ``currency`` is that of a limit that was stated in money.
    """

    cap: Cap
    subject: str
    action: Action | None
    spent_micro: int
    held_micro: int
    left_micro: int
    resets_at: datetime
    raised_micro: int = 0
    #: Whether the reader may ask for more of it, and what they last asked for in this window.
    may_ask: bool = False
    asked: RaiseRequest | None = None
    #: Whether it is the cap of a reader who sees their own use alone: it is "yours" to them.
    own: bool = False

    @property
    def limit_micro(self) -> int:
        """The limit of this window, with what it was raised by."""
        return self.cap.limit_micro + self.raised_micro

    currency: str = ""

    @property
    def used_micro(self) -> int:
        """Spent and held together."""
        return self.spent_micro + self.held_micro

    @property
    def used_permille(self) -> int:
        """How much of the limit is used, in thousandths, never above a thousand."""
        if self.limit_micro == 0:
            return WHOLE_PERMILLE
        return min(WHOLE_PERMILLE, self.used_micro * WHOLE_PERMILLE // self.limit_micro)

    @property
    def level(self) -> str:
        """One of ``calm``, ``near`` and ``reached``."""
        if self.used_permille >= WHOLE_PERMILLE:
            return "reached"
        return "near" if self.used_permille >= NEAR_PERMILLE else "calm"


@dataclass(frozen=True)
class RequestLine:
    """More that somebody asks for, beside the cap it is about as it stands now."""

    request: RaiseRequest
    who: str
    line: CapLine


@dataclass(frozen=True)
class Choices:
    """What a cap can be about: names by id, actions by key."""

    teams: Mapping[str, str]
    members: Mapping[str, str]
    projects: Mapping[str, str]
    actions: Mapping[str, Action]

    @property
    def many_members(self) -> bool:
        """Whether there are too many people to choose one from a list."""
        return len(self.members) > MOST_LISTED

    def members_called(self, typed: str) -> list[str]:
        """Return the ids of those whose name was typed, by name; else of those it is a part of."""
        wanted = " ".join(typed.split()).casefold()
        names = {key: name.casefold() for key, name in self.members.items()}
        same = [key for key, name in names.items() if name == wanted]
        found = same or [key for key, name in names.items() if wanted and wanted in name]
        return sorted(found, key=lambda key: (names[key], key))

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
    #: Whether the reader sees what the whole organization has left.
    balance_shown: bool = True
    #: What waits for the reader's answer, the oldest first.
    requests: Sequence[RequestLine] = ()

    @property
    def balance_is_tightest(self) -> bool:
        """Whether the credits at hand leave less room than any cap that blocks."""
        return self.balance_shown and (
            self.tightest is None or self.available_micro < self.tightest.left_micro
        )


@dataclass(frozen=True)
class WhenEmpty:
    """What happens when credits run out, with what each choice could cost; amounts in minor units.

    ``price_micro_minor`` is None where the plan sells no credits beyond its own, or none in the
    organization's currency. The worst case of
    each choice is that of the whole period; None where the plan has no list price, and where the
    choice lacks its limits. ``top_up`` is how buying by itself is set and stands.
    """

    on_empty: str
    price_micro_minor: int | None
    limit_minor: int | None
    used_minor: int
    used_micro: int
    worst_minor: int | None
    worst_if_stop_minor: int | None
    worst_if_top_up_minor: int | None
    worst_if_overage_minor: int | None
    currency: str
    top_up: TopUpStanding | None


@dataclass(frozen=True)
class TopUpStanding:
    """How auto top-up is set and stands; ``notice`` says what stands in its way, with its act.

    ``bought_minor`` is what it charged or may charge this month, in minor units.
    """

    settings: AutoTopUp
    pack: Pack | None
    bought_minor: int
    notice: Notice | None


def when_empty(
    tx: Connection, organization: Organization, book: PriceBook | None, *, now: datetime
) -> WhenEmpty | None:
    """Return what the organization chose for when its credits run out; None without prices."""
    if book is None:
        return None

    def worst(on_empty: str) -> int | None:
        as_if = replace(organization, on_empty=on_empty)
        beyond = overage.standing(tx, as_if, book, at=now)
        return worst_case.of_period(tx, as_if, book, beyond, at=now).amount_minor

    found = overage.standing(tx, organization, book, at=now)
    price, limit = overage.sold(organization, book), organization.overage_limit_minor
    top_up = _top_up(tx, organization, book, now=now)
    return WhenEmpty(
        organization.on_empty,
        price,
        limit,
        found.amount_minor,
        found.credits_micro,
        worst(organization.on_empty),
        worst("stop"),
        worst("top_up") if top_up else None,
        worst("overage") if price is not None and limit is not None else None,
        organization.currency,
        top_up,
    )


def _top_up(
    tx: Connection, organization: Organization, book: PriceBook, *, now: datetime
) -> TopUpStanding | None:
    mine = standing.settings(tx, organization.organization_id)
    if mine is None:
        return None
    month = month_of(now, organization.zone)
    told = notices.standing(tx, organization.organization_id)
    return TopUpStanding(
        mine,
        book.packs.get(mine.pack),
        attempts.used_minor(tx, organization.organization_id, month),
        next((one for one in told if one.kind in standing.NOTICES), None),
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


def members_meant(tx: Connection, organization_id: str, known: Choices, typed: str) -> list[str]:
    """Return the ids of the members that typed words may mean: an address, a name, a part of it."""
    if "@" in typed:
        found = accounts.member_of_address(tx, organization_id, typed.strip().lower())
        return [found[0].member_id] if found else []
    return known.members_called(typed)


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
    windows = [(state.cap.cap_id, state.window.end) for state in states]
    asked = raises.of_windows(tx, organization.organization_id, member.member_id, windows)
    lines = [
        replace(
            _as_read(_line(state, known, organization.currency), member),
            may_ask=not member.may_manage and raises.may_ask(state.cap, member),
            asked=asked.get(state.cap.cap_id),
        )
        for state in states
    ]
    waiting = raises.waiting(tx, organization.organization_id, at=now) if member.may_manage else []
    by_cap = {line.cap.cap_id: line for line in lines}
    requests = [
        RequestLine(one, known.members.get(one.member_id, one.member_id), by_cap[one.cap_id])
        for one in waiting
        if one.cap_id in by_cap
    ]
    return Spending(
        now,
        lines,
        _tightest(states, lines),
        available_micro,
        known,
        accounts.sees_balance(organization, member),
        requests,
    )


def _as_read(line: CapLine, member: Member) -> CapLine:
    """Return a cap as it is called to its reader: who sees their own use alone is "you"."""
    theirs = line.cap.scope == "member" and line.cap.target == member.member_id
    if not theirs or member.sees_all_use:
        return line
    return replace(line, subject="Your own cap", own=True)


def every_cap(
    tx: Connection, organization: Organization, known: Choices, *, now: datetime
) -> list[CapLine]:
    """Return all of an organization's caps with what each has counted at ``now``."""
    in_force = caps.in_force(tx, organization.organization_id)
    return [
        _line(state, known, organization.currency)
        for state in caps.states(tx, organization, in_force, at=now)
    ]


def _counts(cap: Cap, member: Member) -> bool:
    """Tell whether a cap is this member's business: their own, or a shared one that stops them."""
    if cap.scope == "member":
        return cap.target == member.member_id
    # Anybody may work for any project, so its cap can stop anybody.
    shared = cap.scope in {"organization", "project"}
    return cap.hard and (shared or (cap.scope == "team" and cap.target == member.team_id))


def _line(state: CapState, known: Choices, currency: str) -> CapLine:
    return CapLine(
        cap=state.cap,
        subject=known.subject_of(state.cap.scope, state.cap.target),
        action=known.actions.get(state.cap.action),
        spent_micro=state.spent_micro,
        held_micro=state.held_micro,
        left_micro=state.remaining_micro,
        resets_at=state.window.end,
        raised_micro=state.raised_micro,
        currency=currency,
    )


def _tightest(states: Iterable[CapState], lines: Sequence[CapLine]) -> CapLine | None:
    found = tightest(states)
    if found is None:
        return None
    return next(line for line in lines if line.cap.cap_id == found.cap.cap_id)
