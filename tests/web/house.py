"""Acme and Bystander with something wherever a route leads, and everybody who may knock.

Built once into an SQLite file; what a request changed is put back by copying the file.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import func, insert, select
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from app import create_app
from portal import access, accounts, catalog, invitations, keyring, keys, raises, telling
from portal.core.simulation import Kind
from portal.core.units import MICRO
from portal.db import Database
from portal.ids import hash_secret, new_secret
from portal.margin import simulation
from portal.margin.simulation_runs import SimulationRequest
from portal.office import viewing
from portal.tables import (
    deliveries,
    grants,
    metadata,
    outbox,
    passkeys,
    sessions,
    tier_changes,
)
from portal.telling import Keeper
from portal.web.security import limiter
from tests.cast import Api, found_acme, found_bystander, make_key, ok
from tests.clock import START, Clock
from tests.conftest import SECRET_KEY, hurry, settings_for

#: Everybody who knocks, in the order of the table's columns.
PEOPLE = ("nobody", "owner", "admin", "billing", "member", "peer", "viewer")
STRANGERS = ("other", "wrong", "undecided", "gone", "expired", "idle", "out")
OPERATORS = ("operator", "looking", "late")
KEYS = ("k-read", "k-meter", "k-manage", "k-other", "k-revoked", "k-ended", "k-forged",
        "s-all", "s-read", "s-meter", "s-manage")  # fmt: skip
ACTORS = (*PEOPLE, *STRANGERS, *OPERATORS, *KEYS)
#: Whose session or key is none any more, or never was one.
DEAD = ("nobody", "gone", "expired", "idle", "out", "late", "k-revoked", "k-ended", "k-forged")
MEMBER_OF = {"owner": "ana", "admin": "ben", "billing": "fay", "member": "cleo", "peer": "ida",
             "viewer": "gita"}  # fmt: skip

DAY = timedelta(days=1)
#: What the simulation that everybody may ask for was asked.
SIMULATION = SimulationRequest(
    "flat", Kind.FLAT, START.date() - DAY, START.date(), price_minor=4900
)


@dataclass
class House:
    """The product on a store of its own, and what everybody holds."""

    application: Flask
    database: Database
    clock: Clock
    #: Acme's own objects, by the name of the place in an address.
    ids: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    forms: dict[str, str] = field(default_factory=dict)
    kept: Path | None = None

    def restore(self) -> None:
        """Put the store back to what it was when everybody was in place."""
        if self.kept is not None:
            self.database.close()
            shutil.copy(self.kept, self.kept.with_name("store.db"))
        limiter.reset()

    def keep(self, file: Path) -> None:
        """Remember the store as it is."""
        self.database.close()
        self.kept = Path(shutil.copy(file, file.with_name("kept.db")))

    def ask(
        self,
        actor: str,
        method: str,
        path: str,
        *,
        form: dict[str, Any] | None = None,
        body: Any = None,
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> TestResponse:
        """Send a request as somebody; a form carries their own token unless another is given."""
        # Nobody is refused here for knocking too often.
        limiter.reset()
        more: dict[str, Any] = {"headers": dict(headers or {})}
        if actor in self.secrets:
            more["headers"]["Authorization"] = f"Bearer {self.secrets[actor]}"
        if actor in self.cookies:
            more["headers"]["Cookie"] = f"clearmeter={self.cookies[actor]}"
        if body is not None:
            more["json"] = body
        elif method != "GET" and not path.startswith("/v1/"):
            more["data"] = {"csrf_token": self.forms.get(actor, "") if token is None else token}
            more["data"] |= form or {}
        client = self.application.test_client(use_cookies=False)
        return client.open(path, method=method, buffered=True, **more)

    def routes(self) -> Iterator[tuple[Rule, str]]:
        """Yield every route with each of its methods, in the order of the table."""
        rules = self.application.url_map.iter_rules()
        for rule in sorted(rules, key=lambda rule: (_audience(rule), rule.rule)):
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield rule, method

    def path(self, rule: Rule, ids: dict[str, str] | None = None) -> str:
        """Return a route's address with Acme's objects in it, or with others."""
        known = self.ids if ids is None else ids
        values = {name: known.get(name, f"no-{name}") for name in rule.arguments}
        adapter = self.application.url_map.bind("localhost")
        return adapter.build(rule.endpoint, values, method=next(iter(rule.methods or {"GET"})))

    def digest(self) -> dict[str, list[str]]:
        """Return every row of the store, but for when sessions and keys were last used."""
        found = {}
        with self.database.reading() as tx:
            for table in metadata.sorted_tables:
                if table.name == "sessions":
                    continue
                columns = [one for one in table.c if one.name not in {"last_used_at", "seen_at"}]
                found[table.name] = sorted(repr(tuple(row)) for row in tx.execute(select(*columns)))
        return found


def _audience(rule: Rule) -> int:
    order = ("customer", "invited", "auth", "operator", "api", "webhooks", "health", "static")
    owner = rule.endpoint.partition(".")[0]
    return order.index(owner) if owner in order else len(order)


@contextmanager
def open_house(url: str, file: Path | None = None) -> Iterator[House]:
    """Build the house on a migrated store; in the end it is closed."""
    clock = Clock(START)
    application = create_app(settings_for(url), clock=clock)
    database: Database = application.extensions["clearmeter"].database
    hurry(database)
    house = House(application, database, clock)
    try:
        with database.transaction() as tx:
            catalog.load(tx, catalog.DEFAULT_FILE.read_text(encoding="utf-8"), now=clock())
        _found(house)
        _let_in(house)
        limiter.reset()
        for actor in house.cookies:
            page = house.ask(actor, "GET", "/operator/" if actor == "operator" else "/account")
            found = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
            house.forms[actor] = found[1] if found else ""
        _anonymous(house)
        if file is not None:
            house.keep(file)
        yield house
    finally:
        database.close()


def _found(house: House) -> None:
    """Make what there is."""
    database, clock = house.database, house.clock
    api = Api(house.application, make_key(database, clock))
    acme, bystander = found_acme(api), found_bystander(api)
    for member, role in (("fay", "billing"), ("gita", "viewer"), ("hal", "owner")):
        body = {"email": f"{member}@acme.example", "name": member.title(), "role": role}
        ok(api.put(f"{acme.path}/members/{member}", body), 201)
    ok(api.put(f"{acme.path}/teams/design", {"name": "Design"}), 201)
    body = {"email": "ida@acme.example", "name": "Ida", "role": "member", "team": "design"}
    ok(api.put(f"{acme.path}/members/ida", body), 201)
    # Ana is in both: there under the same name and address.
    body = {"email": "ana@acme.example", "name": "Ana", "role": "owner"}
    ok(api.put(f"{bystander.path}/members/ana", body), 201)
    cap = acme.cap(90, "member", target="cleo")
    hold = acme.hold("analysis", member="cleo", team="research", project="atlas")
    ok(acme.send(acme.event("document", id="e-1", member="cleo", run="r-1", project="atlas")))
    with database.reading() as tx:
        ana = accounts.find_member(tx, "acme", "ana")
        grant = tx.execute(select(grants.c.grant_id).where(grants.c.organization_id == "acme"))
        house.ids |= {"grant_id": grant.scalars().first() or ""}
    now = clock()
    invited = invitations.invite(
        database, "acme", email="ivy@acme.example", role="member", team_id="", by=ana, now=now
    )
    key = keyring.make(
        database, "acme", name="mine", scopes=("read",), lifetime="", by=ana, now=now
    )
    asked = raises.ask(database, "acme", cap, "cleo", 5 * MICRO, now=now)
    listener, _ = telling.make_endpoint(
        database, Keeper("acme", "ana", SECRET_KEY), "https://acme.example/hook", [], now=now
    )
    simulated = simulation.take_on(database, SIMULATION, actor="tests", now=now)
    _leave_behind(house, listener.endpoint_id)
    house.ids |= {
        "request_id": asked.request_id,
        "endpoint_id": listener.endpoint_id,
        "simulation_id": simulated.simulation_id,
        "which": "prices",
        "number": "1",
        "organization_id": "acme",
        "member_id": "cleo",
        "team_id": "research",
        "project_id": "atlas",
        "cap_id": cap,
        "hold_id": hold,
        "event_id": "e-1",
        "key_id": keys.id_of(key),
        "invitation_id": invited.invitation.invitation_id,
        "token": invited.token,
        "tier": "pro",
        "pack": "small",
        "filename": "clearmeter.css",
    }


def _leave_behind(house: House, endpoint_id: str) -> None:
    """Put in Acme what takes a device, a bank or a lost message to come about."""
    mine, now = {"organization_id": "acme"}, house.clock()
    with house.database.transaction() as tx:
        sequence = tx.execute(
            select(func.min(outbox.c.sequence)).where(outbox.c.organization_id == "acme")
        ).scalar_one()
        tx.execute(insert(deliveries).values(
            **mine, delivery_id="dl_lost", sequence=sequence, channel="webhook",
            target=endpoint_id, status="dead", due_at=now, created_at=now, done_at=now,
        ))  # fmt: skip
        tx.execute(insert(passkeys).values(
            **mine, passkey_id="pk_anas", member_id="ana", credential_id="AAAA", public_key="AAAA",
            sign_count=0, name="Laptop", created_at=now,
        ))  # fmt: skip
        tx.execute(insert(tier_changes).values(
            **mine, change_id="tc_done", kind="upgrade", from_tier="free", to_tier="pro",
            as_of=now, currency="usd", status="done", started_by="ana", created_at=now,
            settled_at=now,
        ))  # fmt: skip
    house.ids |= {"delivery_id": "dl_lost", "passkey_id": "pk_anas", "change_id": "tc_done"}


def _let_in(house: House) -> None:
    """Give everybody what they knock with."""
    database, clock = house.database, house.clock

    def session(organization: str | None, member: str | None, **more: Any) -> str:
        given = {"operator_email": None if member else "olga@scribe.example", "now": clock()}
        with database.transaction() as tx:
            return access.begin_session(
                tx, organization_id=organization, member_id=member, **(given | more)
            )

    for role, member in MEMBER_OF.items():
        house.cookies[role] = session("acme", member)
    long_ago = clock() - timedelta(hours=13)
    house.cookies |= {
        "other": session("bystander", "dana"),
        "wrong": session("bystander", "ana"),
        # Who has shown that an address is theirs, and not yet said which of two places to enter.
        "undecided": session(None, None, operator_email=None, proven_email="ana@acme.example"),
        "gone": session("acme", "hal"),
        "expired": session("acme", "ana", now=long_ago),
        "idle": session("acme", "ana", now=clock() - access.SESSION_IDLE),
        "out": session("acme", "ana"),
        "operator": session(None, None),
        "late": session(None, None, now=long_ago),
    }
    looked_on = viewing.look_on(
        database, "acme", "ana", reason="a question", operator="olga@scribe.example", now=clock()
    )
    house.cookies["looking"] = session(None, None, data={access.VIEW: looked_on})
    with database.transaction() as tx:
        access.end_session(tx, hash_secret(house.cookies["out"]))
        named = select(sessions.c.session_id).where(
            sessions.c.session_hash == hash_secret(house.cookies["admin"])
        )
        house.ids["session_id"] = tx.execute(named).scalar_one()
    _remove(house, "hal")
    _hand_out_keys(house)


def _hand_out_keys(house: House) -> None:
    database, clock = house.database, house.clock
    ours = {"k-read": ["read"], "k-meter": ["meter"], "k-manage": ["read", "meter", "manage"]}
    for actor, scopes in (ours | {"k-revoked": ["read"], "k-ended": ["read"]}).items():
        house.secrets[actor] = make_key(database, clock, organization="acme", scopes=scopes)
    everything = ["read", "meter", "manage", "backfill"]
    house.secrets["k-other"] = make_key(
        database, clock, organization="bystander", scopes=everything
    )
    house.secrets["s-all"] = make_key(database, clock, scopes=everything)
    for scope in ("read", "meter", "manage"):
        house.secrets[f"s-{scope}"] = make_key(database, clock, scopes=[scope])
    with database.transaction() as tx:
        keys.revoke(tx, keys.id_of(house.secrets["k-revoked"]), now=clock())
        keys.end_at(tx, keys.id_of(house.secrets["k-ended"]), at=clock())
        # All keys were used just now, so that knocking writes nothing.
        for secret in house.secrets.values():
            keys.used(tx, keys.id_of(secret), now=clock())
    # The name of one of Acme's keys, with a secret that is not its own.
    name = keys.id_of(house.secrets["k-manage"]).partition("_")[2]
    house.secrets["k-forged"] = f"cm_{name}_{new_secret()}"


def _remove(house: House, member: str) -> None:
    """Remove a member behind the back of the session they have: it must not open anything."""
    with house.database.transaction() as tx:
        accounts.remove_member(tx, "acme", member, now=house.clock())


def _anonymous(house: House) -> None:
    """Give nobody the form's token of a visitor who has not signed in."""
    page = house.application.test_client().get("/sign-in")
    cookie = page.headers["Set-Cookie"].partition("=")[2].partition(";")[0]
    found = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert found is not None
    house.cookies["nobody"], house.forms["nobody"] = cookie, found[1]
