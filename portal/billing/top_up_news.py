"""Stripe's news for auto top-up: payments made with nobody there, and other payment methods.

Invariant: webhook and reconciliation bring an attempt to its end by the very same step as the call
that began it, from a payment that was fetched just then. Another payment method is the plan's too.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial

from portal import accounts
from portal.billing import customers, top_up, top_up_outcomes
from portal.billing.effects import Mark
from portal.billing.gateway import Gateway, TopUpIntent
from portal.billing.mending import attempt
from portal.core.errors import NotFound
from portal.db import Database
from portal.top_ups import attempts, standing


def payment(
    database: Database, payments: Gateway, intent_id: str, *, now: datetime, mark: Mark
) -> None:
    """Have the effect of news about a payment; one that is no top-up's has none here.

    Raises Quarantined.
    """
    intent = payments.top_up_intent(intent_id)
    if intent.top_up_id:
        top_up_outcomes.settle(database, intent, livemode=payments.livemode, now=now, mark=mark)
        return
    with database.transaction() as tx:
        mark(tx)


def method(
    database: Database, payments: Gateway, customer_id: str, *, now: datetime, mark: Mark
) -> None:
    """Have the effect of news about a customer's payment methods; a stranger's have none."""
    with database.reading() as tx:
        try:
            organization_id = accounts.find_customer(tx, customer_id).organization_id
        except NotFound:
            organization_id = ""
    if organization_id:
        customers.charge_plan_to_default(database, payments, organization_id)
        top_up.method_changed(database, payments, organization_id, now=now)
    with database.transaction() as tx:
        mark(tx)


def mend(database: Database, payments: Gateway, *, since: datetime, now: datetime) -> list[str]:
    """Bring to an end what webhooks did not; returns what was mended, in words."""
    mended: list[str] = []
    for intent in payments.top_up_intents_since(since):
        what = f"{intent.organization_id}, payment {intent.intent_id}"
        mended += attempt(what, partial(_mend, database, payments, intent, now=now))
    with database.reading() as tx:
        waiting, resting = attempts.watched(tx, now=now), standing.resting(tx)
    for act, of_whom in ((_asked_about, waiting), (_goes_on, resting)):
        for organization_id in of_whom:
            what = f"{organization_id}, auto top-up"
            mended += attempt(what, partial(act, database, payments, organization_id, now))
    return mended


def _asked_about(database: Database, payments: Gateway, organization_id: str, now: datetime) -> str:
    """Find out what became of an attempt in flight."""
    before = _in_flight(database, organization_id)
    after = top_up.run(database, payments, organization_id, now=now) if before else None
    if after is None or after.status == before:
        return ""
    return f"{organization_id}: {after.top_up_id}: {before} -> {after.status}"


def _goes_on(database: Database, payments: Gateway, organization_id: str, now: datetime) -> str:
    """Let auto top-up begin anew where another payment method is there."""
    if not top_up.method_changed(database, payments, organization_id, now=now):
        return ""
    return f"{organization_id}: auto top-up goes on with another payment method"


def _in_flight(database: Database, organization_id: str) -> str:
    with database.reading() as tx:
        found = attempts.in_flight(tx, organization_id)
    return found.status if found else ""


def _mend(
    database: Database, payments: Gateway, intent: TopUpIntent, *, now: datetime
) -> str | None:
    with database.reading() as tx:
        known = attempts.find(tx, intent.organization_id, intent.top_up_id)
    before = known.status if known else "unheard of"
    if before == "succeeded" or (before in {"failed", "needs_authentication"} and not intent.paid):
        return None
    after = top_up_outcomes.settle(database, intent, livemode=payments.livemode, now=now)
    if after.status == before:
        return None
    return f"{intent.organization_id}: {intent.intent_id}: {before} -> {after.status}"
