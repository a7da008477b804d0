"""The signals and the verdict on pricing by the seat, for service keys alone."""

from __future__ import annotations

from datetime import date
from typing import Any

from flask import Response, request

from portal.core.errors import InvalidRequest
from portal.core.margin.figures import Span
from portal.core.signal_kinds import Signal
from portal.core.verdict import Condition, PerSeat
from portal.margin import revenue, signals
from portal.web.api import answers, blueprint
from portal.web.api.access import need, need_service
from portal.web.api.reading import calendar_day
from portal.web.services import services

#: The longest span that is looked at, in days.
LONGEST_DAYS = 731


@blueprint.get("/margin/signals")
def get_margin_signals() -> tuple[Response, int]:
    """Answer each signal with what it rests on, and whether pricing by the seat still works."""
    need_service()
    need("read")
    parts, now = services(), services().clock()
    span = asked_span(signals.last_quarter(now.date()))
    caught = revenue.bring_up_to_date(parts.database, now=now)
    with parts.database.figures() as tx:
        found = signals.report(tx, span, now=now)
    return answers.answer(
        {
            "start": span.start.isoformat(),
            "end": span.end.isoformat(),
            "as_of": answers.when(now),
            "not_up_to_date": caught.waiting,
            "data": [_signal(one) for one in found.signals],
            "per_seat": _per_seat(found.per_seat),
        }
    )


def asked_span(default: Span) -> Span:
    """Return the days that the address names, or a default. Raises InvalidRequest."""
    start = _day("start", default.start)
    end = _day("end", default.end)
    if not start < end:
        raise InvalidRequest.at("/end", "must be later than start; the end day itself is left out")
    if (end - start).days > LONGEST_DAYS:
        raise InvalidRequest.at("/end", f"is more than {LONGEST_DAYS} days after start")
    return Span(start, end)


def _day(name: str, default: date) -> date:
    given = request.args.get(name)
    return default if given is None else calendar_day(given, f"/{name}")


def _signal(one: Signal) -> dict[str, Any]:
    return {
        "key": one.key,
        "title": one.title,
        "verdict": one.verdict.value,
        "silent_because": one.silence.value or None,
        "says": one.says,
        "act": one.act or None,
        "unit": one.unit,
        "figure": _figure(one.figure),
        "range": None
        if one.low is None or one.high is None
        else {"low": _figure(one.low), "high": _figure(one.high)},
        "p_value": _figure(one.p_value),
        "method": one.method or None,
        "threshold": one.threshold,
        "thresholds": list(one.thresholds),
        "n": one.n,
        "period": {"start": one.span.start.isoformat(), "end": one.span.end.isoformat()},
        "customers": list(one.customers),
        "parts": {name: _figure(value) for name, value in one.parts.items()},
    }


def _figure(value: float | None) -> float | None:
    """Return a statistic to six places; JSON has no infinity."""
    return None if value is None or abs(value) == float("inf") else round(value, 6)


def _per_seat(one: PerSeat) -> dict[str, Any]:
    pattern = one.pattern
    return {
        "works": one.works.value,
        "says": one.says,
        "conditions": [_condition(condition) for condition in one.conditions],
        "pattern": {
            "key": pattern.pattern.value,
            "dangerous": pattern.dangerous,
            "why": pattern.why,
        },
    }


def _condition(one: Condition) -> dict[str, Any]:
    return {
        "key": one.key,
        "title": one.title,
        "holds": one.holds.value,
        "unit": one.unit,
        "figure": _figure(one.figure),
        "threshold": one.threshold,
        "n": one.n,
        "says": one.says,
        "customers": list(one.customers),
    }
