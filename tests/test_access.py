"""Signing in: links that work once, passwords, and sessions that end when they should."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select

from portal import access, accounts
from portal.access import attempts
from portal.core.errors import InvalidRequest, Unauthenticated
from portal.db import Database
from portal.tables import members, portal_links, sessions, sign_in_attempts, tokens
from tests.cast import Customer, ok, refused
from tests.clock import Clock

TICK = timedelta(microseconds=1)


def link(database: Database, clock: Clock, **whose: str) -> str:
    whose = whose or {"organization_id": "acme", "member_id": "ana"}
    with database.transaction() as tx:
        return access.make_link(tx, now=clock(), **whose)[0]


def session(database: Database, clock: Clock, member: str | None = "ana", **more: str) -> str:
    whose = {"organization_id": "acme" if member else None, "member_id": member}
    with database.transaction() as tx:
        return access.begin_session(
            tx, **whose, operator_email=more.get("operator_email"), now=clock()
        )


def in_force(database: Database, clock: Clock, secret: str) -> bool:
    with database.reading() as tx:
        return access.find_session(tx, secret, now=clock()) is not None


def test_a_link_works_once(acme: Customer, database: Database, clock: Clock) -> None:
    token = link(database, clock)
    with database.transaction() as tx:
        used = access.use_link(tx, token, now=clock())
    assert (used.organization_id, used.member_id, used.page) == ("acme", "ana", "overview")
    with pytest.raises(Unauthenticated), database.transaction() as tx:
        access.use_link(tx, token, now=clock())


def test_a_link_ends_after_ten_minutes(acme: Customer, database: Database, clock: Clock) -> None:
    token, later = link(database, clock), link(database, clock)
    clock.forward(timedelta(minutes=10) - TICK)
    with database.transaction() as tx:
        access.use_link(tx, token, now=clock())
    clock.forward(TICK)
    with pytest.raises(Unauthenticated), database.transaction() as tx:
        access.use_link(tx, later, now=clock())


def test_a_portal_session_is_a_link_for_a_member(acme: Customer, database: Database) -> None:
    body = {"organization": "acme", "member": {"id": "cleo", "email": "cleo@acme.example"}}
    answer = ok(acme.api.post("/v1/portal_sessions", body), 201)
    base, _, token = answer["url"].rpartition("/")
    assert base == "http://127.0.0.1:8000/sign-in"
    with database.reading() as tx:
        cleo = accounts.find_member(tx, "acme", "cleo")
        stored = tx.execute(select(portal_links)).one()
    assert (cleo.role, cleo.team_id) == ("member", "research")
    assert token not in repr(stored)


@pytest.mark.parametrize(
    ("field", "value"),
    [("return_url", "http://evil.example"), ("return_url", "javascript:alert(1)"),
     ("page", "secrets"), ("member", {"id": "x", "email": "nobody"})],
)  # fmt: skip
def test_a_portal_session_that_leads_nowhere_good_is_refused(
    acme: Customer, field: str, value: object
) -> None:
    body = {"organization": "acme", "member": {"id": "cleo", "email": "cleo@acme.example"}}
    refused(acme.api.post("/v1/portal_sessions", body | {field: value}), 422, "invalid-request")


def test_a_session_ends_when_idle_and_at_the_latest_after_twelve_hours(
    acme: Customer, database: Database, clock: Clock
) -> None:
    idle, busy = session(database, clock), session(database, clock)
    clock.forward(timedelta(minutes=30) - TICK)
    assert in_force(database, clock, idle)
    clock.forward(TICK)
    assert not in_force(database, clock, idle)
    assert not in_force(database, clock, busy)
    kept, begun = session(database, clock), clock()
    for _ in range(30):
        clock.forward(timedelta(minutes=29))
        with database.transaction() as tx:
            found = access.find_session(tx, kept, now=clock())
            if found is None:
                break
            access.keep_session(tx, found.session_hash, {}, now=clock())
    assert timedelta(hours=12) <= clock() - begun < timedelta(hours=12, minutes=29)


def test_only_the_hash_of_a_session_is_stored(
    acme: Customer, database: Database, clock: Clock
) -> None:
    secret = session(database, clock)
    with database.reading() as tx:
        assert secret not in repr(tx.execute(select(sessions)).all())


def test_removing_a_member_ends_their_sessions_at_once(
    acme: Customer, database: Database, clock: Clock
) -> None:
    secret = session(database, clock, "cleo")
    others = session(database, clock, "ana")
    assert in_force(database, clock, secret)
    ok(acme.api.delete(f"{acme.path}/members/cleo"))
    assert not in_force(database, clock, secret)
    assert in_force(database, clock, others)
    body = {"email": "cleo@acme.example", "role": "member"}
    ok(acme.api.put(f"{acme.path}/members/cleo", body))
    assert not in_force(database, clock, secret)


def test_a_member_who_was_removed_signs_in_neither_by_link_nor_by_password(
    acme: Customer, database: Database, clock: Clock
) -> None:
    token = link(database, clock, organization_id="acme", member_id="cleo")
    with database.transaction() as tx:
        cleo = accounts.find_member(tx, "acme", "cleo")
        access.set_password(tx, cleo, "a long password")
    ok(acme.api.delete(f"{acme.path}/members/cleo"))
    with database.transaction() as tx:
        assert access.members_by_password(tx, "cleo@acme.example", "a long password") == []
        try:
            access.use_link(tx, token, now=clock())
        except Unauthenticated:
            return
    assert not in_force(database, clock, session(database, clock, "cleo"))


def test_a_password_is_hashed_and_belongs_to_one_membership(
    acme: Customer, bystander: Customer, database: Database
) -> None:
    password = "correct horse battery staple"
    with database.transaction() as tx:
        access.set_password(tx, accounts.find_member(tx, "acme", "ana"), password)
        assert access.members_by_password(tx, "ana@acme.example", password) == [("acme", "ana")]
        for email, typed in (
            ("ana@acme.example", password + "!"), ("ben@acme.example", password),
            ("nobody@acme.example", password), ("ana@acme.example", ""),
        ):  # fmt: skip
            assert access.members_by_password(tx, email, typed) == []
        stored = tx.execute(
            select(members.c.password_hash).where(members.c.password_hash.is_not(None))
        ).scalar_one()
        assert stored.startswith("$argon2id$")
        for wrong in ("short", "x" * 201):
            with pytest.raises(InvalidRequest):
                access.set_password(tx, accounts.find_member(tx, "acme", "ana"), wrong)


def token(database: Database, clock: Clock, purpose: str = access.INVITATION) -> str:
    with database.transaction() as tx:
        return access.make_token(
            tx,
            purpose=purpose,
            email="eve@acme.example",
            organization_id="acme",
            data={"role": "viewer"},
            lifetime=timedelta(hours=1),
            now=clock(),
        )[0]


def test_a_token_gives_what_it_was_made_with_once(database: Database, clock: Clock) -> None:
    made = token(database, clock)
    with database.transaction() as tx:
        found = access.find_token(tx, made, purpose=access.INVITATION, now=clock())
        used = access.use_token(tx, made, purpose=access.INVITATION, now=clock())
        assert found == used
        assert (used.email, used.organization_id) == ("eve@acme.example", "acme")
        assert used.data == {"role": "viewer"}
        assert access.find_token(tx, made, purpose=access.INVITATION, now=clock()) is None
    with pytest.raises(Unauthenticated), database.transaction() as tx:
        access.use_token(tx, made, purpose=access.INVITATION, now=clock())


def test_a_token_opens_what_it_is_for_and_nothing_else(database: Database, clock: Clock) -> None:
    invitation, ended, void = (token(database, clock) for _ in range(3))
    with pytest.raises(Unauthenticated), database.transaction() as tx:
        access.use_token(tx, invitation, purpose="sign-in", now=clock())
    with pytest.raises(Unauthenticated), database.transaction() as tx:
        access.use_token(tx, ended, purpose=access.INVITATION, now=clock() + timedelta(hours=1))
    with database.transaction() as tx:
        assert access.void_tokens(tx, "eve@acme.example", purpose="sign-in") == 0
        assert access.void_tokens(tx, "eve@acme.example", purpose=access.INVITATION) == 3
    with pytest.raises(Unauthenticated), database.transaction() as tx:
        access.use_token(tx, void, purpose=access.INVITATION, now=clock())


@pytest.mark.parametrize(
    ("portal_key", "session_secret", "about"),
    [("another", "mine", "key"), ("ours", "another's", "key"), ("ours", "mine", "something else")],
)
def test_what_is_put_aside_opens_for_its_own_session_and_purpose_alone(
    database: Database, clock: Clock, portal_key: str, session_secret: str, about: str
) -> None:
    mine, other = access.Safe("ours", "mine"), access.Safe(portal_key, session_secret)
    kept = mine.seal("cm_a_key", about="key", now=clock())
    with pytest.raises(Unauthenticated), database.transaction() as tx:
        other.open_once(tx, kept | {"about": about}, now=clock())
    with database.transaction() as tx:
        assert mine.open_once(tx, kept, now=clock()) == "cm_a_key"


def test_a_token_that_many_use_at_once_is_used_by_one(database: Database, clock: Clock) -> None:
    made = token(database, clock)

    def use(_: int) -> bool:
        try:
            with database.transaction() as tx:
                access.use_token(tx, made, purpose=access.INVITATION, now=clock())
        except Unauthenticated:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(use, range(16))) == 1


def test_what_ended_is_forgotten_and_what_is_in_force_is_not(
    acme: Customer, database: Database, clock: Clock
) -> None:
    session(database, clock)
    link(database, clock)
    with database.transaction() as tx:
        access.make_token(
            tx, purpose="x", email="a@b.example", lifetime=timedelta(hours=1), now=clock()
        )
    attempts.begin_attempt(database, "a@b.example", "192.0.2.1", now=clock())
    clock.forward(timedelta(days=2))
    kept = session(database, clock)
    with database.transaction() as tx:
        access.forget_ended(tx, now=clock())
        assert len(tx.execute(select(sessions)).all()) == 1
        for emptied in (portal_links, tokens, sign_in_attempts):
            assert tx.execute(select(emptied)).all() == []
    assert in_force(database, clock, kept)
