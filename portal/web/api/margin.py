"""The operator's figures over HTTP: for service keys alone, never an organization's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from flask import Response, request

from portal.core.catalog import minor_places
from portal.core.costs import LAYERS
from portal.core.errors import InvalidRequest
from portal.core.margin.figures import Cost, Figures, Rates, Revenue, Span
from portal.core.units import format_micro, format_nano_usd, format_scaled
from portal.margin import costs, margins, revenue, slices, whole
from portal.margin.margins import OrganizationMargin, Slice
from portal.margin.statement import rates_of
from portal.margin.whole import Totals
from portal.web.api import answers, blueprint, cursors
from portal.web.api.access import need, need_service
from portal.web.api.organizations import page_size
from portal.web.api.reading import calendar_day
from portal.web.services import services

DAY = timedelta(days=1)
#: No answer reads more days of the rollups than these.
LONGEST_DAYS = 3 * 366


def _span(now: datetime) -> Span:
    """Return the days asked for: this month up to today where none are. Raises InvalidRequest."""
    today = now.astimezone(UTC).date()
    start, end = _day("start", today.replace(day=1)), _day("end", today + DAY)
    if not start < end:
        raise InvalidRequest.at("/end", "must be later than start; the end day itself is left out")
    if (end - start).days > LONGEST_DAYS:
        raise InvalidRequest.at("/start", f"lies more than {LONGEST_DAYS} days before the end")
    return Span(start, end)


def _day(name: str, default: date) -> date:
    given = request.args.get(name)
    return default if given is None else calendar_day(given, f"/{name}")


def _begun() -> tuple[Span, dict[str, Any]]:
    """Refuse who may not see it, bring what was recognised up to now, and begin the answer."""
    need("read")
    need_service()
    parts, now = services(), services().clock()
    span = _span(now)
    caught = revenue.bring_up_to_date(parts.database, now=now)
    return span, {
        "start": span.start.isoformat(),
        "end": span.end.isoformat(),
        "as_of": answers.when(now),
        "not_up_to_date": caught.waiting,
    }


@blueprint.get("/margin")
def get_margin() -> tuple[Response, int]:
    """Answer what all customers paid for, what they cost, and what is left."""
    span, body = _begun()
    with services().database.figures() as tx:
        found = whole.totals(tx, span)
        actions = slices.by_action(tx, span)
        rates = rates_of(tx, span)
    return answers.answer(body | _totals(found) | {"rates": _rates(rates)} | _cut(found, actions))


@blueprint.get("/margin/organizations")
def list_margins() -> tuple[Response, int]:
    """Answer what each customer paid for, what they cost, and what is left, page by page."""
    span, body = _begun()
    sort, limit = request.args.get("sort", "margin"), page_size()
    place = cursors.sent(f"margin:{sort}:{span.start}:{span.end}", parts=2)
    with services().database.figures() as tx:
        found = margins.of_organizations(
            tx, span, sort=sort, after=(place[0], place[1]) if place else None, limit=limit + 1
        )
    page = found[:limit]
    more = None
    if len(found) > limit:
        more = cursors.written(
            f"margin:{sort}:{span.start}:{span.end}", *margins.place_of(page[-1], sort)
        )
    return answers.answer(
        body | {"data": [_organization(one) for one in page], "next_cursor": more}
    )


@blueprint.get("/margin/organizations/<organization_id>")
def get_margin_of_organization(organization_id: str) -> tuple[Response, int]:
    """Answer one customer's margin: step by step, by action, team and month."""
    span, body = _begun()
    with services().database.figures() as tx:
        found = margins.of_organization(tx, organization_id, span)
        actions = slices.by_action(tx, span, organization_id)
        teams = slices.by_team(tx, span, organization_id)
        months = margins.by_month(tx, organization_id, span)
        shared = costs.shares_of(tx, organization_id)
    return answers.answer(
        body
        | _organization(found)
        | {
            "waterfall": [
                {"step": name, "usd": format_nano_usd(amount)}
                for name, amount in found.figures.waterfall()
            ],
            "by_action": [_slice("action", one) for one in actions],
            "by_team": [_slice("team", one) for one in teams],
            "by_month": [
                {
                    "start": month.start.isoformat(),
                    "end": month.end.isoformat(),
                    **_figures(figures),
                }
                for month, figures in months
            ],
            "shared_costs": [
                {
                    "bill": one.bill_id,
                    "layer": one.layer,
                    "start": one.start_day.isoformat(),
                    "end": one.end_day.isoformat(),
                    "rule": one.rule,
                    "weight": one.weight,
                    "cost_usd": format_nano_usd(one.amount_nano_usd),
                }
                for one in shared
            ],
        }
    )


def _organization(one: OrganizationMargin) -> dict[str, Any]:
    currency, before = one.figures.currency, one.before
    return {
        "organization": one.organization_id,
        "name": one.name,
        "tier": one.tier or None,
        "charging": one.charging,
        "fee_stated": one.fee_stated,
        **_figures(one.figures),
        "growth_usd": _usd(one.growth_nano_usd),
        "before": {
            "revenue": answers.money(before.revenue_minor, currency),
            "cost_usd": format_nano_usd(before.cost_nano_usd),
            "credits": format_micro(before.credits_micro),
            "margin_usd": _usd(before.margin_nano_usd),
        },
    }


def _figures(found: Figures) -> dict[str, Any]:
    return {
        "currency": found.currency,
        "revenue": _revenue(found.revenue, found.currency),
        "revenue_usd": _usd(found.revenue_nano_usd),
        **_cost(found.cost),
        "margin_usd": _usd(found.margin_nano_usd),
        "margin_percent": _percent(found.margin_tenths_percent),
        "credits": format_micro(found.credits_micro),
        "events": found.events,
        "leakage": {
            "credits": format_micro(found.uncollected_micro),
            "cost_usd": format_nano_usd(found.leaked_nano_usd),
        },
    }


def _revenue(found: Revenue, currency: str) -> dict[str, str]:
    parts = {name: answers.money(amount, currency) for name, amount in found.parts()}
    return {"total": answers.money(found.total_minor, currency), **parts}


def _cost(found: Cost) -> dict[str, Any]:
    return {
        "cost_usd": format_nano_usd(found.total_nano_usd),
        "cost_by_layer": _amounts(found.by_layer),
        "cost_by_quality": _amounts(found.by_quality),
        "unknown_costs": found.unknown_lines,
    }


def _amounts(by_name: Mapping[str, int]) -> dict[str, str]:
    return {name: format_nano_usd(amount) for name, amount in by_name.items()}


def _usd(amount_nano_usd: int | None) -> str | None:
    return None if amount_nano_usd is None else format_nano_usd(amount_nano_usd)


def _percent(tenths: int | None) -> str | None:
    return None if tenths is None else format_scaled(tenths, places=1)


def _slice(name: str, one: Slice) -> dict[str, Any]:
    return {name: one.label or None, **_figures(one.figures)}


def _totals(found: Totals) -> dict[str, Any]:
    by_layer = found.unattributed_by_layer
    return {
        "organizations": found.organizations,
        "revenue_usd": format_nano_usd(found.revenue_nano_usd),
        "cost": {
            "total_usd": format_nano_usd(found.cost_nano_usd),
            **_cost(found.cost),
            "unattributed_usd": format_nano_usd(found.unattributed_nano_usd),
            "unattributed_by_layer": _amounts({name: by_layer[name] for name in LAYERS}),
            "attributed_percent": _percent(found.attributed_tenths_percent),
        },
        "margin_usd": format_nano_usd(found.margin_nano_usd),
        "margin_percent": _percent(found.margin_tenths_percent),
        "before": {
            "start": found.span.before.start.isoformat(),
            "end": found.span.before.end.isoformat(),
            "revenue_usd": format_nano_usd(found.before_revenue_nano_usd),
            "cost_usd": format_nano_usd(found.before_cost_nano_usd),
            "margin_usd": format_nano_usd(found.before_margin_nano_usd),
        },
        "by_currency": [_figures(one) for one in found.figures],
        "apart": [_figures(one) for one in found.apart],
        "reconciliation": [
            {
                "layer": one.layer,
                "provider": one.provider or None,
                "billed_usd": format_nano_usd(one.billed_nano_usd),
                "attributed_usd": format_nano_usd(one.attributed_nano_usd),
                "shared_usd": format_nano_usd(one.shared_nano_usd),
                "unattributed_usd": format_nano_usd(one.unattributed_nano_usd),
            }
            for one in found.reconciliation
        ],
    }


def _cut(found: Totals, actions: Sequence[Slice]) -> dict[str, Any]:
    return {
        "by_tier": [
            {"tier": tier or None, **_figures(one)}
            for tier, every in found.by_tier.items()
            for one in every
        ],
        "by_action": [_slice("action", one) for one in actions],
    }


def _rates(found: Rates) -> dict[str, str]:
    return {
        currency: format_scaled(worth, places=9 - minor_places(currency))
        for currency, worth in found.nano_usd_per_minor.items()
    }
