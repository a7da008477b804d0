"""A usage event: what a sender says happened, and what rating makes of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from portal.core.costs import CostLine, ModelUsage
from portal.core.ledger import Take
from portal.core.overage import Place

#: How far from now an event's time may lie (domain: Events).
REACH_BACK = timedelta(days=35)
REACH_BACK_BACKFILL = timedelta(days=3 * 366)
REACH_AHEAD = timedelta(minutes=5)
#: How long after its end a billing period still takes events that happened in it.
GRACE = timedelta(hours=72)
#: How the sources begin that Clearmeter itself writes: nobody else may send them.
OWN_SOURCES = "clearmeter/"

#: What the type of an event begins with that costs the operator and charges nobody.
COST_PREFIX = "cost."


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str).encode


@dataclass(frozen=True)
class StatedCost:
    """A cost as the sender states it: an amount, a model's use, or a quantity of a resource."""

    layer: str
    amount_nano_usd: int | None = None
    provider: str = ""
    model: str = ""
    usage: ModelUsage | None = None
    resource: str = ""
    quantity_micro: int = 0


@dataclass(frozen=True)
class UsageEvent:
    """One event, checked and exact, in the sender's words; ``time`` is None where left out."""

    source: str
    event_id: str
    organization_id: str
    type: str
    time: datetime | None = None
    quantity_micro: int = 1_000_000
    member: str = ""
    team: str = ""
    project: str = ""
    run: str = ""
    request_type: str = ""
    authorization: str = ""
    costs: tuple[StatedCost, ...] = ()
    charge: bool = True
    #: The identity of the event that this one says should have been otherwise.
    corrects: tuple[str, str] | None = None
    properties: dict[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> tuple[str, str]:
        """What makes the event itself: compared as two values, never as a joined string."""
        return (self.source, self.event_id)

    @property
    def is_cost(self) -> bool:
        """Whether the event costs the operator money and the customer nothing."""
        return self.type.startswith(COST_PREFIX)

    @cached_property
    def fingerprint(self) -> str:
        """The identity of the content, to tell a duplicate from a conflict."""
        content = [
            self.type,
            self.organization_id,
            self.time.isoformat() if self.time else None,
            self.quantity_micro,
            [self.member, self.team, self.project, self.run, self.request_type],
            self.authorization,
            [
                [
                    cost.layer,
                    cost.amount_nano_usd,
                    cost.provider,
                    cost.model,
                    _counts(cost.usage),
                    cost.resource,
                    cost.quantity_micro,
                ]
                for cost in self.costs
            ],
            self.charge,
            self.properties,
            *([self.corrects] if self.corrects else []),
        ]
        return hashlib.sha256(_canonical(content).encode()).hexdigest()


def _counts(usage: ModelUsage | None) -> list[Any] | None:
    if usage is None:
        return None
    counts: list[Any] = [
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
    ]
    if usage.input_counts_cached is not None or usage.further:
        counts += [usage.input_counts_cached, usage.further]
    return counts


@dataclass(frozen=True)
class RatedEvent:
    """An event with its price, who pays for it, and what it cost; millionths of a credit."""

    event: UsageEvent
    occurred_at: datetime
    action: str
    team: str
    credits_micro: int
    uncollected_micro: int
    price_micro: int
    price_book_version: int
    charged: bool
    receipt: tuple[Take, ...]
    costs: tuple[CostLine, ...]
    hold_id: str = ""
    #: What is counted where it is not the event's own quantity: the difference a correction makes.
    quantity_micro: int | None = None
    #: The start of the closed period the event belongs to, where it came too late for it.
    adjusts: datetime | None = None
    #: Where what the receipt took beyond all grants is counted, if it took any.
    beyond: Place | None = None
    #: The row of the event that this one corrects, whose labels it bears.
    like: Mapping[str, Any] | None = None
    #: The identity of the content where it is not the event's own to tell.
    content_print: str = ""

    @property
    def counted_micro(self) -> int:
        """The quantity that counts; a cost event is nothing a customer made."""
        if self.quantity_micro is not None:
            return self.quantity_micro
        return 0 if self.event.is_cost else self.event.quantity_micro

    @property
    def labels(self) -> tuple[str, str]:
        """The member and the project it is counted for."""
        if self.like is not None:
            return self.like["member_id"], self.like["project_id"]
        return self.event.member, self.event.project

    @property
    def model(self) -> str:
        """The model of the first cost that names one, for the operator's grouping."""
        if self.like is not None:
            return str(self.like["model"])
        return next((cost.model for cost in self.costs if cost.model), "")
