"""Simulations: today's prices over what really happened give today's invoices, to the cent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.a_year import bought, changed, spending, used
from tests.clock import Clock
from tests.replays import billed_minor, replayed_minor
from tests.subscribers import Subscriber, subscriber, utc


@pytest.fixture
def acme(store: str, clock: Clock) -> Iterator[Subscriber]:
    with subscriber(store, clock, "Europe/Berlin") as made:
        yield made


def quarter(acme: Subscriber) -> None:
    """Starter and a pack, up to Pro at half time, overage, a renewal in the middle of a day."""
    acme.to(utc(2026, 11, 9, 12))
    acme.subscribe("starter")
    acme.to(utc(2026, 11, 15, 9))
    bought("small")(acme)
    acme.tell()
    acme.to(utc(2026, 11, 24, 12))
    changed("pro")(acme)
    acme.to(utc(2026, 12, 1, 9))
    spending(on_empty="overage", overage_limit="90.00")(acme)
    used("analysis", 230)(acme)
    # On the day that renews: before it beyond all grants, after it from the new allowance.
    acme.to(utc(2026, 12, 9, 8))
    used("image", 55)(acme)
    acme.to(utc(2026, 12, 9, 12))
    acme.to(utc(2026, 12, 9, 13))
    used("document", 520)(acme)
    acme.to(utc(2027, 1, 9, 12))
    used("image", 1)(acme)
    acme.to(utc(2027, 2, 9, 12))
    acme.to(utc(2027, 2, 9, 14))


def test_todays_prices_replayed_over_a_quarter_are_its_invoices_to_the_cent(
    acme: Subscriber,
) -> None:
    quarter(acme)
    # 29.00, 39.00, half of 70.00; then 3 x 99.00; 300 and 110 and 100 credits at 0.06.
    whole = (2_900 + 3_900 + 3_500) + 3 * 9_900 + 2_460 + 600
    assert billed_minor(acme) == whole
    assert replayed_minor(acme) == whole
