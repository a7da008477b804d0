"""An organization that tops up by itself, and what is asked of it and of Stripe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import stripe
from sqlalchemy import select

from portal import accounts, jobs
from portal.jobs import Workshop
from portal.tables import notices, top_ups
from portal.top_ups import standing
from tests.cast import ok
from tests.clock import Clock
from tests.shop import SandboxClock, Shop, selling, stand_in

#: Acme has 100 credits; a small pack is 500 for 39 dollars.
TERMS = {"threshold": "150", "pack": "small", "monthly_limit": "100.00"}
PACK_MINOR = 3_900
HOUR = timedelta(hours=1)


@contextmanager
def topping_up(store: str, clock: Clock) -> Iterator[Shop]:
    """Give a shop at a stand-in for Stripe, both by one clock."""
    stripe_clock = SandboxClock()
    stripe_clock.show(clock())
    with pytest.MonkeyPatch.context() as patch:
        # The library need not wait between its tries: nobody else is there to be spared.
        patch.setattr(stripe.HTTPClient, "INITIAL_DELAY", 0)
        patch.setattr(stripe.HTTPClient, "MAX_DELAY", 0)
        with (
            stand_in(stripe_clock) as address,
            selling(store, clock, address, stripe_clock) as made,
        ):
            yield made


def turn_on(shop: Shop, **terms: str) -> Any:
    body = {"on_empty": "top_up", "auto_top_up": TERMS | terms}
    return ok(shop.customer.api.patch(f"{shop.customer.path}/spending", body))


def turn_off(shop: Shop) -> None:
    ok(shop.customer.api.patch(f"{shop.customer.path}/spending", {"on_empty": "stop"}))


def spend(shop: Shop, credits_: int) -> None:
    ok(shop.customer.send(shop.customer.event("image", quantity=str(credits_ / 2))))


def work(shop: Shop) -> int:
    """Let the worker come round."""
    return jobs.top_up_credits(Workshop(shop.database, shop.payments, shop.clock))


def later(shop: Shop, step: timedelta) -> None:
    """Let time pass, here and at Stripe."""
    shop.clock.forward(step)
    shop.stripe_clock.ahead_seconds += int(step.total_seconds())


def attempts(shop: Shop) -> list[str]:
    """Return what became of each attempt, oldest first."""
    with shop.database.reading() as tx:
        rows = tx.execute(select(top_ups.c.status).order_by(top_ups.c.started_at))
        return list(rows.scalars())


def told(shop: Shop) -> dict[str, str]:
    """Return the notices that stand, by kind."""
    with shop.database.reading() as tx:
        rows = tx.execute(select(notices).where(notices.c.ended_at.is_(None))).all()
    return {row.kind: row.sentence for row in rows}


def suspended(shop: Shop) -> str:
    with shop.database.reading() as tx:
        found = standing.settings(tx, "acme")
    assert found is not None
    return found.suspended


def organization(shop: Shop) -> accounts.Organization:
    with shop.database.reading() as tx:
        return accounts.find_organization(tx, "acme")
