"""A cost book is whole and exact, or refused with the line, the key and what is expected."""

from __future__ import annotations

from pathlib import Path

import pytest

import portal
from portal.core.cost_book import parse_cost_book
from portal.core.costs import ModelUsage, is_suspect
from portal.core.errors import CatalogError

EXAMPLE = (Path(portal.__file__).parent / "example_cost_book.toml").read_text(encoding="utf-8")
SMALL = """\
[models."vendor/big model"]
input = 2.5
output = 10

[resources.vector-search]
layer = "retrieval"
price = 0.0000004
"""


def test_the_example_that_ships_can_be_read() -> None:
    book = parse_cost_book(EXAMPLE)
    assert {layer for layer, _ in book.units} == {
        "retrieval", "processing", "storage", "orchestration", "external",
    }  # fmt: skip
    anywhere = book.model_prices("openai", "GPT-4o")
    azure = book.model_prices("Azure", "gpt-4o")
    assert anywhere is not None
    assert azure is not None
    assert (anywhere.per_million_nano_usd["input"], azure.per_million_nano_usd["input"]) == (
        2_000_000_000,
        2_200_000_000,
    )


def test_a_quantity_is_priced_exactly_and_rounded_once_half_to_even() -> None:
    unit = parse_cost_book(SMALL).unit_price("retrieval", "vector-search")
    assert unit is not None
    assert unit.cost_nano_usd(1_000_000) == 400
    assert unit.cost_nano_usd(1_250) == 0
    assert unit.cost_nano_usd(3_750) == 2
    assert unit.cost_nano_usd(6_250) == 2
    assert unit.cost_nano_usd(10**15) == 400 * 10**9


def test_a_resource_of_another_layer_is_another_resource() -> None:
    assert parse_cost_book(SMALL).unit_price("storage", "vector-search") is None


@pytest.mark.parametrize(
    ("old", "new", "line", "key"),
    [
        ("input = 2.5", "input = -2.5", 2, 'models."vendor/big model".input'),
        ("input = 2.5\n", "", 1, 'models."vendor/big model".input'),
        ("output = 10", 'output = "ten"', 3, 'models."vendor/big model".output'),
        ("output = 10", "output = 10\nouput = 3", 4, 'models."vendor/big model".ouput'),
        ('layer = "retrieval"', 'layer = "inference"', 6, "resources.vector-search.layer"),
        ("price = 0.0000004", "price = 1e2", 7, "resources.vector-search.price"),
        ("price = 0.0000004", "", 5, "resources.vector-search.price"),
        ("[resources.vector-search]", "[resource.vector-search]", 5, "resource"),
        (SMALL, "effective_at = 2026-01-01\n" + SMALL, 1, "effective_at"),
        (SMALL, SMALL + '[resources.x]\nlayer="retrieval"\nresource="vector-search"\nprice=1\n',
         8, "resources.x"),
        (SMALL, "", 1, ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_line_and_key(old: str, new: str, line: int, key: str) -> None:
    with pytest.raises(CatalogError) as raised:
        parse_cost_book(SMALL.replace(old, new, 1))
    assert (raised.value.fields["line"], raised.value.fields["key"]) == (line, key)
    assert raised.value.detail.startswith(f"Line {line}, key {key}: ")


@pytest.mark.parametrize(
    ("stated", "booked", "suspect"),
    [
        (1000, 100, True),
        (999, 100, False),
        (10, 100, True),
        (11, 100, False),
        (0, 100, True),
        (0, 0, False),
        (9, 0, False),
        (10, 0, True),
        (100, 100, False),
    ],
)
def test_ten_times_or_a_tenth_is_not_believed(stated: int, booked: int, suspect: bool) -> None:
    assert is_suspect(stated, booked) is suspect


def test_cached_tokens_that_do_not_fit_into_the_input_came_beside_it() -> None:
    usage = ModelUsage(10, 5, cached_input_tokens=50)
    assert usage.whole("openai").input_tokens == 60
    assert usage.whole("openai").whole("anthropic").input_tokens == 60


def test_who_says_how_cached_tokens_are_counted_is_believed_over_the_habit() -> None:
    usage = ModelUsage(100, 5, cached_input_tokens=50, input_counts_cached=True)
    assert usage.whole("anthropic").input_tokens == 100
