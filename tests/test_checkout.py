"""Buying a pack: one payment is one grant, whoever brings the news, however often, in any order."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from portal.billing import checkout
from portal.billing.gateway import Gateway
from portal.core.errors import InvalidRequest, NotFound, Unavailable
from portal.tables import checkouts, grants, stripe_inbox
from tests.cast import refused
from tests.postgresql import free_port
from tests.readers import enter
from tests.shop import DECLINED, KEY, SECRETS, Shop, session_of

MANY = 20


def rows(shop: Shop, table: Any) -> list[Any]:
    with shop.database.reading() as tx:
        return list(tx.execute(select(table)).all())


def without(event: Any) -> Any:
    """Return the event as Stripe sends it again for the same change: with another id."""
    return event | {"id": event["id"] + "_again"}


def test_a_paid_pack_is_granted_with_what_was_paid_for_it(shop: Shop) -> None:
    shop.buy("small")
    (event,) = shop.events()
    answer = shop.deliver(event)
    assert (answer.status_code, answer.json) == (200, {"received": True, "outcome": "done"})
    assert shop.packs == ["500"]
    (grant,) = [row for row in rows(shop, grants) if row.source == "pack"]
    assert (grant.paid_minor, grant.paid_currency, grant.granted_micro) == (
        3900,
        "usd",
        500 * 10**6,
    )
    assert grant.expires_at == shop.clock() + timedelta(days=365)


def test_three_deliveries_the_return_and_reconciliation_are_one_grant(shop: Shop) -> None:
    session = shop.buy()
    (event,) = shop.events()
    for _ in range(3):
        assert shop.deliver(event).status_code == 200
    assert shop.deliver(without(event)).status_code == 200
    assert shop.returned(session) == "fulfilled"
    assert shop.mend() == []
    assert shop.packs == ["500"]


@pytest.mark.parametrize("first", ["webhook", "return", "reconciliation"])
def test_whoever_comes_first_the_end_is_the_same(shop: Shop, first: str) -> None:
    session = shop.buy()
    (event,) = shop.events()
    ways = {
        "webhook": lambda: shop.deliver(event),
        "return": lambda: shop.returned(session),
        "reconciliation": lambda: shop.mend(),
    }
    ways.pop(first)()
    assert shop.packs == ["500"]
    for way in ways.values():
        way()
    assert shop.packs == ["500"]
    (row,) = rows(shop, checkouts)
    assert (row.status, row.stripe_session_id) == ("fulfilled", session)


def test_twenty_deliveries_at_once_are_one_grant(shop: Shop) -> None:
    session = shop.buy()
    (event,) = shop.events()
    together = threading.Barrier(MANY)

    def bring(number: int) -> int:
        together.wait(30)
        if number % 5 == 0:
            return 200 if shop.returned(session) == "fulfilled" else 500
        return shop.deliver(event if number % 2 else without(event)).status_code

    with ThreadPoolExecutor(MANY) as crowd:
        statuses = list(crowd.map(bring, range(MANY)))
    assert set(statuses) == {200}
    assert shop.packs == ["500"]


def test_a_declined_card_grants_nothing(shop: Shop) -> None:
    url = shop.open()
    assert shop.pay(url, DECLINED).status_code == 402
    assert shop.returned(session_of(url)) == "open"
    assert shop.mend() == []
    assert (shop.events(), shop.packs) == ([], [])
    assert shop.pay(url).status_code == 303
    assert shop.returned(session_of(url)) == "fulfilled"
    assert shop.packs == ["500"]


def test_a_checkout_that_nobody_paid_expires(shop: Shop) -> None:
    url = shop.open()
    shop.stripe_clock.ahead_seconds = 25 * 3600
    assert shop.pay(url).status_code == 200
    (event,) = shop.events("checkout.session.expired")
    assert shop.deliver(event).json["outcome"] == "done"
    assert shop.returned(session_of(url)) == "expired"
    assert shop.packs == []


def test_news_that_come_out_of_order_change_nothing(shop: Shop) -> None:
    url = shop.open()
    session = shop.stripe.v1.checkout.sessions.retrieve(session_of(url)).to_dict()
    assert shop.pay(url).status_code == 303
    (event,) = shop.events()
    stale = event | {"id": "evt_stale", "type": "checkout.session.expired"}
    stale["data"] = {"object": session | {"status": "expired", "payment_status": "unpaid"}}
    failed = stale | {"id": "evt_failed", "type": "checkout.session.async_payment_failed"}
    for one in (stale, failed, event, without(stale)):
        assert shop.deliver(one).status_code == 200
    assert shop.packs == ["500"]


def test_an_event_is_a_hint_and_is_not_believed(shop: Shop) -> None:
    url = shop.open()
    session = shop.stripe.v1.checkout.sessions.retrieve(session_of(url)).to_dict()
    forged = {
        "id": "evt_forged", "object": "event", "type": "checkout.session.completed",
        "livemode": False, "data": {"object": session | {"payment_status": "paid"}},
    }  # fmt: skip
    assert shop.deliver(forged).status_code == 200
    assert shop.packs == []


def _other_session(shop: Shop, **changes: Any) -> None:
    """Have Stripe complete a session of ours that is not what we sold."""
    shop.open()
    (row,) = rows(shop, checkouts)
    (ours,) = shop.stripe.v1.checkout.sessions.list().data
    price = {"currency": "usd", "unit_amount": row.amount_minor, "product_data": {"name": "x"}}
    metadata = {"organization": "acme", "checkout": row.checkout_id}
    made = shop.stripe.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "customer": ours.customer,
            "line_items": [
                {"price_data": price | changes.pop("price", {}), "quantity": 1},
            ],
            "metadata": metadata | changes.pop("metadata", {}),
            "success_url": "http://127.0.0.1:8000/plans/thanks",
            "cancel_url": "http://127.0.0.1:8000/plans",
        }
        | changes
    )
    assert shop.pay(str(made.url)).status_code == 303


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"price": {"unit_amount": 100}}, "amount"),
        ({"price": {"currency": "eur"}}, "currency"),
        ({}, "session"),
        ({"metadata": {"checkout": "co_nobody"}}, "never opened"),
        ({"metadata": {"organization": "bystander"}}, "never opened"),
        ({"metadata": {"organization": "nobody"}}, "no organization"),
        ({"metadata": {"organization": "", "checkout": ""}}, "no checkout of ours"),
    ],
)
def test_a_payment_that_does_not_fit_is_set_aside_and_answered_with_200(
    shop: Shop, changes: dict[str, Any], reason: str
) -> None:
    _other_session(shop, **changes)
    (event,) = shop.events()
    answer = shop.deliver(event)
    assert (answer.status_code, answer.json["outcome"]) == (200, "quarantined")
    (kept,) = rows(shop, stripe_inbox)
    assert kept.status == "quarantined"
    assert reason in kept.detail
    assert shop.deliver(event).json["outcome"] == "quarantined"
    shop.mend()
    assert shop.packs == []


def test_live_and_test_mode_do_not_mix(shop: Shop) -> None:
    shop.buy()
    (event,) = shop.events()
    assert shop.deliver(event | {"livemode": True}).json["outcome"] == "quarantined"
    assert shop.packs == []


def test_an_event_that_is_not_ours_to_act_on_is_ignored(shop: Shop) -> None:
    shop.buy()
    for event in shop.events("charge.succeeded"):
        assert shop.deliver(event).json["outcome"] == "ignored"
    (event,) = shop.events()
    assert shop.deliver(event | {"type": "moon.landed"}).json["outcome"] == "ignored"
    assert shop.packs == []


def test_both_secrets_are_good_and_no_other(shop: Shop) -> None:
    shop.buy()
    (event,) = shop.events()
    for secret in SECRETS:
        assert shop.deliver(without(event), secret=secret).status_code == 200
    assert shop.packs == ["500"]


def test_without_a_good_signature_nothing_is_believed(shop: Shop) -> None:
    shop.buy()
    (event,) = shop.events()
    for bad in (
        {"secret": "whsec_other"}, {"ago": 301}, {"header": ""}, {"header": "t=1,v1=00"},
        {"header": "v1=abc"}, {"header": "t=x,v1=abc"}, {"header": "é"}, {"secret": ""},
    ):  # fmt: skip
        answer = shop.deliver(event, **bad)
        assert answer.status_code == 400, bad
        assert answer.content_type == "application/problem+json"
    assert (rows(shop, stripe_inbox), shop.packs) == ([], [])


def test_a_signed_body_that_is_no_event_is_refused(shop: Shop) -> None:
    for body in ([], {}, {"id": "evt_1"}, "x", None, {"id": "evt_1", "object": "event",
                 "type": "checkout.session.completed", "livemode": False, "data": {}}):  # fmt: skip
        assert shop.deliver(body).status_code in {400, 422}, body
    assert rows(shop, stripe_inbox) == []


def test_another_organizations_session_is_the_same_as_none(shop: Shop) -> None:
    session = shop.buy()
    for organization, id_ in (("bystander", session), ("acme", "cs_test_nobody")):
        with pytest.raises(NotFound):
            checkout.returned(
                shop.database, shop.payments, organization_id=organization, session_id=id_,
                now=shop.clock(),
            )  # fmt: skip
    assert shop.packs == []


def test_a_pack_that_is_not_sold_is_not_opened(shop: Shop) -> None:
    with pytest.raises(InvalidRequest):
        shop.open("enormous")
    assert rows(shop, checkouts) == []


def test_a_pack_that_is_not_sold_is_named_as_its_buyer_would(shop: Shop) -> None:
    ana = enter(shop.application, shop.database, shop.clock, "ana")
    assert ana.send("/plans/packs/enormous", "/plans").status_code == 303
    said = ana.client.get("/plans").text
    assert "This pack is not one of small, medium, large. Nothing was charged." in said


def test_while_stripe_is_down_nothing_changes_and_work_goes_on(shop: Shop) -> None:
    session = shop.buy()
    (event,) = shop.events()
    parts = shop.application.extensions["clearmeter"]
    reachable = parts.payments
    object.__setattr__(parts, "payments", Gateway(KEY, f"http://127.0.0.1:{free_port()}"))
    answer = refused(shop.deliver(event), 503, "unavailable")
    assert "Stripe" in answer["detail"]
    with pytest.raises(Unavailable):
        shop.returned(session)
    with pytest.raises(Unavailable):
        shop.open()
    assert (shop.packs, [row.status for row in rows(shop, stripe_inbox)]) == ([], ["pending"])
    shop.customer.hold("document")
    object.__setattr__(parts, "payments", reachable)
    assert shop.deliver(event).status_code == 200
    assert shop.packs == ["500"]


def test_stripe_is_never_called_inside_a_transaction(shop: Shop) -> None:
    with shop.database.transaction(), pytest.raises(AssertionError, match="transaction is open"):
        shop.payments.checkout_session("cs_test_1")


def test_prices_are_pushed_once(shop: Shop) -> None:
    runner = shop.application.test_cli_runner()
    first = runner.invoke(args=["catalog", "push"])
    assert first.exit_code == 0, first.output
    assert runner.invoke(args=["catalog", "push"]).output == first.output
    assert len(shop.stripe.v1.prices.list({"limit": 100}).data) == 6
