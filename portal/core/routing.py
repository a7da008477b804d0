"""Routing: what each class of request was done with, and what a fitting model would have cost.

Pure. A class is the sender's own request type, or else follows from what was counted. Invariant:
only what is priced on both sides is compared; everything else is told as not known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from portal.core.cost_book import Route
from portal.core.costs import ModelUsage
from portal.core.margin.figures import Span
from portal.core.units import divide_half_even

FORMATTING, STANDARD, REASONING, CODE = "formatting", "standard", "reasoning", "code"
#: A call without reasoning, with no more than so many tokens in and out, is formatting.
MOST_IN_OF_FORMATTING = 2_000
MOST_OUT_OF_FORMATTING = 500
#: What fits where the cost book does not say; for the others what was used is taken to fit.
DEFAULT_ROUTES: Mapping[str, Route] = {
    FORMATTING: Route("gpt-4.1-nano", "openai"),
    STANDARD: Route("gpt-4.1-mini", "openai"),
}
#: A sum is priced as one only where it comes to what its calls do, within this part of it.
_LINEAR_WITHIN = 1_000

RULES = (
    "A request is of the type its sender gave it.",
    (
        "Without one: reasoning where reasoning tokens were counted; formatting where at most "
        f"{MOST_IN_OF_FORMATTING:,} tokens went in and {MOST_OUT_OF_FORMATTING:,} came out; "
        "standard otherwise. Code cannot be told from counts: only its sender knows."
    ),
)
ASSUMPTIONS = (
    "The fitting model would have used the same tokens, and done the work as well.",
    "Prices are those of the day of each call: the cost book's, or else the public list's.",
    (
        "Missed is what was paid beyond the fitting model's price. Realised is what calls that "
        "cost no more than that would have cost more on the dearest model that was in use."
    ),
)

#: What a use costs with a model on a day, in billionths of a dollar; None where it has no price.
Price = Callable[[str, str, ModelUsage, date], int | None]


def classify(
    request_type: str, *, input_tokens: int, output_tokens: int, reasoning_tokens: int
) -> str:
    """Return the class of a request: its sender's type, or what the counts say."""
    if request_type:
        return request_type
    if reasoning_tokens > 0:
        return REASONING
    short = input_tokens <= MOST_IN_OF_FORMATTING and output_tokens <= MOST_OUT_OF_FORMATTING
    return FORMATTING if short else STANDARD


@dataclass(frozen=True)
class Calls:
    """The calls of one class, model and day, added up; None where the cost of them is unknown."""

    request_class: str
    provider: str
    model: str
    day: date
    number: int
    usage: ModelUsage
    cost_nano_usd: int | None


@dataclass(frozen=True)
class Routed:
    """What one model did of one class in a span; amounts in billionths of a dollar.

    ``fitting_nano_usd`` is what the same tokens cost with the fitting model. ``unknown`` counts
    the calls that are in no amount, since one of the two prices is not known.
    """

    request_class: str
    provider: str
    model: str
    fitting: Route | None
    calls: int
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int
    fitting_nano_usd: int
    missed_nano_usd: int
    realised_nano_usd: int
    unknown: int


@dataclass(frozen=True)
class Routing:
    """Every class and model of a span, and what is missing.

    ``only_summed`` calls are known by their daily sums alone: those have no type and no class.
    """

    span: Span
    rows: Sequence[Routed]
    only_summed: int

    @property
    def missed_nano_usd(self) -> int:
        """All that fitting models would have saved."""
        return sum(row.missed_nano_usd for row in self.rows)

    @property
    def realised_nano_usd(self) -> int:
        """All that fitting models did save."""
        return sum(row.realised_nano_usd for row in self.rows)


def routed(
    calls: Sequence[Calls], routes: Callable[[date], Mapping[str, Route]], price: Price
) -> list[Routed]:
    """Return what each model did of each class, the largest missed saving first."""
    models = sorted({(one.provider, one.model) for one in calls if one.cost_nano_usd is not None})
    rows: dict[tuple[str, str, str], Routed] = {}
    for one in calls:
        fitting = routes(one.day).get(one.request_class)
        found = _compared(one, fitting, models, price)
        key = one.request_class, one.provider, one.model
        rows[key] = _plus(rows[key], found) if key in rows else found
    return sorted(
        rows.values(),
        key=lambda row: (-row.missed_nano_usd, row.request_class, row.provider, row.model),
    )


def _compared(
    one: Calls, fitting: Route | None, models: Sequence[tuple[str, str]], price: Price
) -> Routed:
    """Compare one day's calls with the fitting model; where it cost no more, with the dearest."""
    cost = one.cost_nano_usd
    other = cost
    if cost is not None and fitting is not None and not _is(one, fitting):
        other = priced(one, fitting.provider, fitting.model, price)
    known = cost is not None and other is not None
    realised = 0
    if known and fitting is not None and (cost or 0) <= (other or 0):
        dearest = [priced(one, provider, model, price) for provider, model in models]
        realised = max([0, *(amount - (cost or 0) for amount in dearest if amount is not None)])
    return Routed(
        one.request_class,
        one.provider,
        one.model,
        fitting,
        one.number,
        one.usage.input_tokens,
        one.usage.output_tokens,
        (cost or 0) if known else 0,
        (other or 0) if known else 0,
        max(0, (cost or 0) - (other or 0)) if known else 0,
        realised,
        0 if known else one.number,
    )


def _is(one: Calls, fitting: Route) -> bool:
    return one.model.lower() == fitting.model.lower() and fitting.provider.lower() in {
        "",
        one.provider.lower(),
    }


def priced(one: Calls, provider: str, model: str, price: Price) -> int | None:
    """Return what the calls cost with a model, in billionths of a dollar.

    Their sum is priced at once, unless longer calls cost more by the token: then a call of the mean
    size, as often as there were calls.
    """
    whole = price(provider, model, one.usage, one.day)
    if whole is None or one.number <= 1:
        return whole
    mean = price(provider, model, _mean(one.usage, one.number), one.day)
    if mean is None:
        return whole
    by_calls = mean * one.number
    # A mean call is of whole tokens, and so a little less or more than its part of the sum.
    return whole if abs(whole - by_calls) <= whole // _LINEAR_WITHIN + one.number else by_calls


def _mean(usage: ModelUsage, number: int) -> ModelUsage:
    return ModelUsage(
        divide_half_even(usage.input_tokens, number),
        divide_half_even(usage.output_tokens, number),
        divide_half_even(usage.cached_input_tokens, number),
        divide_half_even(usage.cache_write_tokens, number),
        divide_half_even(usage.reasoning_tokens, number),
        usage.input_counts_cached,
    )


def _plus(one: Routed, other: Routed) -> Routed:
    """Add up two days of one class and model; the fitting model is the later one's."""
    return Routed(
        one.request_class,
        one.provider,
        one.model,
        other.fitting,
        one.calls + other.calls,
        one.input_tokens + other.input_tokens,
        one.output_tokens + other.output_tokens,
        one.cost_nano_usd + other.cost_nano_usd,
        one.fitting_nano_usd + other.fitting_nano_usd,
        one.missed_nano_usd + other.missed_nano_usd,
        one.realised_nano_usd + other.realised_nano_usd,
        one.unknown + other.unknown,
    )
