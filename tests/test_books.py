"""Three books: whatever is wrong between Stripe, our payments and the ledger is mended or told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from portal import jobs
from portal.desk import open_desk
from portal.jobs import Workshop
from portal.tables import checkouts, grants, organizations, payment_movements, payments
from portal.wallet import Paid
from tests.shop import Shop


@dataclass
class Bought:
    """One pack that was bought and granted; the ids on both sides."""

    shop: Shop
    session: str
    payment: str
    grant: str = ""

    def tamper(self, table: Any, **values: Any) -> None:
        """Change rows behind everybody's back."""
        with self.shop.database.transaction() as tx:
            tx.execute(update(table).where(table.c.organization_id == "acme").values(**values))


def buy(shop: Shop) -> Bought:
    session = shop.buy()
    assert shop.returned(session) == "fulfilled"
    with shop.database.reading() as tx:
        grant = tx.execute(select(payments.c.grant_id)).scalar_one()
    return Bought(shop, session, shop.payment_of(session), grant)


def lose_the_purchase(shop: Shop) -> list[str]:
    session = shop.buy()
    with shop.database.reading() as tx:
        return [session, tx.execute(select(checkouts.c.checkout_id)).scalar_one()]


def lose_a_refund(shop: Shop) -> list[str]:
    one = buy(shop)
    shop.refund(one.payment, 1000)
    return [one.payment, one.grant]


def lose_a_dispute(shop: Shop) -> list[str]:
    one = buy(shop)
    shop.dispute(one.payment, "funds_withdrawn")
    return [one.payment, one.grant]


def lose_a_failure(shop: Shop) -> list[str]:
    url = shop.open()
    shop.pay_by_bank(url, "bank_fails")
    shop.control("settle")
    with shop.database.reading() as tx:
        return [url.rpartition("/")[2], tx.execute(select(checkouts.c.checkout_id)).scalar_one()]


def forget_the_payment(shop: Shop) -> list[str]:
    one = buy(shop)
    with shop.database.transaction() as tx:
        tx.execute(payment_movements.delete())
        tx.execute(payments.delete())
    return [one.payment, one.grant]


def untie_the_grant(shop: Shop) -> list[str]:
    one = buy(shop)
    one.tamper(payments, grant_id=None)
    return [one.payment, one.grant]


def forget_the_fee(shop: Shop) -> list[str]:
    one = buy(shop)
    one.tamper(payments, fee_minor=None)
    return ["acme", one.payment]


MENDED = (
    lose_the_purchase, lose_a_refund, lose_a_dispute, lose_a_failure, forget_the_payment,
    untie_the_grant, forget_the_fee,
)  # fmt: skip


def charge_from_elsewhere(shop: Shop) -> list[str]:
    one = buy(shop)
    customer = shop.stripe.v1.payment_intents.retrieve(one.payment).customer
    method = shop.stripe.v1.payment_methods.attach("pm_card_visa", {"customer": str(customer)})
    made = shop.stripe.v1.payment_intents.create(
        {
            "amount": 500, "currency": "usd", "customer": str(customer), "off_session": True,
            "payment_method": method.id, "confirm": True,
        }
    )  # fmt: skip
    return [made.id, str(made.latest_charge)]


def invent_a_payment(shop: Shop) -> list[str]:
    one = buy(shop)
    with shop.database.transaction() as tx:
        row = dict(tx.execute(select(payments)).mappings().one())
        tx.execute(payments.insert().values(row | {"payment_id": "pi_invented"}))
    return ["pi_invented", one.grant]


def be_a_cent_off(shop: Shop) -> list[str]:
    one = buy(shop)
    one.tamper(payments, amount_minor=3899)
    return [one.payment, one.grant]


def be_a_cent_off_in_the_ledger(shop: Shop) -> list[str]:
    one = buy(shop)
    one.tamper(grants, paid_minor=3901, paid_currency="usd")
    return [one.payment, one.grant]


def be_in_another_currency(shop: Shop) -> list[str]:
    one = buy(shop)
    one.tamper(payments, currency="eur")
    return [one.payment, one.grant]


def grant_without_a_payment(shop: Shop) -> list[str]:
    with shop.database.transaction() as tx:
        wallet = open_desk(tx, "acme", now=shop.clock()).wallet
        grant = wallet.grant(
            source="pack", credits_micro=10**6, paid=Paid(3900, "usd"),
            external_key="stripe:checkout:cs_test_invented",
        )  # fmt: skip
        wallet.write()
    return ["cs_test_invented", grant]


def pay_for_no_grant(shop: Shop) -> list[str]:
    one = buy(shop)
    one.tamper(checkouts, checkout_id="co_other")
    one.tamper(payments, grant_id=None)
    charge = str(shop.stripe.v1.payment_intents.retrieve(one.payment).latest_charge)
    return [one.payment, charge]


def refund_only_here(shop: Shop) -> list[str]:
    one = buy(shop)
    one.tamper(payments, refunded_minor=1, refund_revoked_micro=128_206)
    return [one.payment, one.grant]


def take_too_little_back(shop: Shop) -> list[str]:
    one = buy(shop)
    shop.refund(one.payment, 1300)
    shop.tell("charge.refunded", of=one.payment)
    one.tamper(payments, refund_revoked_micro=166_666_666)
    return [one.payment, one.grant]


def grant_more_than_was_sold(shop: Shop) -> list[str]:
    one = buy(shop)
    one.tamper(checkouts, credits_micro=499_000_000)
    return [one.payment, one.grant]


def be_somebody_elses(shop: Shop) -> list[str]:
    one = buy(shop)
    one.tamper(organizations, stripe_customer_id="cus_of_before")
    return [one.payment, one.grant]


def know_another_fee(shop: Shop) -> list[str]:
    one = buy(shop)
    one.tamper(payments, fee_minor=1)
    return [one.payment, one.grant]


TOLD = (
    charge_from_elsewhere, invent_a_payment, be_a_cent_off, be_a_cent_off_in_the_ledger,
    be_in_another_currency, grant_without_a_payment, pay_for_no_grant, refund_only_here,
    take_too_little_back, grant_more_than_was_sold, be_somebody_elses, know_another_fee,
)  # fmt: skip


def reconciled(shop: Shop) -> list[str]:
    runner = shop.application.test_cli_runner()
    done = runner.invoke(args=["stripe", "reconcile", "--since", "2000-01-01"])
    assert done.exit_code == 0, done.output
    return list(done.output.splitlines())


@pytest.mark.parametrize("plant", MENDED)
def test_what_webhooks_did_not_bring_is_mended_in_one_run_and_told_with_both_ids(
    shop: Shop, plant: Callable[[Shop], list[str]]
) -> None:
    ids = plant(shop)
    lines = reconciled(shop)
    assert lines[-1] == "1 mended, 0 differ."
    assert all(one in lines[0] for one in ids), lines
    assert reconciled(shop) == ["0 mended, 0 differ."]


@pytest.mark.parametrize("plant", TOLD)
def test_each_difference_between_the_books_is_told_with_both_ids(
    shop: Shop, plant: Callable[[Shop], list[str]]
) -> None:
    ids = plant(shop)
    lines = reconciled(shop)
    assert any(line.startswith("differs: ") and all(one in line for one in ids) for line in lines)


def test_books_in_which_much_happened_do_not_differ(shop: Shop) -> None:
    first, second = buy(shop), shop.buy("large")
    shop.refund(first.payment, 1234)
    shop.dispute(shop.payment_of(second), "funds_withdrawn", "won")
    assert len(shop.mend()) == 3
    assert (shop.mend(), shop.differences()) == ([], [])


def test_every_night_the_books_are_compared_and_differences_counted(shop: Shop) -> None:
    one = buy(shop)
    workshop = Workshop(shop.database, shop.payments, shop.clock)
    (job,) = (job for job in jobs.JOBS if job.name == "compare-books")
    assert (job.every, jobs.run_once(workshop, job)) == (timedelta(days=1), 0)
    one.tamper(payments, amount_minor=3899)
    shop.clock.forward(timedelta(days=1))
    assert jobs.run_once(workshop, job) == 2
