"""The chain of the record: what is hashed of an act, and what is wrong with a chain.

Pure. A chain by itself shows what was changed, put in or taken out of its middle. Whoever can
rewrite the store can also shorten a chain, make it anew, or take it away whole: that shows against
an anchor, a signed note of where each chain stood that is kept elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

#: What stands before the first link.
NOTHING = ""
_FORMAT = "clearmeter-audit-anchor-1"


@dataclass(frozen=True)
class Link:
    """One act on record, as the store keeps it."""

    organization_id: str
    audit_id: str
    sequence: int
    previous_hash: str
    at: datetime
    actor: str
    act: str
    target: str
    detail: Mapping[str, Any]
    hash: str = ""


@dataclass(frozen=True)
class Head:
    """Where a chain ends: how many links it has, and the hash of the last."""

    count: int = 0
    hash: str = NOTHING


def hash_of(link: Link) -> str:
    """Return the hash of everything a link says, and of the link before it.

    Raises TypeError for a float in its detail: the stores would not give back the same.
    """
    _refuse_floats(link.detail)
    said = [
        link.organization_id,
        link.sequence,
        link.previous_hash,
        link.audit_id,
        link.at.astimezone(UTC).isoformat(timespec="microseconds"),
        link.actor,
        link.act,
        link.target,
        link.detail,
    ]
    return hashlib.sha256(_canonical(said)).hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise TypeError("an act's detail has no floats")
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            _refuse_floats(one)


def faults(links: Iterable[Link], head: Head, anchored: Head | None = None) -> Iterator[str]:
    """Tell what is wrong with a chain, given in the order of its sequence.

    ``head`` is where the store says that it ends, ``anchored`` where it stood at the anchor.
    """
    count, last = 0, NOTHING
    met = anchored is None or anchored.count == 0
    for link in links:
        if link.sequence != count + 1:
            yield (
                f"act {count + 1} is followed by act {link.sequence}"
                if count
                else (f"it begins with act {link.sequence}")
            )
        if link.previous_hash != last:
            yield f"act {link.sequence} does not follow the one before it"
        if link.hash != hash_of(link):
            yield f"act {link.sequence} was changed"
        count, last = link.sequence, link.hash
        if anchored is not None and link.sequence == anchored.count:
            met = True
            if link.hash != anchored.hash:
                yield f"act {link.sequence} is not the one that was anchored"
    if (count, last) != (head.count, head.hash):
        yield f"it should end with act {head.count}, it ends with act {count}"
    if anchored is not None and not met:
        yield f"{anchored.count} acts were anchored, it ends with act {count}"


def anchor(heads: Mapping[str, Head], *, secret: str, at: datetime) -> str:
    """Return a signed note of where each chain stands, as a JSON document."""
    chains = {key: {"count": head.count, "hash": head.hash} for key, head in heads.items()}
    document: dict[str, Any] = {
        "format": _FORMAT,
        "made_at": at.astimezone(UTC).isoformat(),
        "chains": chains,
    }
    return json.dumps(document | {"signature": _signature(document, secret)}, indent=1)


def read_anchor(text: str, *, secret: str) -> dict[str, Head]:
    """Return where each chain stood. Raises ValueError where it is no anchor signed by this key."""
    try:
        document = json.loads(text)
        signature = str(document.pop("signature"))
        heads = {
            str(key): Head(int(one["count"]), str(one["hash"]))
            for key, one in document["chains"].items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError("This is not an anchor.") from error
    if document.get("format") != _FORMAT or not hmac.compare_digest(
        signature.encode(), _signature(document, secret).encode()
    ):
        raise ValueError("This anchor was not signed with this SECRET_KEY, or was changed.")
    return heads


def _signature(document: Mapping[str, Any], secret: str) -> str:
    key = hmac.digest(secret.encode(), b"audit anchor", "sha256")
    return hmac.new(key, _canonical(document), "sha256").hexdigest()
