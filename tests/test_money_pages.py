"""The pages of money without a browser: who may, what is said, and what is never done."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from html import unescape
from itertools import chain

import pytest
import requests
import stripe
from flask import Flask
from sqlalchemy import insert, select, update

from portal import papers
from portal.accounts import find_organization
from portal.billing.invoices import Invoice, Line
from portal.core.errors import InvalidRequest
from portal.db import Database
from portal.tables import invoices, organizations, outbox
from tests.cast import Customer, ok
from tests.clock import Clock
from tests.readers import Reader, enter
from tests.shop import Shop, session_of


@pytest.fixture
def ana(shop: Shop) -> Reader:
    return enter(shop.application, shop.database, shop.clock, "ana")


@pytest.fixture
def cleo(shop: Shop) -> Reader:
    return enter(shop.application, shop.database, shop.clock, "cleo")


@pytest.mark.parametrize("path", ["/billing", "/billing/statement.csv", "/plans/changes/tx_1"])
def test_who_may_not_pay_does_not_see_what_was_paid(cleo: Reader, path: str) -> None:
    assert cleo.client.get(path).status_code == 403
    assert "/billing" not in cleo.client.get("/").text


@pytest.mark.parametrize(
    "path",
    [
        "/plans/tiers/pro",
        "/plans/cancel",
        "/plans/undo",
        "/plans/drop",
        "/plans/packs/small",
        "/billing/method",
    ],
)
def test_who_may_not_pay_cannot_by_hand_either(cleo: Reader, path: str) -> None:
    assert cleo.send(path, "/plans").status_code == 403


def test_what_is_not_sold_here_is_told_on_the_page(ana: Reader) -> None:
    answer = ana.send("/plans/tiers/enterprise", "/plans")
    assert answer.headers["Location"] == "/plans"
    page = ana.client.get("/plans").text
    assert "This plan is not sold here" in page or "Enterprise is not sold here" in page
    assert "Nothing was charged." in page


def test_what_is_priced_in_another_currency_is_asked_for_and_not_offered(
    shop: Shop, ana: Reader
) -> None:
    with shop.database.transaction() as tx:
        mine = organizations.c.organization_id == "acme"
        tx.execute(update(organizations).where(mine).values(currency="kwd"))
    page = ana.client.get("/plans").text
    assert "Ask Clearmeter for a price in KWD." in page
    assert "These are in USD, and you are billed in KWD." in page
    assert "/plans/packs/" not in page
    assert "costs least" not in page
    spending = ana.client.get("/spending").text
    assert "Packs are priced in USD and you are billed in KWD: none can be bought here." in spending


def test_a_stripe_that_is_down_leaves_the_page_and_says_so(
    shop: Shop, ana: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stripe.HTTPClient, "INITIAL_DELAY", 0)
    monkeypatch.setattr(stripe.HTTPClient, "MAX_DELAY", 0)
    shop.fail_calls("status", "/v1/customers", times=9)
    answer = ana.send("/plans/packs/small", "/plans")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/plans")
    page = ana.client.get("/plans").text
    assert "Nothing was charged" in page
    assert "Buy for $39.00" in page


def test_a_pack_by_bank_is_on_its_way_until_the_bank_has_paid(shop: Shop, ana: Reader) -> None:
    url = shop.open("medium")
    shop.pay_by_bank(url)
    shop.returned(url.rpartition("/")[2])
    assert "2,000 credits are on their way" in ana.client.get("/plans").text
    shop.control("settle")
    assert shop.returned(url.rpartition("/")[2]) == "fulfilled"
    assert "on their way" not in ana.client.get("/plans").text


def test_what_is_on_its_way_stands_by_the_credits_the_packs_and_the_invoices(
    shop: Shop, ana: Reader, cleo: Reader
) -> None:
    url = shop.open()
    says = "<b>500 credits for $39.00 are on their way:</b> a bank takes some days."
    assert says not in ana.client.get("/billing").text
    shop.pay_by_bank(url)
    shop.tell("checkout.session.completed", of=session_of(url))
    assert says in ana.client.get("/plans").text.partition('id="packs"')[2]
    assert says in ana.client.get("/billing").text.partition('id="invoices"')[2]
    assert says in ana.client.get("/").text
    for path in ("/", "/plans"):
        assert "on their way" not in cleo.client.get(path).text
    shop.control("settle")
    assert shop.returned(session_of(url)) == "fulfilled"
    assert says not in ana.client.get("/billing").text


def test_a_bank_that_does_not_pay_is_told_once_until_a_pack_is_bought(
    shop: Shop, ana: Reader, cleo: Reader
) -> None:
    url = shop.open()
    shop.pay_by_bank(url, "bank_fails")
    shop.tell("checkout.session.completed", of=session_of(url))
    shop.control("settle")
    shop.tell("checkout.session.async_payment_failed", of=session_of(url))
    assert shop.returned(session_of(url)) == "failed"
    shop.mend()
    says = "The bank did not pay $39.00 for 500 credits."
    assert says in ana.client.get("/").text
    assert says not in cleo.client.get("/").text
    assert told(shop) == [("pack-failed", "begun")]
    second = shop.buy()
    assert shop.returned(second) == "fulfilled"
    assert says not in ana.client.get("/").text
    assert told(shop) == [("pack-failed", "begun"), ("pack-failed", "over")]


def told(shop: Shop) -> list[tuple[str, str]]:
    """Return what there was to tell of packs that a bank did not pay."""
    with shop.database.reading() as tx:
        rows = tx.execute(select(outbox.c.kind, outbox.c.state).order_by(outbox.c.sequence)).all()
    return [(row.kind, row.state) for row in rows if row.kind == "pack-failed"]


def test_what_went_back_of_a_payment_stands_beside_it(shop: Shop, ana: Reader) -> None:
    session = shop.buy()
    shop.returned(session)
    payment = shop.payment_of(session)
    shop.refund(payment, 1_000)
    shop.tell("refund.", of=payment)
    page = ana.client.get("/billing").text
    assert "$10.00 was given back" in page
    assert "$39.00" in page


def issued(database: Database, *, invoice_id: str, number: str, at: datetime) -> None:
    with database.transaction() as tx:
        tx.execute(
            insert(invoices).values(
                organization_id="acme",
                invoice_id=invoice_id,
                number=number,
                status="paid",
                currency="USD",
                subtotal_minor=9900,
                tax_minor=0,
                total_minor=9900,
                paid_minor=9900,
                due_minor=0,
                issued_at=at,
                lines=[],
            )
        )


def test_however_many_invoices_there_are_each_stands_on_one_page(shop: Shop, ana: Reader) -> None:
    # In pairs of the same second, so that a page ends between two of them.
    for n in range(2 * papers.PAGE + 3):
        at = shop.clock() - n // 2 * timedelta(days=30)
        issued(shop.database, invoice_id=f"in_{n}", number=f"N-{n:03}", at=at)
    shop.returned(shop.buy())
    address: str | None = "/billing"
    seen: list[list[str]] = []
    receipts = 0
    while address:
        page = ana.client.get(address).text
        seen.append(re.findall(r">(N-\d{3})</td>", page))
        receipts += page.count("$39.00")
        found = re.search(r'href="(/billing\?before=[^"#]+)[^"]*">Earlier', page)
        address = unescape(found[1]) if found else None
    assert [len(one) for one in seen] == [papers.PAGE - 1, papers.PAGE, 4]
    assert sorted(chain.from_iterable(seen)) == [f"N-{n:03}" for n in range(2 * papers.PAGE + 3)]
    assert receipts == 1


@pytest.mark.parametrize("before", ["yesterday", "2026-11-01T00:00:00.in_1", "+00:00."])
def test_earlier_invoices_are_found_from_a_page_and_not_from_elsewhere(
    ana: Reader, before: str
) -> None:
    assert ana.client.get("/billing", query_string={"before": before}).status_code == 422


def test_the_statement_leads_to_what_is_left_on_every_other_page(shop: Shop, ana: Reader) -> None:
    assert "Stands at, now" in ana.client.get("/billing").text
    assert "Credits left" not in ana.client.get("/billing").text
    session = shop.buy()
    shop.returned(session)
    shop.customer.hold("analysis", 3)
    shop.customer.grant(7, effective_at=(shop.clock() + timedelta(days=1)).isoformat())
    shop.dispute(shop.payment_of(session))
    shop.tell("charge.dispute.", of=shop.payment_of(session))
    rows = dict(
        re.findall(
            r'<th scope="row">([^<]+)</th><td class="r num">([^<]+)</td>',
            ana.client.get("/billing").text.split("<tfoot>")[1],
        )
    )
    assert rows == {
        "Stands at, now": "607",
        "Held by work in progress": "−30",
        "Waiting for a dispute": "−500",
        "Begins later": "−7",
        "Credits left": "70",
    }
    assert shop.customer.balance()["available"] == "70"


def test_the_statement_is_of_a_period_that_there_was(shop: Shop, ana: Reader) -> None:
    assert ana.client.get("/billing?period=1999-01-01").status_code == 422
    sheet = ana.client.get("/billing/statement.csv").text.split("\r\n")
    assert sheet[0] == "day,kind,source,credits"
    assert sheet[-2].endswith(",closing,,100")


def test_the_preview_of_topping_up_names_the_field_that_is_wrong(ana: Reader) -> None:
    answer = ana.client.get("/spending/top-up?pack=small&threshold=1,5&monthly_limit=100")
    assert answer.status_code == 422
    assert re.search(r'id="threshold"[^>]*aria-invalid="true"', answer.text)
    answer = ana.client.get("/spending/top-up?pack=gone&threshold=50&monthly_limit=100")
    assert re.search(r'id="pack"[^>]*aria-invalid="true"', answer.text)


def test_topping_up_without_a_card_asks_for_one_first(shop: Shop, ana: Reader) -> None:
    page = "/spending/top-up?pack=small&threshold=150&monthly_limit=100"
    assert "Save a payment method first" in ana.client.get(page).text
    shop.save_card()
    text = ana.client.get(page).text
    assert "Turn on and pay $39.00 now" in text
    wished = {"pack": "small", "threshold": "150", "monthly_limit": "100", "shown": "3900"}
    assert ana.send("/spending/top-up", page, **wished).status_code == 303
    assert shop.charged_minor() == [3900]


@pytest.mark.parametrize(
    ("percent", "said"), [(30, "They cost $27.30, once."), (100, "They cost nothing.")]
)
def test_who_comes_back_reads_what_was_charged(
    shop: Shop, ana: Reader, percent: int, said: str
) -> None:
    coupon = shop.stripe.v1.coupons.create({"percent_off": percent, "duration": "once"})
    shop.stripe.v1.promotion_codes.create(
        {"promotion": {"type": "coupon", "coupon": coupon.id}, "code": "SPRING"}
    )
    url = shop.open()
    requests.post(url, data={"apply": "1", "promotion_code": "SPRING"}, timeout=10)
    assert shop.pay(url).status_code == 303
    page = ana.client.get(f"/plans/thanks?session_id={session_of(url)}").text
    assert said in " ".join(page.split())


def test_turning_top_up_on_charges_nothing_that_its_page_did_not_say(
    shop: Shop, ana: Reader
) -> None:
    shop.save_card()
    page = "/spending/top-up?pack=small&threshold=50&monthly_limit=100"
    assert "nothing is bought until" in ana.client.get(page).text
    ok(shop.customer.capture(shop.customer.hold("analysis", 9)))
    wished = {"pack": "small", "threshold": "50", "monthly_limit": "100"}
    for shown in ({"shown": "0"}, {"shown": "3800"}, {}):
        again = ana.send_and_follow("/spending/top-up", page, **wished, **shown)
        assert "look again at what is bought now" in again
        assert "Turn on and pay $39.00 now" in again
        assert 'name="shown" value="3900"' in again
    assert shop.charged_minor() == []
    assert ok(shop.customer.api.get(shop.customer.path + "/balance"))["available"] == "10"
    assert ana.send("/spending/top-up", page, **wished, shown="3900").status_code == 303
    assert shop.charged_minor() == [3900]
    assert "500 were bought now, for $39.00" in ana.client.get("/spending").text
    assert shop.packs == ["500"]
    receipt = re.search(
        rf'href="({shop.address}/c/receipt/[^"]+)"', ana.client.get("/billing").text
    )
    assert receipt is not None
    assert "39.00" in requests.get(receipt[1], timeout=10).text


def test_each_choice_says_what_it_could_cost(shop: Shop, ana: Reader) -> None:
    ok(shop.customer.api.put(shop.customer.path, {"name": "Acme", "tier": "pro"}))
    body = {"on_empty": "overage", "overage_limit": "50.00"}
    ok(shop.customer.api.patch(f"{shop.customer.path}/spending", body))
    text = ana.client.get("/spending").text
    most = re.findall(r"Most this period</span> <b[^>]*>([^<]+)</b>", text)
    assert most == ["$99.00", "by the limit you set", "$149.00"]


def test_a_detour_to_stripe_leads_back_to_what_was_going_on(shop: Shop, ana: Reader) -> None:
    wished = {"pack": "small", "threshold": "50", "monthly_limit": "100", "_external": "1"}
    answer = ana.send("/billing/method", "/plans", **wished)
    assert answer.headers["Location"].startswith(shop.address)
    back = ana.client.get("/billing/returned", query_string=wished).headers["Location"]
    assert back == "/spending/top-up?pack=small&threshold=50&monthly_limit=100"
    assert ana.client.get("/billing/returned").headers["Location"] == "/billing"


def test_forms_may_lead_to_stripe_and_nowhere_else(shop: Shop, ana: Reader) -> None:
    policy = ana.client.get("/plans").headers["Content-Security-Policy"]
    assert f"form-action 'self' {shop.address}" in policy.split("; ")


def test_a_period_is_named_by_the_day_it_begins_on(
    acme: Customer, application: Flask, database: Database, clock: Clock
) -> None:
    with database.reading() as tx:
        organization = find_organization(tx, "acme")
    running, *_ = papers.periods_of(organization, now=clock())
    named = papers.begins(organization, running)
    assert papers.period_of(organization, named, now=clock()) == running
    with pytest.raises(InvalidRequest):
        papers.period_of(organization, "tomorrow", now=clock())


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        (["tier:pro:99"], "Pro"),
        (["tier:pro:99", "overage::5"], "Pro and credits beyond yours"),
        (["proration:starter:-20", "proration:pro:60"], "Change to Pro"),
        (["other::39"], "500 credits"),
        ([], "Invoice"),
    ],
)
def test_an_invoice_says_in_few_words_what_it_is_for(
    kinds: list[str], said: str, clock: Clock
) -> None:
    lines = [_line(one, clock) for one in kinds]
    invoice = Invoice(
        *("in_1", "A-1", "paid", "", "usd"), 0, 0, 0, 0, 0, clock(), None, "", "", lines
    )
    assert papers.what(invoice, {"pro": "Pro", "starter": "Starter"}) == said


def _line(told: str, clock: Clock) -> Line:
    kind, tier, amount = told.split(":")
    return Line(kind, tier, "", "500 credits", int(amount) * 100, 1, clock(), clock())
