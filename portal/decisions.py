"""What on the overview asks for a decision: at most three things, the most pressing first.

Pure: what stands goes in, kinds and figures come out; the words are the page's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from portal.accounts import Member
from portal.balances import Balance
from portal.core.burn_down import BurnDown
from portal.core.ledger import Lot
from portal.core.periods import Period
from portal.core.units import MICRO
from portal.notices import Notice
from portal.spending import CapLine, RequestLine, Spending

MOST = 3
Kind = Literal["debt", "notice", "empty", "raise", "cap", "short", "expiring"]
#: What waits for somebody to mend it; what the forecast sees coming; what is good to know.
TO_MEND = (
    "upgrade-unpaid",
    "overage-unpaid",
    "plan-ended",
    "dispute",
    "pack-failed",
    "top-up-authentication",
    "top-up-failed",
    "top-up-limit",
)
FORETOLD = ("cap-projected",)
TO_KNOW = ("overage-begun", "overrun")


@dataclass(frozen=True)
class Decision:
    """One thing to decide; which fields are set depends on its kind."""

    kind: Kind
    amount_micro: int = 0
    at: datetime | None = None
    cap: CapLine | None = None
    lot: Lot | None = None
    at_pace: bool = False
    notice: Notice | None = None
    asked: RequestLine | None = None
    may_act: bool = False


def decide(
    balance: Balance,
    spending: Spending,
    burned: BurnDown | None,
    member: Member,
    *,
    told: Sequence[Notice] = (),
    period: Period,
) -> list[Decision]:
    """Return what the reader should decide now; ``told`` are the notices that stand."""
    found: list[Decision] = []
    if balance.debt_micro:
        # Whoever does not see the balance is told that work waits, not how much is owed.
        kind: Kind = "debt" if spending.balance_shown else "empty"
        found.append(Decision(kind, balance.debt_micro, may_act=member.may_buy))
    elif balance.available_micro == 0:
        found.append(Decision("empty", may_act=member.may_buy))
    # A failed payment stands on every page already; the rest is for who pays.
    found += _told(told, TO_MEND, member.may_buy)
    found += [Decision("raise", asked=one, may_act=True) for one in spending.requests]
    near = [line for line in spending.lines if line.level != "calm"]
    found += [
        Decision("cap", line.left_micro, cap=line, may_act=member.may_manage)
        for line in sorted(near, key=lambda line: (not line.cap.hard, -line.used_permille))
    ]
    # A cap that stands above already is not foretold as well.
    above = {line.cap.cap_id for line in near}
    coming = [one for one in told if one.subject.partition(" ")[0] not in above]
    found += _told(coming, FORETOLD, member.may_manage)
    if burned is not None:
        found += _of_pace(balance, burned, period, may_buy=member.may_buy)
    found += _told(told, TO_KNOW, member.may_buy)
    return found[:MOST]


def _told(told: Sequence[Notice], kinds: Sequence[str], may_act: bool) -> list[Decision]:
    """Return what stands of some kinds, in the order of the kinds, for who may act on it."""
    return [
        Decision("notice", notice=one, may_act=True)
        for kind in kinds
        for one in told
        if one.kind == kind and may_act
    ]


def _of_pace(
    balance: Balance, burned: BurnDown, period: Period, *, may_buy: bool
) -> list[Decision]:
    found = []
    out = burned.runs_out_at
    if out is not None and out < period.end and balance.available_micro:
        found.append(Decision("short", at=out, may_act=may_buy))
    for lot in balance.lots:
        lost = burned.unspent_micro.get(lot.grant_id, 0)
        renews = not burned.paced and lot.source == "allowance"
        if lost >= MICRO and not renews:
            found.append(
                Decision("expiring", lost, at=lot.expires_at, lot=lot, at_pace=burned.paced)
            )
    return found
