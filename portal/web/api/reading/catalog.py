"""The actions, tiers and packs in force."""

from __future__ import annotations

from typing import Any

from flask import Response

from portal import catalog
from portal.core.catalog import Tier, minor_places
from portal.core.units import format_micro, format_scaled
from portal.web.api import answers, blueprint
from portal.web.api.access import need
from portal.web.services import services


@blueprint.get("/catalog")
def get_catalog() -> tuple[Response, int]:
    """Answer the actions, tiers and packs in force."""
    need("read")
    parts = services()
    with parts.database.reading() as tx:
        book = catalog.in_force(tx, at=parts.clock())
    places = minor_places(book.currency)
    return answers.answer(
        {
            "version": book.version,
            "effective_at": answers.when(book.effective_at),
            "currency": book.currency,
            "actions": [
                {
                    "key": one.key,
                    "name": one.name,
                    "plural": one.plural,
                    "credits": format_micro(one.price_micro),
                }
                for one in book.actions.values()
            ],
            "tiers": [_tier(one, places) for one in book.tiers.values()],
            "packs": [
                {
                    "key": one.key,
                    "name": one.name,
                    "credits": format_micro(one.credits_micro),
                    "price": format_scaled(one.price_minor, places=places),
                    "expires_after_days": one.expires_after_days,
                }
                for one in book.packs.values()
            ],
        }
    )


def _tier(tier: Tier, places: int) -> dict[str, Any]:
    price, beyond = tier.price_minor, tier.overage_price_micro_minor
    return {
        "key": tier.key,
        "name": tier.name,
        "kind": tier.kind,
        "interval": tier.interval,
        "price": None if price is None else format_scaled(price, places=places),
        "credits": format_micro(tier.allowance_micro),
        "overage": None if beyond is None else format_scaled(beyond, places=places + 6),
    }
