"""Refunds that the operator starts.

Invariant: what goes back by one person's word is no more than what of the grant nobody spent; more
needs another operator, see ``approvals``. A refund is written down before Stripe is asked, the id
of its row is the key of that call, and of a payment one is on its way at a time: so the same one
asked for again is never a second one, and what was begun is brought to its end.

Where a payment was for a plan and for overage, a refund may say which of them it is of. Of the plan
it takes back credits for that part alone, of overage none; without a word it counts for both in
proportion.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection

from portal import audit, idempotency
from portal.billing import payment_news
from portal.billing import payments as book
from portal.billing import refund_record as record
from portal.billing.gateway import Gateway, RefundRefused, RefundState
from portal.billing.payments import Settled
from portal.billing.refund_record import RefundOrder
from portal.core.catalog import charged_in, minor_places, money_words
from portal.core.errors import ClearmeterError, InvalidRequest, NotFound
from portal.core.refunds import unspent_minor
from portal.core.units import NotExact, parse_scaled
from portal.db import Database
from portal.desk import open_desk
from portal.wallet import Wallet

log = structlog.get_logger()

#: The largest amount that is taken, in the payment's currency.
LARGEST = 10**9
#: So long Stripe surely remembers what it was asked under a key; then it is looked up.
REMEMBERED_FOR = timedelta(hours=23)
#: So long whoever began a refund is left to bring it to its end.
PATIENCE = timedelta(minutes=2)
NEVER_MADE = "Stripe did not make it within a day. Nothing went back."


@dataclass(frozen=True)
class GivenBack:
    """A refund as it was started: how much, in words, and where it stands at Stripe."""

    refund_id: str
    amount: str
    status: str


def give_back(
    database: Database,
    payments: Gateway,
    *,
    organization_id: str,
    payment_id: str,
    amount: str | None,
    of: str = "",
    reason: str,
    actor: str,
    key: str | None = None,
    now: datetime,
) -> GivenBack:
    """Start a refund of what is unspent, and take its credits back; returns what was started.

    ``amount`` is a decimal in the payment's currency; without one it is all that is unspent. ``of``
    is ``plan``, ``overage`` or nothing. The same ``key`` again is the same refund, and without one
    so is the same amount while its end is not known. Raises NotFound, InvalidRequest where it is
    more than is left or than is unspent or another one is open, RefundRefused where Stripe will not
    do it, Unavailable where it is not known: ask again then.
    """
    order = _begun(
        database, organization_id, payment_id, amount, of, reason, actor=actor, key=key, now=now
    )
    return finish(database, payments, order, now=now)


def _begun(
    database: Database,
    organization_id: str,
    payment_id: str,
    amount: str | None,
    of: str,
    reason: str,
    *,
    actor: str,
    key: str | None,
    now: datetime,
) -> RefundOrder:
    """Decide once what goes back, and write it down; the same key has the first decision."""
    with database.transaction() as tx:
        wallet = open_desk(tx, organization_id, now=now).wallet
        wallet.write()
        settled = known(wallet, payment_id)

        def begin() -> tuple[int, dict[str, Any]]:
            part = part_of(settled, amount, of)
            order = _on_its_way(tx, organization_id, settled, amount, part)
            if order is None:
                wanted = wanted_minor(wallet, settled, amount, part)
                _alone(wallet, settled, wanted, part)
                room(wallet, settled)
                order = record.add(tx, ordered(wallet, settled, wanted, part, reason, actor))
                told = {"amount_minor": wanted, "of": part, "reason": reason}
                note(tx, order, "refund.started", actor, detail=told, now=now)
            return 202, {"refund": order.refund_id}

        decided = idempotency.once(
            tx,
            organization_id,
            route="refund",
            key=key,
            content=[payment_id, amount, of, reason],
            now=now,
            act=begin,
        )
        refund_id = str(json.loads(decided.body).get("refund", ""))
        found = record.find(tx, organization_id, refund_id)
    if found is None:
        raise NotFound("refund", refund_id)
    return found


def _on_its_way(
    tx: Connection, organization_id: str, settled: Settled, amount: str | None, part: str
) -> RefundOrder | None:
    """Return the refund on its way that is the very one asked for, or None."""
    order = record.open_of(tx, organization_id, settled.payment.payment_id)
    if order is None or (order.status, order.part) != (record.STARTED, part):
        return None
    if amount is None:
        return order if order.expires_at is None else None
    return order if _typed(settled, amount) == order.amount_minor else None


def _alone(wallet: Wallet, settled: Settled, wanted: int, part: str) -> None:
    """See to it that one person may decide so much. Raises InvalidRequest."""
    free = free_minor(wallet, settled, part)
    if wanted > free:
        words = money_words(free, settled.payment.currency)
        raise InvalidRequest.at(
            "/amount",
            f"is more than the {words} of this payment that stands for unspent credits: "
            "ask in the console, and another operator decides",
        )


def room(wallet: Wallet, settled: Settled) -> None:
    """See to it that no refund of a payment is open; one that nobody decided in time is not.

    Raises InvalidRequest.
    """
    order = record.open_of(wallet.tx, wallet.organization_id, settled.payment.payment_id)
    if order is None:
        return
    if order.status == record.WAITING and not order.waits(wallet.now):
        lapse(wallet.tx, order, now=wallet.now)
        return
    words = money_words(order.amount_minor, order.currency)
    told = "waits for another operator" if order.status == record.WAITING else "is on its way"
    raise InvalidRequest(f"A refund of {words} of this payment {told}. One at a time.")


def ordered(
    wallet: Wallet, settled: Settled, amount_minor: int, part: str, reason: str, actor: str
) -> RefundOrder:
    """Return a refund that is begun, as it is written down; it has no id yet."""
    return RefundOrder(
        organization_id=wallet.organization_id,
        refund_id="",
        payment_id=settled.payment.payment_id,
        amount_minor=amount_minor,
        currency=settled.payment.currency,
        part=part,
        reason=reason,
        asked_by=actor,
        asked_at=wallet.now,
        expires_at=None,
        status=record.STARTED,
    )


def note(
    tx: Connection,
    order: RefundOrder,
    act: str,
    actor: str,
    *,
    detail: dict[str, Any],
    now: datetime,
) -> None:
    """Put on record what somebody did about a refund."""
    detail = {"refund": order.refund_id} | detail
    audit.note(
        tx,
        order.organization_id,
        actor=actor,
        act=act,
        target=order.payment_id,
        detail=detail,
        now=now,
    )


# --- at Stripe -----------------------------------------------------------------------------------


def finish(
    database: Database, payments: Gateway, order: RefundOrder, *, now: datetime
) -> GivenBack:
    """Have Stripe make a refund that was begun, and take its credits back: once, however often.

    Raises RefundRefused where it came to nothing, Unavailable where that is not known.
    """
    words = money_words(order.amount_minor, order.currency)
    if order.status in {record.DONE, record.FAILED}:
        told = "made already" if order.status == record.DONE else "failed"
        return GivenBack(order.stripe_refund_id or "", words, told)
    if order.status != record.STARTED:
        raise RefundRefused(order.answer or f"This refund was {order.status}.")
    try:
        made = _made(database, payments, order, now=now)
    except (NotFound, RefundRefused) as error:
        _refuse(database, order, error.detail, now=now)
        raise RefundRefused(error.detail) from error

    def done(tx: Connection) -> None:
        record.move(tx, order, record.DONE, stripe_refund_id=made.refund_id)

    payment_news.sync(database, payments, made.refund_id, now=now, mark=done)
    return GivenBack(made.refund_id, words, made.status)


def _made(
    database: Database, payments: Gateway, order: RefundOrder, *, now: datetime
) -> RefundState:
    with database.reading() as tx:
        settled = book.of(tx, order.organization_id, order.payment_id)
    known_charge = settled.payment.charge_id if settled else ""
    charge_id = known_charge or payments.payment(order.payment_id).charge_id
    if now - order.began_at < REMEMBERED_FOR:
        return payments.refund(
            charge_id, order.amount_minor, of=order.part, refund_id=order.refund_id
        )
    found = payments.find_refund(charge_id, order.refund_id)
    if found is None:
        raise RefundRefused(NEVER_MADE)
    return found


def _refuse(database: Database, order: RefundOrder, why: str, *, now: datetime) -> None:
    with database.transaction() as tx:
        if record.move(tx, order, record.REFUSED, answer=why):
            note(tx, order, "operator.refund_refused", "stripe", detail={"reason": why}, now=now)


def lapse(tx: Connection, order: RefundOrder, *, now: datetime) -> None:
    """End a refund that nobody approved in time."""
    if record.move(tx, order, record.LAPSED, decided_at=order.expires_at):
        note(tx, order, "operator.refund_lapsed", "clearmeter", detail={}, now=now)


def finish_begun(database: Database, payments: Gateway, *, now: datetime) -> int:
    """Bring refunds that were begun to their end, and end those that nobody approved in time.

    Returns how many came to an end; what Stripe does not answer for stays for the next time.
    """
    with database.reading() as tx:
        begun = record.on_their_way(tx, before=now - PATIENCE)
        late = record.lapsed(tx, now=now)
    for order in late:
        with database.transaction() as tx:
            lapse(tx, order, now=now)
    ended = len(late)
    for order in begun:
        try:
            finish(database, payments, order, now=now)
        except RefundRefused as error:
            log.error("refund refused", refund_id=order.refund_id, reason=error.detail)
        except ClearmeterError as error:
            log.warning("refund postponed", refund_id=order.refund_id, reason=error.detail)
            continue
        ended += 1
    return ended


# --- how much ------------------------------------------------------------------------------------


def known(wallet: Wallet, payment_id: str) -> Settled:
    """Return a payment of the wallet's organization. Raises NotFound."""
    settled = book.of(wallet.tx, wallet.organization_id, payment_id)
    if settled is None:
        raise NotFound("payment", payment_id)
    return settled


def unspent(wallet: Wallet, settled: Settled) -> int:
    """Return how much of a payment stands for credits that may still be spent, in minor units."""
    payment = settled.payment
    if payment.grant_id is None:
        return 0
    lot = wallet.lot(payment.grant_id)
    left = 0 if lot.expired(wallet.now) else lot.remaining_micro
    free = unspent_minor(
        payment.for_grant_minor,
        credits_micro=lot.granted_micro,
        unspent_micro=left,
        refunded_minor=settled.grant_refunded_minor,
    )
    return free - free % charged_in(payment.currency)


def part_of(settled: Settled, amount: str | None, of: str) -> str:
    """Return which part of a payment a refund is of: as it says, or the plan where it says nothing.

    One that states an amount and no part counts for all parts in proportion.
    """
    mixed = settled.payment.grant_part_minor is not None
    return "plan" if amount is None and not of and mixed else of


def amount_of(settled: Settled, amount: str, of: str = "") -> int:
    """Return an amount as it was typed, in minor units of the payment's currency.

    Raises InvalidRequest where it is none, or more than is left of the payment or of that part.
    """
    return _within(settled, _typed(settled, amount), of)


def _typed(settled: Settled, amount: str) -> int:
    places = minor_places(settled.payment.currency)
    try:
        return parse_scaled(amount, places=places, largest=LARGEST)
    except NotExact as error:
        raise InvalidRequest.at("/amount", str(error)) from error


def _within(settled: Settled, wanted: int, of: str) -> int:
    left = left_of(settled, of)
    if not 0 < wanted <= left:
        words = money_words(left, settled.payment.currency)
        raise InvalidRequest.at("/amount", f"must be above zero and at most {words}")
    if wanted % (least := charged_in(settled.payment.currency)):
        zeros = str(least)[1:]
        raise InvalidRequest.at(
            "/amount", f"must end in {zeros}: banks take no less in this currency"
        )
    return wanted


def left_of(settled: Settled, of: str = "") -> int:
    """Return what was not given back yet, of the plan or of overage where that is said."""
    payment, refunded = settled.payment, settled.reversal.refunded_minor
    left = payment.amount_minor - refunded
    if of == "plan":
        return min(left, payment.for_grant_minor - settled.grant_refunded_minor)
    if of == "overage" and payment.grant_id is not None:
        beyond = payment.amount_minor - payment.for_grant_minor
        return min(left, beyond - (refunded - settled.grant_refunded_minor))
    return left


def free_minor(wallet: Wallet, settled: Settled, of: str = "") -> int:
    """Return how much one person may give back of a payment: what is unspent of its grant."""
    return 0 if of == "overage" else unspent(wallet, settled)


def wanted_minor(wallet: Wallet, settled: Settled, amount: str | None, of: str) -> int:
    """Return how much is asked for, in minor units: without an amount all that is unspent.

    Of overage it is all that is left of that. Raises InvalidRequest for more than is left.
    """
    if amount is not None:
        return amount_of(settled, amount, of)
    whole = left_of(settled, of) if of == "overage" else unspent(wallet, settled)
    return _within(settled, whole, of)
