"""`make demo`: build the store, start portal, worker and sandbox, print the links."""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import sqlite3
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests
from flask_migrate import upgrade
from sqlalchemy import event

from app import create_app
from demo.history import ACME, PASSWORD, begins_at, tell
from demo.parts import STOP_SECONDS, Parts, finish_undisturbed, interrupt_on_every_ending
from demo.purchases import Till
from portal import access
from portal.billing.gateway import Gateway
from portal.config import Settings
from portal.db import Database

ROOT = Path(__file__).resolve().parent.parent
LINKS_LAST = timedelta(hours=12)
READY_SECONDS = 60


def main() -> int:
    """Run the demo until it is stopped; returns the exit status."""
    arguments = argparse.ArgumentParser(prog="make demo")
    arguments.add_argument("--port", type=int, default=8000)
    port: int = arguments.parse_args().port
    for number, what in ((port, "the portal"), (port + 1, "the payment sandbox")):
        if not _free(number):
            print(
                f"Port {number} for {what} is taken. "
                f"Choose another: DEMO_PORT={port + 100} make demo",
                file=sys.stderr,
            )
            return 1
    environment = _environment(port)
    parts = Parts(ROOT, environment)
    interrupt_on_every_ending()
    try:
        now = datetime.now(UTC)
        _start_sandbox(parts, environment, port, begins=begins_at(now))
        database = _build(environment, port, now=now)
        _start(parts, port)
        _wait_ready(port, parts)
        _greet(database, port)
        database.close()
        return _watch(parts, port)
    except KeyboardInterrupt:
        return 0
    finally:
        finish_undisturbed()
        parts.stop()


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _environment(port: int) -> dict[str, str]:
    folder = ROOT / _folder(port)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("clearmeter.db*"):
        old.unlink()
    return {
        **os.environ,
        "CLEARMETER_DEMO": "1",
        "DATABASE_URL": f"sqlite:///{folder / 'clearmeter.db'}",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "PORTAL_BASE_URL": f"http://127.0.0.1:{port}",
        "STRIPE_SECRET_KEY": "sk_test_demo",
        "STRIPE_WEBHOOK_SECRET": "whsec_demo",
        "STRIPE_API_BASE": f"http://127.0.0.1:{port + 1}",
        "BRAND_NAME": "Scribe",
        "WEBHOOKS_TO_LOOPBACK": "on",
        "PORT": str(port),
        "WEB_CONCURRENCY": "1",
        "WEB_STOP_SECONDS": f"{STOP_SECONDS / 2}",
    }


def _build(environment: dict[str, str], port: int, *, now: datetime) -> Database:
    """Migrate an empty store and write the history; returns the store."""
    print("Writing three months of history …", flush=True)
    settings = Settings.from_env(environment)
    application = create_app(settings)
    with application.app_context():
        upgrade()
    _wait(f"http://127.0.0.1:{port + 1}/")
    database = Database(settings.database_url)
    # While the history is written nobody relies on it: the system may decide when it reaches disk.
    event.listen(database.engine, "connect", _hurry)
    payments: Gateway = application.extensions["clearmeter"].payments
    base, sandbox = environment["PORTAL_BASE_URL"], environment["STRIPE_API_BASE"]
    till = Till(database, payments, sandbox, base, ACME.organization, "ana")
    till.open()
    tell(database, till, now=now)
    database.close()
    return Database(settings.database_url)


def _hurry(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")


def _start_sandbox(
    parts: Parts, environment: dict[str, str], port: int, *, begins: datetime
) -> None:
    """Start the sandbox in the past, where the history begins."""
    parts.start(
        [
            *(sys.executable, "-m", "sandbox", "--port", str(port + 1)),
            *("--begins", str(int(begins.timestamp()))),
            *("--webhook-url", f"http://127.0.0.1:{port}/webhooks/stripe"),
            *("--webhook-secret", environment["STRIPE_WEBHOOK_SECRET"]),
        ]
    )


def _start(parts: Parts, port: int) -> None:
    parts.start([str(ROOT / "scripts" / "serve"), str(port)])
    # It writes down every mail that would be sent: too many words for a first screen.
    parts.start(
        [sys.executable, "-m", "flask", "--app", "app", "worker"], log=ROOT / _worker_log(port)
    )


def _folder(port: int) -> Path:
    """Where the demo keeps what it writes, from the project's folder."""
    return Path("var") / f"demo-{port}"


def _worker_log(port: int) -> Path:
    return _folder(port) / "worker.log"


def _wait(address: str) -> None:
    """Wait until somebody answers there."""
    for _ in range(READY_SECONDS * 5):
        with suppress(requests.RequestException):
            requests.get(address, timeout=2)
            return
        time.sleep(0.2)
    raise SystemExit("The payment sandbox did not come up in a minute.")


def _wait_ready(port: int, parts: Parts) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if not parts.running:
            raise SystemExit(f"A part of the demo stopped. {_where_it_says_why(port)}")
        try:
            portal = requests.get(f"http://127.0.0.1:{port}/readyz", timeout=2)
            sandbox = requests.get(f"http://127.0.0.1:{port + 1}/", timeout=2)
        except requests.RequestException:
            time.sleep(0.2)
            continue
        if portal.ok and sandbox.ok:
            return
        time.sleep(0.2)
    raise SystemExit("The demo did not come up in a minute.")


def _greet(database: Database, port: int) -> None:
    """Print how to sign in as each role, and as the operator."""
    now = datetime.now(UTC)
    base = f"http://127.0.0.1:{port}/sign-in"
    roles = {
        "ana": "owner     Ana, sees and decides all",
        "ben": "admin     Ben, sets caps, invites people, keeps the keys",
        "fay": "billing   Fay, buys and pays",
        "cleo": "member    Cleo, sees her own use",
        "gita": "viewer    Gita, sees all and changes nothing",
    }
    people = {
        words: {"organization_id": ACME.organization, "member_id": member}
        for member, words in roles.items()
    }
    people["operator  Olga, sees what everybody costs"] = {"operator_email": "olga@scribe.example"}
    lines = ["", "Clearmeter is running. Each link signs in once:", ""]
    with database.transaction() as tx:
        for who, person in people.items():
            token, _ = access.make_link(tx, now=now, lifetime=LINKS_LAST, **person)
            lines += [f"  {who}", f"  {base}/{token}", ""]
    lines += [
        f"Or by password at {base}: ana@acme.example or cleo@acme.example, {PASSWORD}",
        "Pay with card 4242 4242 4242 4242; 4000 0000 0000 0002 is declined, and",
        "4000 0027 6000 3184 asks you to confirm with your bank. No money moves.",
        f"No mail is sent either: what it would say is in {_worker_log(port)}.",
        "Ctrl-C stops all of it.",
        "",
    ]
    print("\n".join(lines), flush=True)


def _watch(parts: Parts, port: int) -> int:
    while parts.running:
        time.sleep(0.5)
    print(
        f"A part of the demo stopped; the rest stops with it. {_where_it_says_why(port)}",
        file=sys.stderr,
    )
    return 1


def _where_it_says_why(port: int) -> str:
    return f"Its message is above, the worker's in {_worker_log(port)}."


if __name__ == "__main__":
    sys.exit(main())
