"""Amounts, money and dates as people read them, and what leaves in a spreadsheet."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from babel.numbers import format_currency

from portal.core.catalog import minor_places, money_words
from portal.core.periods import Zone
from portal.web import formats
from portal.web.cells import safe_cell

BERLIN = Zone("Europe/Berlin")


@pytest.mark.parametrize(
    ("micro", "shown", "exact"),
    [
        (1_240_000_000, "1,240", "1,240"),
        (12_500_000, "12.5", "12.5"),
        (1_333_333, "1.33", "1.333333"),
        (1, "0", "0.000001"),
    ],
)
def test_credits_have_at_most_two_decimals_and_keep_their_exact_value(
    micro: int, shown: str, exact: str
) -> None:
    assert formats.amount(micro) == shown
    assert formats.exact_amount(micro) == exact


def test_money_has_the_places_of_its_currency() -> None:
    assert formats.money(9900, "usd") == "$99.00"
    assert formats.money(129_000, "eur") == "€1,290.00"
    assert formats.money(3900, "jpy") == "¥3,900"
    assert formats.money(3900, "chf") == "CHF\u00a039.00"
    assert formats.money(1500, "kwd") == "KWD\u00a01.500"
    assert formats.money(-5, "usd") == "−$0.05"


@pytest.mark.parametrize(
    "currency", ["usd", "eur", "gbp", "jpy", "cad", "brl", "cny", "inr", "vnd"]
)
def test_a_letter_writes_money_as_the_page_and_the_readers_of_english_do(currency: str) -> None:
    pattern = "¤#,##0.00" if minor_places(currency) else "¤#,##0"
    value = Decimal(-123_456).scaleb(-minor_places(currency))
    expected = format_currency(
        value, currency.upper(), format=pattern, locale="en_US", currency_digits=False
    )
    # A minus, not the hyphen that a table would have beside it.
    expected = expected.replace("-", "−")
    assert money_words(-123_456, currency) == expected == formats.money(-123_456, currency)


@pytest.mark.parametrize(
    ("write", "shown"),
    [
        (formats.dollars, "−$6.81"),
        (formats.whole_dollars, "−$6.81"),
        (lambda nano: formats.money(nano // 10**7, "usd"), "−$6.81"),
        (lambda nano: formats.amount(nano // 1000), "−6.81"),
        (lambda nano: formats.exact_amount(nano // 1000), "−6.81"),
        (lambda nano: formats.rounded(nano // 1000), "−7"),
    ],
)
def test_what_is_below_zero_has_the_same_minus_everywhere(
    write: Callable[[int], str], shown: str
) -> None:
    assert write(-6_810_000_000) == shown


def test_a_price_per_credit_keeps_its_hundredths_of_a_cent() -> None:
    assert formats.price_per_credit(12_900, 2_000_000_000, "usd") == "$0.0645"
    assert formats.price_per_credit(5_000, 500_000_000, "usd") == "$0.10"


def test_a_small_cost_is_not_rounded_away() -> None:
    assert formats.dollars(37_500_000) == "$0.0375"
    assert formats.dollars(23_330_000_000) == "$23.33"


def test_what_ends_at_midnight_is_there_until_the_day_before() -> None:
    end = datetime(2026, 11, 30, 23, tzinfo=UTC)
    assert formats.last_day(end, BERLIN) == "30 Nov"
    assert formats.day(date(2027, 6, 12), None, date(2026, 11, 22)) == "12 Jun 2027"


def test_changes_and_shares_read_as_words_do() -> None:
    assert [formats.change(one) for one in (38, -11, 0, None)] == ["+38%", "−11%", "0%", "–"]
    assert [formats.share(*one) for one in ((0, 0), (0, 4), (52, 9))] == ["0%", "<1%", "52%"]


def test_nouns_and_places_fit_into_a_sentence() -> None:
    assert [formats.inner(one) for one in ("Documents", "PDFs")] == ["documents", "PDFs"]
    assert formats.place("America/Argentina/Buenos_Aires") == "Buenos Aires time"
    found = [formats.initials(one) for one in ("Ana Ortega", "Bea", "", "Ida <i>", "(Al)")]
    assert found == ["AO", "B", "?", "II", "A"]


@pytest.mark.parametrize("begins", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_a_cell_that_could_be_a_formula_is_text(begins: str) -> None:
    assert safe_cell(begins) == f"'{begins}"
