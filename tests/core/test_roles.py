"""What each role may do: the table, read as rules."""

from __future__ import annotations

import pytest

from portal.core import roles
from portal.core.roles import RIGHTS, ROLES, may, may_give


def test_an_owner_may_do_everything() -> None:
    assert all(may("owner", right) for right in RIGHTS)


def test_a_viewer_reads_all_and_changes_nothing() -> None:
    for right in RIGHTS:
        assert may("viewer", right) is right.startswith("see_"), right


def test_a_member_has_no_right_beyond_their_own() -> None:
    assert not any(may("member", right) for right in RIGHTS)


def test_a_right_or_a_role_that_is_none_opens_nothing() -> None:
    assert not any(may(role, right) for role in ("", "root", "Owner") for right in RIGHTS)
    with pytest.raises(KeyError):
        may("owner", "everything")


def test_only_an_owner_makes_or_unmakes_an_owner() -> None:
    for role in ROLES:
        others = [one for one in ROLES if one != "owner"]
        assert may_give(role, before="member", after="owner") is (role == "owner")
        assert may_give(role, before="owner", after="") is (role == "owner")
        for other in others:
            assert may_give(role, before="", after=other) is (role in {"owner", "admin"})
    assert "owner" not in roles.given_by("admin")
    assert roles.given_by("admin", before="owner") == ()
    assert roles.given_by("billing") == ()


@pytest.mark.parametrize("role", ROLES)
def test_the_balance_is_hidden_from_members_alone(role: str) -> None:
    assert roles.sees_balance(role, members_see_balance=True)
    assert roles.sees_balance(role, members_see_balance=False) is (role != "member")


def test_every_role_is_summed_up() -> None:
    assert set(roles.SUMMARIES) == set(ROLES)
