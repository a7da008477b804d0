"""What is read of a body before anybody asks what it means."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.errors import InvalidRequest
from portal.web.api.body import (
    DEEPEST,
    LARGEST_BODY_BYTES,
    LONGEST_NUMBER,
    find_refused,
    parse_json,
)

#: Text in which brackets, quotes and backslashes are likelier than anything else.
texts = st.text(st.sampled_from('[]{}"\\,: a\n'), max_size=40)


def nested(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = [value]
    return value


@given(st.lists(texts, max_size=20), st.integers(1, DEEPEST - 1))
def test_brackets_in_a_text_nest_nothing(words: list[str], depth: int) -> None:
    many = ["[" * 2 * DEEPEST, *words]
    body = json.dumps(nested(many, depth)).encode()
    assert parse_json(body).value == nested(many, depth)


@given(st.lists(texts, max_size=20), st.integers(DEEPEST, 3 * DEEPEST))
def test_what_is_nested_too_deep_is_refused_whatever_texts_stand_in_it(
    words: list[str], depth: int
) -> None:
    body = json.dumps([words, nested(words, depth), words]).encode()
    with pytest.raises(InvalidRequest, match="nested deeper"):
        parse_json(body)


@pytest.mark.parametrize(
    "part",
    [b'"', b'\\"', b'"\\"', b'"a', b"\\", b'"\\', b"[", b"]", b'["'],
    ids=["quotes", "escaped", "both", "texts", "strokes", "ends", "opened", "closed", "mixed"],
)
def test_a_large_body_of_nonsense_is_refused_after_one_look(part: bytes) -> None:
    body = b"[" * DEEPEST + b"{" + part * (LARGEST_BODY_BYTES // len(part))
    with pytest.raises(InvalidRequest):
        parse_json(body)


def test_a_number_is_taken_up_to_forty_characters_and_exactly() -> None:
    whole, part = "9" * LONGEST_NUMBER, "0." + "1" * (LONGEST_NUMBER - 2)
    assert parse_json(f"[{whole}, {part}, -1]".encode()).value == [int(whole), Decimal(part), -1]


@pytest.mark.parametrize("number", ["9" * 41, "0." + "1" * 39, "-" + "9" * 40, "1e" + "0" * 39])
def test_a_longer_number_is_refused_where_it_stands(number: str) -> None:
    parsed = parse_json(f'{{"a": [1, {number}]}}'.encode())
    wrong = find_refused(parsed.value)
    assert not parsed.clean
    assert wrong is not None
    assert wrong.pointer == "/a/1"
