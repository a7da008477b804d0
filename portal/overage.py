"""Overage: credits used beyond all grants, where the organization allowed it, up to its own limit.

The only writer of its counters. Invariant: under the wallet's lock, the exact price of what is
spent and held in a billing period never passes the limit the organization set through new work;
the guard stands in the UPDATE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, RowMapping, bindparam, insert, select, update

from portal.accounts import Organization
from portal.core.catalog import PriceBook
from portal.core.errors import Unavailable
from portal.core.overage import Place, Rate, room
from portal.core.periods import Period
from portal.tables import Whole, overage_periods

_OF_PERIOD = select(overage_periods).where(
    overage_periods.c.organization_id == bindparam("org"),
    overage_periods.c.period_start == bindparam("since_"),
)
_MORE = bindparam("held_", type_=Whole) + bindparam("spent_", type_=Whole)
_COUNT = (
    update(overage_periods)
    .where(
        overage_periods.c.organization_id == bindparam("org"),
        overage_periods.c.period_start == bindparam("since_"),
        overage_periods.c.price_micro_minor == bindparam("price_"),
        overage_periods.c.held_micro + overage_periods.c.spent_micro + _MORE
        <= bindparam("most_", type_=Whole),
    )
    .values(
        held_micro=overage_periods.c.held_micro + bindparam("held_", type_=Whole),
        spent_micro=overage_periods.c.spent_micro + bindparam("spent_", type_=Whole),
    )
)
#: What no counter reaches: an end of work that was authorized is never refused.
_NO_LIMIT = 2**62


@dataclass(frozen=True)
class Standing:
    """What a billing period has of overage, and what may be added at the price in force.

    ``price_micro_minor`` is None where the tier sells no overage or the organization wants none.
    """

    period: Period
    rates: Sequence[Rate]
    price_micro_minor: int | None
    limit_minor: int | None
    room_micro: int

    @property
    def place(self) -> Place:
        """Where more is counted."""
        if self.price_micro_minor is None:
            raise AssertionError("without a price there is no room to count in")
        return Place(self.period.start, self.price_micro_minor)

    @property
    def credits_micro(self) -> int:
        """Credits spent beyond all grants in the period."""
        return sum(rate.spent_micro for rate in self.rates)

    @property
    def amount_minor(self) -> int:
        """What they cost, in minor units."""
        return sum(rate.amount_minor for rate in self.rates)

    @property
    def most_minor(self) -> int:
        """What they may cost once all work in flight has ended, in minor units."""
        return sum(rate.most_minor for rate in self.rates)


def sold(organization: Organization, book: PriceBook) -> int | None:
    """Return the price of a credit beyond all grants, in millionths of a minor unit.

    None where the tier sells none, and where the book is in another currency.
    """
    if book.currency != organization.currency:
        return None
    return book.overage_price(organization.tier)


def standing(
    tx: Connection,
    organization: Organization,
    book: PriceBook,
    *,
    at: datetime,
    since: datetime | None = None,
    price_micro_minor: int = 0,
) -> Standing:
    """Return the overage of the billing period that holds ``at``.

    ``since`` and ``price_micro_minor`` are where a hold counts already; without them it is the
    period's start and the price in force.
    """
    period = organization.period_at(at)
    if since is not None:
        period = Period(since, max(period.end, since + timedelta(seconds=1)))
    rows = tx.execute(_OF_PERIOD, {"org": organization.organization_id, "since_": period.start})
    rates = [_rate(row) for row in rows.mappings()]
    price = price_micro_minor or sold(organization, book)
    if organization.on_empty != "overage":
        price = None
    limit = organization.overage_limit_minor
    left = 0 if price is None or limit is None else room(rates, price, limit)
    return Standing(period, rates, price, limit, left)


def _rate(row: RowMapping) -> Rate:
    return Rate(row["price_micro_minor"], row["spent_micro"], row["held_micro"])


def count(
    tx: Connection, organization_id: str, found: Standing, *, held_micro: int, spent_micro: int
) -> None:
    """Count new work beyond all grants; the guard is in the UPDATE.

    Raises Unavailable where the limit would be passed after all.
    """
    price = found.place.price_micro_minor
    mine = [rate for rate in found.rates if rate.price_micro_minor == price]
    if not mine:
        tx.execute(
            insert(overage_periods).values(
                organization_id=organization_id,
                period_start=found.period.start,
                period_end=found.period.end,
                price_micro_minor=price,
            )
        )
    used = sum(rate.spent_micro + rate.held_micro for rate in mine)
    _add(
        tx,
        organization_id,
        found.period.start,
        price,
        held_micro=held_micro,
        spent_micro=spent_micro,
        most_micro=used + found.room_micro,
    )


def give_back(tx: Connection, organization_id: str, place: Place, *, spent_micro: int) -> None:
    """Take off what a correction gives back, where it was counted."""
    settle(
        tx,
        organization_id,
        since=place.since,
        price_micro_minor=place.price_micro_minor,
        held_micro=0,
        spent_micro=-spent_micro,
    )


def settle(
    tx: Connection,
    organization_id: str,
    *,
    since: datetime,
    price_micro_minor: int,
    held_micro: int,
    spent_micro: int,
) -> None:
    """End what a hold set aside beyond all grants: take it off, add what of it was spent."""
    if held_micro or spent_micro:
        _add(
            tx,
            organization_id,
            since,
            price_micro_minor,
            held_micro=-held_micro,
            spent_micro=spent_micro,
            most_micro=_NO_LIMIT,
        )


def _add(
    tx: Connection,
    organization_id: str,
    since: datetime,
    price_micro_minor: int,
    *,
    held_micro: int,
    spent_micro: int,
    most_micro: int,
) -> None:
    counted = tx.execute(
        _COUNT,
        {
            "org": organization_id,
            "since_": since,
            "price_": price_micro_minor,
            "held_": held_micro,
            "spent_": spent_micro,
            "most_": most_micro,
        },
    ).rowcount
    if counted != 1:
        raise Unavailable("The overage changed underneath. Nothing was done; try again.")
