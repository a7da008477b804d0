"""How whoever acted is called where a customer reads it."""

from __future__ import annotations

from portal.core import actors

MEMBERS = {"ana": "Ana Lund", "eyes": "Eve Yes"}


def test_a_member_is_called_by_name() -> None:
    assert actors.called("ana", MEMBERS, "Northlight") == "Ana Lund"


def test_the_operators_people_and_keys_are_all_called_the_operator() -> None:
    for actor in ("operator", actors.of_service("eyes"), actors.of_service("olga@northlight.test")):
        assert actors.is_operators(actor)
        assert actors.called(actor, MEMBERS, "Northlight") == "Northlight"


def test_a_key_named_like_a_member_is_not_taken_for_them() -> None:
    assert actors.called(actors.of_key("ana"), MEMBERS, "Northlight") == "The key “ana”"


def test_who_is_nobody_any_more_goes_by_their_id() -> None:
    assert actors.called("left", MEMBERS, "Northlight") == "left"
