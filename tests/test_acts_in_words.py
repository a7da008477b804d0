"""The record of acts in words: what each says to customers and to the operator."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from portal import audit, catalog, raises
from portal.audit import Act
from portal.core.catalog import tier_called
from portal.core.periods import Zone
from portal.core.units import MICRO
from portal.db import Database
from portal.web import record
from portal.web.record import Names
from tests.cast import Customer, ok
from tests.clock import START, Clock
from tests.console import enter_olga
from tests.readers import Reader, enter
from tests.words import fields_of, without_words

ANA, OLGA = "ana", "operator:olga@op.test"
NAMES = Names(
    "Clearmeter",
    "eur",
    Zone("Europe/Berlin"),
    date(2026, 11, 27),
    members={"ana": "Ana", "cleo": "Cleo"},
    teams={"design": "Design", "sales": "Sales"},
    projects={"site": "The site"},
    keys={"key_01234567890123456789": "Nightly"},
    actions={"image": "Images"},
    tiers={"pro": "Pro", "starter": "Starter"},
    packs={"small": "Small pack"},
)
CAP = {"scope": "member", "of": "cleo", "window": "day", "limit": "50", "mode": "hard"}
ALERTED = [50, 75, 90, 100]

#: Of each act: what it is about, what was written down with it, and what a customer reads of it.
TOLD: list[tuple[str, str, dict[str, Any], str, str]] = [
    ("member.added", "cleo", {"email": "c@a.test", "name": "Cleo", "role": "member",
     "team_id": "design"}, "Cleo", "E-mail: c@a.test · Role: Member · Team: Design"),
    ("member.added", "cleo", {"email": "c@a.test", "role": "member", "team_id": ""}, "Cleo",
     "E-mail: c@a.test · Role: Member"),
    ("member.changed", "cleo", {"role": {"from": "member", "to": "admin"},
     "team_id": {"from": "", "to": "sales"}}, "Cleo",
     "Role from Member to Admin · Team from none to Sales"),
    ("member.changed", "cleo", {"team_id": {"from": "sales", "to": ""}}, "Cleo",
     "Team from Sales to none"),
    ("team.made", "design", {"name": "Design"}, "Design", ""),
    ("team.renamed", "design", {"name": "Creative", "was": {"name": "Design"}}, "Creative",
     "From “Design”"),
    ("invitation.made", "h@a.test", {"role": "admin"}, "h@a.test", "Role: Admin"),
    ("cap.set", "cap_1", CAP, "Cleo", "Blocks new work at 50 credits each day"),
    ("cap.set", "cap_1", CAP | {"action": "image", "limit_minor": 20000, "mode": "soft",
     "window": "period", "thresholds": ALERTED}, "Cleo",
     "Only tells at €200.00 each billing period · Images only"),
    ("cap.set", "cap_1", CAP | {"limit": "1000", "thresholds": [80, 95]}, "Cleo",
     "Blocks new work at 1,000 credits each day · Tells at 80 and 95% of it"),
    ("cap.set", "cap_1", {"scope": "organization", "of": "", "limit": "1"}, "Everyone", "1 credit"),
    ("cap.changed", "cap_1", CAP | {"was": {"limit": "40.5", "mode": "soft"}}, "Cleo",
     "From 40.5 credits to 50 credits each day, now blocks new work"),
    ("cap.changed", "cap_1", CAP | {"was": {"limit": "50", "mode": "soft"}}, "Cleo",
     "Now blocks new work"),
    ("cap.changed", "cap_1", CAP | {"thresholds": ALERTED, "was": {
     "limit": "50", "mode": "hard", "thresholds": [50]}}, "Cleo",
     "Tells at 50, 75, 90 and 100% of it"),
    ("cap.removed", "cap_1", CAP, "Cleo", "Blocks new work at 50 credits each day"),
    ("raise.asked", "cap_1", {"request": "r", "member": "cleo", "credits": "5",
     "until": "2026-11-30T23:00:00+00:00"}, "Cleo", "5 credits more, until 30 Nov"),
    ("raise.declined", "cap_1", {"member": "cleo", "credits": "0",
     "until": "2026-11-30T23:00:00+00:00"}, "Cleo", ""),
    ("spending.set", "", {"on_empty": "overage", "overage_limit_minor": 5000,
     "was": {"on_empty": "stop", "overage_limit_minor": None}}, "",
     "From stopping new work to going on up to €50.00"),
    ("spending.set", "", {"on_empty": "overage", "overage_limit_minor": 5000,
     "was": {"on_empty": "overage", "overage_limit_minor": 2000}}, "",
     "Goes on up to €50.00, before up to €20.00"),
    ("spending.set", "", {"on_empty": "top_up", "overage_limit_minor": None, "auto_top_up": {
     "threshold_micro": 100 * MICRO, "pack": "small", "monthly_limit_minor": 20000}}, "",
     "Buys more by itself · Small pack below 100 credits, at most €200.00 a calendar month"),
    ("tier.upgrade", "pro", {"change": "c", "charge_minor": 2340, "from": "starter"}, "Pro",
     "From Starter · €23.40 charged at once"),
    ("tier.put", "pro", {"from": "starter", "seats": {"from": None, "to": 3}}, "Pro",
     "From Starter · 3 seats"),
    ("tier.put", "pro", {"from": "pro", "seats": {"from": 3, "to": 5}}, "Pro", "From 3 to 5 seats"),
    ("tier.charging", "pro", {"charging": "shadow"}, "Pro", "Use is only measured"),
    ("tier.charging", "", {"charging": "on"}, "", "Use is charged"),
    ("tier.billed", "pro", {"from": None, "seats": 3}, "Pro", "3 seats"),
    ("tier.billed", "pro", {"from": "pro", "seats": 3, "was": {"seats": 2}}, "Pro",
     "From 2 to 3 seats"),
    ("tier.ended", "not_sold", {"from": "not_sold", "seats": None}, "Not sold", ""),
    ("pack.bought", "co_1", {"credits": "1000", "session": "cs_1"}, "", "1,000 credits"),
    ("grant.made", "gr_1", {"credits": "12.5", "reason": "secret"}, "", "12.5 credits"),
    ("payment.reversed", "pi_1", {"grant": "g", "refunded_minor": 2000, "dispute": "none",
     "credits_taken": "100"}, "", "€20.00 refunded · 100 credits taken back"),
    ("payment.reversed", "pi_1", {"grant": "g", "refunded_minor": 0, "dispute": "won",
     "credits_taken": "-100"}, "", "The dispute was won · 100 credits given back"),
    ("refund.started", "pi_1", {"refund": "r", "amount_minor": 2000, "of": "plan",
     "reason": "secret", "asked_by": OLGA, "answer": "secret"}, "", "€20.00 of the plan"),
    ("refund.failed", "pi_1", {"refund": "r", "amount_minor": 2000, "answer": "secret"}, "",
     "€20.00"),
    ("overage.billed", "in_1", {"amount_minor": 1250}, "", "€12.50"),
    ("key.made", "key_01234567890123456789", {"name": "Nightly", "scopes": "read meter"},
     "Nightly", "Reads usage, balance and caps, and authorizes work and sends usage"),
    ("key.replaced", "key_01234567890123456789", {"name": "Nightly", "by": "key_2",
     "overlap": "day"}, "Nightly", "The old one went on for a day"),
    ("key.revoked", "key_01234567890123456789", {"reason": "secret"}, "Nightly", ""),
    ("session.begun", "ses_1", {"by": "link", "device": "Firefox on Windows"}, "",
     "By a link from Clearmeter · Firefox on Windows"),
    ("session.ended", "", {"count": "2", "which": "others"}, "", "In 2 other places"),
    ("passkey.added", "pk_1", {"name": "Laptop"}, "Laptop", ""),
    ("settings.changed", "", {"name": "Acme & Co", "members_see_balance": False,
     "was": {"name": "Acme", "members_see_balance": True}}, "",
     "Name from “Acme” to “Acme & Co” · Members do not see the balance"),
    ("settings.changed", "", {"email": "pay@a.test", "was": {"email": "a@a.test"}}, "",
     "E-mail from a@a.test to pay@a.test"),
    ("timezone.changed", "Asia/Tokyo", {"from": "Europe/Berlin",
     "effective_at": "2026-11-30T23:00:00+00:00"}, "Asia/Tokyo",
     "From Berlin time · Begins on 1 Dec"),
    ("alerts.low_balance", "", {"percent": None, "credits_micro": 10 * MICRO,
     "was": {"percent": 20, "credits_micro": None}}, "",
     "From below 20% of the plan’s credits to below 10 credits"),
    ("alerts.low_balance", "", {"percent": 0, "credits_micro": None}, "", "Never"),
    ("webhook.made", "wh_01234567890123456789", {"url": "https://a.test/x"}, "https://a.test/x",
     ""),
    ("webhook.replayed", "wh_01234567890123456789", {"delivery": "d"}, "", ""),
    ("event.corrected", "doc-1", {"source": "s", "quantity": "3", "correction": "c",
     "reason": "secret"}, "doc-1", "It counts 3 now"),
    ("events.replayed", "", {"tried": 5, "accepted": 2}, "", "2 of 5 taken in"),
    ("view.began", "cleo", {"reason": "secret", "until": "2026-11-27T12:00:00+00:00"}, "Cleo",
     "Until 27 Nov, 13:00"),
]  # fmt: skip


def _act(act: str, target: str = "", detail: dict[str, Any] | None = None, by: str = ANA) -> Act:
    return Act("acme", "act_1", 1, START, by, act, target, detail or {})


@pytest.mark.parametrize(("act", "about", "detail", "target", "says"), TOLD)
def test_an_act_says_whom_it_was_about_and_from_what_to_what(
    act: str, about: str, detail: dict[str, Any], target: str, says: str
) -> None:
    line = record.line(_act(act, about, detail), NAMES)
    assert (line.who, line.target, line.detail) == ("Ana", target, says)
    assert without_words(act, detail) == []


@pytest.mark.parametrize(
    ("dispute", "refunded_minor", "taken", "what"),
    [
        ("inquiry", 0, "0", "A bank asked about a payment"),
        ("open", 0, "0", "A payment was disputed"),
        ("withdrawn", 0, "100", "A payment went back"),
        ("won", 0, "-100", "A dispute was won"),
        ("none", 0, "0", "A dispute came to nothing"),
        ("inquiry", 2000, "100", "A payment went back"),
        ("none", 2000, "0", "A payment went back"),
    ],
)
def test_a_payment_went_back_only_where_it_did(
    dispute: str, refunded_minor: int, taken: str, what: str
) -> None:
    detail = {"dispute": dispute, "refunded_minor": refunded_minor, "credits_taken": taken}
    assert record.line(_act("payment.reversed", "pi_1", detail), NAMES).what == what


def test_every_part_that_can_be_said_is_tried_here() -> None:
    tried = {(act, name) for act, _, detail, *_ in TOLD for name in {**detail}}
    customers = {
        (act, name)
        for act in record.CALLED
        for part in record.PARTS.get(act, ())
        if not part.operators
        for name in part.fields
    }
    # The same words of another act: one of them is enough.
    said = {name for _, name in tried}
    assert {name for _, name in customers} <= said


def test_every_act_has_words_and_what_has_words_is_an_act() -> None:
    known = record.CALLED | record.OPERATORS_OWN
    assert set(record.PARTS) | set(record.SILENT) <= set(known)
    assert not set(record.CALLED) & set(record.OPERATORS_OWN)
    for act in known:
        for names in (NAMES, replace(NAMES, operators=True)):
            line = record.line(_act(act), names)
            assert line.what == known[act]
            assert line.detail == "" or act == "alerts.low_balance", act
        assert set(without_words(act, dict.fromkeys(fields_of(act)))) == set()


def test_an_act_or_a_detail_without_words_is_found() -> None:
    assert without_words("cap.melted", {}) == ["cap.melted"]
    assert without_words("cap.set", {"colour": 1}) == ["cap.set: colour"]
    assert without_words("cap.changed", {"was": {"colour": 1}}) == ["cap.changed: colour"]


def test_every_act_of_the_operators_own_that_the_code_writes_has_words() -> None:
    nouns = {act.partition(".")[0] for act in record.OPERATORS_OWN} - {"operator"}
    written = {
        found
        for path in Path("portal").rglob("*.py")
        if "note(" in (code := path.read_text(encoding="utf-8"))
        for found in re.findall(r'"([a-z_]+\.[a-z_]+)"', code)
        if found.partition(".")[0] in nouns
        or found.startswith(("operator.refund", "operator.added"))
    }
    assert {"cost.imported", "operator.refund_asked", "inbox.replayed"} <= written
    assert written <= set(record.OPERATORS_OWN)


def test_the_operator_reads_the_same_words_and_besides_why_and_who_of_theirs() -> None:
    theirs = replace(NAMES, operators=True)
    for act, about, detail, target, says in TOLD:
        line = record.line(_act(act, about, detail, OLGA), theirs)
        assert (line.who, line.target) == ("olga@op.test", target)
        # The operator's clocks show UTC.
        parts = set(says.replace("13:00", "12:00").split(" · ")) - {""}
        assert parts <= set(line.detail.split(" · ")), act
        assert ("“secret”" in line.detail) is ("secret" in detail.values()), act
        assert record.line(_act(act, about, detail, OLGA), NAMES).who == "Clearmeter"


@pytest.mark.parametrize(
    ("act", "detail", "says"),
    [
        ("cost.accepted", {"source": "s", "event": "e", "line": 1, "stated_usd": "0.5",
         "booked_usd": "0.4"}, "Event e · $0.5 stated · $0.4 booked"),
        ("operator.refund_declined", {"amount_minor": 900, "asked_by": OLGA, "answer": "No."},
         "€9.00 · Asked for by olga@op.test · “No.”"),
        ("prices.published", {"effective_at": "2026-12-01T00:00:00+00:00", "reason": "New"},
         "In force from 1 Dec, 00:00 · “New”"),
        ("inbox.set_aside", {"events": ["a", "b"], "reason": "Old"}, "2 of them · “Old”"),
        ("books.reconciled", {"mended": 2, "differ": 0}, "2 mended · 0 differ"),
        ("books.reconciled", {"mended": 2, "unmended": 1, "differ": 0},
         "2 mended · 1 not mended · 0 differ"),
        ("cost.shared", {"rule": "customers"},
         "By one part for each customer with any work in the bill's days"),
    ],
)  # fmt: skip
def test_what_is_the_operators_own_is_told_in_words_too(
    act: str, detail: dict[str, Any], says: str
) -> None:
    assert record.line(_act(act, "x", detail), replace(NAMES, operators=True)).detail == says


def _tell_everything(acme: Customer, database: Database, clock: Clock) -> None:
    cap = acme.cap(50, scope="member", target="cleo", window="day")
    raises.ask(database, "acme", cap, "cleo", 5 * MICRO, now=clock())
    ok(acme.api.patch(f"{acme.path}/caps/{cap}", {"mode": "soft", "limit": {"credits": "60"}}))
    ok(acme.api.put(f"{acme.path}/teams/design", {"name": "Design"}), 201)
    ok(acme.api.put(f"{acme.path}/teams/design", {"name": "Creative"}))
    ok(acme.api.put(f"{acme.path}/members/cleo", {"email": "cleo@acme.example", "role": "viewer"}))
    ok(acme.api.patch(f"{acme.path}/spending", {"on_empty": "stop"}))


def test_both_pages_tell_the_same_in_words_and_neither_a_key(
    acme: Customer, application: Flask, database: Database, clock: Clock
) -> None:
    _tell_everything(acme, database, clock)
    ana: Reader = enter(application, database, clock, "ana")
    olga = enter_olga(application, database, clock)
    told = olga.client.get("/operator/audit").text.partition("<tbody>")[2]
    assert "<b>Changed a cap</b>" in told
    assert "Cleo" in told
    assert 'href="/operator/customers/acme">Acme</a>' in told
    pages = [told, ana.client.get("/settings/activity").text.partition("<tbody>")[2],
             ana.client.get("/settings/activity.csv").text,
             olga.client.get("/operator/customers/acme/timeline").text.partition("<ol")[2],
             ]  # fmt: skip
    for page in pages:
        assert "Blocks new work at 50 credits each day" in page
        assert "From 50 credits to 60 credits each day, now only tells" in page
        assert "Role from Member to Viewer" in page
        assert "5 credits more, until" in page
        for raw in ("mode", "scope:", "limit:", "limit_", "on_empty", "on empty", "team_id", "{"):
            assert raw not in page, raw


def test_the_audit_page_asks_the_store_as_often_for_one_customer_as_for_many(
    acme: Customer, application: Flask, database: Database, clock: Clock
) -> None:
    asked: list[str] = []

    def heard(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        asked.append(statement)

    def counted() -> int:
        asked.clear()
        with database.reading() as tx:
            event.listen(tx.engine, "before_cursor_execute", heard)
            names = record.names_among(
                tx, audit.listed(tx, limit=60), brand="Clearmeter", now=clock()
            )
            event.remove(tx.engine, "before_cursor_execute", heard)
            assert {names(one).organization for one in audit.listed(tx, limit=60)} >= {"Acme"}
        return len(asked)

    acme.cap(50)
    before = counted()
    for number in range(3):
        path = f"/v1/organizations/other-{number}"
        ok(acme.api.put(path, {"name": f"Other {number}"}), 201)
        ok(acme.api.put(f"{path}/members/m", {"email": "m@other.example"}), 201)
    assert counted() == before


def test_a_plan_that_is_sold_no_longer_is_still_called_by_its_name(
    acme: Customer, application: Flask, database: Database, clock: Clock
) -> None:
    ok(acme.api.put(acme.path, {"name": "Acme", "tier": "starter"}))
    ok(acme.send(acme.event("document", member="cleo")))
    renamed = catalog.DEFAULT_FILE.read_text(encoding="utf-8").replace(
        '[tiers.starter]\nname = "Starter"', '[tiers.basis]\nname = "Basis"'
    )
    with database.transaction() as tx:
        catalog.load(tx, renamed, effective_at=clock.forward(timedelta(days=1)), now=clock())
        assert catalog.tier_names(tx, at=clock())["starter"] == "Starter"
        assert "basis" not in catalog.tier_names(tx, at=START), "what is to come has no name yet"
    pages = {
        "/plans": enter(application, database, clock, "ana"),
        "/operator/customers": enter_olga(application, database, clock),
        "/operator/customers/acme": enter_olga(application, database, clock),
        "/operator/": enter_olga(application, database, clock),
    }
    for path, reader in pages.items():
        text = re.sub(r"<[^>]+>", " ", reader.client.get(path).text.partition("<main")[2])
        assert "Starter" in text, path
        assert not re.search(r"\bstarter\b", text), path
    assert tier_called("old_plan", {}) == "Old plan"
