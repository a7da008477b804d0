"""What people are told of a subscription: payments that fail, changes that wait, plans that end.

Works on an open desk, with the subscription before and after. Invariant: what is told stands while
it is so, and a change that was asked for is done or failed by what Stripe has.
"""

from __future__ import annotations

from datetime import timedelta

from portal import audit, catalog, notices
from portal.billing import invoices, tier_changes
from portal.billing.gateway import SubscriptionState
from portal.core.periods import local_day
from portal.cycles import Billed
from portal.desk import Desk

#: How long work goes on after a payment failed for the first time.
GRACE = timedelta(days=7)
AWAITED, ENDED = "upgrade-unpaid", "plan-ended"


def tell(desk: Desk, known: Billed | None, after: Billed) -> None:
    """Raise and end what people should know, and put changes of the tier on record."""
    tx, organization_id = desk.tx, after.organization_id
    page = invoices.page_of(tx, organization_id, after.awaited_invoice_id)
    _notice(
        desk,
        AWAITED,
        f"The change to {_name(desk, after.awaited_tier)} is not paid yet. "
        "Your plan stays as it is until then."
        if after.awaited_tier
        else "",
        page,
    )
    owed = invoices.unpaid(tx, organization_id)
    _notice(desk, notices.PAYMENT_FAILED, _overdue(desk, after), owed.page_url if owed else "")
    _notice(
        desk,
        ENDED,
        "" if after.alive else "Your plan has ended. What you bought stays yours.",
        "",
    )
    if known is None or (known.tier, known.seats, known.alive) != (
        after.tier,
        after.seats,
        after.alive,
    ):
        audit.note(
            tx,
            organization_id,
            actor="stripe",
            act="tier.billed" if after.alive else "tier.ended",
            target=after.tier,
            detail={
                "from": known.tier if known else None,
                "seats": after.seats,
                "was": {"seats": known.seats if known else None},
            },
            now=desk.now,
        )


def _overdue(desk: Desk, after: Billed) -> str:
    if not after.alive or after.past_due_since is None:
        return ""
    day = local_day(after.past_due_since + GRACE, desk.organization.zone)
    return (
        f"A payment for your plan failed. Pay by {day.day} {day:%B} {day.year}: "
        "from then on new work waits."
    )


def _name(desk: Desk, tier: str | None) -> str:
    found = catalog.in_force(desk.tx, at=desk.now).plan_of(tier)
    return found.name if found else str(tier)


def _notice(desk: Desk, kind: str, sentence: str, url: str) -> None:
    """Have a notice stand while there is something to say."""
    organization_id = desk.organization.organization_id
    if sentence:
        notices.raise_notice(desk.tx, organization_id, kind, sentence, url=url, now=desk.now)
    else:
        notices.end(desk.tx, organization_id, kind, now=desk.now)


def settle_changes(desk: Desk, after: Billed, state: SubscriptionState) -> None:
    """Say of every change that was asked for what became of it, as far as Stripe tells."""
    for change in tier_changes.still_open(desk.tx, after.organization_id):
        has = (after.tier, after.seats) == (change.to_tier, change.seats)
        waits = state.awaited is not None and state.awaited.tier == change.to_tier
        comes = (after.scheduled_tier, after.scheduled_seats) == (change.to_tier, change.seats)
        done = {
            "upgrade": has,
            "downgrade": comes or has,
            "cancel": after.cancels_at is not None or not after.alive,
        }
        status = "done" if done[change.kind] else None
        if status is None and change.kind == "upgrade" and waits:
            status = "awaiting_payment"
        elif status is None and change.status == "awaiting_payment":
            status = "failed"
        if status is not None:
            invoice_id = state.latest_invoice_id if change.kind == "upgrade" else None
            tier_changes.settle(desk.tx, change, status, invoice_id=invoice_id, now=desk.now)
