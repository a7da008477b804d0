"""Where the period is going, and the most that it can cost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from portal import balances, forecasting, overage, worst_case
from portal.accounts import Organization
from portal.balances import Balance
from portal.core.burn_down import BurnDown
from portal.core.catalog import Action, PriceBook, Tier
from portal.core.projection import Projection
from portal.core.repricing import RunsOut
from portal.overview.standing import INCLUDED
from portal.spending import Choices


@dataclass(frozen=True)
class Trend:
    """The action that moved most on the week before: in percent, or new; and whose it mostly is.

    ``up`` tells the direction, ``who`` is a team's or a member's name, empty where it is nobody's.
    """

    action: Action
    percent: int | None
    up: bool
    who: str


@dataclass(frozen=True)
class Outlook:
    """Where the period is going; ``cover`` is ``included``, ``bought`` or ``short``.

    ``included_micro`` is what the plan gave in this period, ``whole`` whether that is all that the
    tier includes. ``wanted_micro`` is what it would come to where caps or credits hold it back,
    else None.
    """

    projection: Projection | None
    refused: str
    included_micro: int
    whole: bool
    cover: str
    runs_out: RunsOut | None
    wanted_micro: int | None
    trend: Trend | None


@dataclass(frozen=True)
class Guarantee:
    """The most that can be charged this period, and what it is made of; the parts are the sum.

    ``plan_minor`` is the tier's price, ``awaited_minor`` what an upgrade to the tier called
    ``awaited_name`` adds once it is paid, and ``beyond_most_minor`` what credits beyond the
    organization's own may cost. ``limit_minor`` is how far the organization goes on beyond its
    credits, None where it stops. ``bought_minor`` is what credits bought by themselves cost so far,
    ``may_buy_minor`` what they may still.
    """

    tier: Tier | None
    amount_minor: int | None
    currency: str
    seats: int | None
    plan_minor: int | None
    beyond_most_minor: int
    beyond_minor: int
    limit_minor: int | None
    bought_minor: int
    may_buy_minor: int
    awaited_name: str = ""
    awaited_minor: int = 0


def outlook_of(
    tx: Connection,
    organization: Organization,
    balance: Balance,
    known: Choices,
    book: PriceBook | None,
    *,
    now: datetime,
) -> tuple[Outlook, BurnDown | None]:
    """Return where the period is going, and how the grants burn down on the way."""
    found = forecasting.forecast(tx, organization, now=now)
    projection = found.projection
    to_come = projection.middle_micro - found.spent_micro if projection else 0
    out = found.runs_out
    included_left = sum(lot.remaining_micro for lot in balance.lots if lot.source in INCLUDED)
    short = out is not None and out.middle is not None
    tier = tier_of(organization, book)
    included = balances.allowance_of(
        tx, organization.organization_id, start=found.period.start, now=now
    )
    wanted = found.wanted.middle_micro if found.wanted else 0
    outlook = Outlook(
        projection=projection,
        refused=found.refused or "",
        included_micro=included,
        whole=tier is not None and included == tier.allowance_micro,
        cover="short" if short else "included" if to_come <= included_left else "bought",
        runs_out=out,
        wanted_micro=wanted if projection and wanted > projection.middle_micro else None,
        trend=_trend(tx, organization, known, now=now),
    )
    return outlook, found.burned


def _trend(
    tx: Connection, organization: Organization, known: Choices, *, now: datetime
) -> Trend | None:
    """Return what moved most on the week before, in the words of the page."""
    found = forecasting.moved_by(tx, organization, now=now)
    if found is None or found.action not in known.actions:
        return None
    who = known.members.get(found.member, "") if found.member else ""
    if not who and found.team:
        who = known.subject_of("team", found.team)
    up = found.change_micro > 0
    percent = None if found.change_percent is None else abs(found.change_percent)
    return Trend(known.actions[found.action], percent, up, who)


def tier_of(organization: Organization, book: PriceBook | None) -> Tier | None:
    """Return the tier in force, where there is one."""
    return book.plan_of(organization.tier) if book else None


def guarantee_of(
    tx: Connection, organization: Organization, book: PriceBook | None, *, now: datetime
) -> Guarantee:
    """Return the most that can be charged this period, with its parts."""
    if book is None:
        return Guarantee(None, 0, organization.currency, None, 0, 0, 0, None, 0, 0)
    tier = tier_of(organization, book)
    found = overage.standing(tx, organization, book, at=now)
    most = worst_case.of_period(tx, organization, book, found, at=now)
    awaited = book.plan_of(most.awaited_tier)
    return Guarantee(
        tier,
        most.amount_minor,
        organization.currency,
        (organization.seats or 1) if tier and tier.kind == "per_seat" else None,
        most.tier_minor,
        most.beyond_minor,
        found.amount_minor,
        found.limit_minor if found.price_micro_minor is not None else None,
        most.bought_minor,
        most.may_buy_minor,
        awaited.name if awaited else "your new plan",
        most.awaited_minor,
    )
