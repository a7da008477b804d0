"""Refunds of more than is unspent: one operator asks, another one decides.

Invariant: nothing goes back before somebody else than who asked has approved it, and they approved
what they were shown: where more of the credits was spent meanwhile they look again, and where the
payment no longer has the amount it comes to nothing. Who somebody is is the address they sign in
by, in whatever session.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from portal import idempotency
from portal.billing import refund_record as record
from portal.billing import refunds
from portal.billing.gateway import Gateway
from portal.billing.payments import Settled
from portal.billing.refund_record import RefundOrder
from portal.billing.refunds import GivenBack
from portal.core import actors
from portal.core.catalog import money_words
from portal.core.errors import InvalidRequest, NotFound
from portal.db import Database
from portal.desk import open_desk
from portal.wallet import Wallet

#: So long a refund waits for somebody to approve it.
APPROVED_WITHIN = timedelta(days=3)
#: How a payment is disputed of which Stripe refunds nothing.
_NOT_REFUNDED = ("open", "withdrawn", "lost")


def same_person(one: str, other: str) -> bool:
    """Tell whether two actors are one person: addresses are the same in any case of letters."""
    return one.strip().casefold() == other.strip().casefold()


def ask(
    database: Database,
    *,
    organization_id: str,
    payment_id: str,
    amount: str | None,
    of: str = "",
    reason: str,
    actor: str,
    key: str | None = None,
    now: datetime,
) -> str:
    """Ask for a refund of more than is unspent; returns the id by which another operator decides.

    ``amount`` and ``of`` are as in ``refunds.give_back``. Raises NotFound, InvalidRequest without a
    reason or a name, where it needs nobody else, where it does not fit, or where one is open.
    """
    if not reason.strip():
        raise InvalidRequest.at("/reason", "is needed: another operator decides by it")
    _somebody(actor)
    with database.transaction() as tx:
        wallet = open_desk(tx, organization_id, now=now).wallet
        wallet.write()
        settled = refunds.known(wallet, payment_id)

        def write_down() -> tuple[int, dict[str, Any]]:
            part = refunds.part_of(settled, amount, of)
            wanted = refunds.wanted_minor(wallet, settled, amount, part)
            if wanted <= refunds.free_minor(wallet, settled, part):
                raise InvalidRequest.at("/amount", "is unspent: nobody else has to approve it")
            refunds.room(wallet, settled)
            begun = refunds.ordered(wallet, settled, wanted, part, reason.strip(), actor)
            until = wallet.now + APPROVED_WITHIN
            waiting = replace(begun, status=record.WAITING, expires_at=until)
            if why := misfit(settled, waiting):
                raise InvalidRequest(why)
            order = record.add(tx, waiting)
            told = {
                "amount_minor": wanted,
                "of": part,
                "reason": order.reason,
                "until": until.isoformat(),
            }
            refunds.note(tx, order, "operator.refund_asked", actor, detail=told, now=now)
            return 202, {"refund": order.refund_id}

        answer = idempotency.once(
            tx,
            organization_id,
            route="refund-ask",
            key=key,
            content=[payment_id, amount, of, reason],
            now=now,
            act=write_down,
        )
    return str(json.loads(answer.body)["refund"])


def _somebody(actor: str) -> None:
    """See to it that who acts has a name. Raises InvalidRequest."""
    if not actors.is_operators(actor) or not actor.partition(":")[2].strip():
        raise InvalidRequest("Only an operator who is signed in can do this.")


def misfit(settled: Settled, order: RefundOrder) -> str:
    """Return why a payment no longer has what is to go back of it, or nothing where it has."""
    if settled.reversal.dispute in _NOT_REFUNDED:
        return "The payment is disputed: Stripe refunds nothing of it."
    left = refunds.left_of(settled, order.part)
    if order.amount_minor > left:
        words = money_words(left, order.currency)
        return f"Only {words} of the payment is left to give back."
    return ""


def approve(
    database: Database,
    payments: Gateway,
    *,
    organization_id: str,
    refund_id: str,
    shown_minor: int,
    actor: str,
    now: datetime,
) -> GivenBack:
    """Approve a refund that somebody else asked for, and have Stripe make it.

    ``shown_minor`` is what stood for unspent credits where it was looked at. Approved by the same
    person again it is the same refund. Raises NotFound, InvalidRequest for who asked, where it was
    decided or is too late, where it does not fit any more, which ends it, or where more was spent
    since; RefundRefused and Unavailable as ``refunds.finish`` does.
    """
    _somebody(actor)
    with database.transaction() as tx:
        wallet = open_desk(tx, organization_id, now=now).wallet
        wallet.write()
        order = find(wallet, refund_id)
        why = ""
        if not (order.decided_by and same_person(order.decided_by, actor)):
            _open(order, now=now)
            if same_person(order.asked_by, actor):
                raise InvalidRequest("You asked for this refund: somebody else has to approve it.")
            settled = refunds.known(wallet, order.payment_id)
            why = misfit(settled, order)
            if not why and refunds.free_minor(wallet, settled, order.part) < shown_minor:
                raise InvalidRequest("More of the credits was spent meanwhile. Look again.")
            order = _decided(
                wallet, order, record.REFUSED if why else record.STARTED, actor, why, now=now
            )
    if why:
        raise InvalidRequest(why)
    return refunds.finish(database, payments, order, now=now)


def decline(
    database: Database,
    *,
    organization_id: str,
    refund_id: str,
    reason: str,
    actor: str,
    now: datetime,
) -> RefundOrder:
    """Decide against a refund that waits; who asked for it withdraws it. Returns it as it is then.

    Raises NotFound, and InvalidRequest where it was decided already, is too late, or another
    operator gives no reason.
    """
    _somebody(actor)
    with database.transaction() as tx:
        wallet = open_desk(tx, organization_id, now=now).wallet
        wallet.write()
        order = find(wallet, refund_id)
        _open(order, now=now)
        mine = same_person(order.asked_by, actor)
        if not mine and not reason.strip():
            raise InvalidRequest.at("/reason", "is needed: whoever asked for it reads it")
        to = record.WITHDRAWN if mine else record.DECLINED
        return _decided(wallet, order, to, actor, reason.strip(), now=now)


def find(wallet: Wallet, refund_id: str) -> RefundOrder:
    """Return a refund of the wallet's organization. Raises NotFound."""
    order = record.find(wallet.tx, wallet.organization_id, refund_id)
    if order is None:
        raise NotFound("refund", refund_id)
    return order


def _open(order: RefundOrder, *, now: datetime) -> None:
    """See to it that a refund can still be decided. Raises InvalidRequest."""
    if order.status == record.WAITING and not order.waits(now):
        raise InvalidRequest("It is too late: nobody approved this refund in time. Ask again.")
    if order.status != record.WAITING:
        raise InvalidRequest(f"This refund is decided already: it is {order.status}.")


#: What is put on record of each decision.
_ACTS = {
    record.STARTED: "refund.started",
    record.REFUSED: "operator.refund_refused",
    record.DECLINED: "operator.refund_declined",
    record.WITHDRAWN: "operator.refund_withdrawn",
}


def _decided(
    wallet: Wallet, order: RefundOrder, to: str, actor: str, answer: str, *, now: datetime
) -> RefundOrder:
    if not record.move(wallet.tx, order, to, decided_by=actor, decided_at=now, answer=answer):
        raise InvalidRequest("Somebody else decided this refund just now.")
    told: dict[str, Any] = {
        "amount_minor": order.amount_minor,
        "of": order.part,
        "reason": order.reason,
        "asked_by": order.asked_by,
    }
    if answer:
        told["answer"] = answer
    refunds.note(wallet.tx, order, _ACTS[to], actor, detail=told, now=now)
    return replace(order, status=to, decided_by=actor, decided_at=now, answer=answer)
