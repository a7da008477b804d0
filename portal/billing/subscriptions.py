"""Subscriptions that Stripe bills: our rows are brought to what Stripe says, whoever asks.

Invariant: ``sync_subscription`` is the one way, for webhooks, return pages and reconciliation. It
fetches the subscription with its invoices outside any transaction, has the whole effect in one, and
asks Stripe again after it changed something: what was fetched before another's write never stands.
An invoice that does not fit is set aside by itself and keeps nothing else from its effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from portal import catalog, cycles, tiers
from portal.accounts import Organization
from portal.billing import allowances, invoices, overage, quarantine, subscription_news
from portal.billing import payments as settled
from portal.billing.effects import Mark, Quarantined, no_mark
from portal.billing.gateway import Gateway, InvoiceState, PaymentState, SubscriptionState
from portal.billing.subscription_news import GRACE
from portal.core.cycles import INTERVALS, Cycle
from portal.core.errors import NotFound
from portal.cycles import ALIVE, Billed
from portal.db import Database
from portal.desk import Desk, open_desk

#: In these a subscription has not begun, or waits for somebody: nothing follows from it.
_NOT_BEGUN = frozenset({"incomplete", "incomplete_expired"})
_MARGIN = timedelta(hours=1)
_ATTEMPTS = 5


@dataclass(frozen=True)
class Synced:
    """What a subscription was before and is now, and whether anything was brought up to date.

    ``misfits`` are the invoices that were set aside, by their ids, with why.
    """

    organization_id: str
    before: Billed | None
    after: Billed | None
    changed: bool
    misfits: Mapping[str, str] = field(default_factory=dict)


def sync_subscription(
    database: Database,
    payments: Gateway,
    subscription_id: str,
    *,
    now: datetime,
    mark: Mark = no_mark,
    about: InvoiceState | None = None,
) -> Synced:
    """Bring our rows to what Stripe says of a subscription and its invoices.

    Invoices are looked at from the cycle before the one that runs, or from the cycle of the one
    that it is ``about``. ``mark`` runs in the transaction that has the effect, unless that very
    invoice does not fit. Raises Quarantined where the subscription is not one we could have sold,
    NotFound where Stripe has none.
    """
    first = synced = _fetched(database, payments, subscription_id, about, now=now, mark=mark)
    for _ in range(_ATTEMPTS):
        if not synced.changed:
            break
        synced = _fetched(database, payments, subscription_id, about, now=now, mark=mark)
    return replace(synced, before=first.before, changed=first.changed)


def _fetched(
    database: Database,
    payments: Gateway,
    subscription_id: str,
    about: InvoiceState | None,
    *,
    now: datetime,
    mark: Mark,
) -> Synced:
    state = payments.subscription(subscription_id)
    with database.reading() as tx:
        organization_id = _owner(tx, state, live=payments.livemode).organization_id
        known = cycles.find(tx, organization_id)
    if known is not None and _beside(known, state):
        # It may have ended unheard: what Stripe says of it comes first.
        with suppress(NotFound, Quarantined):
            _fetched(database, payments, known.stripe_subscription_id, None, now=now, mark=no_mark)
    found = _invoices_of(payments, state, about.created_at if about else None)
    charges = charges_of(database, payments, organization_id, found)
    with database.transaction() as tx:
        desk = open_desk(tx, organization_id, now=now)
        synced = _bring(desk, state, found, charges)
        desk.wallet.write()
        if about is None or about.invoice_id not in synced.misfits:
            mark(tx)
        quarantine.keep(
            tx, found, synced.misfits, but=about.invoice_id if about else "", now=desk.now
        )
    return synced


def _invoices_of(
    payments: Gateway, state: SubscriptionState, reach: datetime | None
) -> Sequence[InvoiceState]:
    """Fetch the invoices of the cycles that matter, oldest first."""
    cycle = cycle_of(state)
    before = cycle.start(cycle.number_at(state.cycle_start) - 1)
    since = before if reach is None else min(before, cycle.at(reach).start)
    return payments.invoices_of(state.subscription_id, since=since - _MARGIN)


def cycle_of(state: SubscriptionState) -> Cycle:
    """Return the cycles of a subscription: from its anchor, or from the one that runs.

    The anchor holds but for a cycle that was set by hand.
    """
    anchored = Cycle(state.interval, state.anchor)
    fits = anchored.at(state.cycle_start).start == state.cycle_start
    return anchored if fits else Cycle(state.interval, state.cycle_start)


def charges_of(
    database: Database, payments: Gateway, organization_id: str, found: Sequence[InvoiceState]
) -> dict[str, PaymentState]:
    """Fetch how paid invoices were paid, by their payment, where that is not known whole yet."""
    with database.reading() as tx:
        known = {
            invoice.payment_id: settled.of(tx, organization_id, invoice.payment_id)
            for invoice in found
            if invoice.status == "paid" and invoice.payment_id
        }
    fetched = {}
    for payment_id, paid in known.items():
        if paid is None or paid.payment.fee_minor is None:
            with suppress(NotFound):
                fetched[payment_id] = payments.payment(payment_id)
    return fetched


def _bring(
    desk: Desk,
    state: SubscriptionState,
    found: Sequence[InvoiceState],
    charges: Mapping[str, PaymentState],
) -> Synced:
    """Bring everything of an organization to what was fetched, but for invoices that do not fit."""
    organization_id = desk.organization.organization_id
    before = after = cycles.find(desk.tx, organization_id)
    fitting, misfits, news = _keep(desk, found)
    cycle = cycle_of(state)
    largest, more = allowances.give(desk.wallet, state.subscription_id, cycle, fitting, charges)
    if _is_the_one(before, state):
        after = _bring_plan(desk, before, state, fitting, largest)
    return Synced(organization_id, before, after, before != after or news, misfits | more)


def _keep(
    desk: Desk, found: Sequence[InvoiceState]
) -> tuple[list[InvoiceState], dict[str, str], bool]:
    """Store the invoices that fit; returns them, why the others do not, and whether there is news.

    The overage on them follows.
    """
    fitting: list[InvoiceState] = []
    misfits: dict[str, str] = {}
    news = False
    for invoice in found:
        try:
            allowances.check(desk.wallet, invoice)
            news |= invoices.keep(desk.tx, desk.organization, invoice)
        except Quarantined as error:
            misfits[invoice.invoice_id] = error.detail
            continue
        fitting.append(invoice)
        overage.follow(
            desk.tx,
            desk.organization.organization_id,
            invoice.invoice_id,
            invoice.status,
            now=desk.now,
        )
    return fitting, misfits, news


def _owner(tx: Connection, state: SubscriptionState, *, live: bool) -> Organization:
    what = f"Subscription {state.subscription_id}"
    organization = invoices.owner(
        tx,
        what=what,
        organization_id=state.organization_id,
        customer_id=state.customer_id,
        livemode=state.livemode,
        live=live,
    )
    if state.currency != organization.currency:
        raise Quarantined(
            f"{what}: the currency is {state.currency!r}, we expected {organization.currency!r}."
        )
    if not state.tier:
        raise Quarantined(f"{what} has no tier of ours.")
    if state.interval not in INTERVALS:
        raise Quarantined(f"{what} is billed by the {state.interval}, which no tier of ours is.")
    return organization


def _beside(known: Billed, state: SubscriptionState) -> bool:
    """Tell whether both a subscription we know of and another one seem to be alive."""
    another = known.stripe_subscription_id != state.subscription_id
    return another and known.alive and state.status in ALIVE


def _is_the_one(known: Billed | None, state: SubscriptionState) -> bool:
    """Tell whether it is the organization's subscription, not one it had before.

    Raises Quarantined for a second one beside one that is alive: somebody pays twice.
    """
    if known is None or known.stripe_subscription_id == state.subscription_id:
        return True
    if state.status not in ALIVE:
        return not known.alive and state.created_at > known.created_at
    if known.alive:
        raise Quarantined(
            f"Subscription {state.subscription_id} is a second one beside "
            f"{known.stripe_subscription_id}: end one of them in Stripe."
        )
    return state.created_at >= known.created_at


def _bring_plan(
    desk: Desk,
    known: Billed | None,
    state: SubscriptionState,
    found: Sequence[InvoiceState],
    largest_micro: int,
) -> Billed | None:
    """Bring the organization's tier, and what is kept of its subscription, to Stripe's state."""
    if state.status in _NOT_BEGUN:
        return known
    if known is not None and known.stripe_subscription_id != state.subscription_id:
        known = None
    if known is not None and known.cycle_start == state.cycle_start:
        largest_micro = max(largest_micro, known.largest_allowance_micro)
    after = _billed(desk, known, state, found, largest_micro)
    cycles.keep(desk.tx, after)
    if after.alive:
        _subscribe(desk, after, state)
    elif desk.organization.cycle_end is not None:
        tiers.end(desk.tx, desk.wallet, desk.organization, at=state.ended_at or desk.now)
    subscription_news.tell(desk, known, after)
    subscription_news.settle_changes(desk, after, state)
    return after


def _billed(
    desk: Desk,
    known: Billed | None,
    state: SubscriptionState,
    found: Sequence[InvoiceState],
    largest_micro: int,
) -> Billed:
    alive = state.status in ALIVE
    awaited = state.awaited if alive else None
    scheduled = state.scheduled if alive else None
    return Billed(
        organization_id=desk.organization.organization_id,
        stripe_subscription_id=state.subscription_id,
        status=state.status,
        tier=state.tier,
        seats=seats_of(desk, state.tier, state.quantity),
        cycle_start=state.cycle_start,
        cycle_end=state.cycle_end,
        largest_allowance_micro=largest_micro,
        cancels_at=state.cancels_at if alive else None,
        scheduled_tier=scheduled.tier if scheduled else None,
        scheduled_seats=seats_of(desk, scheduled.tier, scheduled.quantity) if scheduled else None,
        scheduled_at=scheduled.at if scheduled else None,
        stripe_schedule_id=state.schedule_id or None,
        awaited_tier=awaited.tier if awaited else None,
        awaited_until=awaited.at if awaited else None,
        awaited_invoice_id=state.latest_invoice_id if awaited else None,
        past_due_since=_past_due_since(desk, known, state, found),
        created_at=state.created_at,
    )


def seats_of(desk: Desk, tier: str, quantity: int) -> int | None:
    """Return the seats a quantity means; None for a tier that is not sold by the seat."""
    found = catalog.in_force(desk.tx, at=desk.now).plan_of(tier)
    return quantity if found is not None and found.kind == "per_seat" else None


def _past_due_since(
    desk: Desk, known: Billed | None, state: SubscriptionState, found: Sequence[InvoiceState]
) -> datetime | None:
    """Return when a payment failed first: later failures do not move it."""
    if state.status != "past_due":
        return None
    if known is not None and known.past_due_since is not None:
        return known.past_due_since
    latest = (one for one in found if one.invoice_id == state.latest_invoice_id)
    failed = (one.issued_at for one in latest if one.status == "open" and one.attempted)
    # An older invoice may be open for reasons of its own: no grace begins with that.
    return next(failed, desk.now)


def _subscribe(desk: Desk, billed: Billed, state: SubscriptionState) -> None:
    since = billed.past_due_since
    tiers.bill(
        desk.tx,
        desk.wallet,
        desk.organization,
        tier=billed.tier,
        seats=billed.seats,
        cycle=cycle_of(state),
        since=state.cycle_start,
        stops_at=since + GRACE if since else None,
    )
