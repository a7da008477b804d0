"""A price book is whole and exact, or refused with the line, the key and what is expected."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

import portal
from portal.core.catalog import minor_places, money_words, parse
from portal.core.errors import CatalogError

SHIPPED = (Path(portal.__file__).parent / "default_catalog.toml").read_text(encoding="utf-8")
SMALL = """\
currency = "usd"

[actions.document]
name = "Document"
credits = 0.5

[tiers.pro]
name = "Pro"
price = 99.00
credits = 2500
overage = 0.0625

[packs.small]
name = "Some"
credits = 500
price = 39.00
"""


def test_a_dinar_has_a_thousand_parts_and_is_paid_in_tens_of_them() -> None:
    book = parse(SMALL.replace('"usd"', '"kwd"').replace("39.00", "39.010"))
    assert (book.packs["small"].price_minor, book.tiers["pro"].price_minor) == (39_010, 99_000)
    assert book.tiers["pro"].overage_price_micro_minor == 62_500_000
    assert money_words(39_010, "kwd") == "KWD\u00a039.010"
    with pytest.raises(CatalogError, match="must end in 0"):
        parse(SMALL.replace('"usd"', '"kwd"').replace("39.00", "39.005"))


def test_the_book_that_ships_can_be_read() -> None:
    book = parse(SHIPPED)
    assert {key: one.price_micro for key, one in book.actions.items()} == {
        "document": 5_000_000, "analysis": 10_000_000, "image": 2_000_000,
    }  # fmt: skip
    assert book.effective_at == datetime(2020, 1, 1, tzinfo=UTC)
    assert book.tiers["enterprise"].price_minor is None


def test_figures_are_exact() -> None:
    book = parse(SMALL)
    assert book.actions["document"].price_micro == 500_000
    assert book.actions["document"].plural == "Documents"
    tier = book.tiers["pro"]
    assert (tier.price_minor, tier.overage_price_micro_minor) == (9900, 6_250_000)
    assert (tier.kind, tier.rollover, tier.summary) == ("credits", False, "")
    pack = book.packs["small"]
    assert (pack.credits_micro, pack.price_minor, pack.expires_after_days) == (
        500_000_000,
        3900,
        None,
    )


def test_a_currency_without_minor_units_takes_whole_prices() -> None:
    yen = SMALL.replace('"usd"', '"jpy"').replace("99.00", "990").replace("39.00", "3900")
    assert parse(yen).packs["small"].price_minor == 3900
    assert (minor_places("JPY"), minor_places("usd")) == (0, 2)
    with pytest.raises(CatalogError, match=r"Line 9, key tiers\.pro\.price"):
        parse(yen.replace("price = 990", "price = 990.5"))


def test_a_tier_is_billed_by_the_month_unless_it_says_otherwise() -> None:
    assert parse(SMALL).tiers["pro"].interval == "month"
    yearly = SMALL.replace("overage", 'interval = "year"\noverage')
    assert parse(yearly).tiers["pro"].interval == "year"


WRONG = [
    ('currency = "usd"', "", "Line 1, key currency: is missing"),
    ('"usd"', '"US dollars"', "Line 1, key currency: expected a currency code"),
    ("price = 99.00", 'price = 99.00\ninterval = "week"', r"Line 10, .*interval: expected one"),
    ("price = 99.00", "price = 99.00\ninterval = 12", r"Line 10, key tiers\.pro\.interval: exp"),
    ("overage = 0.0625", "overage = 0", r"Line 11, key tiers\.pro\.overage.*above zero"),
    ("overage = 0.0625", "overage = -0.01", r"Line 11, key tiers\.pro\.overage.*negative"),
    ("credits = 0.5", "credits = -1", r"Line 5, key actions\.document\.credits.*negative"),
    ("credits = 0.5", "credits = 0.0000001", r"Line 5, key actions\.document\.credits"),
    ("credits = 0.5", "credits = nan", r"Line 5, key actions\.document\.credits"),
    ("credits = 0.5", "credits = inf", r"Line 5, key actions\.document\.credits"),
    ("credits = 0.5", "credits = true", r"Line 5, key actions\.document\.credits"),
    ("credits = 0.5", "credits = 1e300", r"Line 5, key actions\.document\.credits"),
    ("credits = 0.5", "", r"Line 3, key actions\.document\.credits: is missing"),
    ("credits = 0.5", "credit = 0.5", r"Line 3, key actions\.document\.credits: is missing"),
    ("credits = 0.5", "credits = 0.5\ncolour = 1", r"Line 6, key actions\.document\.colour: is"),
    ('name = "Document"', 'name = ""', r"Line 4, key actions\.document\.name"),
    ('name = "Document"', "name = 5", r"Line 4, key actions\.document\.name"),
    ("[actions.document]", "[actions.Document]", r"Line 3, key actions\.Document"),
    ("price = 99.00", "price = 99.001", r"Line 9, key tiers\.pro\.price"),
    ("price = 99.00", "price = -1", r"Line 9, key tiers\.pro\.price.*negative"),
    ("price = 99.00", 'price = "a lot"', r"Line 9, key tiers\.pro\.price"),
    ("price = 99.00", 'kind = "weekly"\nprice = 1', r"Line 9, key tiers\.pro\.kind"),
    ("price = 99.00", "rollover = 1\nprice = 1", r"Line 9, key tiers\.pro\.rollover"),
    ("credits = 500\n", "credits = 0\n", r"Line 15, key packs\.small\.credits: must be above zero"),
    ("price = 39.00", "price = 0", r"Line 16, key packs\.small\.price: must be above zero"),
    ("price = 39.00", "price = 39\nexpires_after_days = 0", r"Line 17, .*expires_after_days"),
    ("price = 39.00", "price = 39\nexpires_after_days = 1.5", r"Line 17, .*expires_after_days"),
    ("price = 39.00", "price = 39\nexpires_after_days = true", r"Line 17, .*expires_after_days"),
    ('currency = "usd"', 'currency = "usd"\neffective_at = 2026-12-01', "Line 2, key effective_at"),
    (
        'currency = "usd"', 'currency = "usd"\neffective_at = 2026-12-01T00:00:00',
        "Line 2, key effective_at",
    ),
    ('currency = "usd"', 'currency = "usd"\npromo = 1', "Line 2, key promo: is not a key"),
    ("credits = 0.5", "credits = = 1", "Line 5: is not TOML"),
    ("credits = 0.5", "credits = 1\ncredits = 2", "is not TOML"),
]  # fmt: skip


@pytest.mark.parametrize(("good", "bad", "said"), WRONG, ids=[one[1][:40] for one in WRONG])
def test_what_is_wrong_is_named_with_its_line(good: str, bad: str, said: str) -> None:
    document = SMALL.replace(good, bad, 1)
    assert document != SMALL
    with pytest.raises(CatalogError, match=said):
        parse(document)


@pytest.mark.parametrize("part", ["actions", "tiers", "packs"])
def test_each_part_must_be_there(part: str) -> None:
    kept = [block for block in SMALL.split("\n[") if not block.startswith(part)]
    with pytest.raises(CatalogError, match=f"key {part}: is missing"):
        parse("\n[".join(kept))


@pytest.mark.parametrize("text", ["", "\x00", "currency", "[[actions]]\n", "actions = 5\n"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(CatalogError):
        parse(text)
