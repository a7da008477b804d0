"""Who acted, as the record writes it down: a member's id, or what somebody else goes by.

Invariant: nobody but a member is written as a member is. The operator's people and service keys are
``operator:<name>``, an organization's own keys ``key:<name>``.
"""

from __future__ import annotations

from collections.abc import Mapping

OPERATORS = "operator"
_KEYS = "key"


def of_service(name: str) -> str:
    """Return how the operator's person or key of this name is written."""
    return f"{OPERATORS}:{name}"


def of_key(name: str) -> str:
    """Return how an organization's own key of this name is written."""
    return f"{_KEYS}:{name}"


def is_operators(actor: str) -> bool:
    """Tell whether an actor acts for the operator."""
    return actor.partition(":")[0] == OPERATORS


def called(actor: str, members: Mapping[str, str], operator: str) -> str:
    """Return what a customer reads: a member's name, the key's, ``operator`` for all of those.

    Never which of the operator's people or keys it was.
    """
    if actor in members:
        return members[actor]
    if is_operators(actor):
        return operator
    kind, _, name = actor.partition(":")
    return f"The key “{name}”" if kind == _KEYS and name else actor
