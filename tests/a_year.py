"""What Acme, its bank and its operator do in the year of one customer, one deed at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select

from portal import accounts, jobs
from portal.billing import checkout
from portal.jobs import Workshop
from portal.tables import payments
from tests.approvals import approved
from tests.cast import ok, refused
from tests.shop import DECLINED, GOOD
from tests.subscribers import Subscriber

BERLIN = ZoneInfo("Europe/Berlin")
Deed = Callable[[Subscriber], object]


@dataclass(frozen=True)
class Step:
    """An instant of the year, what happens then, and how everything stands afterwards.

    ``has`` is what is left of which grants, in the order they are spent; ``charged`` all that
    Stripe took so far, in dollars, less what went back; ``tells`` what stands on the page.
    """

    when: tuple[int, ...]
    what: str
    deed: Deed
    charged: str
    has: str
    tier: str | None
    debt: int = 0
    frozen: int = 0
    tells: str = ""

    @property
    def available(self) -> int:
        """What can be spent: the sum of what is left."""
        return sum(int(one.split()[0]) for one in self.has.split(", ") if one)


def renewed(acme: Subscriber) -> None:
    """Do nothing: a cycle ends, and Stripe tells."""


def subscribed(tier: str) -> Deed:
    return lambda acme: acme.subscribe(tier)


def changed(tier: str | None) -> Deed:
    """Change to a tier as previewed, or end the plan."""
    return lambda acme: acme.change(tier)


def undone(acme: Subscriber) -> None:
    acme.undo()


def upgrade_declined(tier: str) -> Deed:
    def deed(acme: Subscriber) -> None:
        acme.card(DECLINED)
        assert acme.confirm(acme.preview(tier)).status == "awaiting_payment"

    return deed


def card(number: str) -> Deed:
    return lambda acme: acme.card(number)


def used(action: str, quantity: int) -> Deed:
    """Work is done: authorized and captured."""
    return lambda acme: ok(acme.acme.capture(acme.acme.hold(action, quantity)))


def refused_for(code: str) -> Deed:
    return lambda acme: refused(acme.acme.authorize("document"), 402, code)


def bought(pack: str) -> Deed:
    def deed(acme: Subscriber) -> None:
        url = checkout.start(
            acme.database, acme.payments, organization=acme.organization, member=acme.ana,
            pack=pack, portal_base_url="http://127.0.0.1:8000", now=acme.clock(),
        )  # fmt: skip
        assert acme.pay(url).status_code == 303

    return deed


def payment_of(acme: Subscriber, amount_minor: int) -> str:
    """Return the payment of an amount that only one payment has."""
    with acme.database.reading() as tx:
        paid = select(payments.c.payment_id).where(payments.c.amount_minor == amount_minor)
        return str(tx.execute(paid).scalar_one())


def given_back(amount: str, *, of_minor: int) -> Deed:
    """One operator asks for a part of a payment, more than is unspent, and another approves."""

    def deed(acme: Subscriber) -> None:
        started = approved(
            acme.database, acme.payments, "acme", payment_of(acme, of_minor), amount=amount,
            now=acme.clock(),
        )  # fmt: skip
        assert started.status == "succeeded"

    return deed


def disputed(*, of_minor: int) -> Deed:
    return lambda acme: acme.control("disputes", payment_intent=payment_of(acme, of_minor))


def bank_says(decision: str) -> Deed:
    def deed(acme: Subscriber) -> None:
        (dispute,) = acme.stripe.v1.disputes.list().data
        acme.control(f"disputes/{dispute.id}", to=decision)

    return deed


def spending(**choice: Any) -> Deed:
    """An admin chooses what happens when credits run out."""

    def deed(acme: Subscriber) -> None:
        ok(acme.acme.api.patch(f"{acme.acme.path}/spending", choice))

    return deed


def worker(acme: Subscriber) -> None:
    """The worker comes round."""
    shop = Workshop(acme.database, acme.payments, acme.clock)
    jobs.top_up_credits(shop)
    jobs.bill_overage(shop)


def both(*deeds: Deed) -> Deed:
    """Do one thing after the other."""

    def deed(acme: Subscriber) -> None:
        for one in deeds:
            one(acme)

    return deed


def paid_late(acme: Subscriber) -> None:
    """The invoice's page is visited and another card typed in."""
    assert acme.pay(acme.standing().pay_url, GOOD).status_code in {200, 303}


def stands(acme: Subscriber, step: Step) -> dict[str, Any]:
    """Return how everything stands, in the words of a step."""
    balance = acme.acme.balance()
    left = (f"{one['remaining']} {one['source']}" for one in balance["grants"])
    with acme.database.reading() as tx:
        organization = accounts.find_organization(tx, "acme")
    return {
        "what": step.what,
        "charged": f"{charged_minor(acme) / 100:.2f}",
        "has": ", ".join(left),
        "available": int(balance["available"]),
        "tier": organization.tier,
        "debt": int(balance["debt"]),
        "frozen": int(balance["frozen"]),
        "tells": ", ".join(sorted(acme.notices())),
    }


def expected(step: Step) -> dict[str, Any]:
    """Return a step's own words, as ``stands`` has them."""
    names = ("what", "charged", "has", "available", "tier", "debt", "frozen", "tells")
    return {name: getattr(step, name) for name in names}


def charged_minor(acme: Subscriber) -> int:
    """Return what Stripe took of Acme less what went back, as Stripe's own balance has it."""
    charges = acme.stripe.v1.charges.list({"limit": 100}).auto_paging_iter()
    taken = sum(one.amount - one.amount_refunded for one in charges if one.paid)
    disputes = acme.stripe.v1.disputes.list({"limit": 100}).data
    held = sum(-line.amount for one in disputes for line in one.balance_transactions)
    return taken - held


def statement(acme: Subscriber, period: str = "current") -> dict[str, Any]:
    """Return a statement: what it began with, what each kind of line comes to, how it ends."""
    answer = ok(acme.acme.api.get(f"{acme.acme.path}/statement?period={period}"))
    start = datetime.fromisoformat(answer["period"]["start"])
    told: dict[str, Any] = {"opening": int(answer["opening"]["credits"])}
    for line in answer["movements"]:
        told[line["kind"]] = told.get(line["kind"], 0) + int(line["credits"])
    closing = int(answer["closing"]["credits"])
    assert closing == sum(told.values()), "opening and movements come to the closing"
    day = start.astimezone(BERLIN).date().isoformat()
    return {"from": day} | told | {"closing": closing}
