"""Coming back from paying: what was bought, a pack or a plan, brought about where it is paid."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from portal.billing import checkout, payment_lists, tier_checkout
from portal.billing.gateway import Gateway
from portal.core.errors import NotFound
from portal.db import Database


@dataclass(frozen=True)
class Return:
    """What became of a purchase: ``done``, ``waiting`` for the bank, or ``ended`` without one.

    ``tier`` is what was subscribed to, else ``credits_micro`` the credits bought, in millionths.
    The amount is in minor units: of a plan that of each cycle, of credits that are here what was
    charged, with tax and after promotions.
    """

    status: Literal["done", "waiting", "failed", "ended"]
    tier: str
    credits_micro: int
    amount_minor: int
    currency: str


_STATUS: dict[str, Literal["done", "waiting", "failed", "ended"]] = {
    "fulfilled": "done",
    "started": "waiting",
    "open": "waiting",
    "failed": "failed",
    "expired": "ended",
}


def returned(
    database: Database, payments: Gateway, *, organization_id: str, session_id: str, now: datetime
) -> Return:
    """Return what a buyer comes back from. Raises NotFound, Unavailable.

    Another organization's session is the same as one that does not exist.
    """
    try:
        plan = tier_checkout.returned(
            database, payments, organization_id=organization_id, session_id=session_id, now=now
        )
    except NotFound:
        pack = checkout.returned(
            database, payments, organization_id=organization_id, session_id=session_id, now=now
        )
        charged = pack.amount_minor
        if pack.grant_id is not None:
            with database.reading() as tx:
                charged = payment_lists.charged_for(tx, organization_id, pack.grant_id)
        return Return(_STATUS[pack.status], "", pack.credits_micro, charged, pack.currency)
    return Return(_STATUS[plan.status], plan.tier, 0, plan.amount_minor, plan.currency)
