"""The signals that pricing by the seat has stopped working, each with what it rests on.

Plain records of customers go in, one record for each signal comes out. Invariant: a signal speaks
only where the whole of its range lies beyond the threshold; where there are too few customers, the
range crosses it or the population is flat, it is silent and says why. Money stays exact; what is
compared with a threshold is a statistic, and a float.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from portal.core.inference import (
    Range,
    higher,
    mean_range,
    quantile,
    quantile_ratio,
    spearman,
    top_count,
    top_share,
)
from portal.core.margin.figures import Span
from portal.core.signal_kinds import (
    ATTRIBUTION,
    CHURN,
    ENGAGED,
    FALLING,
    FEWEST,
    MAX_MIN,
    NAMED,
    P95_P5,
    P99_P50,
    TOP_SHARE,
    Customer,
    Kind,
    Signal,
    Silence,
    Verdict,
)

#: So many who left, and who stayed.
FEWEST_OF_A_SIDE = 5
#: The lightest customer counts for no less than this part of the middle one's cost: who hardly
#: began would else make any ratio.
FLOOR_OF_MEDIAN = 0.01
#: How likely what is seen may be where there is nothing, for a test to speak.
LEVEL = 0.01
#: Whose share of the cost is looked at.
TOP = 0.05


def all_signals(
    customers: Sequence[Customer],
    *,
    attributed_nano_usd: int,
    total_nano_usd: int,
    unknown_lines: int = 0,
    span: Span,
    earlier: Span,
) -> tuple[Signal, ...]:
    """Return every signal of a quarter, ``span``, beside the quarter before it, ``earlier``."""
    return (
        *cost_ratios(customers, span),
        top_cost_share(customers, span),
        falling_margin(customers, Span(earlier.start, span.end)),
        engaged_unprofitable(customers, span),
        inverted_churn(customers, earlier),
        attributed_share(attributed_nano_usd, total_nano_usd, unknown_lines, span, len(customers)),
    )


def cost_ratios(customers: Sequence[Customer], span: Span) -> tuple[Signal, Signal, Signal]:
    """Return how many times the heaviest cost what the lightest do, by three measures.

    Of the customers who were there from the start and cost anything.
    """
    costly = sorted(_costly(customers), key=lambda one: one.cost_nano_usd)
    costs = [float(one.cost_nano_usd) for one in costly]
    named = _named(reversed(costly[-top_count(len(costly), TOP) :])) if costly else ()
    if len(costs) < FEWEST:
        few = [_too_few(kind, span, len(costs)) for kind in (MAX_MIN, P95_P5, P99_P50)]
        return few[0], few[1], few[2]
    floor = quantile(costs, 0.5) * FLOOR_OF_MEDIAN
    lightest, second = (max(one, floor) for one in costs[:2])
    extremes = Range(costs[-1] / lightest, costs[-2] / second, costs[-1] / lightest)
    outer = "the range goes down to what is left without the heaviest and the lightest; "
    floored = f"no cost counts for less than {FLOOR_OF_MEDIAN:.0%} of the middle one"
    bootstrap = "90 % range by bootstrap over customers"
    floored_costs = [max(one, floor) for one in costs]
    return (
        _judged(MAX_MIN, span, len(costs), extremes, outer + floored, named),
        _judged(P95_P5, span, len(costs), quantile_ratio(costs, 0.95, 0.05), bootstrap, named),
        _judged(
            P99_P50, span, len(costs), quantile_ratio(floored_costs, 0.99, 0.5), bootstrap, named
        ),
    )


def top_cost_share(customers: Sequence[Customer], span: Span) -> Signal:
    """Return what part of all cost the top 5 % of customers make."""
    costly = sorted(_costly(customers), key=lambda one: -one.cost_nano_usd)
    if len(costly) < FEWEST:
        return _too_few(TOP_SHARE, span, len(costly))
    found = top_share([float(one.cost_nano_usd) for one in costly], TOP)
    named = _named(costly[: top_count(len(costly), TOP)])
    method = "90 % range by Bayesian bootstrap over customers"
    return _judged(TOP_SHARE, span, len(costly), found, method, named)


def falling_margin(customers: Sequence[Customer], span: Span) -> Signal:
    """Return by how much the margin changed from one quarter to the next while revenue grew.

    ``parts`` has the change split into ``rate``, each customer's own margin, and ``mix``, who the
    revenue comes from: customers who came and went are mix.
    """
    paying = [one for one in customers if _revenue(one) or _earlier(one)]
    now_nano, then_nano = sum(map(_revenue, paying)), sum(map(_earlier, paying))
    if len(paying) < FEWEST or now_nano <= 0 or then_nano <= 0:
        return _too_few(FALLING, span, len(paying))
    cost_rates = (
        sum(one.earlier_cost_nano_usd for one in paying) / then_nano,
        sum(one.cost_nano_usd for one in paying) / now_nano,
    )
    influences = [
        (one.earlier_cost_nano_usd - cost_rates[0] * _earlier(one)) / then_nano
        - (one.cost_nano_usd - cost_rates[1] * _revenue(one)) / now_nano
        for one in paying
    ]
    found = mean_range(cost_rates[0] - cost_rates[1], influences)
    growth = now_nano / then_nano - 1
    rate = _rate_effect(paying, now_nano, then_nano)
    worst = sorted(
        (one for one in paying if _revenue(one) and _earlier(one) and _change_of_profit(one) < 0),
        key=_change_of_profit,
    )
    method = "90 % range by the delta method over customers, Student's t"
    parts = {"rate": rate, "mix": found.figure - rate, "revenue_growth": growth}
    signal = _judged(FALLING, span, len(paying), found, method, _named(worst[:NAMED]), parts)
    if growth > 0:
        return signal
    return _silent(signal, Silence.BELOW, "Revenue does not grow, so this is another question.")


def _rate_effect(paying: Sequence[Customer], now: int, then: int) -> float:
    """Return what the margins of those who stayed did, at the middle of their two shares."""
    found = []
    for one in paying:
        revenue, earlier = _revenue(one), _earlier(one)
        if revenue > 0 and earlier > 0:
            weight = (revenue / now + earlier / then) / 2
            change = one.earlier_cost_nano_usd / earlier - one.cost_nano_usd / revenue
            found.append(weight * change)
    return math.fsum(found)


def engaged_unprofitable(customers: Sequence[Customer], span: Span) -> Signal:
    """Return how the use of customers goes with what they earn, by rank."""
    known = [one for one in _staying(customers) if one.revenue_nano_usd is not None]
    if len(known) < FEWEST:
        return _too_few(ENGAGED, span, len(known))
    profits = [_profit(one) for one in known]
    found = spearman([one.activity for one in known], profits)
    if found is None:
        return _flat(ENGAGED, span, len(known))
    reach = 1.06 * 1.645 / math.sqrt(len(known) - 3)
    bounded = max(-0.9999, min(0.9999, found.figure))
    low, high = (math.tanh(math.atanh(bounded) + side) for side in (-reach, reach))
    ranged = Range(found.figure, low, high)
    busiest = sorted((one for one in known if _profit(one) < 0), key=lambda one: -one.activity)
    method = f"{found.method}; 90 % range by Fisher's z"
    signal = _judged(ENGAGED, span, len(known), ranged, method, _named(busiest))
    return _tested(signal, found.p_value)


def inverted_churn(customers: Sequence[Customer], span: Span) -> Signal:
    """Return by how much the margin of those who left lay above that of those who stayed.

    The figure is the difference of the two medians; both are of the quarter before.
    """
    paying = [one for one in customers if _earlier(one) > 0]
    left = [one for one in paying if one.left]
    margins = [_earlier_margin(one) for one in left]
    stayed = [_earlier_margin(one) for one in paying if not one.left]
    if len(paying) < FEWEST:
        return _too_few(CHURN, span, len(paying))
    if min(len(left), len(stayed)) < FEWEST_OF_A_SIDE:
        says = f"{len(left)} left and {len(stayed)} stayed: {FEWEST_OF_A_SIDE} of each are needed."
        return _too_few(CHURN, span, len(paying), says)
    found = higher(margins, stayed)
    if found is None:
        return _flat(CHURN, span, len(paying))
    medians = [quantile(sorted(one), 0.5) for one in (margins, stayed)]
    difference = medians[0] - medians[1]
    named = _named(sorted(left, key=lambda one: -_earlier_margin(one)))
    parts = {"left": medians[0], "stayed": medians[1], "leavers": float(len(left))}
    signal = _judged(
        CHURN, span, len(paying), Range(difference, difference, difference), found.method, named,
        parts,
    )  # fmt: skip
    return _tested(signal, found.p_value)


def attributed_share(
    attributed_nano_usd: int, total_nano_usd: int, unknown_lines: int, span: Span, n: int
) -> Signal:
    """Return what part of all cost a customer explains: a count, not a sample, so without range.

    ``unknown_lines`` are those whose cost nobody knows; they are in neither sum.
    """
    if total_nano_usd <= 0:
        return _too_few(ATTRIBUTION, span, n, "No cost is known yet.")
    share = attributed_nano_usd / total_nano_usd
    parts = {"unknown_lines": float(unknown_lines)}
    exact = Range(share, share, share)
    return _judged(ATTRIBUTION, span, n, exact, "counted, not sampled", (), parts)


def _judged(
    kind: Kind,
    span: Span,
    n: int,
    found: Range,
    method: str,
    customers: tuple[str, ...],
    parts: Mapping[str, float] | None = None,
) -> Signal:
    """Return the signal of a figure: it speaks where its whole range lies beyond a threshold."""
    sure = found.high if kind.falling else found.low
    beyond: Callable[[float, float], bool] = (
        (lambda a, b: a <= b) if kind.falling else (lambda a, b: a >= b)
    )
    passed = sum(beyond(sure, one) for one in kind.thresholds)
    signal = Signal(
        kind.key, kind.title, kind.unit, span, n, kind.thresholds,
        kind.thresholds[max(0, passed - 1)], found.figure, found.low, found.high,
        method=method, customers=customers, parts=parts or {},
    )  # fmt: skip
    if not passed:
        if beyond(found.figure, kind.thresholds[0]):
            return _silent(
                signal, Silence.UNCERTAIN, "It may be beyond the threshold, or not: too uncertain."
            )
        return _silent(signal, Silence.BELOW, "Within what one price for everybody can carry.")
    verdict = Verdict.WATCH if passed == 1 else Verdict.ACT
    return replace(signal, verdict=verdict, says=_words(signal), act=kind.acts[passed - 1])


def _tested(signal: Signal, p_value: float) -> Signal:
    """Return a signal with its p-value, silent where that is too high to speak."""
    tested = replace(signal, p_value=p_value)
    if signal.verdict is Verdict.SILENT or p_value <= LEVEL:
        return tested
    return _silent(
        tested, Silence.UNCERTAIN, f"Chance alone does this in {p_value:.0%} of such samples."
    )


def _too_few(kind: Kind, span: Span, n: int, says: str = "") -> Signal:
    few = f"{n:,} customers are too few to tell: {FEWEST} are needed."
    return _silent(_empty(kind, span, n), Silence.TOO_FEW, says or few)


def _flat(kind: Kind, span: Span, n: int) -> Signal:
    return _silent(
        _empty(kind, span, n), Silence.FLAT, "All customers are alike: there is nothing to compare."
    )


def _empty(kind: Kind, span: Span, n: int) -> Signal:
    first = kind.thresholds[0]
    return Signal(kind.key, kind.title, kind.unit, span, n, kind.thresholds, first)


def _silent(signal: Signal, silence: Silence, says: str) -> Signal:
    return replace(signal, verdict=Verdict.SILENT, silence=silence, says=says, act="")


def _words(signal: Signal) -> str:
    """Say the figure, the threshold it is beyond, and of how many customers."""
    figure = signal.figure or 0.0
    return (
        f"{signal.title}: {_written(figure, signal.unit)}, beyond "
        f"{_written(signal.threshold, signal.unit)}, among {signal.n:,} customers."
    )


def _written(value: float, unit: str) -> str:
    if unit == "times":
        return f"{value:,.0f} times"
    if unit == "share":
        return f"{value:.0%}"
    return f"{value * 100:+.1f} points" if unit == "points" else f"{value:.2f}"


def _staying(customers: Iterable[Customer]) -> list[Customer]:
    return [one for one in customers if not one.left and not one.newcomer]


def _costly(customers: Iterable[Customer]) -> list[Customer]:
    return [one for one in _staying(customers) if one.cost_nano_usd > 0]


def _named(customers: Iterable[Customer]) -> tuple[str, ...]:
    return tuple(one.customer for one in customers)[:NAMED]


def _revenue(one: Customer) -> int:
    return one.revenue_nano_usd or 0


def _earlier(one: Customer) -> int:
    return one.earlier_revenue_nano_usd or 0


def _profit(one: Customer) -> int:
    return _revenue(one) - one.cost_nano_usd


def _change_of_profit(one: Customer) -> int:
    return _profit(one) - (_earlier(one) - one.earlier_cost_nano_usd)


def _earlier_margin(one: Customer) -> float:
    return 1 - one.earlier_cost_nano_usd / _earlier(one)
