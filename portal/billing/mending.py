"""How reconciliation tells what it did: a line for each thing, with whose it is and Stripe's id.

Invariant: a line begins with ``NOT_YET`` or ``MISFIT`` where nothing was mended, and only there.
What cannot be mended keeps nothing else from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from portal.billing.effects import Quarantined
from portal.core.errors import NotFound, Unavailable

#: Stripe did not answer, or it failed here: the next time may bring it.
NOT_YET = "not yet: "
#: It is not what is ours, which only a person can change.
MISFIT = "does not fit: "


def attempt(what: str, act: Callable[[], str | None]) -> list[str]:
    """Mend one thing; returns the line about it, or none where all was right.

    ``what`` says whose it is and which, for a line about what could not be mended.
    """
    try:
        line = act()
    except (Quarantined, NotFound) as error:
        line = f"{MISFIT}{what}: {error.detail}"
    except Unavailable as error:
        line = f"{NOT_YET}{what}: {error.detail}"
    return [line] if line else []


def mended(lines: Sequence[str]) -> list[str]:
    """Return the lines of what was mended."""
    return [line for line in lines if not line.startswith((NOT_YET, MISFIT))]


def unmended(lines: Sequence[str]) -> list[str]:
    """Return the lines of what could not be mended."""
    return [line for line in lines if line.startswith((NOT_YET, MISFIT))]


def counted(lines: Sequence[str], differing: Sequence[str]) -> str:
    """Count in words what was mended, what could not be, if any, and what differs."""
    late = sum(line.startswith(NOT_YET) for line in lines)
    odd = sum(line.startswith(MISFIT) for line in lines)
    parts = [f"{len(mended(lines))} mended"]
    parts += [f"{late} not yet"] if late else []
    parts += [f"{odd} {'does' if odd == 1 else 'do'} not fit"] if odd else []
    return ", ".join([*parts, f"{len(differing)} differ"]) + "."
