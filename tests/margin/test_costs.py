"""Bills beside what customers' work explains: layers and what nobody explains are the total."""

from __future__ import annotations

import gzip
from datetime import date
from pathlib import Path

import pytest
from flask import Flask

from portal.core.errors import InvalidRequest, NotFound
from portal.core.margin.figures import Span
from portal.core.margin.focus import Charge, Reading, mapped
from portal.db import Database
from portal.margin import costs, revenue, whole
from tests.cast import Api, Customer
from tests.clock import Clock
from tests.margin.operator import NANO, NOVEMBER, agree, customer, figures, open_business, used
from tests.test_cli import run

#: A day and a bit of a cloud bill: a charge, a credit and an adjustment.
FOCUS = """\
BilledCost,EffectiveCost,BillingCurrency,ChargePeriodStart,ChargeCategory,ProviderName,\
ServiceCategory,ServiceName
30.00000000000,20.0,USD,2026-11-03 01:00:00,Usage,AWS,Storage,Amazon Simple Storage Service
0.00000000055,0,USD,2026-11-03 02:00:00,Usage,AWS,Compute,AWS Lambda
-5.00,-5.00,USD,2026-11-04 00:00:00,Credit,AWS,Storage,Amazon Simple Storage Service
12.5,12.5,USD,2026-11-04 00:00:00,Adjustment,Microsoft,AI and Machine Learning,Azure OpenAI
"""


@pytest.fixture(autouse=True)
def business(application: Flask, database: Database, clock: Clock) -> None:
    open_business(database, clock)


@pytest.fixture
def two(api: Api) -> tuple[Customer, Customer]:
    """Two customers, of whom one used three times as much."""
    less, more = customer(api, "less", tier="flat"), customer(api, "more", tier="flat")
    used(less, 1, 8_000)
    used(more, 3, 8_000)
    return less, more


def invoice(
    database: Database,
    clock: Clock,
    layer: str,
    amount_nano_usd: int,
    provider: str = "",
    *,
    content: bytes = b"%PDF an invoice",
    span: Span = NOVEMBER,
) -> costs.Imported:
    charge = Charge(layer, provider, span.start, span.end, amount_nano_usd)
    return costs.import_invoice(
        database, content, name="invoice.pdf", charge=charge, actor="olga", now=clock()
    )


def totals(database: Database, clock: Clock, span: Span = NOVEMBER) -> whole.Totals:
    revenue.bring_up_to_date(database, now=clock())
    with database.reading() as tx:
        return whole.totals(tx, span)


@pytest.mark.usefixtures("two")
def test_what_a_bill_asks_beyond_customers_work_is_nobody_s(
    database: Database, clock: Clock
) -> None:
    invoice(database, clock, "inference", NANO)
    found = totals(database, clock)
    assert found.cost.by_layer["inference"] == 150_000_000
    assert found.unattributed_by_layer["inference"] == 850_000_000
    assert found.cost_nano_usd == NANO
    assert found.attributed_tenths_percent == 150
    # Less than customers explain: the difference is told, and the bill is the truth.
    invoice(database, clock, "inference", -900_000_000, content=b"a credit note")
    assert totals(database, clock).unattributed_nano_usd == -50_000_000
    agree(database, clock)


@pytest.mark.usefixtures("two")
def test_a_provider_s_bill_stands_beside_its_own_calls_alone(
    database: Database, clock: Clock
) -> None:
    invoice(database, clock, "inference", NANO, "openai")
    found = totals(database, clock)
    # Nobody said who served the operator's own model.
    assert found.unattributed_nano_usd == NANO
    assert found.cost_nano_usd == NANO + 150_000_000
    invoice(database, clock, "inference", 2 * NANO)
    with database.reading() as tx:
        both = costs.reconcile(tx, NOVEMBER)
    assert [(one.provider, one.attributed_nano_usd) for one in both] == [
        ("", 150_000_000),
        ("openai", 0),
    ]


@pytest.mark.usefixtures("two")
def test_a_bill_counts_day_by_day(database: Database, clock: Clock) -> None:
    invoice(database, clock, "storage", 100)
    third = Span(date(2026, 11, 1), date(2026, 11, 11))
    rest = Span(date(2026, 11, 11), date(2026, 12, 15))
    assert [totals(database, clock, one).unattributed_nano_usd for one in (third, rest)] == [33, 67]


@pytest.mark.parametrize(
    ("rule", "shares"),
    [("credits", (25, 75)), ("events", (25, 75)), ("cost", (25, 75)), ("customers", (50, 50))],
)
def test_a_fixed_cost_is_shared_by_the_rule_that_is_stored_with_it(
    two: tuple[Customer, Customer],
    database: Database,
    clock: Clock,
    rule: str,
    shares: tuple[int, int],
) -> None:
    (bill,) = invoice(database, clock, "storage", 100).bills
    done = costs.share_out(database, bill.bill_id, rule, actor="olga", now=clock())
    assert done == 100
    found = [figures(database, clock, one.id).cost for one in two]
    assert tuple(one.by_layer["storage"] for one in found) == shares
    assert tuple(one.by_quality["allocated"] for one in found) == shares
    with database.reading() as tx:
        (mine,) = costs.shares_of(tx, "more")
        assert (mine.rule, mine.amount_nano_usd) == (rule, shares[1])
    assert totals(database, clock).unattributed_nano_usd == 0
    agree(database, clock)


def test_stated_quantities_share_a_bill_and_its_parts_are_the_whole(
    two: tuple[Customer, Customer], database: Database, clock: Clock
) -> None:
    (bill,) = invoice(database, clock, "storage", 100).bills
    for weights in ({"less": 2, "more": 1}, {"less": 1, "more": 2, "nobody": 1}):
        known = {name: weight for name, weight in weights.items() if name != "nobody"}
        if known != weights:
            with pytest.raises(NotFound):
                costs.share_out(
                    database, bill.bill_id, "stated", weights=weights, actor="olga", now=clock()
                )
        costs.share_out(database, bill.bill_id, "stated", weights=known, actor="olga", now=clock())
        storage = [figures(database, clock, one.id).cost.by_layer["storage"] for one in two]
        assert storage == ([67, 33] if known["less"] == 2 else [33, 67])
    with pytest.raises(InvalidRequest, match="Nobody has any part"):
        costs.share_out(
            database, bill.bill_id, "stated", weights={"less": 0}, actor="olga", now=clock()
        )


@pytest.mark.usefixtures("two")
def test_what_events_explain_of_a_bill_is_not_shared_out_again(
    database: Database, clock: Clock
) -> None:
    (bill,) = invoice(database, clock, "inference", NANO).bills
    assert (
        costs.share_out(database, bill.bill_id, "credits", actor="olga", now=clock()) == 850_000_000
    )
    found = totals(database, clock)
    assert (found.cost_nano_usd, found.unattributed_nano_usd) == (NANO, 0)
    # In a part of the bill's days, too, everything is somebody's.
    part = totals(database, clock, Span(date(2026, 11, 9), date(2026, 11, 12)))
    assert part.cost_nano_usd == part.cost.total_nano_usd + part.unattributed_nano_usd


def test_the_same_document_is_imported_once(database: Database, clock: Clock) -> None:
    first = invoice(database, clock, "storage", NANO)
    assert first.new
    again = invoice(database, clock, "storage", NANO)
    assert (again.new, again.bills) == (False, first.bills)
    # An invoice for two layers is taken once for each.
    assert invoice(database, clock, "external", NANO).new
    with pytest.raises(InvalidRequest, match="withdraw that first"):
        invoice(database, clock, "storage", 2 * NANO)
    costs.withdraw(database, first.digest, actor="olga", now=clock())
    assert invoice(database, clock, "storage", 2 * NANO).new
    with pytest.raises(NotFound):
        costs.withdraw(database, first.digest[:-1] + "x", actor="olga", now=clock())
    assert totals(database, clock).cost_nano_usd == 3 * NANO


def test_a_cloud_bill_is_read_by_layers_credits_and_all(database: Database, clock: Clock) -> None:
    def take(content: bytes, reading: Reading) -> costs.Imported:
        return costs.import_focus(
            database, content, reading, name="bill.csv", actor="olga", now=clock()
        )

    done = take(FOCUS.encode(), Reading())
    assert [(one.layer, one.provider, one.amount_nano_usd) for one in done.bills] == [
        ("inference", "azure", 12_500_000_000),
        ("processing", "", 1),
        ("storage", "", 25 * NANO),
    ]
    assert not take(gzip.compress(FOCUS.encode()), Reading()).new
    assert totals(database, clock).cost_nano_usd == 37_500_000_001
    costs.withdraw(database, done.digest, actor="olga", now=clock())
    other = take(FOCUS.encode(), mapped(["Storage=retrieval"], column="EffectiveCost"))
    assert [(one.layer, one.amount_nano_usd) for one in other.bills] == [
        ("inference", 12_500_000_000),
        ("retrieval", 15 * NANO),
    ]


def test_the_real_cloud_bill_comes_to_what_its_lines_add_up_to(
    data: Path, database: Database, clock: Clock
) -> None:
    content = (data / "focus" / "focus_sample.csv.gz").read_bytes()
    done = costs.import_focus(database, content, Reading(), name="focus", actor="olga", now=clock())
    # 20.52022672899 dollars in 1,000 lines, added up with another program.
    assert sum(one.amount_nano_usd for one in done.bills) == 20_520_226_729
    september = Span(date(2024, 9, 1), date(2024, 10, 1))
    assert {one.span for one in done.bills} == {september}
    assert totals(database, clock, september).unattributed_nano_usd == 20_520_226_729


def test_bills_are_taken_shared_and_withdrawn_by_command(
    application: Flask, two: tuple[Customer, Customer], database: Database, tmp_path: Path
) -> None:
    paper, cloud = tmp_path / "invoice.pdf", tmp_path / "cloud.csv"
    paper.write_bytes(b"%PDF")
    cloud.write_text(FOCUS)
    stated = ("--amount", "412.5", "--start", "2026-11-01", "--end", "2026-12-01")
    taken = run(application, "costs", "import", str(paper), "--layer", "storage", *stated)
    assert "412.5" in taken.output
    assert "Unchanged" in run(
        application, "costs", "import", str(paper), "--layer", "storage", *stated
    ).output  # fmt: skip
    run(application, "costs", "import", str(paper), *stated, status=2)
    run(application, "costs", "import", str(cloud), "--layer", "external")
    with database.reading() as tx:
        storage = next(one for one in costs.every(tx) if one.layer == "storage")
    weights = tmp_path / "gigabytes.csv"
    weights.write_text("less,1.5\nmore,3\n")
    words = ("share", storage.bill_id, "--by", "stated", "--weights", str(weights))
    assert "Shared $412.5" in run(application, "costs", *words).output
    with database.reading() as tx:
        (mine,) = costs.shares_of(tx, "less")
    assert mine.amount_nano_usd == 137_500_000_000
    listed = run(application, "costs", "bills").output
    assert "stated" in listed
    days = ("--start", "2026-11-01", "--end", "2026-12-01")
    assert "37.50" in run(application, "costs", "reconcile", *days).output
    assert "Withdrawn" in run(application, "costs", "withdraw", storage.digest).output
    assert "2 organizations" in run(application, "margin", "rebuild").output
    (tmp_path / "wrong.csv").write_text("less\n")
    wrong = str(tmp_path / "wrong.csv")
    told = run(application, "costs", *words[:-1], wrong, status=1).output
    assert "Line 1 of wrong.csv" in told
