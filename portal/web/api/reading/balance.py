"""What an organization has, now or at an instant that is past."""

from __future__ import annotations

from typing import Any

from flask import Response

from portal import balances, catalog, overage, worst_case
from portal.accounts import Organization
from portal.core.ledger import Lot
from portal.core.units import format_micro
from portal.overage import Standing
from portal.web.api import answers, blueprint
from portal.web.api.access import current, need
from portal.web.api.reading.asked import past_instant_asked
from portal.web.services import services


@blueprint.get("/organizations/<organization_id>/balance")
def get_balance(organization_id: str) -> tuple[Response, int]:
    """Answer what the organization has now."""
    need("read")
    parts, now = services(), services().clock()
    organization = current(organization_id)
    at = past_instant_asked(now)
    with parts.database.reading() as tx:
        found = (
            balances.balance(tx, organization_id, now=now)
            if at == now
            else balances.balance_at(tx, organization_id, at=at)
        )
        book = catalog.in_force(tx, at=at)
        beyond = overage.standing(tx, organization, book, at=at)
        most = worst_case.of_period(tx, organization, book, beyond, at=at).amount_minor
    period = organization.period_at(at)
    return answers.answer(
        {
            "as_of": answers.when(at),
            "available": format_micro(found.available_micro),
            "held": format_micro(found.held_micro),
            "debt": format_micro(found.debt_micro),
            "frozen": format_micro(found.frozen_micro),
            "uncollected": format_micro(found.uncollected_micro),
            "period": {"start": answers.when(period.start), "end": answers.when(period.end)},
            "tier": organization.tier,
            "grants": [_grant(lot, next_=number == 0) for number, lot in enumerate(found.lots)],
            "overage": _overage(beyond, organization),
            "on_empty": organization.on_empty,
            "worst_case": _worst_case(most, organization),
        }
    )


def _grant(lot: Lot, *, next_: bool) -> dict[str, Any]:
    return {
        "id": lot.grant_id,
        "source": lot.source,
        "granted": format_micro(lot.granted_micro),
        "remaining": format_micro(lot.remaining_micro),
        "expires_at": answers.when(lot.expires_at),
        "next": next_,
    }


def _overage(beyond: Standing, organization: Organization) -> dict[str, Any]:
    limit, currency = beyond.limit_minor, organization.currency
    return {
        "enabled": beyond.price_micro_minor is not None,
        "credits": format_micro(beyond.credits_micro),
        "amount": answers.money(beyond.amount_minor, currency),
        "limit": None if limit is None else answers.money(limit, currency),
    }


def _worst_case(most_minor: int | None, organization: Organization) -> dict[str, str] | None:
    if most_minor is None:
        return None
    currency = organization.currency
    return {"amount": answers.money(most_minor, currency), "currency": currency}
