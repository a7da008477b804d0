"""What happens when credits run out: stop, or go on up to a limit of money, never past it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from portal import catalog, jobs
from portal.billing.gateway import Gateway
from portal.db import Database
from portal.jobs import Workshop
from tests.cast import Api, Customer, ok, refused
from tests.clock import Clock


@pytest.fixture
def pro(api: Api) -> Customer:
    """Pro: 2,500 credits a period, then six cents a credit."""
    ok(api.put("/v1/organizations/pro", {"name": "Pro", "tier": "pro"}), 201)
    return Customer(api, "pro")


def use_up(customer: Customer, credits_: int = 2_500) -> None:
    ok(customer.send(customer.event("analysis", quantity=credits_ // 10)))


def allow(customer: Customer, limit: str | None) -> object:
    body = {"on_empty": "stop" if limit is None else "overage"}
    if limit is not None:
        body["overage_limit"] = limit
    return ok(customer.api.patch(f"{customer.path}/spending", body))


def test_work_stops_at_zero_unless_somebody_chose_otherwise(pro: Customer) -> None:
    use_up(pro)
    problem = refused(pro.authorize("image"), 402, "insufficient-credits")
    assert {"do": "allow-overage"} in problem["options"]
    assert pro.balance()["on_empty"] == "stop"


def test_a_refusal_offers_only_what_would_lift_it(api: Api, pro: Customer) -> None:
    ok(api.put("/v1/organizations/none", {"name": "None"}), 201)
    problem = refused(Customer(api, "none").authorize("image"), 402, "insufficient-credits")
    assert problem["options"] == [{"do": "buy-credits"}, {"do": "change-tier"}]
    use_up(pro)
    allow(pro, "0.6")
    problem = refused(pro.authorize("analysis", 2), 402, "insufficient-credits")
    assert "raise the limit" in problem["detail"]
    pro.cap(1, action="image")
    assert "for image alone" in refused(pro.authorize("image"), 402, "cap-reached")["detail"]


def test_work_goes_on_up_to_the_limit_and_not_a_millionth_further(pro: Customer) -> None:
    use_up(pro)
    assert allow(pro, "0.6") == {"on_empty": "overage", "overage_limit": "0.6", "currency": "usd"}
    hold = pro.hold("analysis")
    problem = refused(pro.authorize("image", quantity="0.000001"), 402, "insufficient-credits")
    assert {"do": "raise-overage-limit"} in problem["options"]
    assert ok(pro.capture(hold))["credits"] == "10"
    found = pro.balance()
    assert found["overage"] == {"enabled": True, "credits": "10", "amount": "0.6", "limit": "0.6"}
    assert (found["available"], found["held"], found["debt"]) == ("0", "0", "0")


def test_what_a_capture_leaves_goes_back_beyond_first(pro: Customer) -> None:
    use_up(pro, 2_490)
    allow(pro, "6")
    hold = pro.hold("analysis", quantity=5)
    assert pro.balance()["held"] == "50"
    assert ok(pro.capture(hold, quantity=2))["released"] == "30"
    found = pro.balance()
    assert (found["overage"]["credits"], found["available"]) == ("10", "0")
    ok(pro.api.post(f"/v1/authorizations/{pro.hold('analysis')}/release", {}))
    assert pro.balance()["overage"]["credits"] == "10"


def test_work_that_happened_is_charged_beyond_as_far_as_the_limit_goes(pro: Customer) -> None:
    use_up(pro)
    allow(pro, "0.3")
    answer = ok(pro.send(pro.event("analysis")))
    assert answer["uncollected"] == 1
    found = pro.balance()
    assert (found["overage"]["amount"], found["uncollected"]) == ("0.3", "5")


def test_a_new_period_begins_with_nothing_beyond(pro: Customer, clock: Clock) -> None:
    use_up(pro)
    allow(pro, "0.6")
    ok(pro.capture(pro.hold("analysis")))
    clock.set(datetime(2026, 12, 9, tzinfo=UTC))
    assert pro.balance()["overage"]["credits"] == "0"
    use_up(pro)
    pro.hold("analysis")


def test_the_worst_case_is_the_plan_and_what_was_allowed(pro: Customer) -> None:
    assert pro.balance()["worst_case"] == {"amount": "99", "currency": "usd"}
    allow(pro, "50")
    assert pro.balance()["worst_case"]["amount"] == "149"
    use_up(pro)
    ok(pro.capture(pro.hold("analysis")))
    allow(pro, None)
    # What was used while it was allowed stays used.
    assert pro.balance()["worst_case"]["amount"] == "99.6"
    refused(pro.authorize("image"), 402, "insufficient-credits")


def test_a_list_price_in_other_money_is_not_told_as_ones_own(acme: Customer) -> None:
    euro = Customer(acme.api, "euro")
    ok(acme.api.put(euro.path, {"name": "Euro", "currency": "eur", "tier": "pro"}), 201)
    assert euro.balance()["worst_case"] is None


def test_the_worst_case_has_what_work_in_flight_may_still_use(pro: Customer) -> None:
    use_up(pro)
    allow(pro, "6")
    hold = pro.hold("analysis", quantity=10)
    for limit in ("1", None):
        allow(pro, limit)
        assert pro.balance()["worst_case"]["amount"] == "105"
    ok(pro.capture(hold))
    assert pro.balance()["worst_case"]["amount"] == "105"


def test_a_lower_limit_undoes_nothing_and_lets_nothing_new_begin(pro: Customer) -> None:
    use_up(pro)
    allow(pro, "6")
    hold = pro.hold("analysis", quantity=10)
    allow(pro, "1")
    refused(pro.authorize("image"), 402, "insufficient-credits")
    assert ok(pro.capture(hold))["credits"] == "100"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"on_empty": "overage"}, "/overage_limit"),
        ({"on_empty": "overage", "overage_limit": "-1"}, "/overage_limit"),
        ({"on_empty": "overage", "overage_limit": "0.001"}, "/overage_limit"),
        ({"on_empty": "whatever"}, "/on_empty"),
        ({}, "/on_empty"),
    ],
)
def test_a_choice_that_means_nothing_is_refused(
    pro: Customer, body: dict[str, str], pointer: str
) -> None:
    problem = refused(pro.api.patch(f"{pro.path}/spending", body), 422, "invalid-request")
    assert [one["pointer"] for one in problem["errors"]] == [pointer]


def test_an_organization_without_a_plan_has_nothing_to_go_on_with(acme: Customer) -> None:
    body = {"on_empty": "overage", "overage_limit": "5"}
    problem = refused(acme.api.patch(f"{acme.path}/spending", body), 422, "invalid-request")
    assert problem["errors"][0]["pointer"] == "/on_empty"


def test_a_cap_in_money_counts_credits_at_what_the_plan_asks_for_one_more(pro: Customer) -> None:
    body = {"scope": "organization", "limit": {"amount": "1.20", "currency": "usd"}}
    cap = ok(pro.api.post(f"{pro.path}/caps", body), 201)
    assert cap["limit"] == {"credits": "20", "amount": "1.2", "currency": "usd"}
    pro.hold("analysis", quantity=2)
    refused(pro.authorize("image"), 402, "cap-reached")
    # A larger plan makes a credit cheaper, so the same money is more of them.
    ok(pro.api.put("/v1/organizations/pro", {"name": "Pro", "tier": "team"}))
    (cap,) = pro.caps().values()
    assert cap["limit"]["credits"] == "30"


def test_a_cap_is_in_credits_or_in_money(pro: Customer) -> None:
    for limit in ({}, {"credits": 1, "amount": 1}, {"currency": "usd"}):
        body = {"scope": "organization", "limit": limit}
        refused(pro.api.post(f"{pro.path}/caps", body), 422, "invalid-request")
    body = {"scope": "organization", "limit": {"amount": 1, "currency": "eur"}}
    refused(pro.api.post(f"{pro.path}/caps", body), 422, "invalid-request")


@pytest.mark.parametrize("currency", ["eur", "jpy"])
def test_no_price_of_one_currency_is_read_in_another(api: Api, currency: str) -> None:
    body = {"name": "Abroad", "tier": "pro", "currency": currency}
    abroad = Customer(api, "abroad")
    ok(api.put(abroad.path, body), 201)
    assert abroad.balance()["worst_case"] is None
    capped = {"scope": "organization", "limit": {"amount": "12", "currency": currency}}
    problem = refused(api.post(f"{abroad.path}/caps", capped), 422, "invalid-request")
    assert problem["errors"][0]["pointer"] == "/limit/amount"
    assert "USD" in problem["detail"]
    assert currency.upper() in problem["detail"]
    kept = abroad.cap(20)
    changed = api.patch(f"{abroad.path}/caps/{kept}", {"limit": capped["limit"]})
    refused(changed, 422, "invalid-request")
    ok(api.put(abroad.path, body | {"tier": "team"}))


def test_a_price_book_in_another_currency_sells_nothing_beyond_and_leaves_caps_in_money(
    pro: Customer, database: Database, clock: Clock
) -> None:
    allow(pro, "6")
    body = {"scope": "organization", "limit": {"amount": "1200", "currency": "usd"}}
    ok(pro.api.post(f"{pro.path}/caps", body), 201)
    use_up(pro)
    ok(pro.authorize("analysis"), 201)
    with database.transaction() as tx:
        document = catalog.DEFAULT_FILE.read_text(encoding="utf-8").replace('"usd"', '"eur"')
        dated = document.replace("effective_at", "#")
        catalog.load(tx, dated, now=clock())
    clock.forward(timedelta(seconds=1))
    refused(pro.authorize("analysis"), 402, "insufficient-credits")
    found = pro.balance()
    assert (found["worst_case"], found["overage"]["enabled"]) == (None, False)
    ok(pro.api.put(pro.path, {"name": "Pro", "tier": "team"}))
    (cap,) = pro.caps().values()
    assert cap["limit"] == {"credits": "20000", "amount": "1200", "currency": "usd"}


def test_a_threshold_is_told_once_and_its_recovery_too(pro: Customer) -> None:
    cap = pro.cap(100, thresholds=[50, 90])

    def standing() -> list[int]:
        (found,) = pro.caps().values()
        return [one["threshold"] for one in found["alerts"] if one["ended_at"] is None]

    ok(pro.send(pro.event("analysis", quantity=4)))
    assert standing() == []
    ok(pro.send(pro.event("analysis")))
    assert standing() == [50]
    ok(pro.send(pro.event("analysis", quantity=4)))
    assert standing() == [50, 90]
    ok(pro.api.patch(f"{pro.path}/caps/{cap}", {"limit": {"credits": 150}}))
    assert standing() == [50]
    (found,) = pro.caps().values()
    assert len(found["alerts"]) == 2


def test_what_is_left_of_a_grant_can_be_taken_back(api: Api, acme: Customer) -> None:
    hold = acme.hold("analysis")
    ok(acme.send(acme.event("image")))
    (grant,) = acme.balance()["grants"]
    path = f"{acme.path}/grants/{grant['id']}/void"
    assert ok(api.post(path, {"reason": "a mistake"}))["taken_back"] == "88"
    assert acme.balance()["available"] == "0"
    for nothing in ({}, None):
        sent = {} if nothing is None else {"body": nothing}
        assert ok(api.post(path, **sent))["taken_back"] == "0"
    # What a hold gives back of it is taken too; what was spent stays spent.
    assert ok(acme.capture(hold, quantity="0.4"))["released"] == "6"
    found = acme.balance()
    assert (found["available"], found["held"], found["debt"]) == ("0", "0", "0")
    refused(api.post(f"{acme.path}/grants/gr_nobodys/void", {}), 404, "unknown-grant")


def test_leftovers_roll_over_where_the_plan_says_so(
    api: Api, database: Database, clock: Clock
) -> None:
    from portal import catalog

    document = catalog.DEFAULT_FILE.read_text(encoding="utf-8").replace(
        "overage = 0.06", "overage = 0.06\nrollover = true"
    )
    document = document.replace("2020-01-01T00:00:00Z", clock().isoformat())
    with database.transaction() as tx:
        catalog.load(tx, document, now=clock())
    ok(api.put("/v1/organizations/pro", {"name": "Pro", "tier": "pro"}), 201)
    pro = Customer(api, "pro")
    use_up(pro, 2_000)
    clock.set(datetime(2026, 12, 8, 23, 59, 59, 999_999, tzinfo=UTC))
    held = pro.hold("analysis", expires_in=1)
    clock.forward(timedelta(hours=3))
    jobs.begin_periods(Workshop(database, Gateway(""), clock))
    lots = [(one["source"], one["remaining"]) for one in pro.balance()["grants"]]
    # What a hold pinned over the turn of the period expired with the allowance it came from.
    assert lots == [("rollover", "490"), ("allowance", "2500")]
    assert api.get(f"/v1/authorizations/{held}").get_json()["status"] == "expired"
    clock.set(datetime(2027, 1, 9, tzinfo=UTC))
    lots = [(one["source"], one["remaining"]) for one in pro.balance()["grants"]]
    assert lots == [("rollover", "2500"), ("allowance", "2500")]
