"""Every component in every state on one page, to see them together; while developing only.

The amounts are made up, and all of them stand here. What is worked out elsewhere is worked out by
the same functions as for a customer: comparisons by the recommendation, charts by the geometry.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from flask import abort, current_app, render_template

from portal.billing.plan import Pending
from portal.breakdown import DAY, Chip, Range, Selection
from portal.core.caps import Cap
from portal.core.catalog import Action, PriceBook
from portal.core.ledger import Lot
from portal.core.periods import days_between
from portal.core.recommendation import recommend
from portal.core.units import MICRO
from portal.offer import Comparison
from portal.spending import CapLine, Choices, Spending, book_at
from portal.web.customer import charts
from portal.web.customer.shell import blueprint, reader
from portal.web.services import services

_MONTH = days_between(date(2026, 11, 1), date(2026, 12, 1))
_USED = [[(day * 7) % 40, (day * 5) % 23, day % 9] for day in range(1, 18)]


@blueprint.get("/design")
def design() -> str:
    """Show every component."""
    if not (current_app.debug or services().settings.demo):
        abort(404)
    organization, _ = reader()
    parts = services()
    now = parts.clock()
    with parts.database.reading() as tx:
        book = book_at(tx, now)
    return render_template(
        "customer/design.html",
        as_of=now,
        organization=replace(organization, tier="pro"),
        book=book,
        lots=_lots(now),
        lines=_caps(now),
        tightest=_tightest(now),
        pending=_pending(now),
        comparisons=_comparisons(book) if book else [],
        chips=[Chip("team", "Design"), Chip("action", "Images")],
        selection=Selection(Range("30-days", _MONTH[0], _MONTH[-1]), "member", {}, own_only=False),
        picture=_picture(),
    )


def _lots(now: datetime) -> list[Lot]:
    """One lot of each source."""
    whole = Lot("gr_1", "allowance", 20, now, now + DAY, 460 * MICRO, 2500 * MICRO)
    sources = ("pack", "rollover", "promotion", "adjustment", "restoration", "overage")
    added = replace(whole, reason="Added by Team")
    return [
        replace(whole, reason="Included in Pro"),
        added,
        *(replace(whole, source=one) for one in sources),
    ]


def _caps(now: datetime) -> list[CapLine]:
    """A cap of each window and level, with and without an action, one of nothing at all."""
    images = Action("image", "Image", "Images", 2 * MICRO)

    def line(subject: str, cap: Cap, spent: int, held: int, action: Action | None) -> CapLine:
        left = max(0, cap.limit_micro - (spent + held) * MICRO)
        return CapLine(
            cap, subject, action, spent * MICRO, held * MICRO, left, now + 4 * DAY, currency="usd"
        )

    base = Cap("cap_1", "organization", "", "", "period", 3000 * MICRO, "soft")
    hard = replace(base, mode="hard", limit_micro=800 * MICRO)
    return [
        line("Everyone", base, 2040, 35, None),
        line("Design team", replace(hard, window="week"), 745, 0, images),
        line("Cleo", replace(hard, window="day"), 800, 0, None),
        line("The site", replace(hard, limit_micro=0), 0, 0, None),
        line("Ben", replace(hard, limit_minor=20_000), 120, 0, None),
    ]


def _tightest(now: datetime) -> list[Spending]:
    """The sentence where a cap, the balance, or nothing at all limits most."""
    lines = _caps(now)
    known = Choices({}, {}, {}, {})
    return [
        Spending(now, lines, lines[1], 5000 * MICRO, known),
        Spending(now, lines, lines[1], 20 * MICRO, known),
        Spending(now, lines, None, 20 * MICRO, known),
    ]


def _pending(now: datetime) -> list[Pending]:
    return [
        Pending(awaited_tier="team", awaited_until=now + DAY, pay_url="https://pay.example/1"),
        Pending(scheduled_tier="starter", scheduled_at=now + 4 * DAY),
        Pending(cancels_at=now + 4 * DAY),
    ]


def _comparisons(book: PriceBook) -> list[Comparison]:
    """A period in which another plan is better, one in which it stays, and one without a plan."""
    first, last = _MONTH[0], _MONTH[-1]
    asked = ((True, "pro", 400), (False, "pro", 2300), (True, None, 2300))
    return [
        Comparison(
            projected,
            first,
            last,
            recommend(book, current=tier, projected_micro=credits_ * MICRO),
        )
        for projected, tier, credits_ in asked
    ]


@dataclass(frozen=True)
class Picture:
    """A month's chart of made-up days."""

    course: charts.Course
    days: charts.Bars


def _picture() -> Picture:
    columns = [[part * MICRO for part in day] for day in _USED]
    sums = [sum(map(sum, columns[: place + 1])) for place in range(len(columns))]
    spent = sums[-1]
    course = charts.course(
        sums,
        slots=len(_MONTH),
        elapsed=charts.elapsed_part(timedelta(days=len(columns)), timedelta(days=len(_MONTH))),
        projected=(spent * 15 // 10, spent * 17 // 10, spent * 19 // 10),
        limits=[("hard", spent * 2), ("soft", spent * 16 // 10), ("included", spent * 12 // 10)],
        height=160.0,
    )
    days = charts.bars(columns, _MONTH, slots=len(_MONTH), height=84.0, today=len(columns) - 1)
    return Picture(course, days)
