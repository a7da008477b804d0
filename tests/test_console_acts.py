"""What Olga does in the console: first shown, then done once, always on record with its reason."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from portal import catalog, rejections
from portal.billing.reconcile import Report, keep
from portal.db import Database
from portal.tables import audit_log, grants, payments, price_books, stripe_inbox
from tests import digest
from tests.cast import Api, Customer, ok, refused
from tests.clock import Clock
from tests.console import OLGA, OTTO, enter_olga, hidden, previewed
from tests.readers import Reader
from tests.shop import Shop

SHIPPED = catalog.DEFAULT_FILE.read_text(encoding="utf-8")


@pytest.fixture
def olga(acme: Customer, application: Flask, database: Database, clock: Clock) -> Reader:
    return enter_olga(application, database, clock)


def acts(database: Database, act: str) -> list[Any]:
    """Return what is on record of a kind of act."""
    with database.reading() as tx:
        query = select(audit_log).where(audit_log.c.act == act)
        return list(tx.execute(query).all())


GRANT = "/operator/customers/acme/grant?credits=25&source=promotion&expires=&reason=A+bad+week"


def test_a_preview_of_a_grant_changes_nothing(olga: Reader, database: Database) -> None:
    before = digest.of_organization(database, "acme")
    page = olga.client.get(GRANT).text
    assert '<td class="r num">125</td>' in page
    assert digest.of_organization(database, "acme") == before


def test_credits_are_granted_once_however_often_the_form_is_sent(
    olga: Reader, acme: Customer, database: Database
) -> None:
    form = previewed(olga, GRANT)
    assert form.send().status_code == 303
    assert form.send().status_code == 303
    assert acme.standing == ("125", "0")
    (noted,) = [one for one in acts(database, "grant.made") if one.detail["reason"] == "A bad week"]
    assert noted.actor == f"operator:{OLGA}"


@pytest.mark.parametrize(
    ("field", "value"),
    [("credits", "0"), ("credits", "-5"), ("credits", "1e9"), ("credits", "99999999999"),
     ("source", "pack"), ("reason", "  "), ("expires", "2020-01-01"), ("expires", "soon")],
)  # fmt: skip
def test_a_grant_that_cannot_be_is_told_by_its_field_and_not_made(
    olga: Reader, acme: Customer, field: str, value: str
) -> None:
    fields = {"credits": "25", "source": "promotion", "expires": "", "reason": "x"} | {field: value}
    page = olga.client.get("/operator/customers/acme/grant", query_string=fields)
    assert page.status_code == 422
    assert 'role="alert"' in page.text
    key = "form_" + "0" * 20
    olga.send("/operator/customers/acme/grant", "/operator/customers", key=key, **fields)
    assert acme.standing == ("100", "0")


def test_a_grant_is_voided_as_far_as_it_is_unspent_and_once(
    olga: Reader, acme: Customer, database: Database
) -> None:
    grant = acme.grant(40)
    form = previewed(olga, f"/operator/customers/acme/grants/{grant}/void", reason="A mistake")
    assert form.send().status_code == 303
    assert form.send().status_code == 303
    assert acme.standing == ("100", "0")
    assert len(acts(database, "grant.voided")) == 1


def test_an_event_is_corrected_and_the_credits_go_back_once(
    olga: Reader, acme: Customer, database: Database
) -> None:
    ok(acme.send(acme.event("document", id="doc", quantity=4)))
    assert acme.standing == ("80", "0")
    form = previewed(
        olga, "/operator/customers/acme/correct?source=tests&id=doc&quantity=1&reason=Sent+twice"
    )
    assert form.send().status_code == 303
    assert form.send().status_code == 303
    assert acme.standing == ("95", "0")
    (noted,) = acts(database, "event.corrected")
    assert (noted.target, noted.detail["reason"]) == ("doc", "Sent twice")


def test_an_event_is_not_made_larger(olga: Reader, acme: Customer) -> None:
    ok(acme.send(acme.event("document", id="doc")))
    path = "/operator/customers/acme/correct?source=tests&id=doc&quantity=2&reason=x"
    answer = olga.client.get(path)
    assert answer.status_code == 422
    assert "more than what stands" in answer.text


def test_rejected_events_are_chosen_and_land_once_the_cause_is_mended(
    olga: Reader, acme: Customer, database: Database, clock: Clock
) -> None:
    refused(acme.send(acme.event("poster", id="one")), 422, "invalid-event")
    refused(acme.send(acme.event("poster", id="two")), 422, "invalid-event")
    page = olga.client.get("/operator/events").text
    chosen = re.findall(r'name="rejection" value="([^"]+)"', page)
    assert len(chosen) == 2
    answer = olga.send("/operator/events/replay", "/operator/events", rejection=chosen[0])
    assert answer.status_code == 303
    assert "1 still cannot be taken" in olga.client.get("/operator/events").text
    with database.transaction() as tx:
        poster = SHIPPED.replace("2020-01-01", "2026-11-01") + (
            '\n[actions.poster]\nname = "Poster"\ncredits = 7\n'
        )
        catalog.load(tx, poster, now=clock())
    olga.send("/operator/events/replay", "/operator/events", rejection=chosen[0])
    assert acme.standing == ("93", "0")
    with database.reading() as tx:
        assert len(rejections.waiting(tx, "acme", limit=10)) == 1
    assert len(acts(database, "events.replayed")) == 2


def test_a_stated_cost_is_decided_with_a_reason_and_once(
    olga: Reader, acme: Customer, database: Database
) -> None:
    costs = [{"layer": "inference", "provider": "openai", "model": "gpt-4o", "amount_usd": "9990",
              "usage": {"input_tokens": 10_023, "output_tokens": 10}}]  # fmt: skip
    ok(acme.send(acme.event("cost.inference", id="dear", costs=costs)))
    page = olga.client.get("/operator/events/reviews").text
    (review,) = re.findall(r'name="review" value="([^"]+)"', page)
    form = {"review": review, "decision": "rejected", "back": "/operator/events/reviews"}
    path = "/operator/events/reviews"
    olga.send(path, path, **form)
    assert acts(database, "cost.rejected") == []
    olga.send(path, path, **form, reason="A token counted as a dollar")
    olga.send(path, path, **form, reason="Once more")
    (noted,) = acts(database, "cost.rejected")
    assert noted.detail["reason"] == "A token counted as a dollar"


def test_a_key_is_shown_once_and_works_until_it_is_revoked(
    olga: Reader, acme: Customer, api: Api, database: Database
) -> None:
    page = olga.client.get("/operator/keys").text
    form = {"name": "Acme's own", "organization": "acme", "scope": "read"}
    sent = {"key": hidden(page, "key"), "csrf_token": hidden(page, "csrf_token")} | form
    first = olga.client.post("/operator/keys", data=sent, headers={"Referer": "http://localhost"})
    assert first.status_code == 303
    shown = olga.client.get(first.location).text
    (secret,) = re.findall(r"<code>(cm_[^<]+)</code>", shown)
    second = olga.client.post("/operator/keys", data=sent, headers={"Referer": "http://localhost"})
    assert second.status_code == 422
    assert "has made its key already" in second.text
    listed = olga.client.get("/operator/keys").text
    assert secret not in listed
    ok(api.holding(secret).get(f"{acme.path}/balance"))
    key_id = "key_" + secret.split("_")[1]
    asked = f"/operator/keys/{key_id}/revoke"
    assert olga.send(asked, asked, reason="Leaked").status_code == 303
    refused(api.holding(secret).get(f"{acme.path}/balance"), 401, "unauthenticated")
    assert [one.organization_id for one in acts(database, "key.issued")] == ["acme"]
    assert [one.detail["reason"] for one in acts(database, "key.revoked")] == ["Leaked"]


def test_a_book_is_checked_by_line_and_key_and_published_from_a_date(
    olga: Reader, database: Database, api: Api
) -> None:
    new = "/operator/catalogue/prices/new"
    wrong = SHIPPED.replace("credits = 5\n", 'credits = "many"\n', 1)
    answer = olga.send("/operator/catalogue/prices/check", new, document=wrong)
    assert answer.status_code == 422
    assert "key <code>actions.document.credits</code>" in answer.text
    dearer = SHIPPED.replace("credits = 5\n", "credits = 6\n", 1)
    page = olga.send("/operator/catalogue/prices/check", new, document=dearer).text
    assert "<b>Document</b>, price" in page
    assert "+20%" in page
    publish = "/operator/catalogue/prices/publish"
    form = {"document": dearer, "from": "2027-01-01T00:00", "reason": "Costs rose"}
    assert olga.send(publish, new, **form).status_code == 303
    assert olga.send(publish, new, **form).status_code == 303
    with database.reading() as tx:
        versions = tx.execute(select(price_books.c.effective_at)).scalars().all()
    # A store gives rows in any order.
    assert sorted(one.year for one in versions) == [2020, 2027]
    assert ok(api.get("/v1/catalog"))["actions"][0]["credits"] == "5"
    assert len(acts(database, "prices.published")) == 1
    shown = olga.client.get("/operator/catalogue/prices/difference?old=1&new=2").text
    assert "5 credits" in shown
    assert "6 credits" in shown


def test_a_book_is_not_published_into_the_past_or_without_a_reason(
    olga: Reader, database: Database
) -> None:
    dearer = SHIPPED.replace("credits = 5\n", "credits = 6\n", 1)
    publish, new = "/operator/catalogue/prices/publish", "/operator/catalogue/prices/new"
    for form in ({"from": "2026-01-01T00:00", "reason": "x"}, {"from": "", "reason": ""}):
        assert olga.send(publish, new, document=dearer, **form).status_code == 422
    with database.reading() as tx:
        assert len(tx.execute(select(price_books)).all()) == 1


def test_an_act_answers_a_form_without_its_key_by_doing_nothing(
    olga: Reader, acme: Customer
) -> None:
    fields = {"credits": "25", "source": "promotion", "reason": "x"}
    for key in ("", "form_", "form_" + "A" * 20, "x" * 500):
        olga.send("/operator/customers/acme/grant", "/operator/customers", key=key, **fields)
    assert acme.standing == ("100", "0")


@pytest.fixture
def selling(shop: Shop, clock: Clock) -> tuple[Shop, Reader]:
    return shop, enter_olga(shop.application, shop.database, clock)


def test_a_refund_shows_the_money_and_the_credits_and_goes_back_once(
    selling: tuple[Shop, Reader],
) -> None:
    shop, olga = selling
    shop.buy()
    shop.mend()
    with shop.database.reading() as tx:
        payment = tx.execute(select(payments)).one()
    path = f"/operator/customers/acme/payments/{payment.payment_id}/refund"
    page = olga.client.get(f"{path}?amount=19.50&reason=Half+of+it").text
    assert "$19.50 goes back" in page
    assert '<b class="num">250</b> credits' in page
    form = previewed(olga, f"{path}?amount=19.50&reason=Half+of+it")
    assert form.send().status_code == 303
    assert form.send().status_code == 303
    with shop.database.reading() as tx:
        after = tx.execute(select(payments)).one()
    assert (after.refunded_minor, after.refund_revoked_micro) == (1950, 250 * 10**6)
    assert len(acts(shop.database, "refund.started")) == 1


def test_a_refund_of_what_was_spent_says_what_would_be_owed(
    selling: tuple[Shop, Reader],
) -> None:
    shop, olga = selling
    shop.buy()
    shop.mend()
    acme = shop.customer
    ok(acme.send(acme.event("analysis", quantity=60)))
    with shop.database.reading() as tx:
        payment = tx.execute(select(payments)).one()
    path = f"/operator/customers/acme/payments/{payment.payment_id}/refund"
    assert "would owe" in olga.client.get(f"{path}?amount=39.00&reason=All+of+it").text


def test_a_refund_beyond_the_unspent_waits_for_another_operator_who_is_shown_it_again(
    selling: tuple[Shop, Reader], clock: Clock
) -> None:
    shop, olga = selling
    shop.buy()
    shop.mend()
    ok(shop.customer.send(shop.customer.event("analysis", quantity=20)))
    with shop.database.reading() as tx:
        payment = tx.execute(select(payments.c.payment_id)).scalar_one()
    asked = f"/operator/customers/acme/payments/{payment}/refund?amount=39.00&reason=All+of+it"
    assert "once another operator approves it" in olga.client.get(asked).text
    form = previewed(olga, asked)
    direct = olga.client.post(
        form.address, data=form.fields, headers={"Referer": "http://localhost"}
    )
    assert "another operator decides" in olga.client.get(direct.headers["Location"]).text
    asks = replace(form, address=f"{form.address}/ask")
    place = asks.send().headers["Location"]
    assert asks.send().headers["Location"] == place
    mine = olga.client.get(place).text
    assert "somebody else must approve it" in mine
    assert "There is no other operator yet" in mine
    again = enter_olga(shop.application, shop.database, clock, OLGA.title())
    approval = {"shown": "3120"}
    for session in (olga, again):
        assert "Approve" not in session.client.get(place).text
        session.send(f"{place}/approve", place, **approval)
    assert len(shop.stripe.v1.refunds.list().data) == 0
    otto = enter_olga(shop.application, shop.database, clock, OTTO)
    assert "otto@operator.example may." in olga.client.get(place).text
    waits = otto.client.get("/operator/payments/refunds").text
    assert ("You may" in waits, "All of it" in waits) == (True, True)
    assert "Acme would owe 100 credits." in otto.client.get(place).text
    for _ in range(2):
        assert otto.send(f"{place}/approve", place, **approval).status_code == 303
    assert [one.amount for one in shop.stripe.v1.refunds.list().data] == [3900]
    assert "went back" in otto.client.get("/operator/payments/refunds").text
    (noted,) = acts(shop.database, "refund.started")
    assert (noted.actor, noted.detail["asked_by"]) == (f"operator:{OTTO}", f"operator:{OLGA}")


def test_who_asked_withdraws_and_another_declines_with_a_reason(
    selling: tuple[Shop, Reader], clock: Clock
) -> None:
    shop, olga = selling
    shop.buy()
    shop.mend()
    ok(shop.customer.send(shop.customer.event("analysis", quantity=20)))
    with shop.database.reading() as tx:
        payment = tx.execute(select(payments.c.payment_id)).scalar_one()
    asked = f"/operator/customers/acme/payments/{payment}/refund?amount=39.00&reason=All+of+it"
    otto = enter_olga(shop.application, shop.database, clock, OTTO)
    for decides, typed, said in ((olga, "", "withdrawn"), (otto, "They used it", "declined")):
        form = previewed(olga, asked)
        place = replace(form, address=f"{form.address}/ask").send().headers["Location"]
        assert "A refund of this payment is open." in olga.client.get(asked).text
        if decides is otto:
            otto.send(f"{place}/decline", place, reason="")
            assert "is needed" in otto.client.get(place).text
        decides.send(f"{place}/decline", place, reason=typed)
        assert said in olga.client.get(place).text
        assert len(acts(shop.database, f"operator.refund_{said}")) == 1
    assert shop.stripe.v1.refunds.list().data == []


def test_a_quarantined_event_is_told_with_why_replayed_and_set_aside(
    selling: tuple[Shop, Reader],
) -> None:
    shop, olga = selling
    with shop.database.transaction() as tx:
        for event in ("evt_one", "evt_two"):
            tx.execute(stripe_inbox.insert().values(
                stripe_event_id=event, type="checkout.session.completed", object_id="cs_nobody",
                livemode=False, status="quarantined", detail="Nobody here bought it.",
                received_at=shop.clock(), done_at=shop.clock(),
            ))  # fmt: skip
    inbox = "/operator/payments/inbox"
    assert "Nobody here bought it." in olga.client.get(inbox).text
    olga.send(inbox, inbox, event="evt_one", decision="replay")
    olga.send(inbox, inbox, event="evt_two", decision="set-aside", reason="A test of ours")
    with shop.database.reading() as tx:
        states = dict(tx.execute(
            select(stripe_inbox.c.stripe_event_id, stripe_inbox.c.status)
            .where(stripe_inbox.c.object_id == "cs_nobody")
        ).all())  # fmt: skip
    assert states == {"evt_one": "quarantined", "evt_two": "ignored"}
    assert len(acts(shop.database, "inbox.set_aside")) == 1


def test_what_could_not_be_mended_stands_by_itself_in_its_report(
    selling: tuple[Shop, Reader],
) -> None:
    shop, olga = selling
    told = ["acme: mended", "not yet: acme, invoice in_1: Later.", "does not fit: acme, cs_1: No."]
    report = Report("the worker", shop.clock(), shop.clock(), told, [])
    assert report.counted == "1 mended, 1 not yet, 1 does not fit, 0 differ."
    with shop.database.transaction() as tx:
        keep(tx, report)
    shown = olga.client.get("/operator/payments/reconciliation").text
    assert shown.count('<span class="tag good">mended</span>') == 1
    for line in told[1:]:
        assert f'<span class="tag warn">not mended</span> {line}' in shown


def test_reconciling_brings_what_no_event_brought_and_keeps_its_report(
    selling: tuple[Shop, Reader],
) -> None:
    shop, olga = selling
    shop.buy()
    page = "/operator/payments/reconciliation"
    assert olga.send(page, page, since="").status_code == 303
    shown = olga.client.get(page).text
    assert '<span class="tag good">mended</span>' in shown
    assert "All three books say the same." in shown
    assert shop.customer.standing[0] == "600"


def test_what_is_sold_is_pushed_to_stripe(selling: tuple[Shop, Reader]) -> None:
    shop, olga = selling
    assert olga.send("/operator/catalogue/push", "/operator/catalogue").status_code == 303
    listed = shop.stripe.v1.prices.list({"limit": 20}).data
    assert {one.product for one in listed} >= {"clearmeter-pack-small", "clearmeter-tier-pro"}
    assert len(acts(shop.database, "prices.pushed")) == 1


def test_another_way_to_charge_is_simulated_beside_todays(olga: Reader, acme: Customer) -> None:
    ok(acme.api.put(acme.path, {"name": "Acme", "tier": "starter"}))
    ok(acme.send(acme.event("document", quantity=20)))
    page = "/operator/simulation"
    form = {"name": "Flat", "kind": "flat", "from": "2026-11-01", "to": "2026-11-09"}
    refused = olga.send(page, page, **form | {"price": "cheap"})
    assert refused.status_code == 422
    assert "Price" in refused.text
    answer = olga.send(page, page, **form, price="49.00")
    assert answer.status_code == 303
    found = olga.client.get(answer.headers["Location"]).text
    assert "$49.00" in found
    assert "Customers under water" in found
    assert '<a class="plain" href="/operator/customers/acme">Acme</a>' in found
    assert "by olga@" in found
    sheet = olga.client.get(answer.headers["Location"] + ".csv").text
    assert sheet.splitlines()[1].startswith("acme,usd,")


def test_a_simulation_says_what_the_margin_page_says_of_the_same_days(
    olga: Reader, acme: Customer
) -> None:
    ok(acme.api.put(acme.path, {"name": "Acme", "tier": "starter"}))
    ok(acme.send(acme.event("document", quantity=20)))
    margin = olga.client.get("/operator/?span=month").text
    earned = re.search(r"Revenue recognised</dt><dd class=\"num\">([^<]+)<", margin)
    page = "/operator/simulation"
    form = {"name": "Flat", "kind": "flat", "from": "2026-11-01", "to": "2026-11-09"}
    answer = olga.send(page, page, **form, price="49.00")
    found = olga.client.get(answer.headers["Location"]).text
    beside = re.search(r">Revenue</th><td[^>]*>([^<]+)</td><td[^>]*>([^<]+)</td>", found)
    assert earned is not None
    assert beside is not None
    # A plan is billed at once and earned day by day.
    assert beside[2] == earned[1] != beside[1]


def test_a_grant_of_another_customer_is_not_there(
    olga: Reader, acme: Customer, bystander: Customer, database: Database
) -> None:
    with database.reading() as tx:
        other = tx.execute(
            select(grants.c.grant_id).where(grants.c.organization_id == "bystander")
        ).scalars().first()  # fmt: skip
    assert olga.client.get(f"/operator/customers/acme/grants/{other}/void").status_code == 404


def test_a_page_names_no_field_as_a_program_would(olga: Reader) -> None:
    page = "/operator/payments/reconciliation"
    answer = olga.send(page, page, since="someday")
    assert answer.status_code == 422
    assert ">Since is not a day such as 2026-11-30.<" in answer.text
