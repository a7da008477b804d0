"""One figure, wherever it is asked for: pages, API, statements, CSV and the operator's view agree.

An organization lives at random, and after each bit of its life the same question is asked of
everything that answers it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from werkzeug.test import TestResponse

from portal import access
from portal.db import Database
from tests.cast import Api, Customer, ok
from tests.clock import START, Clock
from tests.faults import soak
from tests.readers import enter, sign_in

pytestmark = pytest.mark.soak

STATES = soak.rounds(12, 250)
QUANTITIES = ("0.333333", "1", "2.5", "7", "40")
STEPS = (timedelta(minutes=1), timedelta(hours=3), timedelta(days=1), timedelta(days=6))
#: Every way to ask for usage by something must come to the same total.
GROUPS = ("action", "day", "member", "team", "project")

Figures = dict[str, Decimal]


@dataclass
class Life:
    """What an organization does, at random and again the same from the same seed."""

    acme: Customer
    clock: Clock
    random: Random
    holds: list[str] = field(default_factory=list)
    grants: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)

    def go_on(self) -> None:
        """Do a few things, each of which may be refused and none of which may fail."""
        acts: list[Callable[[], object]] = [
            self.grant, self.void, self.authorize, self.authorize, self.capture, self.capture,
            self.release, self.work, self.work, self.correct, self.wait,
        ]  # fmt: skip
        for act in self.random.choices(acts, k=self.random.randint(1, 5)):
            act()

    def grant(self) -> None:
        ends = self.clock() + self.random.choice(STEPS[1:])
        more = {"expires_at": ends.isoformat()} if self.random.random() < 0.5 else {}
        self.grants.append(self.acme.grant(self.random.choice(["0.000001", "12.5", "90"]), **more))

    def void(self) -> None:
        if self.grants and self.random.random() < 0.3:
            grant = self.random.choice(self.grants)
            self.maybe(self.acme.api.post(f"{self.acme.path}/grants/{grant}/void", {"reason": "x"}))

    def who(self) -> dict[str, str]:
        who: list[dict[str, str]] = [
            {}, {"member": "cleo"}, {"member": "ben", "project": "atlas"}, {"project": "atlas"},
        ]  # fmt: skip
        return self.random.choice(who)

    def authorize(self) -> None:
        answer = self.maybe(self.acme.authorize(self.what(), self.random.choice(QUANTITIES),
            expires_in=self.random.choice([60, 86_400]), **self.who()))  # fmt: skip
        if answer.status_code == 201:
            self.holds.append(answer.json["id"])

    def capture(self) -> None:
        if self.holds:
            hold = self.holds.pop(self.random.randrange(len(self.holds)))
            share = self.random.choice([{}, {"quantity": "0.5"}, {"quantity": "60"}])
            if self.maybe(self.acme.capture(hold, **share)).status_code == 200:
                self.sent.append(hold)

    def release(self) -> None:
        if self.holds:
            self.maybe(self.acme.release(self.holds.pop()))

    def work(self) -> None:
        events = [
            self.acme.event(self.what(), quantity=self.random.choice(QUANTITIES), **self.who(),
                time=self.clock() - self.random.choice([timedelta(), timedelta(hours=9), *STEPS]))
            for _ in range(self.random.randint(1, 4))
        ]  # fmt: skip
        ok(self.acme.send(*events, *events[:1]))
        self.sent += [one["id"] for one in events]

    def correct(self) -> None:
        if not self.sent:
            return
        corrected = self.random.choice(self.sent)
        source = "clearmeter/authorizations" if corrected.startswith("auth") else "tests"
        self.maybe(self.acme.send(self.acme.event(
            self.what(), corrects={"source": source, "id": corrected},
            quantity=self.random.choice(["0", "0.1", "1"]))))  # fmt: skip

    def wait(self) -> None:
        self.clock.forward(self.random.choice(STEPS))

    def what(self) -> str:
        return self.random.choice(["document", "image", "analysis"])

    def maybe(self, answer: TestResponse) -> TestResponse:
        assert answer.status_code < 500, answer.get_data(as_text=True)
        return answer


@dataclass
class Answers:
    """Everything that answers what is left and what was used."""

    acme: Customer
    database: Database
    clock: Clock
    told: Any = None
    asked: dict[str, TestResponse] = field(default_factory=dict)

    def agree(self) -> None:
        """Ask all of them at this instant; whoever reads pages may have been away for days."""
        self.asked.clear()
        application = self.acme.api.application
        self.owner = enter(application, self.database, self.clock, "ana")
        with self.database.transaction() as tx:
            token, _ = access.make_link(
                tx, operator_email="olga@operator.example", now=self.clock()
            )
        self.operator = sign_in(application, f"/sign-in/{token}")
        for question in (self.available, self.held, self.whole, self.used, self.uncollected):
            agreed(question())

    def look_back(self) -> None:
        """Ask again for the balance that was told before what happened since."""
        if self.told:
            at = self.told["as_of"].replace("+", "%2B")
            again = self.get(f"/balance?at={at}")
            for name in ("available", "held", "debt", "frozen", "uncollected", "grants"):
                assert again[name] == self.told[name], name
        # What happens in this very instant is part of its balance.
        self.clock.forward(timedelta(microseconds=1))
        self.asked.clear()
        self.told = self.get("/balance")
        self.clock.forward(timedelta(microseconds=1))

    def page(self, path: str) -> str:
        return self._once(path, lambda: self.owner.client.get(path)).text

    def get(self, path: str) -> Any:
        return self._once(f"api{path}", lambda: self.acme.api.get(f"{self.acme.path}{path}")).json

    def sheet(self, path: str) -> list[dict[str, str]]:
        csv_ = {"Accept": "text/csv"}
        asked = lambda: self.acme.api.get(f"{self.acme.path}{path}", headers=csv_)  # noqa: E731
        return rows(self._once(f"csv{path}", asked).text)

    def _once(self, name: str, ask: Callable[[], TestResponse]) -> TestResponse:
        """Ask for the same only once at an instant."""
        if name not in self.asked:
            self.asked[name] = ask()
            assert self.asked[name].status_code == 200, (name, self.asked[name].status)
        return self.asked[name]

    @property
    def operator_line(self) -> list[Decimal]:
        """Credits used, not charged and left, as the operator sees them."""
        page = self._once("operator", lambda: self.operator.client.get("/operator/customers")).text
        line = re.search(r'<small class="id">acme</small>.*?</tr>', page, re.S)
        assert line
        cells = [
            shown(cell) for cell in re.findall(r'<td class="r num.*?">(.*?)</td>', line[0], re.S)
        ]
        return [cells[0], cells[1], cells[-1]]

    def available(self) -> Figures:
        overview, plans = self.page("/"), self.page("/plans")
        return {
            "balance": Decimal(self.get("/balance")["available"]),
            "sum of grants": sum(
                (Decimal(one["remaining"]) for one in self.get("/balance")["grants"]), Decimal()
            ),
            "overview": found(r'<p class="big num">(.*?)</p>', overview),
            "plans": found(r'<p class="big num">(.*?)</p>', plans),
            "operator": self.operator_line[2],
        }

    def held(self) -> Figures:
        overview = self.page("/")
        return {
            "balance": Decimal(self.get("/balance")["held"]),
            "overview": found(r'Held by work in progress</dt><dd class="num">(.*?)</dd>', overview),
        }

    def whole(self) -> Figures:
        """What a statement ends with: all that is there, in whatever state, less what is owed."""
        balance, statement = self.get("/balance"), self.get("/statement")
        parts = ("available", "held", "frozen")
        lines = self.sheet("/statement")
        moved = [Decimal(one["credits"]) for one in statement["movements"]]
        each = self.get("/statement?detail=movements")["movements"]
        opening = Decimal(statement["opening"]["credits"])
        return {
            "balance": sum((Decimal(balance[one]) for one in parts), -Decimal(balance["debt"])),
            "statement": Decimal(statement["closing"]["credits"]),
            "its lines": opening + sum(moved),
            "its movements": opening + sum(Decimal(one["credits"]) for one in each),
            "its sheet": Decimal(lines[-1]["credits"]),
            "its sheet's lines": sum((Decimal(one["credits"]) for one in lines[:-1]), Decimal()),
        }

    def used(self) -> Figures:
        """Credits charged for the work of this period."""
        return self._of_the_period("credits", "Credits", 1) | {"operator": self.operator_line[0]}

    def uncollected(self) -> Figures:
        figures = self._of_the_period("uncollected", "Not charged", 2)
        return figures | {"operator": self.operator_line[1]}

    def _of_the_period(self, name: str, column: str, place: int) -> Figures:
        usage = self.get("/usage")
        figures = {
            "usage": Decimal(usage["totals"][name]),
            "usage page": self._footed(place),
        }
        for group in GROUPS:
            by = self.get(f"/usage?group_by={group}")["data"]
            lines = rows(self.page(f"/usage.csv?range=period&group={group}"))
            figures[f"usage by {group}"] = total(by, name)
            figures[f"sheet by {group}"] = total(lines, column)
        figures["API's sheet"] = total(self.sheet("/usage?group_by=action"), name)
        return figures

    def ever_used(self) -> Figures:
        """Credits charged for all work ever, by the statements of all periods and by usage."""
        self.asked.clear()
        first, day = START.date() - timedelta(days=40), self.clock().date() + timedelta(days=2)
        usage = self.get(f"/usage?start={first}&end={day}")
        moved, period = Decimal(), self.get("/statement")
        while period["period"]["end"] > START.isoformat():
            moved += sum(Decimal(one["credits"]) for one in period["movements"]
                if one["kind"] in {"used", "returned"})  # fmt: skip
            before = datetime.fromisoformat(period["period"]["start"]) - timedelta(hours=1)
            at = before.isoformat().replace("+", "%2B")
            period = self.get(f"/statement?period={at}")
        return {"usage": Decimal(usage["totals"]["credits"]), "statements": -moved}

    def _footed(self, place: int) -> Decimal:
        """Return a cell of the usage page's last line; where nothing was used it has none."""
        line = re.search(r'<th scope="row">Total</th>(.*?)</tfoot>', self.page("/usage"), re.S)
        cells = re.findall(r'<td class="r num">(.*?)</td>', line[1], re.S) if line else []
        return shown(cells[place]) if len(cells) > place else Decimal()


def agreed(figures: Figures) -> None:
    """Whoever is asked says the same."""
    assert len(set(figures.values())) == 1, figures


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def total(lines: list[dict[str, str]], column: str) -> Decimal:
    return sum((Decimal(one.get(column, "0")) for one in lines), Decimal())


def found(pattern: str, page: str) -> Decimal:
    """Return the figure that a page shows in a place; where it shows none there is none."""
    place = re.search(pattern, page, re.S)
    return shown(place[1]) if place else Decimal()


def shown(cell: str) -> Decimal:
    """Read a figure exactly: the page keeps all decimals beside those it shows."""
    number = "([-−]?[\\d,.]+)"
    figure = re.search(f'data-exact="{number}"', cell) or re.search(number, cell)
    assert figure, cell
    return Decimal(figure[1].replace(",", "").replace("−", "-"))


@pytest.fixture
def answers(api: Api, acme: Customer, database: Database, clock: Clock) -> Answers:
    """Acme on a plan, in a zone that is no whole hour from UTC, with overage up to a limit."""
    body = {"name": "Acme", "timezone": "Asia/Kathmandu", "tier": "starter"}
    ok(api.put(acme.path, body))
    ok(api.patch(f"{acme.path}/spending", {"on_empty": "overage", "overage_limit": "12.00"}))
    with database.transaction() as tx:
        access.put_operator(tx, "olga@operator.example", "Olga", now=clock())
    return Answers(acme, database, clock)


@pytest.mark.parametrize("seed", [1, 2])
def test_whoever_answers_says_the_same(answers: Answers, clock: Clock, seed: int) -> None:
    life = Life(answers.acme, clock, Random(seed))
    for _ in range(STATES):
        life.go_on()
        answers.agree()
        answers.look_back()
    agreed(answers.ever_used())
