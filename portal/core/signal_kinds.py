"""What a signal is: its record, its words, its thresholds, and what to do beyond each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from portal.core.margin.figures import Span

#: So many customers at least, for a signal to speak of any.
FEWEST = 20
#: How many customers are named behind a signal.
NAMED = 20

TIMES = (10.0, 50.0, 100.0)
SHARES = (0.25, 0.5)
POINTS = (-0.01, -0.05)
CORRELATIONS = (-0.3, -0.6)
CHURN_POINTS = (0.05, 0.2)
ATTRIBUTED = (0.95, 0.8)


class Verdict(StrEnum):
    """What a signal asks for."""

    SILENT = "silent"
    WATCH = "watch"
    ACT = "act"


class Silence(StrEnum):
    """Why a signal is silent; NOT where it speaks."""

    NOT = ""
    TOO_FEW = "too-few"
    FLAT = "flat"
    UNCERTAIN = "uncertain"
    BELOW = "below"


@dataclass(frozen=True)
class Customer:
    """What one customer cost and brought in a quarter, and in the one before it.

    Amounts in billionths of a US dollar; a revenue that cannot be told in dollars is None.
    ``activity`` is how often they used it. ``newcomer``: not yet there when the quarter began.
    ``left``: there in the quarter before, not any more.
    """

    customer: str
    cost_nano_usd: int
    revenue_nano_usd: int | None = None
    activity: int = 0
    earlier_cost_nano_usd: int = 0
    earlier_revenue_nano_usd: int | None = None
    newcomer: bool = False
    left: bool = False


@dataclass(frozen=True)
class Signal:
    """One signal: what was found, against what, in whom, how sure, and what to do.

    ``figure``, ``low`` and ``high`` are in ``unit``: times, share, points of margin, correlation.
    ``threshold`` is the one that was passed, or the first one where none was.
    """

    key: str
    title: str
    unit: str
    span: Span
    n: int
    thresholds: tuple[float, ...]
    threshold: float
    figure: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    method: str = ""
    verdict: Verdict = Verdict.SILENT
    silence: Silence = Silence.NOT
    says: str = ""
    act: str = ""
    customers: tuple[str, ...] = ()
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """What is the same of a signal whatever the data: its words and its thresholds."""

    key: str
    title: str
    unit: str
    thresholds: tuple[float, ...]
    #: What to do once each threshold is passed.
    acts: tuple[str, ...]

    @property
    def falling(self) -> bool:
        """Whether lower is worse."""
        return self.thresholds[-1] < self.thresholds[0]


_BY_USE = (
    "Plan the move: put the heaviest customers on pricing that follows what they use.",
    "Move the heaviest customers to pricing that follows use, before they renew.",
    "Stop selling unlimited use at one price now: no one price fits costs a hundred times apart.",
)
MAX_MIN = Kind(
    "cost-max-min", "Cost of the heaviest customer to the lightest", "times", TIMES, _BY_USE
)
P95_P5 = Kind("cost-p95-p5", "Cost at the 95th percentile to the 5th", "times", TIMES, _BY_USE)
P99_P50 = Kind("cost-p99-p50", "Cost at the 99th percentile to the middle", "times", TIMES, _BY_USE)
TOP_SHARE = Kind(
    "cost-top-share",
    "Share of cost of the top 5 % of customers",
    "share",
    SHARES,
    (
        "Look at what the customers named here pay, and set an allowance above what most use.",
        "Price the customers named here by what they use: they make most of the cost.",
    ),
)
FALLING = Kind(
    "margin-falling",
    "Margin falling while revenue grows",
    "points",
    POINTS,
    (
        "Find out which work grew or became dearer for the customers named here.",
        "Raise the price of a unit of work, or route it to a cheaper model, before you grow.",
    ),
)
ENGAGED = Kind(
    "engaged-unprofitable",
    "The more they use it, the less they earn you",
    "correlation",
    CORRELATIONS,
    (
        "Charge for use beyond an allowance, so that a busier customer is a better one.",
        "Move to pricing that grows with use: today your best customers are your worst.",
    ),
)
CHURN = Kind(
    "churn-inverted",
    "Who left earned more than who stayed",
    "points",
    CHURN_POINTS,
    (
        "Offer light customers a smaller plan: those who leave earn you more than those who stay.",
        "Give light customers a cheaper plan now: those who leave earn you most of what they pay.",
    ),
)
ATTRIBUTION = Kind(
    "cost-attributed",
    "Share of cost that a customer explains",
    "share",
    ATTRIBUTED,
    (
        "Send the customer with the calls that have none, so that the rest can be believed.",
        "Attribute cost before changing prices: too much of it belongs to nobody.",
    ),
)

#: What to do instead where nobody pays one price whatever they use, at each threshold.
_WIDE = (
    "Compare the price of their work with its cost: use is charged for, so a spread is no loss.",
    "See that the heaviest customers' work is priced above what it costs, before they renew.",
    "Look at the heaviest customers one by one: use is charged for, and yet a wrong price costs.",
)
ACTS_BY_USE: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys((MAX_MIN.key, P95_P5.key, P99_P50.key), _WIDE),
    TOP_SHARE.key: (
        "Look at what the customers named here pay for a piece of work, and what it costs you.",
        "See that the customers named here pay more for their work than all of it costs you.",
    ),
    ENGAGED.key: (
        "Find the work that is priced below its cost: the busier customers do more of it.",
        "Raise the price of the work that costs more than it brings: the busiest lose you most.",
    ),
}


def for_sale_by_use(signal: Signal) -> Signal:
    """Return a signal with what to do where use is what customers pay for already."""
    acts = ACTS_BY_USE.get(signal.key)
    if acts is None or signal.verdict is Verdict.SILENT:
        return signal
    return replace(signal, act=acts[signal.thresholds.index(signal.threshold)])
