"""The table of who gets what: reading it, and making its lines from what is answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from tests.web.house import ACTORS, House

FILE = Path(__file__).with_name("access.table")
#: Where the address of a route ends, in the table.
WIDTH = 84

#: What a request carries where an empty one would be refused for what it lacks.
CARRIED: dict[str, dict[str, Any]] = {
    "customer.make_cap": {
        "subject": "member:cleo", "action": "", "window": "day", "mode": "hard", "limit": "5",
    },
    "customer.change_cap": {"limit": "7", "mode": "soft"},
    "customer.choose_when_empty": {"on_empty": "stop"},
    "customer.change_member": {"role": "viewer", "team": ""},
    "customer.make_team": {"name": "Design"},
    "customer.rename_team": {"name": "Design"},
    "customer.invite": {"email": "new@acme.example", "role": "viewer", "team": ""},
    "customer.change_organization": {
        "name": "Acme", "timezone": "UTC", "members_see_balance": "no",
    },
    "customer.make_key": {"name": "another", "scope": "read", "lifetime": ""},
    "customer.replace_key": {"overlap": "now"},
    "customer.ask_for_more": {"credits": "5", "reason": "a client waits"},
    "customer.answer_raise": {"answer": "allow", "credits": "5"},
    "customer.choose_notifications": {"mail": "caps"},
    "customer.choose_low_balance": {"by": "percent", "low": "10"},
    "customer.make_webhook": {"url": "https://acme.example/other"},
    "customer.switch_webhook": {"on": "0"},
    "invited.join": {"name": "Ivy"},
    "api.post_raise_request": {"member": "cleo", "credits": "5"},
    "api.answer_raise_request": {"answer": "allow"},
    "api.post_webhook_endpoint": {"url": "https://acme.example/other"},
    "api.patch_webhook_endpoint": {"enabled": False},
    "api.post_simulation": {
        "name": "flat", "kind": "flat", "start": "2026-11-01", "end": "2026-11-02", "price": "49",
    },
    "operator.make_grant": {"credits": "5", "source": "promotion", "reason": "table"},
    "operator.issue_key": {"name": "table"},
    "api.put_organization": {"name": "Acme"},
    "api.put_member": {"email": "cleo@acme.example", "role": "viewer"},
    "api.put_team": {"name": "R"},
    "api.put_project": {"name": "A"},
    "api.post_grant": {"credits": "1", "source": "promotion", "reason": "table"},
    "api.void_grant": {},
    "api.patch_spending": {"on_empty": "stop"},
    "api.post_cap": {"scope": "organization", "limit": {"credits": "60"}},
    "api.patch_cap": {"mode": "soft"},
    "api.post_authorization": {"organization": "acme", "action": "document"},
    "api.post_capture": {},
    "api.post_increment": {"quantity": "1"},
    "api.post_release": {},
    "api.post_events": {
        "specversion": "1.0", "id": "e-9", "source": "tests", "subject": "acme", "type": "document",
        "data": {},
    },
    "api.post_portal_session": {
        "organization": "acme", "member": {"id": "cleo", "email": "cleo@acme.example"},
    },
    "api.replay_rejected_events": {},
    "api.post_traces": {"resourceSpans": []},
}  # fmt: skip


def ask(house: House, actor: str, rule: Rule, method: str, path: str) -> TestResponse:
    """Ask for a route as somebody, with what it needs to carry."""
    carried = CARRIED.get(rule.endpoint, {})
    if method == "GET":
        return house.ask(actor, method, path)
    if path.startswith(("/v1/", "/webhooks/")):
        body = None if method == "DELETE" else carried
        return house.ask(actor, method, path, body=body, headers={"Idempotency-Key": "table"})
    return house.ask(actor, method, path, form=carried)


def cell(answer: TestResponse) -> str:
    """Return an answer in a word: its status, or ``in`` where it leads to the way in."""
    if answer.status_code in {302, 303} and answer.headers["Location"].endswith("/sign-in"):
        return "in"
    return str(answer.status_code)


def line(method: str, rule: Rule, cells: list[str]) -> str:
    """Return a line of the table."""
    return f"{method:<7}{rule.rule:<{WIDTH}}" + "".join(f"{one:<10}" for one in cells).rstrip()


def header() -> str:
    """Return the names of the columns."""
    return f"{'':<{WIDTH + 7}}" + "".join(f"{one:<10}" for one in ACTORS).rstrip()


def read() -> dict[tuple[str, str], dict[str, str]]:
    """Return the table: for each method and route, what each actor gets."""
    found = {}
    lines = FILE.read_text(encoding="utf-8").splitlines()
    for text in lines:
        if not text.strip() or text.startswith(("#", " ")):
            continue
        method, route, *cells = text.split()
        found[method, route] = dict(zip(ACTORS, cells, strict=True))
    return found
