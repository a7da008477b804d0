"""The operator's pages as Olga reads them: what they show, whom they find, and that they hold."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from portal.core.margin.focus import Charge
from portal.db import Database
from portal.margin import costs
from tests.cast import Customer, ok
from tests.clock import Clock
from tests.console import enter_olga
from tests.readers import Reader

PAGES = (
    "/operator/", "/operator/?span=90-days", "/operator/?span=last-month", "/operator/?span=month",
    "/operator/customers", "/operator/customers/acme", "/operator/customers/acme/timeline",
    "/operator/customers/acme/events", "/operator/customers/acme/grant",
    "/operator/customers/acme/view", "/operator/catalogue", "/operator/catalogue/prices/new",
    "/operator/catalogue/costs/new", "/operator/catalogue/prices/1.toml",
    "/operator/catalogue/prices/difference?old=0&new=1",
    "/operator/events", "/operator/events/reviews", "/operator/events/undelivered",
    "/operator/payments",
    "/operator/payments?show=disputed", "/operator/payments/inbox",
    "/operator/payments/reconciliation", "/operator/keys", "/operator/audit",
    "/operator/simulation", "/operator/routing", "/operator/routing?span=last-month",
)  # fmt: skip


@pytest.fixture
def olga(acme: Customer, application: Flask, database: Database, clock: Clock) -> Reader:
    return enter_olga(application, database, clock)


def test_every_page_of_the_console_is_there(
    olga: Reader, acme: Customer, subtests: pytest.Subtests
) -> None:
    ok(acme.send(acme.event("document", id="one", member="cleo", run="r-1")))
    more = ["/operator/customers/acme/event?source=tests&id=one",
            "/operator/customers/acme/correct?source=tests&id=one",
            "/operator/customers/acme/events?run=r-1"]  # fmt: skip
    for path in (*PAGES, *more):
        with subtests.test(path=path):
            answer = olga.client.get(path)
            assert answer.status_code == 200, answer.text[:2000]
            assert answer.headers["Cache-Control"] == "no-store"


def names(text: str) -> list[str]:
    return [one["Id"] for one in csv.DictReader(io.StringIO(text))]


def test_customers_are_searched_narrowed_and_put_in_order(
    olga: Reader, acme: Customer, bystander: Customer
) -> None:
    ok(acme.send(acme.event("document", quantity=3)))
    sheet = "/operator/customers.csv"
    assert names(olga.client.get(f"{sheet}?sort=use").text) == ["acme", "bystander"]
    assert names(olga.client.get(f"{sheet}?sort=use&order=rising").text) == ["bystander", "acme"]
    assert names(olga.client.get(f"{sheet}?sort=name").text) == ["acme", "bystander"]
    assert names(olga.client.get(f"{sheet}?q=STAND").text) == ["bystander"]
    assert names(olga.client.get(f"{sheet}?charging=shadow").text) == []
    assert names(olga.client.get(f"{sheet}?tier=none").text) == ["acme", "bystander"]
    assert names(olga.client.get(f"{sheet}?state=debt").text) == []
    assert "Nobody fits" in olga.client.get("/operator/customers?q=nobody").text


def test_a_name_that_would_be_a_formula_is_none_in_the_sheet(olga: Reader, acme: Customer) -> None:
    ok(acme.api.put(acme.path, {"name": "=HYPERLINK(1)"}))
    assert "'=HYPERLINK(1)" in olga.client.get("/operator/customers.csv").text


def test_pages_of_customers_follow_one_another_without_gap_or_double(
    olga: Reader, acme: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        ok(acme.api.put(f"/v1/organizations/org-{number}", {"name": f"Org {number}"}), 201)
    monkeypatch.setattr("portal.office.customers.PAGE", 3)
    seen: list[str] = []
    path = "/operator/customers?sort=name"
    for _ in range(3):
        page = olga.client.get(path).text
        found = [part.partition("<")[0] for part in page.split('<small class="id">')[1:]]
        seen += found
        path = f"/operator/customers?sort=name&order=rising&after={found[-1]}"
    assert seen == ["acme", *(f"org-{number}" for number in range(7))]


@pytest.mark.parametrize("place", ["x", "WyJhIiwgImIiXQ==", "W10=", "bnVsbA=="])
def test_a_place_that_no_list_gave_is_refused(olga: Reader, place: str) -> None:
    for path in ("audit", "events", "payments", "payments/inbox", "customers/acme/timeline"):
        assert olga.client.get(f"/operator/{path}?after={place}").status_code == 422


def test_the_margin_of_a_customer_is_one_figure_on_every_page_and_in_the_api(
    olga: Reader, acme: Customer
) -> None:
    ok(acme.api.put(acme.path, {"name": "Acme", "tier": "starter"}))
    cost = [{"layer": "inference", "amount_usd": "40.25"}]
    ok(acme.send(acme.event("document", costs=cost, member="cleo")))
    span = "start=2026-10-11&end=2026-11-10"
    told = ok(acme.api.get(f"/v1/margin/organizations/acme?{span}"))["margin_usd"]
    whole = ok(acme.api.get(f"/v1/margin?{span}"))["margin_usd"]
    (line,) = csv.DictReader(io.StringIO(olga.client.get("/operator/customers.csv").text))
    assert line["Margin of 30 days USD"] == told == whole
    shown = f"−${-Decimal(told):,.2f}"
    for path in ("/operator/", "/operator/customers", "/operator/customers/acme"):
        assert shown in olga.client.get(path).text, path
    talk = olga.client.get("/operator/").text.partition('id="talk"')[2].partition("</section>")[0]
    assert 'href="/operator/customers/acme"' in talk
    assert "Costs" in talk


def test_the_plans_and_what_nobody_explains_add_up_to_the_margin(
    olga: Reader, acme: Customer, database: Database, clock: Clock
) -> None:
    ok(acme.api.put(acme.path, {"name": "Acme", "tier": "starter"}))
    ok(acme.send(acme.event("document", costs=[{"layer": "inference", "amount_usd": "40.25"}])))
    today = clock().date()
    bill = Charge("inference", "", today, today + timedelta(days=1), 90_250_000_000)
    costs.import_invoice(database, b"bill", name="bill", charge=bill, actor="olga", now=clock())
    page = olga.client.get("/operator/").text
    table = page.partition('id="tiers-title"')[2].partition("</table>")[0]
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in table.split("<tr>")[2:]]
    assert [row[0] for row in rows] == ["Starter", "No", "Together"]
    plan, nobody, whole = ([_dollars(word) for word in row if "$" in word] for row in rows)
    assert nobody == [Decimal(50), Decimal(-50)]
    assert whole == [plan[0], plan[1] + nobody[0], plan[2] + nobody[1]]


def _dollars(words: str) -> Decimal:
    return Decimal(words.replace("$", "").replace(",", "").replace("−", "-"))


def test_a_customer_to_talk_to_stands_with_the_work_that_costs_most(
    olga: Reader, acme: Customer
) -> None:
    made = {"document": "30", "image": "10"}
    for action, usd in made.items():
        cost = [{"layer": "inference", "amount_usd": usd}]
        ok(acme.send(acme.event(action, costs=cost, member="cleo")))
    page = olga.client.get("/operator/").text
    talk = page.partition('id="talk"')[2].partition("</section>")[0]
    assert '<b class="num">75%</b> of their cost is documents.' in talk


def test_the_table_of_customers_has_the_revenue_of_just_now(olga: Reader, acme: Customer) -> None:
    ok(acme.api.put(acme.path, {"name": "Acme", "tier": "starter"}))
    (line,) = csv.DictReader(io.StringIO(olga.client.get("/operator/customers.csv").text))
    told = ok(acme.api.get("/v1/margin/organizations/acme?start=2026-10-11&end=2026-11-10"))
    assert line["Margin of 30 days USD"] == told["margin_usd"] != "0"


def test_the_margin_page_reads_every_customer_once(olga: Reader, database: Database) -> None:
    statements: list[str] = []

    def heard(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    event.listen(database.engine, "before_cursor_execute", heard)
    try:
        assert olga.client.get("/operator/").status_code == 200
    finally:
        event.remove(database.engine, "before_cursor_execute", heard)
    assert sum("FROM revenue_daily" in one and "cost_daily" in one for one in statements) == 1


def test_of_a_customer_whose_currency_has_no_rate_no_margin_is_claimed(
    olga: Reader, acme: Customer
) -> None:
    tokyo = Customer(acme.api, "tokyo")
    ok(acme.api.put(tokyo.path, {"name": "Tokyo", "currency": "jpy"}), 201)
    cost = [{"layer": "inference", "amount_usd": "40.25"}]
    ok(tokyo.send(tokyo.event("document", costs=cost)))
    page = olga.client.get("/operator/").text
    assert "cannot be said: their currencies have no rate" in page
    assert "without $40.25 of cost in currencies without a rate" in page
    ok(acme.send(acme.event("document", costs=[{"layer": "inference", "amount_usd": "1.5"}])))
    assert "1 of 1</b> cost more than they bring" in olga.client.get("/operator/").text


def test_signals_say_of_how_few_customers_nothing_can_be_said(olga: Reader) -> None:
    page = olga.client.get("/operator/").text
    assert "0 customers are too few to tell: 20 are needed." in page
