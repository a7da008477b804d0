"""When money becomes revenue, and what is left: the rules alone, for figures of every size."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.errors import InvalidRequest
from portal.core.margin.figures import Cost, Figures, Rates, Revenue, Span, leaked
from portal.core.margin.focus import LAYER_OF_CATEGORY, Reading, add_up, mapped
from portal.core.margin.recognition import (
    EXPIRED,
    OVERAGE,
    RETURNED,
    USED,
    Consumed,
    Fee,
    Term,
    fees_of_terms,
    of_grant,
    of_overage,
    share,
)
from portal.core.units import money_for

DAY = timedelta(days=1)
FIRST = date(2026, 11, 9)
days = st.integers(0, 400).map(lambda number: FIRST + number * DAY)
amounts = st.integers(-(10**9), 10**9)


@given(whole=amounts, of=st.integers(1, 400), cuts=st.lists(st.integers(-5, 405)))
def test_shares_of_a_whole_add_up_to_it_wherever_it_is_cut(
    whole: int, of: int, cuts: list[int]
) -> None:
    at = [-10, *sorted(cuts), 410]
    parts = [share(whole, end, of) - share(whole, begin, of) for begin, end in zip(at, at[1:])]  # noqa: B905, RUF007
    assert sum(parts) == whole


@given(whole=amounts, done=st.integers(0, 400), of=st.integers(1, 400))
def test_a_share_is_the_exact_one_rounded_once(whole: int, done: int, of: int) -> None:
    assert share(whole, done, of) == round(Fraction(whole * min(done, of), of))


@given(st.data())
def test_a_grant_that_is_gone_was_recognised_at_exactly_what_was_paid(data: Any) -> None:
    granted = data.draw(st.integers(1, 10**12))
    paid = data.draw(st.integers(0, 10**8))
    left, consumed = granted, []
    while left:
        more = data.draw(st.integers(1, left)) if len(consumed) < 12 else left
        part = data.draw(st.sampled_from([USED, EXPIRED, RETURNED]))
        action = data.draw(st.sampled_from(["document", "image", ""]))
        consumed.append(Consumed(data.draw(days), part, more, action))
        if data.draw(st.booleans()) and part == USED and len(consumed) < 12:
            back = data.draw(st.integers(1, more))
            consumed.append(Consumed(data.draw(days), USED, -back, action))
            more -= back
        left -= more
    found = of_grant(consumed, paid_minor=paid, granted_micro=granted)
    assert sum(one.amount_minor for one in found) == paid
    assert sum(one.credits_micro for one in found) == granted
    keys = [(one.day, one.part, one.action, one.team) for one in found]
    assert len(keys) == len(set(keys))


@given(st.lists(st.tuples(days, st.integers(1, 10**9))), st.integers(1, 10**8))
def test_overage_recognised_is_what_its_bill_comes_to(
    used: list[tuple[date, int]], price: int
) -> None:
    consumed = [Consumed(day, OVERAGE, micro, "image") for day, micro in used]
    found = of_overage(consumed, price_micro_minor=price)
    assert sum(one.amount_minor for one in found) == money_for(sum(n for _, n in used), price)


def _term(day: date, tier: str, fee: int | None, period: tuple[date, date]) -> Term:
    at = datetime.combine(day, datetime.min.time(), UTC)
    first, end = (one.toordinal() for one in period)
    return Term(at, day.toordinal(), tier, fee, first, end)


def test_seats_added_half_way_cost_half_of_their_period() -> None:
    period = (date(2026, 11, 1), date(2026, 12, 1))
    terms = [
        _term(date(2026, 11, 1), "seat", 10 * 4900, period),
        _term(date(2026, 11, 16), "seat", 12 * 4900, period),
    ]
    before, after = fees_of_terms(terms)
    month = Span(*period)
    assert before.recognised(month.start, month.end) == 10 * 2450
    assert after.recognised(month.start, month.end) == 12 * 2450


def test_a_tier_that_was_left_is_owed_for_the_days_it_was_had() -> None:
    terms = [
        _term(date(2026, 11, 1), "flat", 3000, (date(2026, 11, 1), date(2026, 12, 1))),
        Term(datetime(2026, 11, 11, tzinfo=UTC), date(2026, 11, 11).toordinal(), "", None, 0, 0),
    ]
    (fee,) = fees_of_terms(terms)
    assert fee.recognised(date(2026, 11, 1), date(2027, 1, 1)) == 1000


def test_the_tier_of_a_day_is_the_one_that_was_put_in_place_last() -> None:
    period = (date(2026, 11, 1), date(2026, 12, 1))
    terms = [_term(period[0], "flat", 3000, period), _term(period[0], "other", 6000, period)]
    assert [one.tier for one in fees_of_terms(terms)] == ["other"]


@given(amounts, st.integers(1, 366), st.lists(st.integers(0, 400)))
def test_a_fee_is_recognised_whole_however_its_time_is_read(
    amount: int, length: int, cuts: list[int]
) -> None:
    first = FIRST.toordinal()
    fee = Fee("fee", "flat", amount, first, length, first, first + length)
    at = sorted({FIRST, FIRST + 500 * DAY, *(FIRST + cut * DAY for cut in cuts)})
    parts = [fee.recognised(begin, end) for begin, end in zip(at, at[1:])]  # noqa: B905, RUF007
    assert sum(parts) == amount


def test_a_span_is_compared_with_as_many_months_or_days_before() -> None:
    assert Span(date(2026, 3, 1), date(2026, 4, 1)).before == Span(
        date(2026, 2, 1), date(2026, 3, 1)
    )
    quarter = Span(date(2026, 1, 1), date(2026, 4, 1))
    assert quarter.before == Span(date(2025, 10, 1), date(2026, 1, 1))
    week = Span(date(2026, 3, 2), date(2026, 3, 9))
    assert week.before == Span(date(2026, 2, 23), date(2026, 3, 2))
    assert [one.start.month for one in quarter.by_month()] == [1, 2, 3]
    with pytest.raises(ValueError, match="at least one day"):
        Span(FIRST, FIRST)


def _figures(currency: str, revenue_minor: int, cost: int, rates: Rates) -> Figures:
    return Figures(
        currency,
        rates.of(currency),
        Revenue(tier_fees_minor=revenue_minor),
        Cost({"inference": cost}, {"priced": cost}),
    )


def test_a_margin_is_told_in_dollars_only_by_a_rate_that_was_stated() -> None:
    stated = Rates({"eur": 10_856_000})
    euros = _figures("eur", 100_00, 40 * 10**9, stated)
    assert euros.revenue_nano_usd == 108_560_000_000
    assert euros.margin_nano_usd == 68_560_000_000
    apart = _figures("eur", 100_00, 40 * 10**9, Rates())
    assert (apart.margin_nano_usd, apart.margin_tenths_percent, apart.waterfall()) == (
        None,
        None,
        [],
    )


def test_a_waterfall_leads_from_each_part_of_revenue_down_to_the_margin() -> None:
    found = _figures("usd", 49_00, 450 * 10**9, Rates())
    assert found.waterfall() == [("tier_fees", 49 * 10**9), ("inference", -450 * 10**9)]
    assert sum(step for _, step in found.waterfall()) == found.margin_nano_usd
    assert found.margin_tenths_percent == -8184


def test_figures_of_two_currencies_do_not_add_up() -> None:
    with pytest.raises(ValueError, match="two currencies"):
        _ = _figures("eur", 1, 1, Rates()) + _figures("usd", 1, 1, Rates())


def test_what_may_not_be_charged_leaks_its_share_of_the_cost() -> None:
    assert leaked(900, uncollected_micro=1, credits_micro=2) == 300
    assert leaked(900, uncollected_micro=0, credits_micro=2) == 0


def _charged(amount: str, **more: str) -> dict[str, str]:
    return {
        "BilledCost": amount,
        "EffectiveCost": "0",
        "BillingCurrency": "USD",
        "ChargePeriodStart": "2024-09-18 22:00:00",
        "ProviderName": "AWS",
        "ServiceCategory": "Storage",
        "ServiceName": "Amazon Simple Storage Service",
    } | more


costs_usd = st.decimals(-1000, 1000, allow_nan=False, places=11).map(str)


@given(st.lists(st.tuples(costs_usd, st.sampled_from(sorted(LAYER_OF_CATEGORY)))))
def test_a_cloud_bill_is_added_up_exactly_and_rounded_once(rows: list[tuple[str, str]]) -> None:
    found = add_up((_charged(cost, ServiceCategory=kind) for cost, kind in rows), Reading())
    exact = sum((Fraction(Decimal(cost)) for cost, _ in rows), Fraction())
    assert found.amount_nano_usd == round(exact * 10**9)
    for charge in found.charges:
        mine = [cost for cost, kind in rows if LAYER_OF_CATEGORY[kind] == charge.layer]
        of_layer = sum((Fraction(Decimal(cost)) for cost in mine), Fraction())
        assert abs(charge.amount_nano_usd - of_layer * 10**9) < 1


def test_tiny_charges_are_not_lost_one_by_one() -> None:
    found = add_up([_charged("0.0000000001")] * 10, Reading())
    assert found.amount_nano_usd == 1


def test_a_service_goes_where_the_operator_puts_it_and_a_model_s_bill_to_its_provider() -> None:
    reading = mapped(["Databases=retrieval", "service:Amazon Bedrock=inference"])
    rows = [
        _charged("1", ServiceCategory="Databases", ServiceName="Amazon OpenSearch"),
        _charged("2", ServiceCategory="Other", ServiceName="Amazon Bedrock"),
        _charged("4e0", ServiceCategory="New kind", ChargePeriodStart="2024-10-01T00:00:00Z"),
    ]
    found = add_up(rows, reading).charges
    assert [(one.layer, one.provider, one.start.month, one.amount_nano_usd) for one in found] == [
        ("external", "", 10, 4 * 10**9),
        ("inference", "aws", 9, 2 * 10**9),
        ("retrieval", "", 9, 10**9),
    ]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (_charged("1", BillingCurrency="EUR"), "Line 2 is in 'EUR'"),
        (_charged("much"), "Line 2: the BilledCost 'much' is no number"),
        (_charged("1E+3000000"), "is no number"),
        (_charged("1", ChargePeriodStart="once"), "is no time"),
        ({"BilledCost": "1"}, "has no BillingCurrency"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(row: dict[str, str], told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        add_up([row], Reading())


def test_a_mapping_that_names_no_layer_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="Databases=memory"):
        mapped(["Databases=memory"])


def test_who_never_had_a_tier_owes_no_fee() -> None:
    assert fees_of_terms([]) == []
