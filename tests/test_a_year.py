"""A year of one customer: after each thing that happens everything is what somebody worked out.

The portal and the stand-in for Stripe share a clock. What stands in the tables below was written by
hand from the price book: Starter is 29.00 for 500 credits, Pro 99.00 for 2,500 and 0.06 for each
credit beyond, Team 299.00 for 10,000; the small pack is 500 for 39.00, the medium one 2,000 for
129.00. A document is 5 credits, an analysis 10, an image 2. Acme is in Berlin.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pytest

from portal.billing import invoices
from portal.core.margin.figures import Span
from portal.margin import margins, revenue
from tests import digest
from tests.a_year import (
    BERLIN,
    Step,
    bank_says,
    both,
    bought,
    card,
    changed,
    disputed,
    expected,
    given_back,
    paid_late,
    refused_for,
    renewed,
    spending,
    stands,
    statement,
    subscribed,
    undone,
    upgrade_declined,
    used,
    worker,
)  # fmt: skip
from tests.clock import Clock
from tests.replays import billed_minor, replayed_minor
from tests.shop import DECLINED, GOOD
from tests.subscribers import Subscriber, subscriber, utc

TOP_UP = {"threshold": "600", "pack": "small", "monthly_limit": "80.00"}

YEAR = (
    Step((2026, 11, 9, 12), "Starter is bought", subscribed("starter"),
         "29.00", "500 allowance", "starter"),
    Step((2026, 11, 12, 9), "20 documents", used("document", 20),
         "29.00", "400 allowance", "starter"),
    Step((2026, 11, 15, 9), "a small pack", bought("small"),
         "68.00", "400 allowance, 500 pack", "starter"),
    # Half of 30 days is left: half of 70.00, and half of the 2,000 credits between the tiers.
    Step((2026, 11, 24, 12), "up to Pro at half time", changed("pro"),
         "103.00", "400 allowance, 1000 allowance, 500 pack", "pro"),
    Step((2026, 11, 30, 9), "150 documents, from what ends first", used("document", 150),
         "103.00", "650 allowance, 500 pack", "pro"),
    Step((2026, 12, 9, 12), "Pro renews; what was left of the plan is gone", renewed,
         "202.00", "2500 allowance, 500 pack", "pro"),
    Step((2026, 12, 20, 12), "Team is wanted, the card is declined", upgrade_declined("team"),
         "202.00", "2500 allowance, 500 pack", "pro", tells="upgrade-unpaid"),
    Step((2026, 12, 21, 12), "nobody paid: Pro stays; the card works again", card(GOOD),
         "202.00", "2500 allowance, 500 pack", "pro"),
    Step((2027, 1, 5, 9), "the pack's payment is disputed: it waits", disputed(of_minor=3900),
         "202.00", "2500 allowance", "pro", frozen=500, tells="dispute"),
    Step((2027, 1, 6, 9), "the bank takes the money, the pack goes", bank_says("funds_withdrawn"),
         "163.00", "2500 allowance", "pro", tells="dispute"),
    Step((2027, 1, 9, 12), "Pro renews", renewed,
         "262.00", "2500 allowance", "pro", tells="dispute"),
    Step((2027, 1, 11, 9), "the dispute is won: money and credits come back", bank_says("won"),
         "301.00", "2500 allowance, 500 restoration", "pro"),
    Step((2027, 1, 15, 9), "a medium pack", bought("medium"),
         "430.00", "2500 allowance, 500 restoration, 2000 pack", "pro"),
    Step((2027, 1, 16, 9), "400 analyses", used("analysis", 400),
         "430.00", "1000 pack", "pro"),
    # 60 % of 129.00 is 77.40, and of 2,000 credits 1,200: 1,000 are there, 200 are owed.
    Step((2027, 1, 20, 9), "60 % of it is refunded", given_back("77.40", of_minor=12_900),
         "352.60", "", "pro", debt=200),
    Step((2027, 1, 21, 9), "who owes credits begins no new work", refused_for("debt"),
         "352.60", "", "pro", debt=200),
    Step((2027, 2, 9, 12), "Pro renews, the debt is paid first", renewed,
         "451.60", "2300 allowance", "pro"),
    Step((2027, 2, 10, 9), "overage is allowed, up to 30.00",
         spending(on_empty="overage", overage_limit="30.00"),
         "451.60", "2300 allowance", "pro"),
    Step((2027, 2, 11, 9), "1,250 images, 200 credits beyond the plan", used("image", 1250),
         "451.60", "", "pro"),
    # 99.00, and 200 credits at 0.06.
    Step((2027, 3, 9, 12), "Pro renews, the overage is on its invoice", renewed,
         "562.60", "2500 allowance", "pro"),
    Step((2027, 3, 10, 9), "auto top-up below 600, up to 80.00 a month",
         spending(on_empty="top_up", auto_top_up=TOP_UP),
         "562.60", "2500 allowance", "pro"),
    Step((2027, 3, 11, 9), "400 documents: 500 are left, a pack is bought",
         both(used("document", 400), worker),
         "601.60", "500 allowance, 500 pack", "pro"),
    Step((2027, 3, 12, 9), "100 documents, another pack", both(used("document", 100), worker),
         "640.60", "500 pack, 500 pack", "pro"),
    Step((2027, 3, 13, 9), "100 documents: a third would pass the limit",
         both(used("document", 100), worker, worker),
         "640.60", "500 pack", "pro", tells="top-up-limit"),
    Step((2027, 3, 20, 9), "auto top-up is turned off", spending(on_empty="stop"),
         "640.60", "500 pack", "pro"),
    # Berlin's clocks went forward: a day of 9 April begins at 22:00 in UTC.
    Step((2027, 4, 9, 12), "Pro renews", renewed,
         "739.60", "2500 allowance, 500 pack", "pro"),
    Step((2027, 4, 20, 9), "down to Starter, from May on", changed("starter"),
         "739.60", "2500 allowance, 500 pack", "pro"),
    Step((2027, 4, 21, 9), "that is taken back", undone,
         "739.60", "2500 allowance, 500 pack", "pro"),
    Step((2027, 4, 22, 9), "and wanted after all", changed("starter"),
         "739.60", "2500 allowance, 500 pack", "pro"),
    Step((2027, 5, 9, 12), "Starter begins", renewed,
         "768.60", "500 allowance, 500 pack", "starter"),
    Step((2027, 6, 1, 9), "the plan is to end", changed(None),
         "768.60", "500 allowance, 500 pack", "starter"),
    Step((2027, 6, 3, 9), "it goes on; but the card will not", both(undone, card(DECLINED)),
         "768.60", "500 allowance, 500 pack", "starter"),
    Step((2027, 6, 9, 12), "Starter's renewal waits for Stripe to try", renewed,
         "768.60", "500 pack", "starter", tells="payment-failed"),
    Step((2027, 6, 12, 9), "within grace work goes on", used("document", 20),
         "768.60", "400 pack", "starter", tells="payment-failed"),
    Step((2027, 6, 14, 9), "it is paid late: the allowance is there, once", paid_late,
         "797.60", "500 allowance, 400 pack", "starter"),
    Step((2027, 7, 9, 12), "Starter renews by the new card", renewed,
         "826.60", "500 allowance, 400 pack", "starter"),
    Step((2027, 8, 9, 12), "and again", renewed,
         "855.60", "500 allowance, 400 pack", "starter"),
    # Half of 31 days: 149.50 less 14.50, and half of 9,500 credits.
    Step((2027, 8, 25, 0), "up to Team at half time", changed("team"),
         "990.60", "500 allowance, 4750 allowance, 400 pack", "team"),
    Step((2027, 9, 9, 12), "Team renews", renewed,
         "1289.60", "10000 allowance, 400 pack", "team"),
    Step((2027, 10, 9, 12), "and again", renewed,
         "1588.60", "10000 allowance, 400 pack", "team"),
    Step((2027, 10, 20, 9), "the plan is to end", changed(None),
         "1588.60", "10000 allowance, 400 pack", "team"),
    Step((2027, 11, 9, 12), "it ends; what was bought stays", renewed,
         "1588.60", "400 pack", None, tells="plan-ended"),
)  # fmt: skip

#: When an invoice was issued, for what, what it comes to, and how it ended.
INVOICES = (
    ("2026-11-09", "tier", 2_900, "paid"),
    ("2026-11-15", "other", 3_900, "paid"),
    ("2026-11-24", "proration, proration", 3_500, "paid"),
    ("2026-12-09", "tier", 9_900, "paid"),
    # 11 of 31 days are over: 192.90 less 63.87. Nobody paid it.
    ("2026-12-20", "proration, proration", 12_903, "void"),
    ("2027-01-09", "tier", 9_900, "paid"),
    ("2027-01-15", "other", 12_900, "paid"),
    ("2027-02-09", "tier", 9_900, "paid"),
    ("2027-03-09", "overage, tier", 11_100, "paid"),
    ("2027-04-09", "tier", 9_900, "paid"),
    ("2027-05-09", "tier", 2_900, "paid"),
    ("2027-06-09", "tier", 2_900, "paid"),
    ("2027-07-09", "tier", 2_900, "paid"),
    ("2027-08-09", "tier", 2_900, "paid"),
    ("2027-08-25", "proration, proration", 13_500, "paid"),
    ("2027-09-09", "tier", 29_900, "paid"),
    ("2027-10-09", "tier", 29_900, "paid"),
)

#: A period is of Berlin's days, from midnight on, while an allowance lives from noon to noon in
#: UTC: what a cycle leaves over ends in the statement of the next period.
STATEMENTS = (
    {"opening": 0, "granted": 2000, "used": -850, "closing": 1150},
    {"opening": 1150, "granted": 2500, "expired": -650, "taken back": -500, "closing": 2500},
    {"opening": 2500, "granted": 5000, "used": -4000, "expired": -2500, "taken back": -1200,
     "closing": -200},
    {"opening": -200, "granted": 2500, "beyond the plan": 200, "used": -2500, "closing": 0},
    {"opening": 0, "granted": 3500, "used": -3000, "closing": 500},
    {"opening": 500, "granted": 2500, "closing": 3000},
    {"opening": 3000, "granted": 500, "expired": -2500, "closing": 1000},
    {"opening": 1000, "granted": 500, "used": -100, "expired": -500, "closing": 900},
    {"opening": 900, "granted": 500, "expired": -500, "closing": 900},
    {"opening": 900, "granted": 5250, "expired": -500, "closing": 5650},
    {"opening": 5650, "granted": 10_000, "expired": -5250, "closing": 10_400},
    {"opening": 10_400, "granted": 10_000, "expired": -10_000, "closing": 10_400},
    {"opening": 10_400, "expired": -10_000, "closing": 400},
)  # fmt: skip

#: What was recognised in each calendar month of Berlin, in cents: fees by the days of their
#: periods, credits used and those returned with their money, overage, what went back, what Stripe
#: kept (2.9 % and 0.30 of each charge). The 39.00 that were disputed went and came back in January;
#: of the 129.00 half was used before 77.40 went back, so 1,000 credits of 64.50 were returned.
RECOGNISED = (
    # 22 of 30 days of 29.00; 7 of 15 days of 49.50 less 14.50.
    ("2026-11", 3_760, 0, 0, 0, 0, -389),
    # The rest of these, and 23 of 31 days of 99.00.
    ("2026-12", 9_985, 0, 0, 0, 0, -317),
    ("2027-01", 9_900, 3_900 + 6_450, 6_450, 0, -7_740, -721),
    ("2027-02", 9_626, 0, 0, 1_200, 0, -317),
    ("2027-03", 10_174, 3_900, 0, 0, 0, -638),
    ("2027-04", 9_815, 0, 0, 0, 0, -317),
    ("2027-05", 4_792, 0, 0, 0, 0, -114),
    ("2027-06", 2_875, 780, 0, 0, 0, -114),
    ("2027-07", 2_925, 0, 0, 0, 0, -114),
    # 7 of 15 days of 149.50 less 14.50.
    ("2027-08", 9_200, 0, 0, 0, 0, -536),
    ("2027-09", 29_875, 0, 0, 0, 0, -897),
    ("2027-10", 30_157, 0, 0, 0, 0, -897),
    ("2027-11", 7_716, 0, 0, 0, 0, 0),
)


@pytest.fixture
def acme(store: str, clock: Clock) -> Iterator[Subscriber]:
    with subscriber(store, clock, BERLIN.key) as made:
        yield made


def live(acme: Subscriber, step: Step) -> None:
    """Let time pass up to a step, do what it says, and let Stripe tell of it."""
    acme.to(utc(*step.when))
    step.deed(acme)
    acme.tell()


def prove(acme: Subscriber, step: Step) -> None:
    """Compare everything with what was worked out by hand, and the books with each other."""
    assert stands(acme, step) == expected(step)
    assert statement(acme)["closing"] == step.available + step.frozen - step.debt
    assert digest.faults(acme.database) == []
    assert acme.differences() == []


def test_a_year_of_one_customer_is_what_was_worked_out_by_hand(acme: Subscriber) -> None:
    for step in YEAR:
        live(acme, step)
        prove(acme, step)
    assert billed(acme) == list(INVOICES)
    assert told_by_stripe(acme) == [one[2:] for one in INVOICES]
    assert [statement(acme, day) for day in ninths()] == [
        {"from": day} | told for day, told in zip(ninths(), STATEMENTS, strict=True)
    ]
    assert acme.mend() == []
    assert replayed_minor(acme) == billed_minor(acme)
    # From the middle of a cycle on, with what was left then and a debt to settle.
    begun = date(2027, 1, 25)
    since = sum(one[2] for one in INVOICES if one[0] >= begun.isoformat()) + 2 * 3_900
    assert replayed_minor(acme, since=begun) == since
    assert recognised(acme) == list(RECOGNISED)


def recognised(acme: Subscriber) -> list[tuple[str, int, int, int, int, int, int]]:
    """Return what the margin counts as revenue, by month; nothing ended unused that was bought."""
    revenue.recognise(acme.database, "acme", now=acme.clock())
    year = Span(date(2026, 11, 1), date(2027, 12, 1))
    with acme.database.reading() as tx:
        months = margins.by_month(tx, "acme", year)
        whole = margins.of_organization(tx, "acme", year).figures.revenue
    assert sum(month.revenue.total_minor for _, month in months) == whole.total_minor
    assert whole.credits_expired_minor == 0
    return [
        (
            span.start.isoformat()[:7],
            found.revenue.tier_fees_minor,
            found.revenue.credits_used_minor,
            found.revenue.credits_returned_minor,
            found.revenue.overage_minor,
            found.revenue.refunds_minor,
            found.revenue.payment_fees_minor,
        )
        for span, found in months
    ]


def ninths() -> list[str]:
    """Return the first day of each period of the year."""
    months = [(2026, month) for month in (11, 12)] + [(2027, month) for month in range(1, 12)]
    return [f"{year}-{month:02}-09" for year, month in months]


def billed(acme: Subscriber) -> list[tuple[str, str, int, str]]:
    """Return the invoices that Acme sees, oldest first."""
    with acme.database.reading() as tx:
        found = invoices.listed(tx, "acme")[::-1]
    return [
        (
            one.issued_at.date().isoformat(),
            ", ".join(sorted(line.kind for line in one.lines)),
            one.total_minor,
            one.status,
        )
        for one in found
    ]


def told_by_stripe(acme: Subscriber) -> list[tuple[int, str]]:
    """Return what Stripe says of all its invoices, oldest first."""
    found = list(acme.stripe.v1.invoices.list({"limit": 100}).auto_paging_iter())[::-1]
    return [(one.total, str(one.status)) for one in found]
