"""Refunds that the operator starts.

Invariant: without a reason no more goes back than what of the grant nobody spent; the same refund
asked for again before its news arrived is the same refund at Stripe, never a second one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from portal import audit, idempotency
from portal.billing import payment_news
from portal.billing import payments as book
from portal.billing.gateway import Gateway
from portal.billing.payments import Settled
from portal.core.catalog import minor_places, money_words
from portal.core.errors import InvalidRequest, NotFound
from portal.core.refunds import unspent_minor
from portal.core.units import NotExact, parse_scaled
from portal.db import Database
from portal.desk import open_desk
from portal.wallet import Wallet

#: The largest amount that is taken, in the payment's currency.
LARGEST = 10**9


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
    reason: str,
    actor: str,
    key: str | None = None,
    now: datetime,
) -> GivenBack:
    """Start a refund of a payment, and take its credits back; returns what was started.

    ``amount`` is a decimal in the payment's currency; without one it is all that is unspent. The
    same ``key`` again is the same refund, also where the first has had its effect meanwhile.
    Raises NotFound, InvalidRequest where it is more than is left or more than is unspent and no
    reason is given, Unavailable where Stripe does not do it: ask again then.
    """
    settled, wanted = _decided(
        database, organization_id, payment_id, amount, reason, actor=actor, key=key, now=now
    )
    payment = settled.payment
    amount_minor, before = int(wanted["amount"]), int(wanted["before"])
    started = payments.refund(
        payment.charge_id or payments.payment(payment_id).charge_id,
        amount_minor,
        key=f"{payment_id}-{before}-{amount_minor}",
        reason=reason,
    )
    payment_news.sync(database, payments, started.refund_id, now=now)
    words = money_words(started.amount_minor, payment.currency)
    return GivenBack(started.refund_id, words, started.status)


def _decided(
    database: Database,
    organization_id: str,
    payment_id: str,
    amount: str | None,
    reason: str,
    *,
    actor: str,
    key: str | None,
    now: datetime,
) -> tuple[Settled, dict[str, Any]]:
    """Decide once what goes back, and put it on record; the same key has the first decision."""
    with database.transaction() as tx:
        wallet = open_desk(tx, organization_id, now=now).wallet
        wallet.write()
        settled = _known(wallet, payment_id)

        def decide() -> tuple[int, dict[str, Any]]:
            amount_minor = _allowed(settled, amount, unspent(wallet, settled), reason)
            audit.note(
                tx,
                organization_id,
                actor=actor,
                act="refund.started",
                target=payment_id,
                detail={"amount_minor": amount_minor, "reason": reason},
                now=now,
            )
            return 202, {"amount": amount_minor, "before": settled.reversal.refunded_minor}

        decided = idempotency.once(
            tx,
            organization_id,
            route="refund",
            key=key,
            content=[payment_id, amount, reason],
            now=now,
            act=decide,
        )
    return settled, json.loads(decided.body)


def _known(wallet: Wallet, payment_id: str) -> Settled:
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
    return unspent_minor(
        payment.amount_minor,
        credits_micro=lot.granted_micro,
        unspent_micro=left,
        refunded_minor=settled.reversal.refunded_minor,
    )


def amount_of(settled: Settled, amount: str) -> int:
    """Return an amount as it was typed, in minor units of the payment's currency.

    Raises InvalidRequest where it is none, or more than is left of the payment.
    """
    payment = settled.payment
    try:
        wanted = parse_scaled(amount, places=minor_places(payment.currency), largest=LARGEST)
    except NotExact as error:
        raise InvalidRequest.at("/amount", str(error)) from error
    return _within(settled, wanted)


def _within(settled: Settled, wanted: int) -> int:
    payment = settled.payment
    left = payment.amount_minor - settled.reversal.refunded_minor
    if not 0 < wanted <= left:
        words = money_words(left, payment.currency)
        raise InvalidRequest.at("/amount", f"must be above zero and at most {words}")
    return wanted


def _allowed(settled: Settled, amount: str | None, most: int, reason: str) -> int:
    wanted = _within(settled, most) if amount is None else amount_of(settled, amount)
    if wanted > most and not reason:
        words = money_words(most, settled.payment.currency)
        raise InvalidRequest.at(
            "/reason", f"is needed: only {words} of this payment stands for unspent credits"
        )
    return wanted
