"""What acts about limits say: what a cap does and how it changed, and what happens at zero.

Pure. Amounts are exact; a limit is written as it was stated, in credits or in money.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portal.core.caps import THRESHOLDS
from portal.core.units import parse_micro
from portal.web.record.noted import Noted, Part, credits_words, instant, listed, value

EACH = {"period": "each billing period", "week": "each week", "day": "each day"}


def _limit(noted: Noted, fields: Mapping[str, Any]) -> str:
    """Return a limit as it was stated: in credits, or in money."""
    if fields.get("limit_minor") is not None:
        return noted.names.money(fields["limit_minor"])
    return credits_words(parse_micro(fields["limit"])) if "limit" in fields else ""


def _cap(noted: Noted) -> str:
    """Return what a cap does, at which limit, and how often it starts again."""
    limit, each = _limit(noted, noted.detail), EACH.get(noted.now("window"), "")
    does = {"hard": "blocks new work at", "soft": "only tells at"}.get(noted.now("mode"), "")
    return " ".join(filter(None, (does, limit, each))) if limit else each


def cap_changed(noted: Noted) -> str:
    before, now = noted.before, noted.detail
    if "limit" not in before:
        return _cap(noted)
    words, was, limit = [], _limit(noted, before), _limit(noted, now)
    if was != limit:
        words.append(f"from {was} to {limit} {EACH.get(noted.now('window'), '')}".strip())
    if before.get("mode") != now.get("mode"):
        told = {"hard": "now blocks new work", "soft": "now only tells"}
        words.append(told.get(noted.now("mode"), ""))
    return ", ".join(filter(None, words))


def _thresholds(noted: Noted) -> str:
    reached = noted.now("thresholds") or []
    usual = noted.before.get("thresholds", list(THRESHOLDS))
    if not reached or reached == usual:
        return ""
    return f"tells at {listed([str(one) for one in reached])}% of it"


CAP_FIELDS = ("limit", "limit_minor", "mode", "window")
CAP = (
    Part(CAP_FIELDS, _cap),
    value("action", lambda noted, key: f"{noted.names.actions.get(key, 'one kind of work')} only"),
    Part(("thresholds",), _thresholds),
)


def more_asked(noted: Noted) -> str:
    micro = parse_micro(noted.now("credits") or "0")
    if not micro:
        return ""
    until = noted.now("until")
    ends = f", until {noted.names.last_day(instant(until))}" if until else ""
    return f"{credits_words(micro)} more{ends}"


_WHEN_EMPTY = {
    "stop": ("stops new work", "stopping new work"),
    "top_up": ("buys more by itself", "buying more by itself"),
    "overage": ("goes on", "going on"),
}


def when_empty(noted: Noted) -> str:
    def most(fields: Mapping[str, Any]) -> str:
        limit = fields.get("overage_limit_minor")
        if fields.get("on_empty") != "overage" or limit is None:
            return ""
        return f" up to {noted.names.money(limit)}"

    detail, before = noted.detail, noted.before
    plainly, going_to = _WHEN_EMPTY.get(detail.get("on_empty", ""), ("", ""))
    _, coming_from = _WHEN_EMPTY.get(before.get("on_empty", ""), ("", ""))
    now, was = most(detail), most(before)
    if coming_from and coming_from != going_to:
        return f"from {coming_from}{was} to {going_to}{now}"
    return f"{plainly}{now}, before{was}" if was and was != now else plainly + now


def top_up(noted: Noted) -> str:
    terms = noted.now("auto_top_up")
    if not terms:
        return ""
    return (
        f"{noted.names.packs.get(terms['pack'], 'A pack')} below"
        f" {credits_words(terms['threshold_micro'])},"
        f" at most {noted.names.money(terms['monthly_limit_minor'])} a calendar month"
    )


def _below(fields: Mapping[str, Any]) -> str:
    if fields.get("credits_micro") is not None:
        return f"below {credits_words(fields['credits_micro'])}"
    percent = fields.get("percent")
    return f"below {percent}% of the plan’s credits" if percent else "never"


def low_balance(noted: Noted) -> str:
    now, before = _below(noted.detail), noted.before
    was = _below(before) if before else ""
    return "" if was == now else f"from {was} to {now}" if was else now
