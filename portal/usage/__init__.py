"""What was used, for pages and answers: sums of the daily rollup, and the events themselves.

Invariant: every total is a sum of stored integers, the same for every grouping and filter. Reads
only: the rollup is kept where events are recorded.
"""

from __future__ import annotations

from portal.usage.costs import CostTotals, cost, cost_of_event, costs_of_events
from portal.usage.events import EventRow, after_place, fitting, list_events, receipt
from portal.usage.groups import FILTERS, GROUPS, OPERATOR_ONLY, on_days
from portal.usage.totals import Totals, UsageReport, of_day_until, report, sums_of, total

__all__ = [
    "FILTERS",
    "GROUPS",
    "OPERATOR_ONLY",
    "CostTotals",
    "EventRow",
    "Totals",
    "UsageReport",
    "after_place",
    "cost",
    "cost_of_event",
    "costs_of_events",
    "fitting",
    "list_events",
    "of_day_until",
    "on_days",
    "receipt",
    "report",
    "sums_of",
    "total",
]
