"""How many credits go back with the money: refunds in proportion, disputes for what is left.

Invariant: together they never take more than was bought, and a payment that went back whole takes
back exactly all of it. Where one payment was for a plan and for overage, what goes back counts for
the part that it is said to be of; what says nothing, a dispute too, counts for both in proportion.
Credits go back for the plan's part alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from portal.core.units import divide_half_even

#: How a payment stands with the payer's bank, the most pressing first.
PRESSING = ("open", "withdrawn", "inquiry", "lost", "won", "none")
_INQUIRIES = ("warning_needs_response", "warning_under_review")
#: Ended without a decision about the money: nothing was ever taken.
_NOTHING = ("warning_closed", "prevented", "charge_refunded")


@dataclass(frozen=True)
class Dispute:
    """One dispute as Stripe tells it; amounts in minor units.

    ``withdrawn_minor`` is what the bank holds of it now, ``moved`` whether money ever moved.
    """

    dispute_id: str
    status: str
    amount_minor: int
    withdrawn_minor: int
    moved: bool

    @property
    def standing(self) -> str:
        """How it stands: inquiry, open, withdrawn, won, lost, or none where it came to nothing."""
        if self.status in _NOTHING:
            return "none"
        if self.status in _INQUIRIES:
            return "inquiry"
        if self.status in {"won", "lost"}:
            return self.status
        if self.withdrawn_minor > 0:
            return "withdrawn"
        return "won" if self.moved else "open"

    @property
    def taken_minor(self) -> int:
        """What the payer's bank has taken back by it, for the time being or for good."""
        return self.amount_minor if self.standing in {"withdrawn", "lost"} else 0


@dataclass(frozen=True)
class Disputed:
    """What all disputes of one payment come to: the most pressing, and what was taken, in minor."""

    standing: str = "none"
    dispute_id: str = ""
    taken_minor: int = 0


def disputed(disputes: Iterable[Dispute]) -> Disputed:
    """Return what all disputes of one payment come to."""
    known = sorted(disputes, key=lambda one: (PRESSING.index(one.standing), one.dispute_id))
    if not known:
        return Disputed()
    return Disputed(
        known[0].standing, known[0].dispute_id, sum(dispute.taken_minor for dispute in known)
    )


@dataclass(frozen=True)
class Refunded:
    """What was refunded of a payment, and what of it said which part it was of, in minor units."""

    amount_minor: int = 0
    plan_minor: int = 0
    overage_minor: int = 0


def of_plan(
    paid_minor: int, plan_part_minor: int, *, refunded: Refunded, disputed_minor: int
) -> tuple[int, int]:
    """Return what refunds, and what disputes took back of the plan's part, in minor units.

    Rounded up, and together never more than that part: all of it where all of the payment is back.
    """
    beyond = min(refunded.overage_minor, paid_minor - plan_part_minor)
    plan = min(refunded.plan_minor, plan_part_minor)
    unsaid = max(0, refunded.amount_minor - beyond - plan)
    refund = min(plan_part_minor, plan + _part(unsaid, plan_part_minor, paid_minor))
    if refunded.amount_minor >= paid_minor:
        refund = plan_part_minor
    dispute = min(plan_part_minor - refund, _part(disputed_minor, plan_part_minor, paid_minor))
    if refunded.amount_minor + disputed_minor >= paid_minor:
        dispute = plan_part_minor - refund
    return refund, dispute


def _part(amount_minor: int, part_minor: int, whole_minor: int) -> int:
    return -(-amount_minor * part_minor // whole_minor) if whole_minor else 0


def share_micro(credits_micro: int, part_minor: int, paid_minor: int) -> int:
    """Return the credits, in millionths, that a part of a payment bought: rounded up, at most all.

    Raises ValueError where nothing was paid.
    """
    if paid_minor <= 0:
        raise ValueError("nothing was paid")
    part = min(part_minor, paid_minor)
    return -(-credits_micro * part // paid_minor)


def taken_back(
    credits_micro: int, paid_minor: int, *, refunded_minor: int, disputed_minor: int
) -> tuple[int, int]:
    """Return the credits, in millionths, that refunds take back, and those that disputes do.

    Of what both claim the refund has it. Raises ValueError where nothing was paid.
    """
    refund = share_micro(credits_micro, refunded_minor, paid_minor)
    both = share_micro(credits_micro, refunded_minor + disputed_minor, paid_minor)
    return refund, both - refund


def unspent_minor(
    paid_minor: int, *, credits_micro: int, unspent_micro: int, refunded_minor: int
) -> int:
    """Return how much of a payment stands for credits that nobody spent: rounded down, in minor.

    Never more than was not given back yet.
    """
    unspent = paid_minor * unspent_micro // credits_micro
    return max(0, min(unspent, paid_minor - refunded_minor))


def net_minor(part_minor: int, paid_minor: int, *, tax_minor: int) -> int:
    """Return a part of a payment without the tax in it, in minor units: rounded half to even."""
    if not paid_minor:
        return 0
    return divide_half_even(part_minor * (paid_minor - tax_minor), paid_minor)
