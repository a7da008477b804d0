"""What the details of each act say, part by part: amounts, names, and from what to what.

Pure. Invariant: every field that an act is written down with is said by a part of it or stands in
``SILENT``; what did not change is left out, and so is an id that only the store knows.
"""

from __future__ import annotations

from collections.abc import Mapping

from portal.audit import Act
from portal.core.units import parse_micro
from portal.margin.costs import RULES
from portal.web import formats
from portal.web.record.limits import (
    CAP,
    CAP_FIELDS,
    cap_changed,
    low_balance,
    more_asked,
    top_up,
    when_empty,
)
from portal.web.record.names import Names
from portal.web.record.noted import (
    Noted,
    Part,
    credits_words,
    instant,
    money,
    quoted,
    value,
)


def said(act: Act, names: Names) -> list[str]:
    """Return what an act's details say to whoever the names are for, part by part."""
    noted = Noted(act.target, act.detail, names)
    parts = (one for one in PARTS.get(act.act, ()) if names.operators or not one.operators)
    return [words[:1].upper() + words[1:] for one in parts if (words := one.say(noted))]


# --- people -----------------------------------------------------------------------------------

_ROLE = value("role", lambda _, role: str(role).capitalize(), "Role")
_TEAM = value(
    "team_id", lambda noted, team: noted.names.teams.get(team, "one that is gone"), "Team"
)
_EMAIL = value("email", lambda _, email: str(email), "E-mail")
_NAME = value("name", lambda _, name: quoted(name), "Name")
_WAYS = {
    "link": "by a link from {brand}",
    "password": "by password",
    "mail": "by a link from the mail",
    "provider": "by single sign-on",
    "passkey": "by passkey",
}


def _way(noted: Noted, method: str) -> str:
    return _WAYS.get(method, "").format(brand=noted.names.brand)


def _elsewhere(noted: Noted) -> str:
    count = noted.now("count")
    return "" if not count else f"in {count} other {'place' if count == '1' else 'places'}"


def _renamed(noted: Noted) -> str:
    # What it is called since then is what the act is about.
    was = noted.before.get("name")
    return f"From {quoted(was)}" if was else ""


# --- money and credits ------------------------------------------------------------------------

_CREDITS = value("credits", lambda _, credits_: credits_words(parse_micro(credits_)))
_AMOUNT = money("amount_minor")


def _credits_moved(noted: Noted) -> str:
    micro = parse_micro(str(noted.now("credits_taken") or "0").removeprefix("-"))
    given = str(noted.now("credits_taken")).startswith("-")
    return f"{credits_words(micro)} {'given' if given else 'taken'} back" if micro else ""


_DISPUTED = {
    "inquiry": "the payer’s bank asks about it",
    "open": "disputed with the payer’s bank",
    "withdrawn": "taken back by the payer’s bank",
    "lost": "the dispute was lost",
    "won": "the dispute was won",
}


def _refunded(noted: Noted) -> str:
    amount, part = noted.now("amount_minor"), noted.now("of")
    if not amount:
        return ""
    return noted.names.money(amount) + (f" of the {part}" if part else "")


def _came_from(noted: Noted) -> str:
    was = noted.now("from")
    return f"from {noted.names.tier(was)}" if was and was != noted.target else ""


def _seats(noted: Noted) -> str:
    seats, was = noted.now("seats"), noted.before.get("seats")
    if not seats or seats == was:
        return ""
    words = f"{seats} {'seat' if seats == 1 else 'seats'}"
    return f"from {was} to {words}" if was else words


_CHARGING = {"on": "use is charged", "shadow": "use is only measured"}
_PLAN = (Part(("from",), _came_from), Part(("seats",), _seats))
_CHOSEN = (Part(("from",), _came_from), money("charge_minor", "{} charged at once"))
_REASON = value("reason", lambda _, reason: quoted(reason), operators=True)
_ANSWER = value("answer", lambda _, answer: quoted(answer), operators=True)
_ASKED_BY = value(
    "asked_by", lambda noted, actor: f"asked for by {noted.names.who(actor)}", operators=True
)
_UNTIL = value("until", lambda noted, until: f"until {noted.names.moment(instant(until))}")
_REFUND = (Part(("amount_minor", "of"), _refunded), _REASON, _ASKED_BY, _ANSWER)

# --- keys, endpoints, settings ----------------------------------------------------------------

_MAY = {
    "read": "reads usage, balance and caps",
    "meter": "authorizes work and sends usage",
    "manage": "manages customers and their limits",
    "backfill": "sends usage of up to three years ago",
}
_SCOPES = value(
    "scopes", lambda _, scopes: ", and ".join(_MAY[one] for one in scopes.split() if one in _MAY)
)
_OVERLAP = {
    "now": "the old one stopped at once",
    "day": "the old one went on for a day",
    "week": "the old one went on for a week",
}


def _shown(noted: Noted) -> str:
    seen = noted.now("members_see_balance")
    words = {True: "members see the balance", False: "members do not see the balance"}
    return "" if seen is None else words[bool(seen)]


def _zone_before(noted: Noted) -> str:
    was = formats.place(noted.now("from") or "")
    return "" if was in {" time", formats.place(noted.target)} else f"from {was}"


def _taken_in(noted: Noted) -> str:
    if noted.now("tried") is None:
        return ""
    return f"{noted.now('accepted'):,} of {noted.now('tried'):,} taken in"


def _dollars(name: str, words: str) -> Part:
    return value(name, lambda _, usd: words.format(f"${usd}"), operators=True)


def _number(name: str, words: str) -> Part:
    def say(noted: Noted) -> str:
        value = noted.now(name)
        count = len(value) if isinstance(value, list) else value
        return "" if count is None else words.format(f"{count:,}")

    return Part((name,), say, operators=True)


_JUDGED = (
    value("event", lambda _, event: f"event {event}", operators=True),
    _dollars("stated_usd", "{} stated"),
    _dollars("booked_usd", "{} booked"),
    _REASON,
)
_BEGINS = value(
    "effective_at",
    lambda noted, at: f"in force from {noted.names.moment(instant(at))}",
    operators=True,
)

#: What the details of each act say, in the order they are read.
PARTS: Mapping[str, tuple[Part, ...]] = {
    "member.added": (_EMAIL, _ROLE, _TEAM),
    "member.changed": (_NAME, _EMAIL, _ROLE, _TEAM),
    "member.removed": (_ROLE,),
    "member.restored": (_ROLE,),
    "invitation.made": (_ROLE,),
    "invitation.accepted": (_ROLE,),
    "team.renamed": (Part(("name",), _renamed),),
    "project.renamed": (Part(("name",), _renamed),),
    "cap.set": CAP,
    "cap.changed": (Part(CAP_FIELDS, cap_changed), *CAP[1:]),
    "cap.removed": CAP,
    "raise.asked": (Part(("credits", "until"), more_asked),),
    "raise.allowed": (Part(("credits", "until"), more_asked),),
    "raise.declined": (Part(("credits", "until"), more_asked),),
    "spending.set": (
        Part(("on_empty", "overage_limit_minor"), when_empty),
        Part(("auto_top_up",), top_up),
    ),
    "tier.put": _PLAN,
    "tier.charging": (value("charging", lambda _, charging: _CHARGING.get(charging, "")),),
    "tier.billed": _PLAN,
    "tier.ended": _PLAN,
    "tier.upgrade": _CHOSEN,
    "tier.downgrade": _CHOSEN,
    "tier.cancel": _CHOSEN,
    "pack.bought": (_CREDITS,),
    "top_up.made": (_CREDITS,),
    "grant.made": (_CREDITS, _REASON),
    "grant.voided": (_CREDITS, _REASON),
    "payment.reversed": (
        money("refunded_minor", "{} refunded"),
        value("dispute", lambda _, state: _DISPUTED.get(state, "")),
        Part(("credits_taken",), _credits_moved),
    ),
    "refund.started": _REFUND,
    "refund.failed": (_AMOUNT, _ANSWER),
    **dict.fromkeys(
        (
            "overage.billed",
            "overage.draft_deleted",
            "overage.waived",
            "overage.owed",
            "overage.due",
            "overage.uncollectible",
        ),
        (_AMOUNT,),
    ),
    "key.made": (_SCOPES,),
    "key.issued": (_SCOPES,),
    "key.replaced": (value("overlap", lambda _, chosen: _OVERLAP.get(chosen, "")),),
    "key.revoked": (_REASON,),
    "session.begun": (value("by", _way), value("device", lambda _, device: str(device))),
    "session.ended": (Part(("count",), _elsewhere),),
    "settings.changed": (_NAME, _EMAIL, Part(("members_see_balance",), _shown)),
    "timezone.changed": (
        Part(("from",), _zone_before),
        value("effective_at", lambda noted, at: f"begins on {noted.names.day(instant(at))}"),
    ),
    "alerts.low_balance": (Part(("percent", "credits_micro"), low_balance),),
    "event.corrected": (
        value("quantity", lambda _, quantity: f"it counts {quantity} now"),
        _REASON,
    ),
    "events.replayed": (Part(("tried", "accepted"), _taken_in),),
    "view.began": (_UNTIL, _REASON),
    "operator.refund_asked": (*_REFUND, _UNTIL),
    "operator.refund_declined": _REFUND,
    "operator.refund_withdrawn": _REFUND,
    "operator.refund_refused": _REFUND,
    "cost.accepted": _JUDGED,
    "cost.rejected": _JUDGED,
    "cost.imported": (
        value("name", lambda _, name: quoted(name)),
        _dollars("amount_usd", "{}"),
    ),
    "cost.shared": (
        value("rule", lambda _, rule: f"by {RULES.get(rule, rule)}"),
        _dollars("amount_usd", "{}"),
    ),
    "prices.published": (_BEGINS, _REASON),
    "costs.published": (_BEGINS, _REASON),
    "prices.pushed": (_number("prices", "{} prices"),),
    "inbox.set_aside": (_number("events", "{} of them"), _REASON),
    "inbox.replayed": (_number("events", "{} of them"),),
    "books.reconciled": (
        _number("mended", "{} mended"),
        _number("unmended", "{} not mended"),
        _number("differ", "{} differ"),
    ),
}
#: What is written down for programs: ids that nobody knows, and what stands elsewhere in the line.
SILENT: Mapping[str, frozenset[str]] = {
    "member.added": frozenset({"name"}),
    **dict.fromkeys(("team.made", "project.made"), frozenset({"name"})),
    **dict.fromkeys(("cap.set", "cap.changed", "cap.removed"), frozenset({"scope", "of"})),
    **dict.fromkeys(
        ("raise.asked", "raise.allowed", "raise.declined"), frozenset({"request", "member"})
    ),
    **dict.fromkeys(("tier.upgrade", "tier.downgrade", "tier.cancel"), frozenset({"change"})),
    "pack.bought": frozenset({"session"}),
    "top_up.made": frozenset({"payment"}),
    "payment.reversed": frozenset({"grant"}),
    **dict.fromkeys(
        (
            "refund.started",
            "refund.failed",
            "operator.refund_asked",
            "operator.refund_declined",
            "operator.refund_withdrawn",
            "operator.refund_refused",
            "operator.refund_lapsed",
        ),
        frozenset({"refund"}),
    ),
    **dict.fromkeys(
        ("key.made", "key.issued", "key.revoked", "passkey.added", "passkey.removed"),
        frozenset({"name"}),
    ),
    "key.replaced": frozenset({"name", "by"}),
    "session.ended": frozenset({"which"}),
    "timezone.change_cancelled": frozenset({"from", "effective_at"}),
    **dict.fromkeys(
        ("webhook.made", "webhook.rotated", "webhook.on", "webhook.off", "webhook.removed"),
        frozenset({"url"}),
    ),
    "webhook.replayed": frozenset({"url", "delivery"}),
    "event.corrected": frozenset({"source", "correction"}),
    **dict.fromkeys(("cost.accepted", "cost.rejected"), frozenset({"source", "line"})),
}
