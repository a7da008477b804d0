"""Usage events in: dedupe, rate, charge, roll up; one transaction for each organization.

Invariant: usage is a fact and money is a decision. Every valid event is recorded, exactly once for
its (source, id); what neither the balance nor a hard cap covers is uncollected, never charged and
never dropped. A batch answers for each of its events.
"""

from __future__ import annotations

from portal.metering.batch import BatchAnswer, Rejection, Sent
from portal.metering.intake import ingest, replay, take

__all__ = [
    "BatchAnswer",
    "Rejection",
    "Sent",
    "ingest",
    "replay",
    "take",
]
