"""Where the period is going."""

from __future__ import annotations

from typing import Any

from flask import Response

from portal import forecasting
from portal.core.projection import Projection
from portal.core.units import format_micro
from portal.forecasting import Forecast
from portal.web.api import answers, blueprint
from portal.web.api.access import current, need
from portal.web.api.reading.asked import past_instant_asked
from portal.web.services import services


@blueprint.get("/organizations/<organization_id>/forecast")
def get_forecast(organization_id: str) -> tuple[Response, int]:
    """Answer where the period is going, or why that cannot be said."""
    need("read")
    parts, now = services(), services().clock()
    organization = current(organization_id)
    at = past_instant_asked(now)
    with parts.database.reading() as tx:
        found = forecasting.forecast(tx, organization, now=now, at=at)
    return answers.answer(_forecast(found, organization.currency))


def _forecast(found: Forecast, currency: str) -> dict[str, Any]:
    out, beyond = found.runs_out, found.beyond
    by_action = found.outlook.by_action if found.outlook else {}
    body: dict[str, Any] = {
        "as_of": answers.when(found.as_of),
        "period": {
            "start": answers.when(found.period.start),
            "end": answers.when(found.period.end),
        },
        "spent": format_micro(found.spent_micro),
        "projected": _projection(found.projection),
        "overage": beyond
        and {
            "p50": answers.money(beyond.middle_minor, currency),
            "p90": answers.money(beyond.high_minor, currency),
            "currency": currency,
        },
        "runs_out_at": out
        and {
            "p10": answers.when(out.early),
            "p50": answers.when(out.middle),
            "p90": answers.when(out.late),
        },
        "by_action": {
            action: {
                "spent": format_micro(found.spent_by_action.get(action, 0)),
                "projected": _projection(by_action.get(action)),
            }
            for action in sorted({*found.spent_by_action, *by_action})
        },
    }
    if found.refused:
        body["refused"] = found.refused
    return body


def _projection(found: Projection | None) -> dict[str, str] | None:
    if found is None:
        return None
    return {
        "p10": format_micro(found.low_micro),
        "p50": format_micro(found.middle_micro),
        "p90": format_micro(found.high_micro),
    }
