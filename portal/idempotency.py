"""Idempotency keys: the first answer to a key, kept in the transaction that has the effect.

Invariant: under the wallet's lock, so two calls with one key never run side by side, and a crash
leaves no key behind without its effect.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, tuple_

from portal.core.errors import ClearmeterError, IdempotencyConflict
from portal.tables import idempotency_keys

#: Refusals that are a decision about money: kept like any other answer.
DECIDED = frozenset({402})

_KNOWN = select(idempotency_keys).where(
    idempotency_keys.c.organization_id == bindparam("org"),
    idempotency_keys.c.route == bindparam("route_"),
    idempotency_keys.c.key == bindparam("key_"),
)
_KEEP = insert(idempotency_keys)


@dataclass(frozen=True)
class Answer:
    """A status and a body as JSON text, the same bytes each time."""

    status: int
    body: str

    @property
    def refused(self) -> bool:
        """Whether the body is a problem."""
        return self.status >= 400


def fingerprint(content: Any) -> str:
    """Return the identity of a request's content, whatever the order of its keys."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def problem(error: ClearmeterError) -> dict[str, Any]:
    """Return an error as a problem document (RFC 9457)."""
    return {
        "type": f"/problems/{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        **error.fields,
    }


def once(
    tx: Connection,
    organization_id: str,
    *,
    route: str,
    key: str | None,
    content: Any,
    now: datetime,
    act: Callable[[], tuple[int, dict[str, Any]]],
) -> Answer:
    """Run ``act`` unless the key has an answer; keep the answer with the effect.

    A refusal for want of credits or room is an answer too. ``act`` must write nothing before it
    refuses. Raises IdempotencyConflict where the key came with other content.
    """
    print_ = fingerprint(content)
    if key is not None:
        known = tx.execute(_KNOWN, {"org": organization_id, "route_": route, "key_": key}).first()
        if known is not None:
            if known.fingerprint != print_:
                raise IdempotencyConflict(
                    "This Idempotency-Key was used with another body. Send a new key."
                )
            return Answer(known.status, known.body)
    try:
        status, body = act()
    except ClearmeterError as error:
        if error.status not in DECIDED:
            raise
        status, body = error.status, problem(error)
    answer = Answer(status, json.dumps(body, ensure_ascii=False, separators=(",", ":")))
    if key is not None:
        tx.execute(
            _KEEP,
            {
                "organization_id": organization_id,
                "route": route,
                "key": key,
                "fingerprint": print_,
                "status": answer.status,
                "body": answer.body,
                "created_at": now,
            },
        )
    return answer


def organizations_with_old(tx: Connection, before: datetime) -> Sequence[str]:
    """Return the organizations that have answers from before an instant."""
    query = select(idempotency_keys.c.organization_id).where(idempotency_keys.c.created_at < before)
    return tx.execute(query.distinct()).scalars().all()


def find_old(
    tx: Connection, organization_id: str, before: datetime, limit: int
) -> Sequence[tuple[str, str]]:
    """Return route and key of answers from before an instant."""
    query = select(idempotency_keys.c.route, idempotency_keys.c.key).where(
        idempotency_keys.c.organization_id == organization_id,
        idempotency_keys.c.created_at < before,
    )
    return [(row.route, row.key) for row in tx.execute(query.limit(limit))]


def forget(
    tx: Connection, organization_id: str, chosen: Sequence[tuple[str, str]], before: datetime
) -> int:
    """Take away those answers of some routes and keys that are from before an instant."""
    return tx.execute(
        delete(idempotency_keys).where(
            idempotency_keys.c.organization_id == organization_id,
            tuple_(idempotency_keys.c.route, idempotency_keys.c.key).in_(chosen),
            # A key that was used anew after it was forgotten is another one.
            idempotency_keys.c.created_at < before,
        )
    ).rowcount
