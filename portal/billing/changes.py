"""Changing a tier: previewed on the path that bills, confirmed as previewed, undone until it holds.

Invariant: nothing of a change comes from a browser but its id. An upgrade is charged from the very
instant it was previewed at, so that money and credits are those of the preview; Stripe is called
with the change's id as idempotency key, outside every transaction, and what became of it is read
back from Stripe.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from portal import audit, catalog, cycles
from portal.accounts import Member, Organization
from portal.billing import allowances, invoices, tier_changes
from portal.billing.gateway import CallRefused, Gateway, InvoiceState, SubscriptionState
from portal.billing.subscriptions import cycle_of, sync_subscription
from portal.billing.tier_changes import TierChange
from portal.billing.tier_checkout import price_in_stripe, price_of
from portal.core.catalog import PriceBook, Tier
from portal.core.errors import InvalidRequest
from portal.core.upgrades import credits_of_all
from portal.cycles import Billed
from portal.db import Database
from portal.desk import begin_due, open_desk
from portal.ids import new_id

#: A call whose answer was never stored is made again after this, with the same key…
RESUMED_AFTER = timedelta(minutes=2)
#: … until this long after the preview; from then on it is only looked up what became of it.
CALLED_WITHIN = 2 * tier_changes.VALID


@dataclass(frozen=True)
class Preview:
    """What a change would do, and the id that confirms exactly this.

    ``charge_minor`` is charged now, ``credits_micro`` added now. ``carried_minor`` comes on top of
    the next invoice, as what is too little to be charged does; below zero it is a credit that is
    left for it. ``renewal_minor`` is the price of the next cycle, which begins at ``renews_at``:
    None where there is none. An upgrade takes effect now; anything else, also another interval,
    with the next cycle.
    """

    change_id: str
    kind: str
    from_tier: str
    to_tier: str
    seats: int | None
    charge_minor: int
    carried_minor: int
    credits_micro: int
    currency: str
    effective_at: datetime
    renews_at: datetime | None
    renewal_minor: int | None


@dataclass(frozen=True)
class Outcome:
    """What became of a change: ``done``, ``awaiting_payment`` with where to pay, or ``failed``."""

    status: str
    pay_url: str = ""


@dataclass(frozen=True)
class _Ground:
    """What a change starts from."""

    organization: Organization
    billed: Billed
    book: PriceBook


def preview(
    database: Database,
    payments: Gateway,
    *,
    organization_id: str,
    member: Member,
    tier: str | None,
    seats: int | None = None,
    now: datetime,
) -> Preview:
    """Say what a change to ``tier`` would cost and add; to None, what ending the plan does.

    Raises InvalidRequest where there is nothing to change or the tier is not sold here.
    """
    ground = _ground(database, organization_id, now=now)
    state = payments.subscription(ground.billed.stripe_subscription_id)
    if tier is None:
        found = _ending(ground, state)
    else:
        chosen = catalog.tier_of(ground.book, tier)
        seats = seats if chosen.kind == "per_seat" else None
        found = _changing(payments, ground, state, chosen, seats, now=now)
    with database.transaction() as tx:
        tier_changes.add(
            tx,
            TierChange(
                organization_id=organization_id,
                change_id=found.change_id,
                kind=found.kind,
                from_tier=found.from_tier,
                to_tier=found.to_tier,
                seats=found.seats,
                from_seats=ground.billed.seats,
                as_of=found.effective_at,
                charge_minor=found.charge_minor,
                carried_minor=found.carried_minor,
                currency=found.currency,
                credits_micro=found.credits_micro,
                status="previewed",
                stripe_invoice_id=None,
                started_by=member.member_id,
                created_at=now,
                settled_at=None,
            ),
        )
    return found


def _ground(database: Database, organization_id: str, *, now: datetime) -> _Ground:
    organization = begin_due(database, organization_id, now=now)
    with database.reading() as tx:
        billed = cycles.find(tx, organization_id)
        book = catalog.in_force(tx, at=now)
    if organization.cycle_end is None or billed is None or not billed.alive:
        raise InvalidRequest("There is no plan here that can be changed.")
    return _Ground(organization, billed, book)


def _ending(ground: _Ground, state: SubscriptionState) -> Preview:
    return Preview(
        change_id=new_id("tx"),
        kind="cancel",
        from_tier=state.tier,
        to_tier="",
        seats=None,
        charge_minor=0,
        carried_minor=0,
        credits_micro=0,
        currency=ground.organization.currency,
        effective_at=state.cycle_end,
        renews_at=None,
        renewal_minor=None,
    )


def _changing(
    payments: Gateway,
    ground: _Ground,
    state: SubscriptionState,
    chosen: Tier,
    seats: int | None,
    *,
    now: datetime,
) -> Preview:
    renewal = price_of(chosen, seats)
    if (chosen.key, seats) == (state.tier, ground.billed.seats):
        raise InvalidRequest.at("/tier", "is the plan you have")
    if state.status == "past_due":
        raise InvalidRequest("Pay the open invoice first; then change the plan.")
    # More than is paid now, whatever the book asks by now for the plan that they have.
    at_once = renewal > state.price_minor * state.quantity and chosen.interval == state.interval
    found = Preview(
        change_id=new_id("tx"),
        kind="upgrade" if at_once else "downgrade",
        from_tier=state.tier,
        to_tier=chosen.key,
        seats=seats,
        charge_minor=0,
        carried_minor=0,
        credits_micro=0,
        currency=ground.organization.currency,
        effective_at=now.replace(microsecond=0) if at_once else state.cycle_end,
        renews_at=state.cycle_end,
        renewal_minor=renewal,
    )
    if not at_once:
        return found
    invoice = payments.preview_change(
        state.subscription_id,
        state.item_id,
        price_id=price_in_stripe(payments, chosen, ground.book.currency),
        quantity=seats or 1,
        as_of=max(found.effective_at, state.cycle_start),
    )
    return _priced(found, ground, state, invoice)


def _priced(
    found: Preview, ground: _Ground, state: SubscriptionState, invoice: InvoiceState
) -> Preview:
    """Return a preview with the charge and the credits of the invoice it would make."""
    cycle = cycle_of(state).at(state.cycle_start)
    steps = allowances.steps_of(invoice.lines, ground.book, cycle=cycle)
    largest = ground.billed.largest_allowance_micro
    return replace(
        found,
        charge_minor=invoice.charge_minor,
        carried_minor=invoice.carried_minor,
        credits_micro=sum(credits_of_all(steps, cycle=cycle, begun_micro=largest)),
        effective_at=steps[-1].at if steps else found.effective_at,
    )


def confirm(
    database: Database,
    payments: Gateway,
    *,
    organization_id: str,
    member: Member,
    change_id: str,
    now: datetime,
) -> Outcome:
    """Do what was previewed, once; the same again says what became of it.

    Raises NotFound, InvalidRequest where the preview is no longer true, Unavailable where Stripe
    does not answer: asking again goes on with the same call.
    """
    ground = _ground(database, organization_id, now=now)
    with database.transaction() as tx:
        open_desk(tx, organization_id, now=now).wallet.write()
        change = tier_changes.find(tx, organization_id, change_id)
        if change.status in {"done", "awaiting_payment", "failed"}:
            return _outcome(tx, change)
        _still_true(ground, change)
        tier_changes.take_up(tx, change, now=now)
        audit.note(
            tx,
            organization_id,
            actor=member.member_id,
            act=f"tier.{change.kind}",
            target=change.to_tier or change.from_tier,
            detail={
                "change": change_id,
                "charge_minor": change.charge_minor,
                "from": change.from_tier,
            },
            now=now,
        )
    return _carry_out(database, payments, change, ground.billed.stripe_subscription_id, now=now)


def _still_true(ground: _Ground, change: TierChange) -> None:
    """Refuse what was previewed from another plan or in another cycle. Raises InvalidRequest."""
    billed = ground.billed
    same_cycle = billed.cycle_start <= change.as_of <= billed.cycle_end
    same_plan = (billed.tier, billed.seats) == (change.from_tier, change.from_seats)
    if change.status == "previewed" and not (same_plan and same_cycle):
        raise InvalidRequest("The plan has changed meanwhile. Look at the change again.")


def _carry_out(
    database: Database,
    payments: Gateway,
    change: TierChange,
    subscription_id: str,
    *,
    now: datetime,
) -> Outcome:
    """Have Stripe do a change that was begun, and read back what became of it."""
    state = payments.subscription(subscription_id)
    if now < change.created_at + CALLED_WITHIN and not _has(state, change):
        # What is refused has come to its end below, and nobody is charged for it later.
        with suppress(CallRefused):
            _call(database, payments, change, state)
    sync_subscription(database, payments, subscription_id, now=now)
    with database.transaction() as tx:
        after = tier_changes.find(tx, change.organization_id, change.change_id)
        if after.status == "started":
            # Stripe has answered, and neither has it nor waits for it.
            tier_changes.settle(tx, after, "failed", now=now)
            return Outcome("failed")
        return _outcome(tx, after)


def _has(state: SubscriptionState, change: TierChange) -> bool:
    """Tell whether Stripe knows of a change already, though its answer was lost."""
    wanted = (change.to_tier, change.seats or 1)
    if change.kind == "cancel":
        return state.cancels_at is not None
    waiting = state.awaited if change.kind == "upgrade" else state.scheduled
    return wanted == (state.tier, state.quantity) or (
        waiting is not None and wanted == (waiting.tier, waiting.quantity)
    )


def _call(
    database: Database, payments: Gateway, change: TierChange, state: SubscriptionState
) -> None:
    """Ask Stripe for a change; what was scheduled before is taken back first."""
    if change.kind == "cancel":
        if state.schedule_id:
            payments.unschedule(state)
        payments.cancel_at_end(state, change_id=change.change_id)
        return
    if state.cancels_at is not None or (state.schedule_id and change.kind == "upgrade"):
        payments.unschedule(state)
        state = replace(state, cancels_at=None, schedule_id="")
    with database.reading() as tx:
        tier = catalog.tier_of(catalog.in_force(tx, at=change.created_at), change.to_tier)
    price_id = price_in_stripe(payments, tier, change.currency)
    quantity = change.seats or 1
    if change.kind == "upgrade":
        payments.change_price(
            state,
            change_id=change.change_id,
            price_id=price_id,
            quantity=quantity,
            as_of=change.as_of,
        )
    else:
        payments.schedule_price(
            state, change_id=change.change_id, price_id=price_id, quantity=quantity
        )


def _outcome(tx: Connection, change: TierChange) -> Outcome:
    if change.status != "awaiting_payment":
        return Outcome(change.status)
    page = invoices.page_of(tx, change.organization_id, change.stripe_invoice_id)
    return Outcome(change.status, page)


def undo(
    database: Database,
    payments: Gateway,
    *,
    organization_id: str,
    member: Member,
    now: datetime,
) -> None:
    """Take back what is scheduled, a smaller plan or the end of it, before it takes effect.

    Raises InvalidRequest where nothing is, Unavailable where Stripe does not answer.
    """
    ground = _ground(database, organization_id, now=now)
    billed = ground.billed
    if billed.cancels_at is None and billed.scheduled_tier is None:
        raise InvalidRequest("Nothing is scheduled that could be taken back.")
    payments.unschedule(payments.subscription(billed.stripe_subscription_id))
    sync_subscription(database, payments, billed.stripe_subscription_id, now=now)
    with database.transaction() as tx:
        audit.note(
            tx,
            organization_id,
            actor=member.member_id,
            act="tier.change_undone",
            target=billed.scheduled_tier or billed.tier,
            now=now,
        )


def drop(
    database: Database,
    payments: Gateway,
    *,
    organization_id: str,
    member: Member,
    now: datetime,
) -> None:
    """Give up an upgrade that waits for its payment: from then on it can never be paid.

    Raises InvalidRequest where none waits or it has just been paid, Unavailable where Stripe does
    not answer.
    """
    billed = _ground(database, organization_id, now=now).billed
    if billed.awaited_tier is None or billed.awaited_invoice_id is None:
        raise InvalidRequest("No change waits for its payment here.")
    payments.drop_awaited(billed.awaited_invoice_id)
    after = sync_subscription(database, payments, billed.stripe_subscription_id, now=now).after
    if after is not None and after.tier == billed.awaited_tier:
        raise InvalidRequest("The change has been paid already: you have the larger plan.")
    with database.transaction() as tx:
        audit.note(
            tx,
            organization_id,
            actor=member.member_id,
            act="tier.upgrade_dropped",
            target=billed.awaited_tier,
            now=now,
        )


def to_resume(database: Database, *, now: datetime) -> list[TierChange]:
    """Return the changes whose call was never answered, oldest first."""
    with database.reading() as tx:
        return tier_changes.every_started(tx, before=now - RESUMED_AFTER)


def resume(database: Database, payments: Gateway, change: TierChange, *, now: datetime) -> str:
    """Go on with a change whose call was never answered; returns what became of it, in words."""
    with database.reading() as tx:
        billed = cycles.find(tx, change.organization_id)
    if billed is None:
        return ""
    outcome = _carry_out(database, payments, change, billed.stripe_subscription_id, now=now)
    return (
        f"{change.organization_id}: {change.kind} {change.change_id}, "
        f"{billed.stripe_subscription_id}: started -> {outcome.status}"
    )
