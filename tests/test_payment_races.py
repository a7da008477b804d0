"""The same news many times at once, and all news of a payment at once: one effect, no error."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func, select

from portal.tables import grants, payments, stripe_inbox, transfers
from tests.faults import soak
from tests.shop import Shop

pytestmark = pytest.mark.soak
ROUNDS = soak.rounds(1, 200)
MANY = 20


def at_once(shop: Shop, events: Sequence[Any]) -> None:
    """Deliver all of them at the same time; each is taken, or to be sent again and then taken."""
    together = threading.Barrier(len(events))

    def bring(event: Any) -> int:
        together.wait(30)
        return shop.deliver(event).status_code

    with ThreadPoolExecutor(len(events)) as crowd:
        statuses = list(crowd.map(bring, events))
    assert set(statuses) <= {200, 503}
    for event, status in zip(events, statuses, strict=True):
        if status == 503:
            assert shop.deliver(event).status_code == 200


def state(shop: Shop, name: str) -> tuple[int, int, int, str]:
    """Return how many grants a buyer has, what was taken back of them how often, and for what."""
    with shop.database.reading() as tx:
        granted = tx.execute(
            select(func.count()).select_from(grants).where(grants.c.organization_id == name)
        ).scalar_one()
        taken = tx.execute(
            select(func.count(), func.coalesce(func.sum(transfers.c.amount_micro), 0)).where(
                transfers.c.organization_id == name, transfers.c.kind == "revoke"
            )
        ).one()
        dispute = tx.execute(
            select(payments.c.dispute).where(payments.c.organization_id == name)
        ).scalar_one()
    return granted, taken[0], int(taken[1]), dispute


def test_all_news_of_a_payment_and_each_many_times_at_once_have_one_effect(shop: Shop) -> None:
    for number in range(ROUNDS):
        name = f"buyer-{number}"
        shop.found(name)
        session = shop.buy(of=name)
        payment = shop.payment_of(session)
        shop.refund(payment, 1300)
        shop.dispute(payment, "funds_withdrawn", "lost")
        news = shop.news("checkout.session.", "charge.refunded", "charge.dispute.", of=payment)
        at_once(shop, [*news, news[0]])
        assert state(shop, name)[0::2] == (1, 500_000_000), number
        assert state(shop, name)[3] == "lost"
        before = state(shop, name)
        at_once(shop, [news[1]] * MANY)
        assert state(shop, name) == before
    with shop.database.reading() as tx:
        assert set(tx.execute(select(stripe_inbox.c.status)).scalars()) == {"done"}
