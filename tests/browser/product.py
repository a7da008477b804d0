"""The whole product as a visitor meets it: the portal, the payment sandbox, a store with a cast."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests
from flask_migrate import upgrade

from app import create_app
from portal import access, accounts, balances, catalog, keys, metering, onboarding
from portal.config import Settings
from portal.core.events import StatedCost, UsageEvent
from portal.core.units import MICRO
from portal.db import Database
from portal.metering import Sent
from portal.onboarding import OrganizationRequest
from tests.browser.served import CLOCK_FILE, ahead

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "a long enough password"
#: Stands in every cost, so that a customer's page that holds it gives the operator away.
CANARY_USD_NANO = 987_654_321


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def chromium() -> str | None:
    """Return the system's Chromium, where there is one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


@dataclass
class Product:
    """A running portal with its sandbox."""

    url: str
    sandbox_url: str
    database: Database
    key: str
    clock: Path
    #: What the portal signs with.
    secret: str

    def now(self) -> datetime:
        """Return the time as portal and sandbox have it."""
        return datetime.now(UTC) + ahead(self.clock)

    def move(self, step: timedelta) -> None:
        """Let time pass, at the portal and at the sandbox, which does what falls due."""
        seconds = int(step.total_seconds())
        self.clock.write_text(f"{int(ahead(self.clock).total_seconds()) + seconds}")
        moved = self.control("clock", advance_seconds=seconds)
        assert moved.ok, moved.text

    def link(self, member: str, organization: str = "acme") -> str:
        """Return a link that signs a member in."""
        with self.database.transaction() as tx:
            token, _ = access.make_link(
                tx, now=self.now(), organization_id=organization, member_id=member
            )
        return f"{self.url}/sign-in/{token}"

    def operator_link(self) -> str:
        """Return a link that signs the operator in."""
        with self.database.transaction() as tx:
            token, _ = access.make_link(tx, now=self.now(), operator_email="olga@op.test")
        return f"{self.url}/sign-in/{token}"

    def available(self, organization: str = "acme") -> int:
        """Return the whole credits an organization can spend, from its ledger."""
        return self.available_micro(organization) // MICRO

    def available_micro(self, organization: str) -> int:
        """Return what an organization can spend, in millionths of a credit."""
        with self.database.reading() as tx:
            return balances.balance(tx, organization, now=self.now()).available_micro

    def packs_granted(self, organization: str = "acme") -> int:
        """Return how many packs an organization was granted."""
        with self.database.reading() as tx:
            found = balances.balance(tx, organization, now=self.now())
        return sum(lot.source == "pack" for lot in found.lots)

    def api(self, method: str, path: str, **body: object) -> requests.Response:
        """Call the API with a service key."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return requests.request(
            method, f"{self.url}/v1{path}", json=body or None, headers=headers, timeout=10
        )

    def found(self, organization: str) -> str:
        """Make another organization, of Ana's and Cleo's, without a plan; return its id."""
        path = f"/organizations/{organization}"
        assert self.api("PUT", path, name=organization.title(), timezone="Europe/Berlin").ok
        for member, role in (("ana", "owner"), ("cleo", "member")):
            email = f"{member}@{organization}.test"
            assert self.api("PUT", f"{path}/members/{member}", email=email, role=role).ok
        return organization

    def control(self, path: str, **body: object) -> requests.Response:
        """Tell the sandbox how to behave."""
        return requests.post(f"{self.sandbox_url}/_sandbox/{path}", json=body, timeout=20)


def seed(database: Database, now: datetime) -> None:
    """Write a store with Acme, three weeks of its use, and an empty newcomer."""
    begins = now - timedelta(days=21)
    with database.transaction() as tx:
        catalog.load(tx, catalog.DEFAULT_FILE.read_text(encoding="utf-8"), now=begins)
        access.put_operator(tx, "olga@op.test", "Olga", now=begins)
    for organization, tier in (("acme", "pro"), ("newcomer", None)):
        onboarding.put_organization(
            database,
            organization,
            OrganizationRequest(name=organization.title(), timezone="Europe/Berlin", tier=tier),
            now=begins,
        )
        with database.transaction() as tx:
            accounts.put_team(tx, organization, "design", name="Design")
            for member, role in (("ana", "owner"), ("ben", "admin"), ("cleo", "member")):
                found, _ = accounts.put_member(
                    tx,
                    organization,
                    member,
                    email=f"{member}@{organization}.test",
                    name=member.title(),
                    role=role,
                    team_id="design" if member == "cleo" else "",
                    now=begins,
                )
                if organization == "acme":
                    access.set_password(tx, found, PASSWORD)
    events = [_event(number, now - timedelta(hours=4 * number + 1)) for number in range(120)]
    sent = [Sent(index, None, event=event) for index, event in enumerate(events)]
    assert metering.ingest(database, sent, now=now).accepted == len(events)


def _event(number: int, at: datetime) -> UsageEvent:
    return UsageEvent(
        source="test",
        event_id=f"event-{number}",
        organization_id="acme",
        type=("document", "analysis", "image")[number % 3],
        time=at,
        member=("ana", "ben", "cleo")[number % 3],
        # The latest three were made together.
        run="run-0" if number < 3 else "",
        costs=(StatedCost("inference", CANARY_USD_NANO, "openai", "gpt-4o-mini"),),
    )


def start(folder: Path) -> tuple[Product, list[subprocess.Popen[bytes]]]:
    """Seed a store and start portal and sandbox on it."""
    port, sandbox_port = free_port(), free_port()
    url, sandbox_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{sandbox_port}"
    environment = {
        **os.environ,
        "DATABASE_URL": f"sqlite:///{folder / 'product.db'}",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "PORTAL_BASE_URL": url,
        "STRIPE_SECRET_KEY": "sk_test_browser",
        "STRIPE_WEBHOOK_SECRET": "whsec_browser",
        "STRIPE_API_BASE": sandbox_url,
        CLOCK_FILE: str(folder / "clock"),
    }
    settings = Settings.from_env(environment)
    with create_app(settings).app_context():
        upgrade()
    database = Database(settings.database_url)
    now = datetime.now(UTC)
    seed(database, now)
    with database.transaction() as tx:
        key = keys.create(tx, name="tests", organization_id=None, scopes=(), now=now)
    commands = [
        [
            *(sys.executable, "-m", "sandbox", "--port", str(sandbox_port)),
            *("--webhook-url", f"{url}/webhooks/stripe", "--webhook-secret", "whsec_browser"),
        ],
        [
            *(str(ROOT / ".venv" / "bin" / "granian"), "--interface", "wsgi", "--no-ws"),
            *("--port", str(port), "--workers", "1", "--blocking-threads", "4"),
            *("--log-level", "warning", "tests.browser.served:app"),
        ],
    ]
    processes = [subprocess.Popen(command, env=environment, cwd=ROOT) for command in commands]
    for address in (f"{url}/readyz", f"{sandbox_url}/"):
        _wait(address, processes)
    secret = environment["SECRET_KEY"]
    return Product(url, sandbox_url, database, key, folder / "clock", secret), processes


def _wait(address: str, processes: list[subprocess.Popen[bytes]]) -> None:
    for _ in range(300):
        assert all(process.poll() is None for process in processes), "a server stopped"
        try:
            if requests.get(address, timeout=2).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{address} did not come up")


def stop(product: Product, processes: list[subprocess.Popen[bytes]]) -> None:
    """Stop everything that was started."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(timeout=10)
    product.database.close()
