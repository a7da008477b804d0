"""Refunds that the operator starts.

Invariant: without a reason no more goes back than what of the grant nobody spent; the same refund
asked for again before its news arrived is the same refund at Stripe, never a second one, whatever
reason is given.

Where a payment was for a plan and for overage, a refund may say which of them it is of. Of the plan
it takes back credits for that part alone, of overage none; without a word it counts for both in
proportion.
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
    of: str = "",
    reason: str,
    actor: str,
    key: str | None = None,
    now: datetime,
) -> GivenBack:
    """Start a refund of a payment, and take its credits back; returns what was started.

    ``amount`` is a decimal in the payment's currency; without one it is all that is unspent, or
    ``of`` overage all that is left of that. ``of`` is ``plan``, ``overage`` or nothing. The same
    ``key`` again is the same refund, also where the first has had its effect meanwhile. Raises
    NotFound, InvalidRequest where it is more than is left or more than is unspent and no reason is
    given, Unavailable where Stripe does not do it: ask again then.
    """
    settled, wanted = _decided(
        database, organization_id, payment_id, amount, of, reason, actor=actor, key=key, now=now
    )
    payment = settled.payment
    amount_minor, before = int(wanted["amount"]), int(wanted["before"])
    started = payments.refund(
        payment.charge_id or payments.payment(payment_id).charge_id,
        amount_minor,
        of=str(wanted["of"]),
        key=f"{payment_id}-{before}-{amount_minor}",
    )
    payment_news.sync(database, payments, started.refund_id, now=now)
    words = money_words(started.amount_minor, payment.currency)
    return GivenBack(started.refund_id, words, started.status)


def _decided(
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
) -> tuple[Settled, dict[str, Any]]:
    """Decide once what goes back, and put it on record; the same key has the first decision."""
    with database.transaction() as tx:
        wallet = open_desk(tx, organization_id, now=now).wallet
        wallet.write()
        settled = _known(wallet, payment_id)

        def decide() -> tuple[int, dict[str, Any]]:
            part = part_of(settled, amount, of)
            amount_minor = _allowed(settled, amount, part, unspent(wallet, settled), reason)
            audit.note(
                tx,
                organization_id,
                actor=actor,
                act="refund.started",
                target=payment_id,
                detail={"amount_minor": amount_minor, "of": part, "reason": reason},
                now=now,
            )
            before = settled.reversal.refunded_minor
            return 202, {"amount": amount_minor, "of": part, "before": before}

        decided = idempotency.once(
            tx,
            organization_id,
            route="refund",
            key=key,
            content=[payment_id, amount, of, reason],
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
        payment.for_grant_minor,
        credits_micro=lot.granted_micro,
        unspent_micro=left,
        refunded_minor=settled.grant_refunded_minor,
    )


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
    payment = settled.payment
    try:
        wanted = parse_scaled(amount, places=minor_places(payment.currency), largest=LARGEST)
    except NotExact as error:
        raise InvalidRequest.at("/amount", str(error)) from error
    return _within(settled, wanted, of)


def _within(settled: Settled, wanted: int, of: str) -> int:
    left = left_of(settled, of)
    if not 0 < wanted <= left:
        words = money_words(left, settled.payment.currency)
        raise InvalidRequest.at("/amount", f"must be above zero and at most {words}")
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


def _allowed(settled: Settled, amount: str | None, of: str, free_minor: int, reason: str) -> int:
    most = 0 if of == "overage" else free_minor
    if amount is None:
        all_of_it = left_of(settled, of) if of == "overage" else most
        wanted = _within(settled, all_of_it, of)
    else:
        wanted = amount_of(settled, amount, of)
    if wanted > most and not reason:
        words = money_words(most, settled.payment.currency)
        raise InvalidRequest.at(
            "/reason", f"is needed: only {words} of this payment stands for unspent credits"
        )
    return wanted
