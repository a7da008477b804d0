"""What somebody asks auto top-up to do, checked against what is sold."""

from __future__ import annotations

from dataclasses import dataclass

from portal.accounts import Organization
from portal.core.catalog import Pack, PriceBook
from portal.core.errors import InvalidRequest
from portal.core.top_up import Terms


@dataclass(frozen=True)
class TopUpRequest:
    """Which pack to buy below which balance, and the most a month may cost.

    The threshold in millionths of a credit, the limit in minor units.
    """

    threshold_micro: int
    pack: str
    monthly_limit_minor: int


def pack_for(book: PriceBook, organization: Organization, asked: TopUpRequest) -> Pack:
    """Return the pack that is asked for. Raises InvalidRequest where it makes no sense."""
    if organization.shadow:
        raise InvalidRequest.at("/on_empty", "cannot be top_up: this organization is not charged")
    if asked.threshold_micro <= 0:
        raise InvalidRequest.at("/auto_top_up/threshold", "must be above zero")
    pack = book.packs.get(asked.pack)
    if pack is None:
        raise InvalidRequest.at("/auto_top_up/pack", f"is not one of {', '.join(book.packs)}")
    if book.currency != organization.currency:
        raise InvalidRequest.at(
            "/auto_top_up/pack",
            f"is priced in {book.currency.upper()}, this organization is billed in "
            f"{organization.currency.upper()}",
        )
    if asked.monthly_limit_minor < pack.price_minor:
        raise InvalidRequest.at("/auto_top_up/monthly_limit", "is less than one pack costs")
    return pack


def terms(asked: TopUpRequest, pack: Pack) -> Terms:
    """Return what is bought, when, and within which limit."""
    return Terms(
        asked.threshold_micro, pack.credits_micro, pack.price_minor, asked.monthly_limit_minor
    )
