"""Packs whole: methods that take their time, promotions, tax, kept cards, what was set aside."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import requests
from sqlalchemy import select

from app import create_app
from portal.billing import checkout, inbox
from portal.billing import payments as book
from portal.billing.effects import Quarantined
from portal.billing.gateway import CheckoutSession
from portal.billing.payments import Payment
from portal.config import Settings
from portal.core.errors import ConfigError, NotFound
from portal.tables import checkouts, grants, payments, stripe_inbox
from tests.conftest import SECRET_KEY, settings_for
from tests.shop import DECLINED, GOOD, Shop, session_of


def only(shop: Shop, table: Any) -> Any:
    with shop.database.reading() as tx:
        return tx.execute(select(table)).one()


def granted(shop: Shop) -> Any:
    with shop.database.reading() as tx:
        return tx.execute(select(grants).where(grants.c.source == "pack")).one()


def status(shop: Shop) -> str:
    return str(only(shop, checkouts).status)


def test_a_payment_is_written_down_with_its_grant_its_fee_and_the_time_it_was_made(
    shop: Shop,
) -> None:
    session = shop.buy()
    shop.tell("checkout.session.", of=session)
    row = only(shop, payments)
    assert (row.payment_id, row.kind, row.amount_minor, row.currency) == (
        shop.payment_of(session), "pack", 3900, "usd",
    )  # fmt: skip
    assert (row.grant_id, row.fee_minor, row.refunded_minor) == (granted(shop).grant_id, 143, 0)
    assert shop.differences() == []


def test_a_method_that_takes_its_time_grants_when_it_has_paid(shop: Shop) -> None:
    url = shop.open()
    shop.pay_by_bank(url)
    session = session_of(url)
    shop.tell("checkout.session.", of=session)
    assert (shop.packs, shop.returned(session), shop.mend()) == ([], "open", [])
    shop.control("settle")
    shop.tell("checkout.session.", of=session)
    assert (shop.packs, status(shop)) == (["500"], "fulfilled")


def test_a_method_that_fails_in_the_end_closes_the_purchase(shop: Shop) -> None:
    url = shop.open()
    shop.pay_by_bank(url, "bank_fails")
    shop.control("settle")
    shop.tell("checkout.session.", of=session_of(url))
    assert (shop.packs, status(shop), shop.mend()) == ([], "failed", [])
    assert shop.returned(session_of(url)) == "failed"


def test_a_payment_made_at_the_second_try_is_one_payment_whose_books_agree(shop: Shop) -> None:
    url = shop.open()
    assert shop.pay(url, DECLINED).status_code != 303
    shop.pay(url)
    shop.tell("checkout.session.", of=session_of(url))
    assert (shop.packs, len(list(shop.stripe.v1.charges.list()))) == (["500"], 2)
    assert (shop.differences(), shop.mend()) == ([], [])


def test_what_auto_top_up_shall_charge_later_is_kept(shop: Shop) -> None:
    url = shop.open(keep_method=True)
    shop.pay(url)
    (kept,) = shop.stripe.v1.payment_methods.list(
        {"customer": str(shop.stripe.v1.checkout.sessions.retrieve(session_of(url)).customer)}
    ).data
    assert kept.type == "card"


def test_a_session_takes_promotions_and_makes_a_receipt(shop: Shop) -> None:
    url = shop.open()
    session = shop.stripe.v1.checkout.sessions.retrieve(session_of(url))
    assert session.allow_promotion_codes is True
    assert session.invoice_creation is not None
    assert session.invoice_creation.enabled is True
    assert session.automatic_tax.enabled is False


def told(shop: Shop, **changes: Any) -> CheckoutSession:
    return replace(shop.payments.checkout_session(shop.buy()), **changes)


def fulfil(shop: Shop, session: CheckoutSession) -> str:
    return checkout.fulfil(shop.database, session, livemode=False, now=shop.clock()).status


def code(shop: Shop, percent: int) -> str:
    """Have the seller hand out a promotion code."""
    coupon = shop.stripe.v1.coupons.create({"percent_off": percent, "duration": "once"})
    shop.stripe.v1.promotion_codes.create(
        {"promotion": {"type": "coupon", "coupon": coupon.id}, "code": "SPRING"}
    )
    return "SPRING"


def bought_with(shop: Shop, *, number: str = GOOD, **typed: str) -> str:
    """Buy with a code or from a country, typed into the page; return the session."""
    url = shop.open()
    requests.post(url, data={"apply": "1", **typed}, allow_redirects=False, timeout=10)
    assert shop.pay(url, number).status_code == 303
    return session_of(url)


def test_of_a_discounted_and_taxed_payment_the_grant_is_worth_what_is_net(shop: Shop) -> None:
    shop.payments.automatic_tax = True
    session = bought_with(shop, promotion_code=code(shop, 25), country="DE")
    shop.tell("checkout.session.", of=session)
    row = only(shop, payments)
    assert (row.amount_minor, row.tax_minor, granted(shop).paid_minor) == (3481, 556, 2925)
    assert shop.differences() == []
    shop.refund(row.payment_id, 3480)
    shop.mend()
    assert only(shop, payments).refund_revoked_micro == 499_856_364
    assert shop.differences() == []


def test_tax_that_is_in_the_price_is_not_what_the_credits_are_worth(shop: Shop) -> None:
    assert fulfil(shop, told(shop, tax_minor=623)) == "fulfilled"
    assert granted(shop).paid_minor == 3277


def test_a_pack_that_a_promotion_made_free_is_granted_without_a_payment(shop: Shop) -> None:
    session = bought_with(shop, promotion_code=code(shop, 100))
    shop.tell("checkout.session.", of=session)
    assert granted(shop).paid_minor == 0
    with shop.database.reading() as tx:
        assert tx.execute(select(payments)).first() is None
    assert (shop.mend(), shop.differences()) == ([], [])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"amount_total_minor": 3899}, "total"),
        ({"discount_minor": 100}, "total"),
        ({"tax_minor": 1, "amount_total_minor": 3902}, "total"),
        ({"amount_subtotal_minor": 3901}, "amount"),
        ({"customer_id": "cus_other"}, "customer"),
        ({"livemode": True}, "mode"),
    ],
)
def test_a_total_that_does_not_add_up_to_what_we_sold_is_set_aside(
    shop: Shop, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Quarantined, match=reason):
        fulfil(shop, told(shop, **changes))
    assert shop.packs == []


def test_what_was_set_aside_is_done_once_its_cause_is_mended(shop: Shop) -> None:
    session = shop.buy()
    (event,) = shop.events()
    with shop.database.transaction() as tx:
        tx.execute(checkouts.update().values(amount_minor=3899))
    assert shop.deliver(event).json["outcome"] == "quarantined"
    runner = shop.application.test_cli_runner()
    listed = runner.invoke(args=["stripe", "replay"]).output
    assert (event["id"] in listed, session in listed, "amount" in listed) == (True, True, True)
    assert "quarantined" in runner.invoke(args=["stripe", "replay", event["id"]]).output
    with shop.database.transaction() as tx:
        tx.execute(checkouts.update().values(amount_minor=3900))
    assert ": done" in runner.invoke(args=["stripe", "replay", event["id"]]).output
    assert (shop.packs, only(shop, stripe_inbox).status) == (["500"], "done")
    assert "done already" in runner.invoke(args=["stripe", "replay", event["id"]]).output
    assert runner.invoke(args=["stripe", "replay", "evt_nobody"]).exit_code == 1


def test_news_of_what_stripe_no_longer_has_are_set_aside_and_stop_no_others(shop: Shop) -> None:
    session = shop.buy()
    (event,) = shop.events()
    gone = event | {"id": "evt_gone", "data": {"object": {"id": "cs_test_gone"}}}
    assert shop.deliver(gone).json["outcome"] == "quarantined"
    with shop.database.transaction() as tx:
        tx.execute(stripe_inbox.update().values(status="pending"))
    assert len(inbox.finish_pending(shop.database, shop.payments, now=shop.clock())) == 1
    assert shop.returned(session) == "fulfilled"
    with pytest.raises(NotFound):
        inbox.replay(shop.database, shop.payments, ["evt_other"], now=shop.clock())


def test_a_payment_is_known_with_one_amount_and_one_grant(shop: Shop) -> None:
    session = shop.buy()
    shop.returned(session)
    with shop.database.reading() as tx:
        known = book.of(tx, "acme", shop.payment_of(session))
    assert known is not None
    for changes in ({"amount_minor": 1}, {"currency": "eur"}, {"grant_id": "gr_other"}):
        other: Payment = replace(known.payment, **changes)  # type: ignore[arg-type]
        with shop.database.transaction() as tx, pytest.raises(Quarantined):
            book.record(checkout.open_desk(tx, "acme", now=shop.clock()).wallet, other)


def test_tax_is_asked_for_where_the_setting_says_so() -> None:
    env = {
        "DATABASE_URL": "sqlite:///x.db", "SECRET_KEY": SECRET_KEY,
        "PORTAL_BASE_URL": "https://shop.example",
    }  # fmt: skip
    assert Settings.from_env(env).stripe_automatic_tax is False
    assert Settings.from_env(env | {"STRIPE_AUTOMATIC_TAX": "on"}).stripe_automatic_tax is True
    with pytest.raises(ConfigError, match="STRIPE_AUTOMATIC_TAX"):
        Settings.from_env(env | {"STRIPE_AUTOMATIC_TAX": "yes"})
    application = create_app(settings_for("sqlite:///x.db", stripe_automatic_tax=True))
    assert application.extensions["clearmeter"].payments.automatic_tax is True
