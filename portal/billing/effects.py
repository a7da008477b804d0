"""What all effects of Stripe's news have in common.

Invariant: an object is fetched from Stripe first, outside every transaction, and has its effect in
one transaction, together with the mark that says so.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection

from portal.core.errors import ClearmeterError

#: Runs in the transaction that has an effect: by it an event is done with its effect or not at all.
Mark = Callable[[Connection], None]


def no_mark(_tx: Connection) -> None:
    """Mark nothing: for whoever comes without an event."""


class Quarantined(ClearmeterError):
    """News that does not fit what is ours: set aside for the operator, never dropped."""

    code = "quarantined"
    title = "This payment does not fit"
