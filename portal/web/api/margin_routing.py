"""What requests were routed to and what it saved or missed, for service keys alone."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from flask import Response

from portal.core.routing import ASSUMPTIONS, RULES, Routed
from portal.core.units import format_nano_usd
from portal.margin import routing, signals
from portal.web.api import answers, blueprint
from portal.web.api.access import need, need_service
from portal.web.api.margin_signals import asked_span
from portal.web.services import services


@blueprint.get("/margin/routing")
def get_margin_routing() -> tuple[Response, int]:
    """Answer, for each class of request, its models, what fits, and savings made and missed."""
    need_service()
    need("read")
    parts, now = services(), services().clock()
    span = asked_span(signals.last_quarter(now.date()))
    with parts.database.figures() as tx:
        found = routing.report(tx, span)
    by_class = sorted(found.rows, key=lambda row: row.request_class)
    return answers.answer(
        {
            "start": span.start.isoformat(),
            "end": span.end.isoformat(),
            "as_of": answers.when(now),
            "data": [
                _class(name, list(rows))
                for name, rows in groupby(by_class, key=lambda row: row.request_class)
            ],
            "missed_usd": format_nano_usd(found.missed_nano_usd),
            "realised_usd": format_nano_usd(found.realised_nano_usd),
            "only_summed_calls": found.only_summed,
            "rules": list(RULES),
            "assumptions": list(ASSUMPTIONS),
        }
    )


def _class(name: str, rows: list[Routed]) -> dict[str, Any]:
    return {
        "request_type": name,
        "calls": sum(row.calls for row in rows),
        "cost_usd": format_nano_usd(sum(row.cost_nano_usd for row in rows)),
        "missed_usd": format_nano_usd(sum(row.missed_nano_usd for row in rows)),
        "realised_usd": format_nano_usd(sum(row.realised_nano_usd for row in rows)),
        "models": [_model(row) for row in rows],
    }


def _model(row: Routed) -> dict[str, Any]:
    return {
        "provider": row.provider or None,
        "model": row.model,
        "calls": row.calls,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cost_usd": format_nano_usd(row.cost_nano_usd),
        "fitting": row.fitting
        and {"provider": row.fitting.provider or None, "model": row.fitting.model},
        "fitting_cost_usd": format_nano_usd(row.fitting_nano_usd),
        "missed_usd": format_nano_usd(row.missed_nano_usd),
        "realised_usd": format_nano_usd(row.realised_nano_usd),
        "unknown_calls": row.unknown,
    }
