"""Letters: what somebody is due, as one mail that is worth reading.

Pure but for the templates it reads. Of one subject only the last word is told, and of many alike
the first few and how many more, so that a thousand caps reached at once are still one mail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from portal.accounts import Member, Organization
from portal.ids import hash_secret
from portal.notices import links
from portal.notices.kinds import GROUPS, Group, kind_of
from portal.notices.links import EVERYTHING, Unsubscribing
from portal.notices.mail import Mail
from portal.notices.outbox import Message
from portal.notices.words import Names, Words, describe, moment

#: How many alike are told one by one.
MOST_ALIKE = 10
_TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
_html = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_text = _html.overlay(autoescape=False)


@dataclass(frozen=True)
class Item:
    """One thing in a letter: its words, as of when, and where the act is done."""

    words: Words
    as_of: str
    url: str


@dataclass(frozen=True)
class Section:
    """Things of one group, and how many more there are like them."""

    group: Group
    items: Sequence[Item]
    more: int


@dataclass(frozen=True)
class Sender:
    """Whose portal it is: its address, its name, and the key its links are signed with."""

    base_url: str
    secret_key: str
    brand: str


def letter(
    sender: Sender,
    organization: Organization,
    member: Member,
    messages: Sequence[Message],
    names: Names,
    *,
    batch: str,
) -> Mail:
    """Return one mail that tells somebody of these messages, at least one."""
    told = last_words(messages)
    sections = _sections(sender, told, names)
    count = sum(len(one.items) + one.more for one in sections)
    first = sections[0].items[0].words.title
    subject = first if count == 1 else f"{first}, and {count - 1} more"
    groups = {one.group.key for one in sections}
    group = groups.pop() if len(groups) == 1 else EVERYTHING
    stop = links.unsubscribe(
        sender.secret_key, Unsubscribing(member.organization_id, member.member_id, group)
    )
    given = {
        "subject": subject,
        "brand": sender.brand,
        "organization": organization.name,
        "name": member.name or member.email,
        "sections": sections,
        "count": count,
        "about": next((one.name for one in GROUPS if one.key == group), ""),
        "unsubscribe": f"{sender.base_url}/unsubscribe/{stop}",
        "preferences": f"{sender.base_url}/settings/notifications",
    }
    host = sender.base_url.partition("://")[2].partition("/")[0].partition(":")[0]
    return Mail(
        to=member.email,
        subject=_one_line(f"{subject} · {organization.name}"),
        text=_text.get_template("mail/told.txt").render(given),
        html=_html.get_template("mail/told.html").render(given),
        headers=(
            ("Message-ID", f"<{hash_secret(batch)[:40]}@{host}>"),
            ("List-Unsubscribe", f"<{given['unsubscribe']}>"),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ),
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]


def last_words(messages: Sequence[Message]) -> list[Message]:
    """Return of each subject the last message alone, in the order they came; of caps as of one."""
    last: dict[tuple[str, str], Message] = {}
    for one in messages:
        kind = "cap" if one.kind in {"cap-near", "cap-reached"} else one.kind
        last.pop((kind, one.subject), None)
        last[kind, one.subject] = one
    return list(last.values())


def _sections(sender: Sender, messages: Sequence[Message], names: Names) -> list[Section]:
    found = []
    for group in GROUPS:
        mine = [one for one in messages if kind_of(one.kind).group == group.key]
        # What stands comes before what is over.
        mine.sort(key=lambda one: one.state == "over")
        if mine:
            items = [_item(sender, one, names) for one in mine[:MOST_ALIKE]]
            found.append(Section(group, items, len(mine) - len(items)))
    return found


def _item(sender: Sender, message: Message, names: Names) -> Item:
    words = describe(message, names)
    path = words.path
    if message.kind == "raise-asked":
        signed = links.answer(sender.secret_key, message.organization_id, message.subject)
        path = f"/spending/raises/from-mail/{signed}"
    url = path if path.startswith("https://") else sender.base_url + path
    return Item(words, moment(message.at, names.zone), url)
