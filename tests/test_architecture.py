"""The rules of the house that no import contract can say."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.routing import Rule

from portal.web import security
from tests.conftest import ROOT

PORTAL = ROOT / "portal"
#: What reckons with amounts: modules, and folders with every module in them.
EXACT = (
    "core/units.py", "core/ledger.py", "core/rating.py", "core/caps.py", "core/catalog.py",
    "core/upgrades.py", "core/recommendation.py",
    "core/replay.py", "core/simulation.py", "core/routing.py",
    "core/margin/recognition.py", "core/margin/figures.py",
    "margin/revenue.py", "margin/costs", "margin/margins.py", "margin/slices.py",
    "margin/sums.py", "margin/statement.py", "margin/whole.py", "margin/earnings.py",
    "wallet", "caps", "holds.py", "authorization", "metering", "events.py", "tiers.py",
)  # fmt: skip
CLOCKS = {("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today"),
          ("time", "time"), ("time", "time_ns")}  # fmt: skip


def _sources(*folders: Path) -> Iterator[tuple[str, ast.Module]]:
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def test_only_the_store_commits() -> None:
    committing = [
        f"{name}:{call.lineno}"
        for name, tree in _sources(PORTAL)
        for call in _calls(tree)
        if isinstance(call.func, ast.Attribute) and call.func.attr in {"commit", "begin"}
    ]
    assert committing
    assert {one.partition(":")[0] for one in committing} == {"portal/db.py"}


def test_amounts_are_never_floats() -> None:
    exact = {PORTAL / name for name in (*EXACT, "billing")}
    found = []
    seen = set()
    for name, tree in _sources(PORTAL):
        listed = exact & {ROOT / name, *(ROOT / name).parents}
        if not listed:
            continue
        seen |= listed
        for node in ast.walk(tree):
            literal = isinstance(node, ast.Constant) and isinstance(node.value, float)
            call = (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in {"float", "round"}
            )
            division = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
            if literal or call or division:
                found.append(f"{name}:{node.lineno}")
    assert seen == exact, "a module of this list is gone"
    assert found == []


def test_the_clock_is_read_in_one_place() -> None:
    readers = [
        f"{name}:{call.lineno}"
        for name, tree in _sources(PORTAL)
        for call in _calls(tree)
        if isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name | ast.Attribute)
        and (
            getattr(call.func.value, "id", getattr(call.func.value, "attr", "")), call.func.attr
        ) in CLOCKS
    ]  # fmt: skip
    assert readers == []
    composition = ast.parse((ROOT / "app.py").read_text(encoding="utf-8"))
    assert sum(ast.unparse(call) == "datetime.now(UTC)" for call in _calls(composition)) == 1


def _imported(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_there_is_one_door_to_stripe() -> None:
    importers = {name for name, tree in _sources(PORTAL) if "stripe" in _imported(tree)}
    assert importers
    assert all(name.startswith("portal/billing/gateway/") for name in importers)


def test_the_product_never_imports_the_sandbox_or_the_tests() -> None:
    for name, tree in _sources(PORTAL, ROOT / "migrations"):
        assert not _imported(tree) & {"sandbox", "tests", "demo", "bench"}, name
    assert "sandbox" not in _imported(ast.parse((ROOT / "app.py").read_text(encoding="utf-8")))


def test_the_core_imports_the_standard_library_and_itself() -> None:
    for name, tree in _sources(PORTAL / "core"):
        modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert all(not m.startswith("portal.") or m.startswith("portal.core") for m in modules), (
            name
        )
        assert not _imported(tree) & {"flask", "sqlalchemy", "stripe", "msgspec", "os", "requests"}


def test_no_module_is_named_for_nothing() -> None:
    nothing = re.compile(r"utils?|helpers?|managers?|common|misc|data")
    names = [path for path in ROOT.rglob("*.py") if ".venv" not in path.parts]
    assert [str(path) for path in names if nothing.fullmatch(path.stem)] == []


def test_every_module_opens_with_its_promise() -> None:
    without = [name for name, tree in _sources(PORTAL) if not ast.get_docstring(tree)]
    assert without == []


def _address(rule: Rule) -> str:
    return re.sub(r"<[^>]+>", "x", rule.rule)


@pytest.fixture
def store(sqlite_store: str) -> str:
    """What routes there are does not depend on the store."""
    return sqlite_store


def test_every_route_is_closed_unless_it_is_on_the_short_list(application: Flask) -> None:
    closed = 0
    for rule in application.url_map.iter_rules():
        owner = rule.endpoint.partition(".")[0]
        if rule.endpoint in security.OPEN or owner in security.OPEN_BLUEPRINTS:
            continue
        for method in rule.methods or set():
            client = application.test_client()
            answer = client.open(_address(rule), method=method)
            expected = {401} if rule.rule.startswith("/v1/") else {302, 400, 401, 404}
            assert answer.status_code in expected, f"{method} {rule.rule}: {answer.status}"
            if answer.status_code == 302:
                assert "/sign-in" in answer.headers["Location"], rule.rule
            closed += 1
    assert closed > 40


def test_the_short_list_of_open_routes_is_this(application: Flask) -> None:
    rules = application.url_map.iter_rules()
    is_open = {
        rule.endpoint
        for rule in rules
        if rule.endpoint in security.OPEN
        or rule.endpoint.partition(".")[0] in security.OPEN_BLUEPRINTS
    }
    assert is_open >= {"health.alive", "webhooks.stripe_events", "auth.sign_in", "static"}
    allowed = {"static", "auth", "brand", "health", "webhooks", "docs", "invited"}
    assert {endpoint.partition(".")[0] for endpoint in is_open} <= allowed


def test_a_route_that_nobody_guards_is_refused_at_start(application: Flask) -> None:
    bare = Flask("bare")
    bare.add_url_rule("/everything", "everything", lambda: "all of it")
    with pytest.raises(AssertionError, match="everything has no audience"):
        security.close_by_default(bare)
    assert "close_by_default" in inspect.getsource(__import__("portal.web").web.register)


def test_every_answer_carries_the_headers_that_keep_it_closed(application: Flask) -> None:
    client = application.test_client()
    for path in ("/healthz", "/v1/catalog", "/nothing", "/sign-in", "/webhooks/stripe"):
        headers = client.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Request-Id"].startswith("req_")
