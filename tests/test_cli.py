"""The operator's commands: what they print, and how they end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import text

from portal import catalog
from portal.config import Settings
from portal.core.errors import ConfigError
from portal.db import Database
from tests.cast import Api, Customer, ok, refused
from tests.clock import Clock
from tests.conftest import settings_for
from tests.post import post_office
from tests.servers import ROOT, environment

SHIPPED = catalog.DEFAULT_FILE.read_text(encoding="utf-8")


def run(application: Flask, *words: str, status: int = 0) -> Result:
    result = application.test_cli_runner().invoke(args=list(words))
    assert result.exit_code == status, result.output
    return result


def test_a_price_book_is_loaded_shown_and_loaded_once(
    application: Flask, api: Api, clock: Clock, tmp_path: Path
) -> None:
    assert "Unchanged: version 1" in run(application, "catalog", "load").output
    mine = tmp_path / "mine.toml"
    mine.write_text(SHIPPED.replace("credits = 5\n", "credits = 6.5\n", 1))
    clock.forward(timedelta(days=1))
    assert "Loaded version 2" in run(application, "catalog", "load", str(mine)).output
    assert "Unchanged: version 2" in run(application, "catalog", "load", str(mine)).output
    shown = run(application, "catalog", "show").output
    assert "Version 2" in shown
    assert "6.5" in shown
    assert ok(api.get("/v1/catalog"))["version"] == 2


def test_a_price_book_that_is_wrong_is_refused_in_one_line(
    application: Flask, api: Api, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(SHIPPED.replace("credits = 5\n", "credits = -5\n", 1))
    for command in ("check", "load"):
        result = run(application, "catalog", command, str(wrong), status=1)
        assert "key actions.document.credits" in result.output
        assert "Traceback" not in result.output
    missing = run(application, "catalog", "check", str(tmp_path / "nowhere.toml"), status=1)
    assert "cannot be read" in missing.output
    assert "3 actions" in run(application, "catalog", "check").output
    assert ok(api.get("/v1/catalog"))["version"] == 1


def test_a_key_is_printed_once_alone_on_the_last_line(
    application: Flask, acme: Customer, api: Api
) -> None:
    result = run(application, "keys", "create", "--name", "backend")
    key = result.stdout.splitlines()[-1]
    ok(api.holding(key).get("/v1/organizations"))
    own = run(application, "keys", "create", "--name", "theirs", "--org", "acme", "--scope", "read")
    theirs = api.holding(own.stdout.splitlines()[-1])
    ok(theirs.get(f"{acme.path}/balance"))
    assert theirs.get("/v1/organizations").status_code == 403


def test_a_key_that_leaked_is_found_and_taken_back(application: Flask, api: Api) -> None:
    made = [
        run(application, "keys", "create", "--name", name).stdout.splitlines()[-1]
        for name in ("backend", "leaked")
    ]
    listed = run(application, "keys", "list").stdout
    (line,) = [one for one in listed.splitlines() if "leaked" in one]
    assert "in force" in line
    assert not any(key in listed for key in made)
    key_id = line.split()[0]
    run(application, "keys", "revoke", key_id)
    refused(api.holding(made[1]).get("/v1/organizations"), 401, "unauthenticated")
    ok(api.holding(made[0]).get("/v1/organizations"))
    assert "revoked" in run(application, "keys", "list").stdout
    for key in (key_id, "key_unknown", made[0]):
        result = run(application, "keys", "revoke", key, status=1)
        assert "No key in force" in result.output
        assert made[0] not in result.output


def test_a_key_for_nobody_is_not_made(application: Flask) -> None:
    result = run(application, "keys", "create", "--name", "x", "--org", "nobody", status=1)
    assert "nobody" in result.output
    run(application, "keys", "create", "--name", "x", "--scope", "everything", status=2)
    run(application, "keys", "create", status=2)


def test_links_sign_in_a_member_and_the_operator(application: Flask, acme: Customer) -> None:
    member = run(application, "members", "link", "acme", "ana").output.strip()
    olga = run(application, "operators", "link", "--email", "olga@operator.example").output.strip()
    for link in (member, olga):
        assert link.startswith("http://127.0.0.1:8000/sign-in/")
    assert member != olga
    run(application, "members", "link", "acme", "nobody", status=1)


def test_mail_can_be_tried(built: Callable[[Settings], Flask], sqlite_store: str) -> None:
    with post_office() as office:
        application = built(settings_for(sqlite_store, mail_url=office.url))
        assert "took it" in run(application, "mail", "test", "you@example.com").output
        assert office.one()["To"] == "you@example.com"
        office.refusing = True
        said = run(application, "mail", "test", "you@example.com", status=1).output
        assert "was not sent" in said


def test_the_ledger_is_proven(application: Flask, acme: Customer, bystander: Customer) -> None:
    acme.hold("document")
    output = run(application, "ledger", "audit").output
    assert "2 organizations proven, 0 at fault" in output


@pytest.mark.tampers
def test_a_ledger_at_fault_is_named_and_ends_with_one(
    application: Flask, acme: Customer, bystander: Customer, database: Database
) -> None:
    with database.transaction() as tx:
        tx.execute(
            text(
                "UPDATE accounts SET balance_micro = balance_micro + 1"
                " WHERE organization_id = 'acme' AND account = 'captured'"
            )
        )
    output = run(application, "ledger", "audit", status=1).output
    assert "acme: account captured says 1, its entries say 0" in output
    assert "bystander:" not in output
    assert "1 organizations proven, 1 at fault" in output


def test_without_stripe_reconciling_says_so(application: Flask) -> None:
    result = run(application, "stripe", "reconcile", status=1)
    assert "not set up" in result.output


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", ""),
        ("DATABASE_URL", "mysql://localhost/x"),
        ("SECRET_KEY", ""),
        ("SECRET_KEY", "short"),
        ("SECRET_KEY", "demo-only-not-a-secret-demo-only"),
        ("SECRET_KEY", "a" * 64),
        ("PORTAL_BASE_URL", ""),
        ("PORTAL_BASE_URL", "billing.example.com"),
        ("PORTAL_BASE_URL", "http://billing.example.com"),
        ("PORTAL_BASE_URL", "https://billing.example.com/portal"),
        ("STRIPE_SECRET_KEY", "pk_test_123"),
        ("STRIPE_API_BASE", "not a url"),
        ("MAIL_URL", "mail.example.com"),
        ("MAIL_URL", "http://mail.example.com"),
        ("MAIL_URL", "smtp://mail.example.com:port"),
        ("MAIL_URL", "smtps://user:p/w@mail.example.com"),
        ("MAIL_FROM", "Scribe"),
        ("MAIL_FROM", "a@example.com\nBcc: b@example.com"),
    ],
)
def test_a_setting_that_is_missing_or_malformed_stops_the_start_by_name(
    name: str, value: str
) -> None:
    env = environment("sqlite:////tmp/never.db", 1) | {name: value}
    with pytest.raises(ConfigError, match=f"^{name} ") as refusal:
        Settings.from_env(env)
    assert "\n" not in str(refusal.value)


def test_a_start_that_is_refused_is_one_line(tmp_path: Path) -> None:
    env = environment(f"sqlite:///{tmp_path}/x.db", 1) | {"SECRET_KEY": "short"}
    done = subprocess.run(
        [sys.executable, "-c", "from app import app"],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("clearmeter: SECRET_KEY")
    assert done.stderr.count("\n") == 1
