"""What the operator pays, and for which model, is told to nobody but the operator.

A figure that occurs nowhere else is put into every column of cost, and a name into every column of
a model; then whatever customers can fetch is searched for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
import pytest
from sqlalchemy import String, Text, update

from portal.tables import APPEND_ONLY, metadata
from portal.web.api import shapes
from tests.cast import Api
from tests.test_audit import unguarded
from tests.web import table
from tests.web.house import House

CANARY = 987_654_321
#: As it would be written: plainly, in dollars, and rounded on a page.
TRACES = ("987654321", "0.987654", "0.9876", "0.9877", "987.65", "canary-model", "canary-provider")
CUSTOMERS = ("owner", "member", "viewer", "k-read", "k-manage")
QUERIES = (
    "", "?include=cost", "?group_by=model", "?group_by=action,member&include=cost",
    "?model=canary-model", "?group=model", "?group=day&range=30-days", "?period=nonsense",
    "?range=30-days&model=canary-model", "?cursor=zz", "?limit=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def bitten(house: House) -> Iterator[House]:
    """The house, with a canary wherever the operator's cost or model could be."""
    api = Api(house.application, house.secrets["s-all"])
    usage = {"input_tokens": 1000, "output_tokens": 10}
    costs = [
        {"layer": "inference", "model": "gpt-4o", "provider": "openai", "usage": usage},
        {"layer": "retrieval", "amount_usd": "0.5"},
    ]
    event = {
        "specversion": "1.0", "id": "e-1", "source": "canary", "subject": "acme",
        "type": "document", "data": {"member": "cleo", "costs": costs},
    }  # fmt: skip
    assert api.post("/v1/events", event).json["accepted"] == 1
    bitten = 0
    with unguarded(house.database) as tx:
        for one in metadata.sorted_tables:
            if one.name in APPEND_ONLY:
                continue
            values: dict[str, object] = {}
            for column in one.c:
                if column.name.endswith("nano_usd"):
                    values[column.name] = CANARY
                elif column.name in {"model", "provider", "resource"} and isinstance(
                    column.type, String | Text
                ):
                    if column.primary_key:
                        continue
                    values[column.name] = f"canary-{column.name}"
            if values:
                bitten += tx.execute(update(one).values(values)).rowcount
    assert bitten >= 4
    yield house
    house.restore()


def test_the_operator_finds_the_canary(bitten: House) -> None:
    answer = bitten.ask("s-all", "GET", "/v1/organizations/acme/usage?include=cost").text
    assert any(trace in answer for trace in TRACES)


@pytest.mark.parametrize("actor", CUSTOMERS)
def test_nothing_a_customer_can_fetch_has_it(bitten: House, actor: str) -> None:
    fetched = 0
    for rule, method in bitten.routes():
        program = rule.rule.startswith("/v1/")
        if method != "GET" or program != actor.startswith("k-") or rule.endpoint == "static":
            continue
        asked = QUERIES if "usage" in rule.rule or "events" in rule.rule else QUERIES[:1]
        for query in asked:
            for accept in ("application/json", "text/csv") if program else ("text/html",):
                path = bitten.path(rule) + query
                answer = bitten.ask(actor, "GET", path, headers={"Accept": accept})
                found = answer.get_data(as_text=True) + str(answer.headers)
                # What was asked for may be said again; it is no secret to who asked.
                found = found.replace("model=canary-model", "")
                assert not [one for one in TRACES if one in found], (path, accept)
                fetched += 1
    assert fetched >= 40


def test_nothing_a_customer_sends_is_answered_with_it(bitten: House) -> None:
    for rule, method in bitten.routes():
        if method == "GET":
            continue
        for actor in ("owner", "k-manage"):
            answer = table.ask(bitten, actor, rule, method, bitten.path(rule))
            found = answer.get_data(as_text=True) + str(answer.headers)
            assert not [one for one in TRACES if one in found], (method, rule.rule)


COLUMNS = sorted({column.name for one in metadata.sorted_tables for column in one.c})


def test_a_form_takes_the_fields_it_has_and_no_other(house: House) -> None:
    """Every column there is, posted along with each form, changes nothing more than the form."""
    for rule, method in house.routes():
        if method == "GET" or rule.rule.startswith(("/v1/", "/webhooks/", "/sign-", "/plans")):
            continue
        carried = table.CARRIED.get(rule.endpoint, {})
        known = set(carried) | OPTIONAL.get(rule.endpoint, set())
        extra = {name: "1" for name in COLUMNS if name not in known}
        found = []
        for sent in (carried, extra | carried):
            house.restore()
            house.ask("owner", "POST", house.path(rule), form=sent)
            found.append(_shape(house))
        assert found[0] == found[1], rule.rule
    house.restore()


#: Fields of a form that are left out of what the table carries.
OPTIONAL = {
    "customer.choose_when_empty": {"overage_limit"},
    "customer.make_webhook": {"type"},
}


def _shape(house: House) -> dict[str, list[str]]:
    """Return the store without the ids and hashes that chance chose."""
    chance = re.compile(r"\b[a-z]+_[0-9a-z]{20}\b|\b[0-9a-f]{64}\b|\$argon2[^']*")
    return {
        name: sorted(chance.sub("#", row) for row in rows) for name, rows in house.digest().items()
    }


def test_every_body_of_the_api_refuses_what_it_does_not_know(house: House) -> None:
    bodies = [
        one
        for one in vars(shapes).values()
        if isinstance(one, type) and issubclass(one, msgspec.Struct) and one.__struct_fields__
    ]
    assert len(bodies) >= 10
    for rule, method in house.routes():
        if not rule.rule.startswith("/v1/") or method == "GET":
            continue
        if rule.endpoint in {"api.post_events", "api.post_traces"}:
            # Events may carry attributes of their own, as CloudEvents and OpenTelemetry have it.
            continue
        house.restore()
        before = house.digest()
        carried = table.CARRIED.get(rule.endpoint, {})
        extra = {name: "1" for name in COLUMNS if name not in carried}
        # The endpoint that there is is Acme's own.
        actor = "k-manage" if rule.rule.startswith("/v1/webhook_endpoints") else "s-all"
        answer = house.ask(actor, method, house.path(rule), body=extra | carried)
        if method != "DELETE":
            assert answer.status_code == 422, (method, rule.rule, answer.status_code)
            assert house.digest() == before, rule.rule
    house.restore()
