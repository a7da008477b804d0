"""The replay: the ledger's rules over happenings in the order of time, worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from portal.core.catalog import PriceBook, parse
from portal.core.ledger import Lot
from portal.core.periods import Period
from portal.core.replay import (
    Begun,
    Bill,
    Chose,
    Ended,
    Given,
    Happening,
    Opening,
    Stepped,
    TakenBack,
    Terms,
    TokenPrices,
    Used,
    allowance_id,
    replay,
)
from portal.core.simulation import (
    Kind,
    Outcome,
    Scenario,
    Spread,
    plan_book,
    summarize,
    swing_permille,
    terms_of,
)

MICRO = 10**6
BOOK = parse(
    """
currency = "usd"

[actions.document]
name = "Document"
credits = 5

[actions.image]
name = "Image"
credits = 0.5

[tiers.small]
name = "Small"
price = 10.00
credits = 100
overage = 0.10

[tiers.large]
name = "Large"
price = 30.00
credits = 400
overage = 0.05

[tiers.keeper]
name = "Keeper"
price = 20.00
credits = 100
rollover = true

[tiers.seat]
name = "Seat"
kind = "per_seat"
price = 7.00

[packs.fifty]
name = "50 credits"
credits = 50
price = 9.00
"""
)
TERMS = Terms(lambda _: BOOK)


def at(month: int, day: int = 1, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


MONTHS = [(Period(at(month), at(month + 1)), date(2026, month, 1)) for month in (1, 2, 3)]
GOES_ON = Chose(at(1), True, None)


def begun(tier: str, month: int, seats: int = 1, given_at: datetime | None = None) -> Begun:
    return Begun(at(month), at(month + 1), tier, seats, given_at or at(month))


def documents(number: int, month: int, day: int = 10, hour: int = 0) -> Used:
    return Used(at(month, day, hour), "document", number * MICRO)


def lot(name: str, credits_: int, **more: Any) -> Lot:
    whole = Lot(name, "pack", 50, at(1), None, credits_ * MICRO, credits_ * MICRO, True)
    return replace(whole, **more)


def bills(*happenings: Happening, terms: Terms = TERMS, **more: Any) -> list[Bill]:
    ordered = sorted(happenings, key=lambda one: one.at)
    return replay(ordered, MONTHS, terms, **more).bills


def told(bill: Bill) -> tuple[int, int, int, int, int]:
    """Price, packs and overage in cents; credits beyond and not collected."""
    return (
        bill.fee_minor,
        bill.packs_minor,
        bill.overage_minor,
        bill.beyond_micro // MICRO,
        bill.uncollected_micro // MICRO,
    )


def test_what_goes_beyond_the_allowance_costs_what_the_tier_says() -> None:
    found = bills(begun("small", 1), begun("small", 2), GOES_ON, documents(30, 1), documents(10, 2))
    assert [told(bill) for bill in found] == [
        (1000, 0, 500, 50, 0),
        (1000, 0, 0, 0, 0),
        (0, 0, 0, 0, 0),
    ]


def test_without_the_customers_word_nothing_is_charged_beyond() -> None:
    (first, *_) = bills(begun("small", 1), documents(30, 1))
    assert told(first) == (1000, 0, 0, 0, 50)


def test_the_customers_limit_holds_to_the_millionth() -> None:
    limited = Chose(at(1), True, 333)
    (first, *_) = bills(begun("small", 1), limited, documents(30, 1))
    # 3.33 buys 33.3 credits at 0.10.
    assert (first.overage_minor, first.beyond_micro) == (333, 33_300_000)
    assert first.uncollected_micro == 16_700_000


def test_a_pack_bought_in_the_middle_pays_for_what_comes_after_it_only() -> None:
    pack = Given(at(1, 10, 12), lot("a", 50, effective_at=at(1, 10, 12)), "fifty")
    found = bills(begun("small", 1), GOES_ON, documents(24, 1), pack, documents(10, 1, 11))
    assert told(found[0]) == (1000, 900, 200, 20, 0)


def test_a_pack_of_another_book_is_bought_at_what_was_paid() -> None:
    gone = Given(at(1, 2), lot("a", 50, effective_at=at(1, 2)), "hundred", 700)
    assert told(bills(gone)[0]) == (0, 700, 0, 0, 0)


def test_the_allowance_goes_before_the_pack_and_ends_with_its_cycle() -> None:
    opening = Opening((lot("pack", 50),))
    found = bills(
        begun("small", 1), begun("small", 2), documents(10, 1), documents(24, 2),
        documents(7, 2, 11), opening=opening,
    )  # fmt: skip
    # 50 of January's 100 are gone with it; February's 100 and the pack's 50 pay 155 of 155.
    assert [bill.uncollected_micro for bill in found] == [0, 5 * MICRO, 0]


def test_what_is_left_rolls_over_where_the_tier_says_so_and_once() -> None:
    found = bills(
        begun("keeper", 1), begun("keeper", 2), begun("keeper", 3),
        documents(8, 1), documents(32, 2), documents(21, 3),
    )  # fmt: skip
    # 60 roll over into February: 160 are there, and 160 used; March has its own 100.
    assert [bill.uncollected_micro // MICRO for bill in found] == [0, 0, 5]


def test_an_upgrade_is_prorated_in_money_and_in_credits() -> None:
    half = Stepped(at(2, 15), Period(at(2), at(3)), "small", "large", 1)
    found = bills(begun("small", 2), half, Chose(at(2), True, None), documents(60, 2, 20))
    # Half of 20.00, half of 300 credits; then 50 credits at Large's price.
    assert told(found[1]) == (2000, 0, 250, 50, 0)


def test_a_debt_is_paid_by_the_next_credits() -> None:
    owed = TakenBack(at(1, 20), None, 30 * MICRO)
    found = bills(begun("small", 2), owed, documents(20, 2))
    assert told(found[1]) == (1000, 0, 0, 0, 30)


def test_what_is_taken_back_of_an_allowance_is_not_there() -> None:
    back = TakenBack(at(1, 5), allowance_id(at(1)), 40 * MICRO)
    assert told(bills(begun("small", 1), back, documents(20, 1))[0]) == (1000, 0, 0, 0, 40)


def test_an_allowance_that_was_paid_late_comes_late() -> None:
    late = begun("small", 1, given_at=at(1, 12))
    (first, *_) = bills(late, documents(4, 1, 10), documents(20, 1, 13))
    assert told(first) == (1000, 0, 0, 0, 20)


def test_seats_are_paid_whatever_is_used() -> None:
    (first, *_) = bills(begun("seat", 1, seats=3), GOES_ON, documents(1000, 1))
    assert told(first) == (2100, 0, 0, 0, 0)
    assert first.used_micro == 5000 * MICRO


def test_after_a_plan_ends_nothing_is_charged() -> None:
    found = bills(begun("small", 1), Ended(at(2)), GOES_ON, documents(10, 2))
    assert told(found[1]) == (0, 0, 0, 0, 50)


def test_a_correction_gives_back_what_was_beyond_first() -> None:
    back = Used(at(1, 12), "document", -2 * MICRO)
    (first, *_) = bills(begun("small", 1), GOES_ON, documents(21, 1), back, documents(1, 1, 13))
    # 105 used, 5 beyond; 10 come back, 5 of them to the allowance, which pays the last 5.
    assert told(first) == (1000, 0, 0, 0, 0)


def test_each_event_of_a_sum_rounds_by_itself() -> None:
    # A millionth of an image rounds to no credit, half to even; three of them to two millionths.
    one, three = (Used(at(1, 2), "image", quantity, 1_000) for quantity in (1, 3))
    (first, *_) = bills(one, three)
    assert first.used_micro == 2_000


def test_what_was_not_charged_is_spared_in_proportion_where_the_terms_say_so() -> None:
    kept = replace(documents(30, 1), rated_micro=150 * MICRO, spared_micro=50 * MICRO)
    spares = Terms(lambda _: BOOK, spares=True)
    assert told(bills(begun("small", 1), GOES_ON, kept, terms=spares)[0]) == (1000, 0, 0, 0, 50)
    assert told(bills(begun("small", 1), GOES_ON, kept)[0]) == (1000, 0, 500, 50, 0)


def test_an_action_or_a_tier_without_a_price_is_told_and_not_guessed() -> None:
    found = replay([begun("gold", 1), Used(at(1, 2), "video", MICRO)], MONTHS, TERMS)
    assert (found.unpriced_tiers, found.unpriced_actions) == ({"gold"}, {"video"})
    assert found.total_minor == 0


def test_another_tier_stands_for_the_one_they_had() -> None:
    terms = Terms(lambda _: BOOK, {"small": "large"})
    (first, *_) = bills(begun("small", 1), documents(80, 1), terms=terms)
    assert told(first) == (3000, 0, 0, 0, 0)


def test_where_nothing_is_metered_use_is_counted_and_costs_nothing() -> None:
    (first, *_) = bills(begun("small", 1), GOES_ON, documents(100, 1), metered=False)
    assert told(first) == (1000, 0, 0, 0, 0)


def test_tokens_are_priced_by_the_million_and_rounded_once() -> None:
    prices = TokenPrices(300 * MICRO, 1500 * MICRO)
    assert prices.amount_minor(1_000_000, 100_000) == 450
    assert prices.amount_minor(5_000, 0) == 2


HAPPENINGS = st.lists(
    st.one_of(
        st.builds(documents, st.integers(0, 40), st.integers(1, 3), st.integers(2, 27)),
        st.builds(
            lambda credits_, month, day: Given(
                at(month, day), lot(f"{month}-{day}", credits_, effective_at=at(month, day))
            ),
            st.integers(1, 60), st.integers(1, 3), st.integers(2, 27),
        ),
        st.builds(lambda month, day: Chose(at(month, day), True, 500), st.integers(1, 3),
                  st.integers(2, 27)),
        st.builds(lambda credits_, day: TakenBack(at(1, day), None, credits_ * MICRO),
                  st.integers(1, 60), st.integers(2, 27)),
    ),
    max_size=25,
)  # fmt: skip


@given(HAPPENINGS)
def test_what_was_used_was_paid_by_grants_or_beyond_them_or_not_collected(
    happenings: list[Happening],
) -> None:
    found = bills(begun("small", 1), begun("large", 2), begun("keeper", 3), *happenings)
    given_micro = 600 * MICRO + sum(
        one.lot.remaining_micro for one in happenings if isinstance(one, Given)
    )
    used = sum(bill.used_micro for bill in found)
    beyond = sum(bill.beyond_micro + bill.uncollected_micro for bill in found)
    assert used == 5 * sum(one.quantity_micro for one in happenings if isinstance(one, Used))
    assert 0 <= used - beyond <= given_micro
    for bill in found:
        assert bill.overage_minor <= 500
        assert min(told(bill)) >= 0


def test_a_plan_puts_everybody_on_it_at_other_prices_of_actions() -> None:
    book = plan_book(
        BOOK, kind=Kind.CREDITS, price_minor=500, allowance_micro=10 * MICRO,
        overage_price_micro_minor=2 * MICRO, action_prices_micro={"document": 1 * MICRO},
    )  # fmt: skip
    terms = terms_of(Scenario(Kind.CREDITS, book))
    (first, *_) = bills(begun("whatever", 1), documents(15, 1), terms=terms)
    assert told(first) == (500, 0, 10, 5, 0)


def outcome(revenue: int, today: int, cost_dollars: int, **more: Any) -> Outcome:
    whole = Outcome("one", "usd", 10**7, revenue, today, cost_dollars * 10**9, 0, 0)
    return replace(whole, **more)


def test_a_summary_counts_who_is_under_water_and_who_pays_more_or_less() -> None:
    found = summarize(
        [
            outcome(1000, 2000, 15),
            outcome(3000, 2000, 5),
            outcome(2100, 2000, 25),
            outcome(500, 500, 1, currency="eur", rate_nano_usd=None),
        ]
    )
    assert (found.customers, found.pays_more, found.pays_less) == (4, 2, 1)
    assert (found.simulated.under_water, found.today.under_water) == (2, 1)
    assert found.simulated.revenue_minor == {"usd": 6100, "eur": 500}
    assert found.simulated.margin_nano_usd == (10 - 15 + 30 - 5 + 21 - 25) * 10**9
    assert found.simulated.margins_permille == Spread(-500, -190, 833)
    assert found.without_margin == 1
    # Who pays half as much again and earned; not who lost before, nor who pays a little more.
    assert found.grandfathered == 1


def test_a_bill_swings_by_how_much_it_differs_from_the_one_before() -> None:
    steady = [Bill(date(2026, month, 1), fee_minor=1000) for month in (1, 2, 3)]
    assert swing_permille(steady) == 0
    steady[1].overage_minor = 500
    # 500 up and 500 down, of a mean bill of 1166.67.
    assert swing_permille(steady) == 429
    assert swing_permille(steady[:1]) == 0


def test_a_swing_of_nothing_is_nothing() -> None:
    assert swing_permille([Bill(date(2026, 1, 1)), Bill(date(2026, 2, 1))]) == 0


def test_what_happens_at_the_end_of_the_range_is_of_its_last_period() -> None:
    last = at(4) - timedelta(microseconds=1)
    found = bills(begun("small", 3), GOES_ON, Used(last, "document", 21 * MICRO))
    assert told(found[2]) == (1000, 0, 50, 5, 0)


def test_the_book_in_force_is_that_of_the_instant() -> None:
    dearer = parse(BOOK.document.replace("price = 10.00", "price = 12.00"))

    def book_at(instant: datetime) -> PriceBook:
        return dearer if instant >= at(2) else BOOK

    found = bills(begun("small", 1), begun("small", 2), terms=Terms(book_at))
    assert [bill.fee_minor for bill in found] == [1000, 1200, 0]
