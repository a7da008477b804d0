"""API keys: shown once, stored as a hash, worth what their scopes and their organization say."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from portal import keys
from portal.core.errors import InvalidRequest, NotFound, Unauthenticated
from portal.db import Database
from portal.tables import api_keys
from tests.cast import Api, Customer, make_key, ok, refused
from tests.clock import Clock


def test_a_key_is_recognized_with_its_scopes(
    acme: Customer, database: Database, clock: Clock
) -> None:
    service = make_key(database, clock)
    theirs = make_key(database, clock, organization="acme")
    with database.reading() as tx:
        found = keys.recognize(tx, service, now=clock())
        assert (found.organization_id, found.scopes) == (None, {"read", "meter", "manage"})
        assert keys.caller_of(database, service, now=clock()) == found
        found = keys.recognize(tx, theirs, now=clock())
        assert (found.organization_id, found.scopes) == ("acme", {"read"})
        assert keys.caller_of(database, theirs, now=clock()) == found


def test_a_key_in_use_is_seen_by_both_ways_of_looking_it_up(
    acme: Customer, database: Database, clock: Clock
) -> None:
    secret = make_key(database, clock, organization="acme")
    ends = clock() + keys.USED_EVERY + timedelta(microseconds=1)
    with database.transaction() as tx:
        keys.used(tx, keys.id_of(secret), now=clock())
        keys.end_at(tx, keys.id_of(secret), at=ends)
    for passed, unseen in ((timedelta(0), False), (keys.USED_EVERY, True)):
        with database.reading() as tx:
            found = keys.recognize(tx, secret, now=clock() + passed)
        assert found == keys.caller_of(database, secret, now=clock() + passed)
        assert found.unseen == unseen
    with pytest.raises(Unauthenticated):
        keys.caller_of(database, secret, now=ends)


def test_the_store_keeps_nothing_a_key_could_be_made_from(database: Database, clock: Clock) -> None:
    secret = make_key(database, clock)
    with database.reading() as tx:
        stored = repr(tx.execute(select(api_keys)).all())
    assert secret not in stored
    assert secret.split("_", 2)[2] not in stored
    assert len(secret.split("_", 2)[2]) >= 43


def test_a_key_that_is_almost_right_is_none(database: Database, clock: Clock) -> None:
    secret = make_key(database, clock)
    prefix, public, rest = secret.split("_", 2)
    other = make_key(database, clock).split("_", 2)[2]
    wrong = [
        "", "_", "cm", "cm__", "cm_" + public, f"cm_{public}_", f"cm_{public}_{rest}x",
        f"cm_{public}_{rest[:-1]}", f"CM_{public}_{rest}", f"xx_{public}_{rest}",
        f"cm_{public}_{other}", f"cm_{public.upper()}_{rest}", f"cm_é_{rest}", "cm_" + "x" * 4000,
    ]  # fmt: skip
    with database.reading() as tx:
        assert keys.recognize(tx, secret, now=clock()).key_id == f"key_{public}"
        for key in wrong:
            with pytest.raises(Unauthenticated):
                keys.recognize(tx, key, now=clock())
            with pytest.raises(Unauthenticated):
                keys.caller_of(database, key, now=clock())
    assert prefix == "cm"


def test_a_revoked_key_is_refused_at_the_next_request(
    acme: Customer, database: Database, clock: Clock
) -> None:
    client = acme.api.holding(make_key(database, clock))
    ok(client.get("/v1/catalog"))
    with database.transaction() as tx:
        key_id = f"key_{client.secret.split('_')[1]}"
        keys.revoke(tx, key_id, now=clock())
    refused(client.get("/v1/catalog"), 401, "unauthenticated")


def test_a_key_is_of_an_organization_and_of_scopes_that_exist(
    database: Database, clock: Clock
) -> None:
    with pytest.raises(NotFound):
        make_key(database, clock, organization="nobody")
    with pytest.raises(InvalidRequest):
        make_key(database, clock, scopes=["everything"])


def test_the_header_may_be_written_in_any_case_and_nothing_else_will_do(api: Api) -> None:
    anonymous = api.holding("")
    for kind in ("Bearer", "bearer", "BEARER"):
        ok(anonymous.get("/v1/catalog", headers={"Authorization": f"{kind} {api.secret}"}))
    for header in (api.secret, f"Basic {api.secret}", f"Bearer{api.secret}"):
        answer = anonymous.get("/v1/catalog", headers={"Authorization": header})
        refused(answer, 401, "unauthenticated")
    refused(anonymous.get(f"/v1/catalog?key={api.secret}"), 401, "unauthenticated")
