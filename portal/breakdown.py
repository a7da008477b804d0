"""Usage by whatever it is asked by: ranges, filters, the table and the columns of its chart.

Reads the daily rollup only, so a page's cost does not grow with history. Invariant: a member's
filter on themselves is set here, never taken from the address.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

from sqlalchemy import Connection

from portal import accounts, usage
from portal.accounts import Member, Organization
from portal.core.errors import InvalidRequest
from portal.core.periods import Period, local_day
from portal.core.units import apportion, divide_half_even
from portal.spending import Choices, book_at, choices, members_meant
from portal.usage import Totals

DAY = timedelta(days=1)
RANGES = ("period", "last-period", "7-days", "30-days", "90-days", "own")
GROUPS = ("action", "day", "member", "team", "project")
FILTERS = ("action", "member", "team", "project")
LONGEST_RANGE = timedelta(days=3 * 366)
#: A chart shows this many groups in colours of their own, the rest together.
MOST_SERIES = 5
#: Of those a typed name may mean, so many are offered.
MOST_MEANT = 8
#: Ranges longer than this are drawn by week, and then by four weeks.
MOST_DAILY_COLUMNS = 92
MOST_WEEKLY_COLUMNS = 371
REST = "\x00rest"


@dataclass(frozen=True)
class Range:
    """The local days ``[start, end)`` and how they were chosen."""

    key: str
    start: date
    end: date

    @property
    def last(self) -> date:
        """The last day of the range."""
        return self.end - DAY


@dataclass(frozen=True)
class Selection:
    """What the reader asked to see, after what they may see was applied."""

    range: Range
    group: str
    filters: Mapping[str, str]
    own_only: bool
    error: str = ""

    def address(self, **changes: str) -> dict[str, str]:
        """Return the query that shows this selection again, with some parts changed."""
        query = {"range": self.range.key, "group": self.group, **self.filters}
        if self.own_only:
            query.pop("member", None)
        if self.range.key == "own":
            query |= {"from": self.range.start.isoformat(), "to": self.range.last.isoformat()}
        return {name: value for name, value in (query | changes).items() if value}


@dataclass(frozen=True)
class Row:
    """One line of the table; ``series`` is its colour, None where it is among the rest.

    ``change_percent`` is that of its credits on the range before, None where there were none.
    """

    key: str
    name: str
    day: date | None
    totals: Totals
    share_percent: int
    series: int | None
    change_percent: int | None = None


@dataclass(frozen=True)
class Column:
    """One bar of the chart: the days ``[start, end)`` and credits by series."""

    start: date
    end: date
    parts_micro: Sequence[int]

    @property
    def total_micro(self) -> int:
        """All series together."""
        return sum(self.parts_micro)


@dataclass(frozen=True)
class Chip:
    """A filter in force, in words: which one, and what it was set to."""

    name: str
    words: str


@dataclass(frozen=True)
class Breakdown:
    """The usage page; ``before`` is the range that it is compared with."""

    as_of: datetime
    selection: Selection
    totals: Totals
    rows: Sequence[Row]
    series: Sequence[str]
    columns: Sequence[Column]
    choices: Choices
    before: Range
    change_percent: int | None
    days_per_column: int = 1
    names: Mapping[str, str] = field(default_factory=dict)
    #: Whom a typed name may mean, where it is several: the first of them, and how many in all.
    meant: Sequence[Member] = ()
    meant_count: int = 0

    @property
    def chips(self) -> list[Chip]:
        """The filters in force that the reader may take away."""
        return chips(self.selection, self.choices)


def chips(selection: Selection, known: Choices) -> list[Chip]:
    """Return the filters of a selection by the names of what they are set to."""
    named: dict[str, Mapping[str, str]] = {
        "action": {key: action.plural for key, action in known.actions.items()},
        "member": known.members,
        "team": known.teams,
        "project": known.projects,
    }
    return [
        Chip(name, named[name].get(value, value))
        for name, value in selection.filters.items()
        if not (selection.own_only and name == "member")
    ]


#: Days outside are slips of the keyboard, and calendars end not far beyond them.
EARLIEST, LATEST = date(2000, 1, 1), date(2199, 12, 31)


def range_of(
    organization: Organization, *, key: str, first: str = "", last: str = "", now: datetime
) -> Range:
    """Return a range by its key. Raises InvalidRequest for dates that are none."""
    zone = organization.zone
    today = local_day(now, zone)
    period = organization.period_at(now)
    if key == "own":
        return _own(first, last)
    if key == "last-period":
        period = organization.period_at(period.start - _MOMENT)
    if key in {"7-days", "30-days", "90-days"}:
        length = int(key.partition("-")[0])
        return Range(key, today - timedelta(days=length - 1), today + DAY)
    start, end = days_of(period, organization)
    return Range(key if key == "last-period" else "period", start, end)


def range_before(organization: Organization, chosen: Range, *, now: datetime) -> Range:
    """Return the range that one is compared with: as many days as have passed of it, before it.

    A period is compared from the start of the one before, and whole where it has ended.
    """
    today = local_day(now, organization.zone)
    passed = max(DAY, min(chosen.end, today + DAY) - chosen.start)
    if chosen.key not in {"period", "last-period"}:
        return Range("before", chosen.start - passed, chosen.start)
    running = organization.period_at(now)
    if chosen.key == "last-period":
        running = organization.period_at(running.start - _MOMENT)
    start, end = days_of(organization.period_at(running.start - _MOMENT), organization)
    whole = chosen.end <= today
    return Range("before", start, min(end if whole else start + passed, chosen.start))


_MOMENT = timedelta(microseconds=1)


def days_of(period: Period, organization: Organization) -> tuple[date, date]:
    """Return the local days ``[start, end)`` that a period touches."""
    zone = organization.zone
    last = local_day(period.end - timedelta(microseconds=1), zone)
    return local_day(period.start, zone), last + DAY


def _own(first: str, last: str) -> Range:
    days = []
    for pointer, text in (("/from", first), ("/to", last)):
        try:
            day = date.fromisoformat(text)
            if not EARLIEST <= day <= LATEST:
                raise ValueError(text)
            days.append(day)
        except ValueError:
            raise InvalidRequest.at(pointer, "must be a date such as 2026-11-30") from None
    start, end = days
    if end < start:
        raise InvalidRequest.at("/to", "must not be before the first day")
    if end - start > LONGEST_RANGE:
        raise InvalidRequest.at("/to", "must be at most three years after the first day")
    return Range("own", start, end + DAY)


def select(
    organization: Organization, member: Member, asked: Mapping[str, str], *, now: datetime
) -> Selection:
    """Read what is asked for from an address; what does not exist falls back, with words."""
    key = asked.get("range", "")
    error = ""
    try:
        chosen = range_of(
            organization, key=key, first=asked.get("from", ""), last=asked.get("to", ""), now=now
        )
    except InvalidRequest as wrong:
        field_name = {"/from": "First day", "/to": "Last day"}
        listed = wrong.fields["errors"][0]
        error = f"{field_name[listed['pointer']]} {listed['detail']}. This period is shown instead."
        chosen = range_of(organization, key="period", now=now)
    group = asked.get("group", "")
    filters = {name: asked[name] for name in FILTERS if asked.get(name)}
    own_only = not member.sees_all_use
    if own_only:
        filters["member"] = member.member_id
    if group not in GROUPS or (own_only and group in {"member", "team"}):
        group = "action"
    return Selection(chosen, group, filters, own_only, error)


def breakdown(
    tx: Connection, organization: Organization, selection: Selection, *, now: datetime
) -> Breakdown:
    """Return usage as selected."""
    known = choices(tx, organization.organization_id, book_at(tx, now))
    selection, meant = _of_whom(tx, organization, selection, known)
    by = ["day"] if selection.group == "day" else ["day", selection.group]
    found = usage.report(
        tx,
        organization.organization_id,
        start=selection.range.start,
        end=selection.range.end,
        group_by=by,
        filters=selection.filters,
    )
    before = range_before(organization, selection.range, now=now)
    earlier = usage.report(
        tx,
        organization.organization_id,
        start=before.start,
        end=before.end,
        group_by=[] if selection.group == "day" else [selection.group],
        filters=selection.filters,
    )
    names = _names(selection.group, known)
    rows = _rows(found, selection.group, names, earlier)
    columns, length = _columns(found, selection, rows)
    top = [row for row in rows if row.series is not None]
    series = [row.name for row in top] if selection.group != "day" else ["Credits"]
    if selection.group != "day" and len(rows) > len(top):
        series.append("The rest")
    changed = change_percent(found.totals.credits_micro, earlier.totals.credits_micro)
    return Breakdown(
        now,
        selection,
        found.totals,
        rows,
        series,
        columns,
        known,
        before,
        changed,
        length,
        names,
        accounts.members_among(tx, organization.organization_id, meant[:MOST_MEANT]),
        len(meant),
    )


def _of_whom(
    tx: Connection, organization: Organization, selection: Selection, known: Choices
) -> tuple[Selection, Sequence[str]]:
    """Return the selection with the one whose name was typed, and all it may mean if several."""
    typed = selection.filters.get("member", "")
    if not typed or selection.own_only or typed in known.members:
        return selection, ()
    meant = members_meant(tx, organization.organization_id, known, typed)
    if len(meant) != 1:
        return selection, meant
    return replace(selection, filters={**selection.filters, "member": meant[0]}), ()


def change_percent(now: int, before: int) -> int | None:
    """Return a change in whole percent, None where there was nothing before."""
    return divide_half_even((now - before) * 100, before) if before else None


def _names(group: str, known: Choices) -> Mapping[str, str]:
    if group == "action":
        return {key: action.plural for key, action in known.actions.items()}
    named: dict[str, Mapping[str, str]] = {
        "member": known.members,
        "team": known.teams,
        "project": known.projects,
    }
    nobody = {"member": "No one named", "team": "No team", "project": "No project"}
    return {"": nobody.get(group, ""), **named.get(group, {})}


def _rows(
    found: usage.UsageReport,
    group: str,
    names: Mapping[str, str],
    earlier: usage.UsageReport,
) -> list[Row]:
    sums: dict[str | date, list[Totals]] = {}
    for one in found.rows:
        sums.setdefault(one.labels[group], []).append(one.totals)
    totals = {key: usage.total(parts) for key, parts in sums.items()}
    # What only costs the operator has neither credits nor a quantity: not the customer's to see.
    used = {k: value for k, value in totals.items() if value.credits_micro or value.quantity_micro}
    if group == "day":
        ordered = sorted(used.items(), key=lambda item: str(item[0]), reverse=True)
    else:
        ordered = sorted(used.items(), key=lambda item: (-item[1].credits_micro, str(item[0])))
    shares = apportion(100, [value.credits_micro for _, value in ordered])
    was = {row.labels[group]: row.totals.credits_micro for row in earlier.rows}
    rows = []
    for place, (key, value) in enumerate(ordered):
        when = key if isinstance(key, date) else None
        series = place if group != "day" and place < MOST_SERIES else None
        label = str(key)
        changed = change_percent(value.credits_micro, was.get(key, 0))
        rows.append(
            Row(label, names.get(label, label), when, value, shares[place], series, changed)
        )
    return rows


def _columns(
    found: usage.UsageReport, selection: Selection, rows: Sequence[Row]
) -> tuple[list[Column], int]:
    start, end = selection.range.start, selection.range.end
    count = (end - start).days
    length = 1 if count <= MOST_DAILY_COLUMNS else 7 if count <= MOST_WEEKLY_COLUMNS else 28
    series = {row.key: row.series for row in rows if row.series is not None}
    width = 1 if selection.group == "day" else len(series) + (len(rows) > len(series))
    parts = [[0] * max(1, width) for _ in range(0, count, length)]
    for one in found.rows:
        place = (one.labels["day"] - start).days // length
        which = 0 if selection.group == "day" else series.get(one.labels[selection.group], -1)
        parts[place][which] += one.totals.credits_micro
    columns = []
    for place, values in enumerate(parts):
        first = start + timedelta(days=place * length)
        columns.append(Column(first, min(end, first + timedelta(days=length)), values))
    return columns, length
