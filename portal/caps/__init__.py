"""Caps: who set which limit, and what each window has counted. The only writer of their counters.

Invariant: under the wallet's lock, what a hard cap counts as spent and held never passes its limit
through new work; the guard stands in the UPDATE. A counter counts its whole window from the start,
also where the cap was made later, and editing a cap never resets it.
"""

from __future__ import annotations

from portal.caps.counters import (
    add_spent,
    counters_of_hold,
    extend,
    link,
    reserve,
    settle,
    settle_all,
    watch_spent,
)
from portal.caps.setting import (
    LARGEST_LIMIT_MICRO,
    CapChange,
    CapRequest,
    change,
    create,
    raise_for_window,
    remove,
    revalue,
)
from portal.caps.standing import applying, find, in_force
from portal.caps.windows import faults, open_windows, raised, recut, states

__all__ = [
    "LARGEST_LIMIT_MICRO",
    "CapChange",
    "CapRequest",
    "add_spent",
    "applying",
    "change",
    "counters_of_hold",
    "create",
    "extend",
    "faults",
    "find",
    "in_force",
    "link",
    "open_windows",
    "raise_for_window",
    "raised",
    "recut",
    "remove",
    "reserve",
    "revalue",
    "settle",
    "settle_all",
    "states",
    "watch_spent",
]
