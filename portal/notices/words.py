"""What is told, in words: a title, a sentence or two with the figures, and the one act.

Pure: the message's facts and the organization's names go in. Never a cost or a model's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from portal.core import actors
from portal.core.catalog import money_words
from portal.core.periods import Zone
from portal.core.units import MICRO
from portal.notices.outbox import OVER, Message

WHILE = {"period": "this period", "week": "this week", "day": "today"}


@dataclass(frozen=True)
class Names:
    """How an organization's people, teams, projects and actions are called, and its time zone."""

    zone: Zone
    teams: Mapping[str, str]
    members: Mapping[str, str]
    projects: Mapping[str, str]
    actions: Mapping[str, str]

    def whose(self, facts: Mapping[str, Any]) -> str:
        """Return whom a cap binds, in words."""
        scope, target = facts["scope"], facts["target"]
        if scope == "organization":
            name = "Everyone"
        elif scope == "team":
            name = self.teams.get(target, target)
            name = name if name.lower().endswith("team") else f"{name} team"
        else:
            known = self.members if scope == "member" else self.projects
            name = known.get(target, target)
        action = self.actions.get(facts["action"], facts["action"])
        return f"{name} ({action})" if action else name

    def member(self, member_id: str) -> str:
        """Return a member's name, or what somebody who is none is called."""
        return actors.called(member_id, self.members, "Your provider")


@dataclass(frozen=True)
class Words:
    """A message in words; ``path`` is the portal's page where the act is done."""

    title: str
    says: str
    act: str
    path: str


def amount(micro: int) -> str:
    """Write credits: 1,240 or 12.5, with at most two decimals."""
    return f"{(Decimal(micro) / MICRO).quantize(Decimal('0.01')):,}".rstrip("0").rstrip(".")


def about(micro: int) -> str:
    """Write credits that are an estimate: to the whole credit."""
    return f"{(Decimal(micro) / MICRO).to_integral_value():,}"


def day(instant: datetime, zone: Zone) -> str:
    """Write a day as 30 Nov, as the organization's clocks show it."""
    local = instant.astimezone(zone.at(instant))
    return f"{local.day} {local:%b}"


def moment(instant: datetime, zone: Zone) -> str:
    """Write an instant with its zone: 30 Nov, 14:02, Berlin time."""
    local = instant.astimezone(zone.at(instant))
    place = zone.name_at(instant).rpartition("/")[2].replace("_", " ")
    where = place if place in {"UTC", "GMT"} else f"{place} time"
    return f"{local.day} {local:%b}, {local:%H:%M}, {where}"


def describe(message: Message, names: Names) -> Words:
    """Return a message in words."""
    write = _WRITTEN.get(message.kind)
    if write is not None:
        return write(message, names)
    facts = message.facts
    title, act, path = _PAYING.get(message.kind, _OTHER)
    if message.state == OVER:
        return Words(f"Settled: {title[:1].lower()}{title[1:]}", facts["was"], act, path)
    return Words(title, facts["sentence"], act, facts["url"] if _away(facts) else path)


def _away(facts: Mapping[str, Any]) -> bool:
    return str(facts.get("url", "")).startswith("https://")


#: What is told in the sentence of its notice: a title, the act and where it is done.
_PAYING = {
    "payment-failed": ("A payment for your plan failed", "Pay the invoice", "/billing"),
    "pack-failed": ("Credits you bought were not paid", "Buy the pack", "/plans#packs"),
    "upgrade-unpaid": ("Your new plan waits for its payment", "Pay or confirm", "/plans"),
    "plan-ended": ("Your plan has ended", "Choose a plan", "/plans"),
    "dispute": ("A payment is disputed", "See the payment", "/billing#invoices"),
    "overage-unpaid": ("An invoice is not paid yet", "Pay the invoice", "/billing"),
    "top-up-failed": ("Credits could not be bought", "See how you pay", "/billing"),
    "top-up-authentication": ("Your bank asks you to confirm", "Buy the pack", "/plans#packs"),
    "top-up-limit": ("The limit for buying credits is reached", "See the limit", "/spending#empty"),
}


_OTHER = ("Something about your payments", "See your billing", "/billing")


def _until(facts: Mapping[str, Any], names: Names, name: str = "resets_at") -> str:
    return moment(datetime.fromisoformat(facts[name]), names.zone)


def _cap(message: Message, names: Names) -> Words:
    facts, whose = message.facts, names.whose(message.facts)
    path = f"/spending#{facts['cap']}"
    limit = amount(facts["limit_micro"])
    if message.state == OVER:
        if facts.get("started_again"):
            says = f"The cap of {limit} credits has started again. New work goes on."
            return Words(f"{whose}: the cap starts again", says, "See the cap", path)
        says = (
            f"{amount(facts['spent_micro'])} of {limit} credits are used"
            f" {WHILE[facts['window']]}, {amount(facts['remaining_micro'])} are left."
        )
        return Words(f"{whose}: there is room again", says, "See the cap", path)
    used = f"{amount(facts['spent_micro'])} of {limit} credits are used {WHILE[facts['window']]}"
    if message.kind == "cap-reached":
        does = (
            "New work is blocked until then; work that has begun is finished."
            if facts["mode"] == "hard"
            else "This cap only tells, nothing is blocked."
        )
        says = f"{used}. It starts again on {_until(facts, names)}. {does}"
        # Whoever reads it finds there what they may do: change it, ask for more, or wait.
        return Words(f"{whose}: cap reached", says, "See what you can do", f"/limit/{facts['cap']}")
    reached = max(facts["thresholds"])
    says = f"{used}, {amount(facts['remaining_micro'])} are left until {_until(facts, names)}."
    return Words(f"{whose}: {reached}% of the cap is used", says, "See the cap", path)


def _projected(message: Message, names: Names) -> Words:
    facts, whose = message.facts, names.whose(message.facts)
    path = f"/spending#{facts['cap']}"
    if message.state == OVER:
        says = f"At this pace the cap of {amount(facts['limit_micro'])} credits holds."
        return Words(f"{whose}: back within the cap", says, "See the cap", path)
    says = (
        f"At this pace about {about(facts['projected_micro'])} credits would be used until "
        f"{_until(facts, names)}; the cap is {amount(facts['limit_micro'])}."
    )
    return Words(f"{whose}: on course to pass the cap", says, "See the cap", path)


def _balance(message: Message, _names: Names) -> Words:
    facts = message.facts
    left = amount(facts["available_micro"])
    if message.state == OVER:
        return Words("Credits are there again", f"{left} credits are left.", "See the plan", "/")
    if message.kind == "credits-out":
        then = {
            "stop": "New work waits until credits are added.",
            "top_up": "More are bought by themselves, as you chose.",
            "overage": "Work goes on beyond the plan, up to your limit.",
        }[facts["on_empty"]]
        return Words("No credits are left", then, "Buy credits", "/plans#packs")
    says = f"{left} credits are left. You are told below {amount(facts['low_micro'])}."
    return Words("Credits are running low", says, "Buy credits", "/plans#packs")


def _expiring(message: Message, names: Names) -> Words:
    facts = message.facts
    # What ends at midnight is there until the day before.
    on = day(datetime.fromisoformat(facts["expires_at"]) - timedelta(microseconds=1), names.zone)
    says = (
        f"{amount(facts['remaining_micro'])} credits are left of this grant. "
        f"What is not used by {_until(facts, names, 'expires_at')} is gone."
    )
    title = f"{amount(facts['remaining_micro'])} credits expire on {on}"
    return Words(title, says, "See your credits", "/")


def _overage(message: Message, _names: Names) -> Words:
    facts = message.facts
    if message.state == OVER:
        says = f"{amount(facts['available_micro'])} credits are left, and they are used first."
        return Words("Back within your credits", says, "See the overview", "/")
    charged = money_words(facts["amount_minor"], facts["currency"])
    most = money_words(facts["limit_minor"], facts["currency"])
    # Nothing is undone by a limit that is set below what is used already.
    over = facts["amount_minor"] - facts["limit_minor"]
    if over >= 0:
        says = (
            f"{charged} so far this period. That is past {most}, the limit set now: nothing more "
            "is charged."
            if over
            else f"{charged} so far this period, which is the limit you set. New work waits."
        )
        return Words("Work went beyond your credits", says, "Change the limit", "/spending#empty")
    says = f"{charged} so far this period, and never more than {most}, the limit you set."
    return Words("Work goes on beyond your credits", says, "Change the limit", "/spending#empty")


def _overrun(message: Message, _names: Names) -> Words:
    facts = message.facts
    says = (
        f"{amount(facts['uncollected_micro'])} credits' worth of work was done past a limit or past"
        " your credits since then. You are not charged for it."
    )
    title = "Work was done that your limits did not cover"
    return Words(title, says, "See the work", "/usage")


def _topped_up(message: Message, _names: Names) -> Words:
    facts = message.facts
    paid = money_words(facts["amount_minor"], facts["currency"])
    says = (
        f"{paid} was paid for {facts['pack']}, as you chose for when credits run low. "
        # The letter may come after they are used or taken back.
        f"With them there were {amount(facts['available_micro'])} credits."
    )
    title = f"{amount(facts['credits_micro'])} credits were added"
    return Words(title, says, "See the payment", "/billing")


def _asked(message: Message, names: Names) -> Words:
    facts = message.facts
    who = names.member(facts["member"])
    title = f"{who} asks for {amount(facts['asked_micro'])} more credits"
    reason = f" “{facts['reason']}”" if facts["reason"] else ""
    says = (
        f"{names.whose(facts)}: {amount(facts['remaining_micro'])} of "
        f"{amount(facts['limit_micro'])} credits are left {WHILE[facts['window']]}.{reason} "
        f"What you allow holds until {_until(facts, names, 'until')}; then the cap is as it was."
    )
    return Words(title, says, "Allow or decline", f"/spending/raises/{message.subject}")


def _answered(message: Message, names: Names) -> Words:
    facts = message.facts
    who = names.member(facts["answered_by"])
    if facts["granted_micro"] is None:
        says = f"{names.whose(facts)} starts again on {_until(facts, names, 'until')}."
        return Words(f"{who} declined your request for more", says, "See your caps", "/spending")
    says = (
        f"{amount(facts['remaining_micro'])} credits are left for {names.whose(facts)} until "
        f"{_until(facts, names, 'until')}. You can go on."
    )
    title = f"{who} allowed {amount(facts['granted_micro'])} more credits"
    return Words(title, says, "See your caps", "/spending")


_WRITTEN: Mapping[str, Callable[[Message, Names], Words]] = {
    "cap-near": _cap,
    "cap-reached": _cap,
    "cap-projected": _projected,
    "credits-low": _balance,
    "credits-out": _balance,
    "credits-expiring": _expiring,
    "overage-begun": _overage,
    "overrun": _overrun,
    "top-up-made": _topped_up,
    "raise-asked": _asked,
    "raise-answered": _answered,
}
#: Every kind that can be put into words.
WORDED = frozenset(_WRITTEN) | frozenset(_PAYING)
