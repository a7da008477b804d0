"""The most a billing period can cost: one figure, wherever it is shown.

Invariant: what a period costs in the end never passes what was shown of it, unless somebody changed
the plan or a limit in between, or bought by hand. Reads only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from portal import cycles
from portal.accounts import Organization
from portal.billing import invoices
from portal.core.catalog import PriceBook
from portal.overage import Standing
from portal.top_ups import attempts, standing


@dataclass(frozen=True)
class WorstCase:
    """What the most that a period can cost is made of, in minor units.

    ``tier_minor`` is None where the tier has no list price in the organization's currency: then
    there is no figure. ``awaited_minor`` is what the upgrade to ``awaited_tier`` adds to it once
    that is paid.
    """

    tier_minor: int | None
    beyond_minor: int
    bought_minor: int
    may_buy_minor: int
    awaited_tier: str | None = None
    awaited_minor: int = 0

    @property
    def top_up_minor(self) -> int:
        """What auto top-up bought in the period and may still buy."""
        return self.bought_minor + self.may_buy_minor

    @property
    def amount_minor(self) -> int | None:
        """The figure itself."""
        if self.tier_minor is None:
            return None
        return self.tier_minor + self.awaited_minor + self.beyond_minor + self.top_up_minor


def of_period(
    tx: Connection, organization: Organization, book: PriceBook, beyond: Standing, *, at: datetime
) -> WorstCase:
    """Return the most the period that holds ``at`` can cost; ``beyond`` is its overage.

    The tier's price, or what its invoices say where it was changed in between; what an upgrade that
    waits for its payment adds; what was used
    beyond all grants, with what work in flight may still use, or, where more is allowed, the limit
    of that; what auto top-up has bought in the period and may still buy before it ends. Tax is not
    in it.
    """
    mine = standing.settings(tx, organization.organization_id)
    pack = book.packs.get(mine.pack) if mine and book.currency == organization.currency else None
    limit = beyond.limit_minor if beyond.price_micro_minor is not None else None
    organization_id = organization.organization_id
    billed, awaited_minor, plan = None, 0, None
    if organization.cycle_end is not None:
        plan = cycles.find(tx, organization_id)
        awaited = plan.awaited_invoice_id if plan else None
        billed, awaited_minor = invoices.for_plan_minor(
            tx, organization_id, beyond.period, awaited=awaited
        )
    price = _price_minor(book, organization)
    return WorstCase(
        tier_minor=price if billed is None else billed,
        beyond_minor=max(beyond.most_minor, limit or 0),
        bought_minor=attempts.used_minor(tx, organization.organization_id, beyond.period, until=at),
        may_buy_minor=attempts.may_still_buy_minor(tx, organization, pack, at=at),
        awaited_tier=plan.awaited_tier if plan else None,
        awaited_minor=awaited_minor,
    )


def _price_minor(book: PriceBook, organization: Organization) -> int | None:
    tier = book.plan_of(organization.tier)
    if tier is None:
        return 0
    if tier.price_minor is None or book.currency != organization.currency:
        return None
    return tier.price_minor * ((organization.seats or 1) if tier.kind == "per_seat" else 1)
