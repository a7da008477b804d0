"""The links a mail carries: signed, so that nobody can make one, and bound to what they are for.

Neither acts by being opened: a mail scanner opens links too.
"""

from __future__ import annotations

from dataclasses import dataclass

from itsdangerous import BadData, URLSafeSerializer

from portal.core.errors import NotFound

EVERYTHING = "everything"


@dataclass(frozen=True)
class Unsubscribing:
    """Whose mail about what: a group of kinds, or everything."""

    organization_id: str
    member_id: str
    group: str


def _signer(portal_key: str, purpose: str) -> URLSafeSerializer:
    return URLSafeSerializer(portal_key, salt=purpose)


def unsubscribe(portal_key: str, whose: Unsubscribing) -> str:
    """Return the signed part of a link by which somebody hears no more of something."""
    values = [whose.organization_id, whose.member_id, whose.group]
    return str(_signer(portal_key, "unsubscribe").dumps(values))


def unsubscribing(portal_key: str, signed: str) -> Unsubscribing:
    """Return what such a link is for. Raises NotFound for one that nobody signed."""
    return Unsubscribing(*_read(portal_key, "unsubscribe", signed, 3))


def answer(portal_key: str, organization_id: str, request_id: str) -> str:
    """Return the signed part of a link that leads to a request for more."""
    return str(_signer(portal_key, "answer a raise").dumps([organization_id, request_id]))


def answering(portal_key: str, signed: str) -> tuple[str, str]:
    """Return whose request such a link leads to, and which. Raises NotFound."""
    organization_id, request_id = _read(portal_key, "answer a raise", signed, 2)
    return organization_id, request_id


def _read(portal_key: str, purpose: str, signed: str, parts: int) -> list[str]:
    try:
        found = _signer(portal_key, purpose).loads(signed)
    except BadData as error:
        raise NotFound("link", signed[:20]) from error
    if not isinstance(found, list) or len(found) != parts:
        raise NotFound("link", signed[:20])
    return [str(one) for one in found]
