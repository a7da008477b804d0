"""What the operator was billed, beside what customers' work explains of it, layer by layer.

The only writer of ``cost_imports``, ``cost_bills`` and ``cost_shares``. Invariant: the same
document is one import; a bill that was shared out has parts that add up to what no event explained
of it then; layers and what is unattributed are the total. A bill counts by time, day by day.
"""

from __future__ import annotations

from portal.margin.costs.bills import (
    Bill,
    Imported,
    every,
    import_focus,
    import_invoice,
    overlapping,
    withdraw,
)
from portal.margin.costs.reconciling import Reconciled, of_span, reconcile
from portal.margin.costs.sharing import RULES, share_out, shares_of

__all__ = [
    "RULES",
    "Bill",
    "Imported",
    "Reconciled",
    "every",
    "import_focus",
    "import_invoice",
    "of_span",
    "overlapping",
    "reconcile",
    "share_out",
    "shares_of",
    "withdraw",
]
