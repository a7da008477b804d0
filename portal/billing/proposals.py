"""A change of the plan as its page shows it, from the preview to what became of it.

What it says was fixed when it was previewed: the page never works a price out anew.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from portal import accounts, balances, catalog, cycles
from portal.billing import invoices, tier_changes
from portal.billing.gateway import Gateway
from portal.billing.subscriptions import sync_subscription
from portal.billing.tier_changes import VALID, TierChange
from portal.billing.tier_checkout import price_of
from portal.billing.unbilled import Unbilled, unbilled
from portal.core.catalog import Tier
from portal.core.errors import NotFound, Unavailable
from portal.cycles import Billed
from portal.db import Database

#: What comes with a plan, and ends with it.
INCLUDED = frozenset({"allowance", "rollover"})


@dataclass(frozen=True)
class Proposal:
    """A change with what is before and after it; credits in millionths, amounts in minor units.

    ``confirmable`` while it may still be asked for as it was previewed. ``renewal_minor`` is what
    the cycle that begins at ``renews_at`` costs; both None where the plan ends. ``kept_micro`` is
    what was bought or given and stays whatever the plan, ``unbilled`` the overage on
    no invoice yet. ``hindrance`` is why its payment waits, where Stripe tells: ``authentication``
    or ``declined``.
    """

    change: TierChange
    before: Tier | None
    after: Tier | None
    confirmable: bool
    renews_at: datetime | None
    renewal_minor: int | None
    kept_micro: int
    waits_until: datetime | None
    pay_url: str
    available_micro: int
    undoable: bool
    unbilled: Unbilled
    hindrance: str = ""

    @property
    def holds_until(self) -> datetime:
        """Until when it may be confirmed as previewed."""
        return self.change.created_at + VALID


def look(
    database: Database, payments: Gateway, organization_id: str, change_id: str, *, now: datetime
) -> Proposal:
    """Return a change, brought to what Stripe says where it waits for its payment.

    Where Stripe does not answer it is shown as it was. Raises NotFound.
    """
    with database.reading() as tx:
        found = _proposal(tx, organization_id, change_id, now=now)
        billed = cycles.find(tx, organization_id)
    if found.change.status != "awaiting_payment" or billed is None:
        return found
    with suppress(Unavailable, NotFound):
        sync_subscription(database, payments, billed.stripe_subscription_id, now=now)
    with database.reading() as tx:
        found = _proposal(tx, organization_id, change_id, now=now)
    if found.change.status == "awaiting_payment" and found.change.stripe_invoice_id:
        with suppress(Unavailable, NotFound):
            why = payments.hindrance(found.change.stripe_invoice_id)
            return replace(found, hindrance=why)
    return found


def _proposal(tx: Connection, organization_id: str, change_id: str, *, now: datetime) -> Proposal:
    change = tier_changes.find(tx, organization_id, change_id)
    book = catalog.in_force(tx, at=now)
    billed = cycles.find(tx, organization_id)
    after = book.plan_of(change.to_tier)
    balance = balances.balance(tx, organization_id, now=now)
    organization = accounts.find_organization(tx, organization_id)
    return Proposal(
        change=change,
        before=book.plan_of(change.from_tier),
        after=after,
        confirmable=change.status == "previewed" and now < change.created_at + VALID,
        renews_at=billed.cycle_end if billed and after else None,
        renewal_minor=price_of(after, change.seats) if after else None,
        kept_micro=sum(lot.remaining_micro for lot in balance.lots if lot.source not in INCLUDED),
        waits_until=billed.awaited_until if billed else None,
        pay_url=invoices.page_of(tx, organization_id, change.stripe_invoice_id),
        available_micro=balance.available_micro,
        undoable=_comes(billed, change),
        unbilled=unbilled(tx, organization, now=now),
    )


def _comes(billed: Billed | None, change: TierChange) -> bool:
    """Tell whether a change is still ahead, and can be taken back."""
    if billed is None or change.status != "done":
        return False
    if change.kind == "cancel":
        return billed.alive and billed.cancels_at is not None
    return change.kind == "downgrade" and billed.scheduled_tier == change.to_tier
