"""Usage events: each counted once, answered for one by one, recorded whatever the limits."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta

import pytest

from portal import catalog
from portal.db import Database
from tests import digest
from tests.cast import Api, Customer, make_key, ok, refused
from tests.clock import Clock

DAY = timedelta(days=1)


def _answer(**expected: int) -> dict[str, object]:
    return {"accepted": 0, "duplicates": 0, "uncollected": 0, "rejected": []} | expected


def test_an_event_is_recorded_rated_and_debited(acme: Customer, bystander: Customer) -> None:
    event = acme.event("document", quantity="2.5", member="cleo", project="atlas")
    assert ok(acme.send(event)) == _answer(accepted=1)
    assert acme.standing == ("87.5", "0")
    stored = ok(acme.api.get(f"{acme.path}/events/{event['id']}"))
    assert (stored["credits"], stored["quantity"], stored["team"]) == ("12.5", "2.5", "research")
    assert stored["price"] == {"credits_each": "5", "price_book": 1}


@pytest.mark.parametrize(
    "kind",
    ["application/cloudevents+json", "application/json", "application/cloudevents-batch+json"],
)
def test_events_come_one_by_one_or_in_batches(acme: Customer, kind: str) -> None:
    event = acme.event()
    body = [event] if "batch" in kind else event
    answer = acme.api.post("/v1/events", body, headers={"Content-Type": kind})
    assert ok(answer) == _answer(accepted=1)


def test_a_batch_may_be_packed(acme: Customer) -> None:
    packed = gzip.compress(json.dumps([acme.event(), acme.event()]).encode())
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    answer = acme.api.post("/v1/events", data=packed, headers=headers)
    assert ok(answer) == _answer(accepted=2)


def test_the_same_event_counts_once_however_often_it_comes(acme: Customer, clock: Clock) -> None:
    event = acme.event("document", time=clock())
    assert ok(acme.send(event, event, event)) == _answer(accepted=1, duplicates=2)
    for _ in range(3):
        assert ok(acme.send(event)) == _answer(duplicates=1)
    clock.forward(30 * DAY)
    assert ok(acme.send(event)) == _answer(duplicates=1)
    assert acme.standing == ("95", "0")


def test_the_same_identity_with_other_content_is_a_conflict_and_the_first_stands(
    acme: Customer,
) -> None:
    event = acme.event("document")
    ok(acme.send(event))
    other = event | {"data": {"quantity": 9}}
    body = ok(acme.send(other, acme.event("image")))
    assert body["accepted"] == 1
    assert [(one["index"], one["code"]) for one in body["rejected"]] == [(0, "event-conflict")]
    assert acme.standing == ("93", "0")


def test_two_sources_may_use_one_id_and_joined_names_are_not_mixed_up(acme: Customer) -> None:
    events = [
        acme.event("image", source="c", id="same"),
        acme.event("image", source="d", id="same"),
    ]
    for joint in ("", "-", ":", "/", "|", ".", "#", ","):
        events.append(acme.event("image", source=f"a{joint}b", id="c"))
        events.append(acme.event("image", source="a", id=f"b{joint}c"))
    assert ok(acme.send(*events)) == _answer(accepted=len(events))


def test_two_organizations_may_use_one_identity(acme: Customer, api: Api) -> None:
    ok(api.put("/v1/organizations/second", {"name": "Second"}), 201)
    second = Customer(api, "second")
    second.grant(10)
    event = acme.event("image", id="same")
    assert ok(acme.send(event, event | {"subject": "second"})) == _answer(accepted=2)
    assert (acme.standing[0], second.standing[0]) == ("98", "8")


def test_the_good_events_of_a_batch_land_whatever_the_bad_ones_are(acme: Customer) -> None:
    batch = [
        acme.event("document"),
        acme.event("video"),
        "nonsense",
        acme.event("document") | {"subject": "nobody"},
        acme.event("document") | {"specversion": "0.3"},
        acme.event("document", quantity=-1),
        acme.event("image"),
    ]
    body = ok(acme.send(*batch))
    assert body["accepted"] == 2
    assert [(one["index"], one["code"]) for one in body["rejected"]] == [
        (1, "unknown-action"),
        (2, "invalid-event"),
        (3, "unknown-organization"),
        (4, "invalid-event"),
        (5, "invalid-event"),
    ]
    assert acme.standing == ("93", "0")


def test_an_event_whose_data_is_encoded_is_not_taken_for_one_without_data(acme: Customer) -> None:
    encoded = acme.event("document") | {"data_base64": "eyJxdWFudGl0eSI6IDN9"}
    for sent in (encoded, {key: encoded[key] for key in encoded if key != "data"}):
        problem = refused(acme.send(sent), 422, "invalid-event")
        assert problem["errors"][0]["pointer"] == "/0/data_base64"
    assert acme.standing == ("100", "0")


def test_a_rejected_event_is_kept_with_its_reason(acme: Customer, database: Database) -> None:
    before = digest.counts(database)
    problem = refused(acme.send(acme.event("video")), 422, "invalid-event")
    assert problem["errors"][0]["pointer"] == "/0/type"
    after = digest.counts(database)
    assert after.pop("rejected_events") == before.pop("rejected_events") + 1
    assert after == before


def test_an_event_that_was_rejected_lands_once_its_cause_is_mended(
    acme: Customer, database: Database, clock: Clock
) -> None:
    event = acme.event("video")
    refused(acme.send(event), 422, "invalid-event")
    more = '[actions.video]\nname = "Video"\ncredits = 20\n\n[actions.document]'
    document = catalog.DEFAULT_FILE.read_text().replace("[actions.document]", more)
    with database.transaction() as tx:
        catalog.load(tx, document, now=clock.forward(timedelta(minutes=1)))
    assert ok(acme.send(event)) == _answer(accepted=1)
    assert acme.standing == ("80", "0")


def test_what_the_balance_does_not_cover_is_uncollected_and_never_dropped(
    acme: Customer, bystander: Customer
) -> None:
    body = ok(acme.send(acme.event("analysis", quantity=8), acme.event("analysis", quantity=8)))
    assert body == _answer(accepted=2, uncollected=1)
    balance = acme.balance()
    assert (balance["available"], balance["uncollected"], balance["debt"]) == ("0", "60", "0")
    totals = acme.usage()["totals"]
    assert (totals["credits"], totals["uncollected"], totals["quantity"]) == ("100", "60", "16")


def test_what_a_hard_cap_does_not_cover_is_uncollected(acme: Customer) -> None:
    cap = acme.cap(12, "member", target="cleo")
    ok(acme.send(acme.event("document", quantity=3, member="cleo")))
    ok(acme.send(acme.event("document", member="ben")))
    assert acme.caps()[cap]["spent"] == "12"
    assert acme.balance()["uncollected"] == "3"
    assert acme.standing == ("83", "0")


def test_a_soft_cap_tells_and_takes_nothing_away(acme: Customer) -> None:
    cap = acme.cap(12, mode="soft")
    assert ok(acme.send(acme.event("document", quantity=3))) == _answer(accepted=1)
    found = acme.caps()[cap]
    assert (found["spent"], found["remaining"]) == ("15", "0")


def test_events_never_touch_credits_that_are_held(acme: Customer) -> None:
    hold = acme.hold("analysis", 9)
    ok(acme.send(acme.event("analysis", quantity=2)))
    assert acme.standing == ("0", "90")
    assert ok(acme.capture(hold))["uncollected"] == "0"


def test_events_are_debited_in_burn_down_order_across_a_batch(acme: Customer) -> None:
    first = acme.grant(7, priority=1)
    events = [acme.event("document"), acme.event("document"), acme.event("document")]
    ok(acme.send(*events))
    paid = [ok(acme.api.get(f"{acme.path}/events/{one['id']}"))["paid_by"] for one in events]
    assert [line["credits"] for line in paid[0]] == ["5"]
    by_first = [line["credits"] for lines in paid for line in lines if line["grant"] == first]
    assert by_first == ["5", "2"]
    assert acme.standing == ("92", "0")


def test_an_event_is_rated_at_the_prices_of_its_own_time(
    acme: Customer, database: Database, clock: Clock
) -> None:
    before = clock()
    dearer = catalog.DEFAULT_FILE.read_text().replace("credits = 5\n", "credits = 7\n", 1)
    with database.transaction() as tx:
        catalog.load(tx, dearer, now=clock.forward(DAY))
    early = acme.event("document", time=before)
    on_time = acme.event("document", time=clock())
    last = acme.event("document", time=clock() - timedelta(microseconds=1))
    ok(acme.send(early, on_time, last))
    found = [ok(acme.api.get(f"{acme.path}/events/{one['id']}")) for one in (early, on_time, last)]
    assert [one["credits"] for one in found] == ["5", "7", "5"]


@pytest.mark.parametrize(
    ("step", "taken"),
    [
        (-35 * DAY, True),
        (-35 * DAY - timedelta(microseconds=1), False),
        (timedelta(minutes=5), True),
        (timedelta(minutes=5, microseconds=1), False),
    ],
)
def test_times_reach_back_35_days_and_five_minutes_ahead(
    acme: Customer, clock: Clock, step: timedelta, taken: bool
) -> None:
    answer = acme.send(acme.event("image", time=clock() + step))
    if taken:
        ok(answer)
    else:
        assert refused(answer, 422, "invalid-event")["rejected"][0]["detail"].startswith("/time")


def test_history_is_imported_uncharged_by_a_key_that_may(
    acme: Customer, database: Database, clock: Clock
) -> None:
    importer = acme.api.holding(make_key(database, clock, scopes=["meter", "backfill"]))
    old = acme.event("analysis", time=clock() - 1000 * DAY, charge=False)
    refused(acme.send(old), 422, "invalid-event")
    assert ok(acme.send(old, api=importer)) == _answer(accepted=1)
    too_old = acme.event("analysis", time=clock() - 1100 * DAY, charge=False)
    refused(acme.send(too_old, api=importer), 422, "invalid-event")
    assert acme.standing == ("100", "0")
    assert acme.balance()["uncollected"] == "0"
    assert acme.usage("start=2024-01-01&end=2025-01-01")["totals"]["credits"] == "10"


def test_a_cost_event_costs_the_customer_nothing(acme: Customer) -> None:
    event = acme.event("cost.external", costs=[{"layer": "external", "amount_usd": "1.5"}])
    assert ok(acme.send(event)) == _answer(accepted=1)
    assert acme.standing == ("100", "0")
    totals = acme.usage("include=cost")["totals"]
    assert (totals["cost_usd"], totals["credits"], totals["quantity"]) == ("1.5", "0", "0")


def test_every_row_of_usage_with_costs_has_the_same_fields(acme: Customer) -> None:
    ok(acme.send(acme.event("cost.external", costs=[{"layer": "external", "amount_usd": "1.5"}])))
    ok(acme.send(acme.event("document")))
    costly, free = acme.usage("include=cost&group_by=action")["data"]
    assert list(costly) == list(free)
    assert (free["cost_usd"], free["cost_by_layer"], free["unknown_costs"]) == ("0", {}, 0)


def test_an_unknown_models_cost_is_unknown_and_never_zero(acme: Customer) -> None:
    event = acme.event("document", model="nobody/knows-this", usage={"input_tokens": 10})
    ok(acme.send(event))
    line = ok(acme.api.get(f"{acme.path}/events/{event['id']}"))["costs"][0]
    assert (line["quality"], line["amount_usd"]) == ("unknown", None)
    assert acme.usage("include=cost")["totals"]["unknown_costs"] == 1


def test_work_that_was_authorized_is_not_charged_again_by_an_event(acme: Customer) -> None:
    hold = acme.hold("document")
    problem = refused(acme.send(acme.event("document", authorization=hold)), 422, "invalid-event")
    assert "/data/authorization" in problem["detail"]
    ok(acme.send(acme.event("cost.inference", authorization=hold, model="x")))
    assert acme.standing == ("95", "5")


def test_an_organizations_key_sends_its_own_events_only(
    acme: Customer, bystander: Customer, database: Database, clock: Clock
) -> None:
    own = acme.api.holding(make_key(database, clock, organization="acme", scopes=["read", "meter"]))
    body = ok(acme.send(acme.event("image"), bystander.event("image"), api=own))
    assert body["accepted"] == 1
    assert [(one["index"], one["code"]) for one in body["rejected"]] == [
        (1, "unknown-organization")
    ]


def test_a_shadow_organizations_events_are_rated_and_never_charged(api: Api) -> None:
    ok(api.put("/v1/organizations/shade", {"name": "Shade", "charging": "shadow"}), 201)
    shade = Customer(api, "shade")
    assert ok(shade.send(shade.event("analysis", quantity=50))) == _answer(accepted=1)
    assert shade.usage()["totals"]["credits"] == "500"
    assert shade.balance()["uncollected"] == "0"


def test_a_batch_of_a_thousand_lands_whole(acme: Customer) -> None:
    batch = [acme.event("image", quantity="0.01") for _ in range(1000)]
    assert ok(acme.send(*batch)) == _answer(accepted=1000)
    assert acme.standing == ("80", "0")
