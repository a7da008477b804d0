"""What differs between two versions of a book, in the words an operator reads."""

from __future__ import annotations

from portal.catalog import DEFAULT_FILE
from portal.core.book_changes import Change, of_costs, of_prices
from portal.core.catalog import parse
from portal.core.cost_book import parse_cost_book
from portal.cost_books import EXAMPLE_FILE

PRICES = DEFAULT_FILE.read_text(encoding="utf-8")
COSTS = EXAMPLE_FILE.read_text(encoding="utf-8")


def changed(old: str, new: str) -> list[Change]:
    return of_prices(parse(PRICES), parse(PRICES.replace(old, new, 1)))


def test_a_book_does_not_differ_from_itself() -> None:
    assert of_prices(parse(PRICES), parse(PRICES)) == []
    assert of_costs(parse_cost_book(COSTS), parse_cost_book(COSTS)) == []


def test_a_price_that_rises_says_from_what_to_what_and_by_how_much() -> None:
    (one,) = changed("credits = 5\n", "credits = 6\n")
    assert (one.kind, one.what, one.name, one.field) == ("changed", "action", "Document", "price")
    assert (one.before, one.after, one.percent) == ("5 credits", "6 credits", 20)


def test_each_thing_that_changes_about_a_plan_is_its_own_change() -> None:
    found = changed("price = 29.00\ncredits = 500\noverage = 0.08", "price = 39.00\ncredits = 400")
    assert {one.field: (one.before, one.after) for one in found} == {
        "price": ("$29.00 a month", "$39.00 a month"),
        "credits included": ("500 credits", "400 credits"),
        "price of a further credit": ("0.08", ""),
    }


def test_what_is_new_and_what_is_gone_are_told_with_what_they_were() -> None:
    dropped = PRICES.replace('[packs.small]\nname = "500 credits"', '[packs.tiny]\nname = "Tiny"')
    found = of_prices(parse(PRICES), parse(dropped))
    assert [(one.kind, one.key) for one in found] == [("added", "tiny"), ("removed", "small")]
    assert "$39.00" in found[1].before


def test_from_no_book_everything_is_added() -> None:
    book = parse(PRICES)
    found = of_prices(None, book)
    assert {one.kind for one in found} == {"added"}
    assert len(found) == len(book.actions) + len(book.tiers) + len(book.packs)


def test_a_models_price_is_told_by_kind_of_token() -> None:
    (one,) = of_costs(
        parse_cost_book(COSTS), parse_cost_book(COSTS.replace("input = 2.00", "input = 1.80", 1))
    )
    assert (one.what, one.name, one.field) == ("model", "gpt-4o", "input for a million")
    assert (one.before, one.after, one.percent) == ("$2", "$1.8", -10)
