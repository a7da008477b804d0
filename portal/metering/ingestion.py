"""One organization's share of a batch, under the wallet's lock: dedupe, rate, charge, record.

Invariant: a valid event is recorded exactly once for its (source, id), at its own time's prices.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from portal import accounts, catalog, corrections, costs, events, rejections
from portal.catalog import PriceBooks
from portal.core.caps import Spender
from portal.core.costs import LAYERS
from portal.core.errors import (
    ClearmeterError,
    EventConflict,
    FieldError,
    InvalidEvent,
    UnknownAction,
)
from portal.core.events import REACH_AHEAD, REACH_BACK, REACH_BACK_BACKFILL, RatedEvent, UsageEvent
from portal.core.ledger import Take, beyond_grants
from portal.core.rating import rate
from portal.desk import Desk
from portal.ids import new_id
from portal.metering.batch import Sent, came_at
from portal.metering.charging import Charges

#: Rated credits of one event stay well inside 64 bits.
LARGEST_EVENT_MICRO = 10**15


@dataclass
class Part:
    """What became of one organization's share; what was rejected keeps its place in the batch."""

    accepted: int = 0
    duplicates: int = 0
    uncollected: int = 0
    rejected: list[tuple[Sent, ClearmeterError]] = field(default_factory=list)


class Ingestion:
    """One organization's share of a batch, under the wallet's lock."""

    def __init__(self, desk: Desk, *, backfill: bool) -> None:
        self.desk = desk
        self.tx, self.now, self.backfill = desk.tx, desk.now, backfill
        self.wallet, self.organization = desk.wallet, desk.organization
        self.books: PriceBooks = catalog.price_books_of(self.tx)
        self.costing = costs.Costing(self.tx)
        self.charges = Charges(desk, self.books)

    def take(self, group: Sequence[Sent]) -> Part:
        """Take the share: charge what is to be charged, record all that is fit to be recorded."""
        part = Part()
        fresh = self._dedupe(group, part)
        team_of = accounts.teams_of_members(
            self.tx,
            self.organization.organization_id,
            sorted({event.member for _, event in fresh if event.member and not event.team}),
        )
        reference = new_id("batch")
        rated = []
        for sent, event in fresh:
            if event.corrects is not None:
                continue
            try:
                team = event.team or team_of.get(event.member, "")
                rated.append(self._rate(event, team, came=came_at(sent, self.now)))
            except ClearmeterError as error:
                part.rejected.append((sent, error))
        self.charges.debit(reference)
        short = sum(one.uncollected_micro for one in rated)
        self.wallet.leave_uncollected(short, reference)
        self.wallet.write()
        self.charges.count()
        events.record(self.tx, self.organization, rated, now=self.now)
        part.accepted = len(rated)
        part.uncollected = sum(1 for one in rated if one.uncollected_micro)
        for sent, event in fresh:
            if event.corrects is not None:
                self._correct(sent, event, part)
        refused = {sent.index for sent, _ in part.rejected}
        tried = [sent for sent in group if sent.again and sent.index not in refused]
        rejections.landed(self.tx, [sent.again for sent in tried if sent.again], now=self.now)
        return part

    def _correct(self, sent: Sent, event: UsageEvent, part: Part) -> None:
        """Take a correction, after all that it could be about is recorded."""
        try:
            self._check_time(event, came=came_at(sent, self.now))
            done = corrections.correct(self.desk, event)
        except InvalidEvent as error:
            part.rejected.append((sent, error))
            return
        self.wallet.write()
        events.record(self.tx, self.organization, [done], now=self.now)
        part.accepted += 1

    def _dedupe(self, group: Sequence[Sent], part: Part) -> list[tuple[Sent, UsageEvent]]:
        """Set aside what is known: the same content is a duplicate, other content a conflict."""
        ids_of: dict[str, list[str]] = defaultdict(list)
        for sent in group:
            if sent.event:
                ids_of[sent.event.source].append(sent.event.event_id)
        known: dict[tuple[str, str], str] = {}
        organization_id = self.organization.organization_id
        for source, ids in ids_of.items():
            recorded = events.fingerprints(self.tx, organization_id, source, ids)
            known.update({(source, event_id): print_ for event_id, print_ in recorded.items()})
        fresh = []
        for sent in group:
            event = sent.event
            if event is None:
                continue
            print_ = event.fingerprint
            first = known.get(event.identity)
            if first is None:
                known[event.identity] = print_
                fresh.append((sent, event))
            elif first == print_:
                part.duplicates += 1
            else:
                conflict = EventConflict(
                    f"Another event has source {event.source!r} and id {event.event_id!r}; "
                    "the first one stands. Send a new id, or the same content."
                )
                part.rejected.append((sent, conflict))
        return fresh

    # A cost event may name an authorization: it is linked to it and charges nothing.
    def _rate(self, event: UsageEvent, team: str, *, came: datetime) -> RatedEvent:
        occurred_at = self._check_time(event, came=came)
        lines = self.costing.lines(event.costs, at=occurred_at)
        if event.is_cost:
            version = self.books.in_force(occurred_at).version
            return self._rated(event, occurred_at, "", team, 0, version, lines)
        book = self.books.pricing(event.type, at=occurred_at, now=self.now)
        if book is None:
            book = self.books.in_force(self.now)
            known = ", ".join([*book.actions, *(f"cost.{layer}" for layer in LAYERS)])
            raise UnknownAction(
                f"The price book in force has no action {event.type!r}.",
                errors=[{"pointer": "/type", "detail": f"expected one of {known}"}],
            )
        if event.authorization:
            raise InvalidEvent(
                "Work that was authorized is reported by capturing the authorization.",
                [
                    FieldError(
                        "/data/authorization",
                        f"belongs to POST /v1/authorizations/{event.authorization}/capture",
                    )
                ],
            )
        action = book.actions[event.type]
        return self._rated(
            event, occurred_at, action.key, team, action.price_micro, book.version, lines
        )

    def _rated(
        self,
        event: UsageEvent,
        occurred_at: datetime,
        action: str,
        team: str,
        price_micro: int,
        version: int,
        lines: tuple[Any, ...],
    ) -> RatedEvent:
        credits_micro = rate(quantity_micro=event.quantity_micro, price_micro=price_micro)
        if credits_micro > LARGEST_EVENT_MICRO:
            raise InvalidEvent(
                "The event would cost more than a billion credits.",
                [FieldError("/data/quantity", "is too large for the action's price")],
            )
        charged = event.charge and not self.organization.shadow and credits_micro > 0
        # History that is not charged stands where it happened: nothing of it was ever billed.
        closed = self.organization.closed_period(occurred_at, now=self.now) if charged else None
        receipt: list[Take] = []
        uncollected = 0
        if charged:
            spender = Spender(event.member, team, event.project, action)
            counted_at = self.now if closed else occurred_at
            receipt, uncollected = self.charges.charge(credits_micro, spender, counted_at)
        return RatedEvent(
            event,
            occurred_at,
            action,
            team,
            credits_micro,
            uncollected,
            price_micro,
            version,
            charged,
            tuple(receipt),
            lines,
            event.authorization,
            adjusts=closed,
            beyond=self.charges.place if beyond_grants(receipt) else None,
        )

    def _check_time(self, event: UsageEvent, *, came: datetime) -> datetime:
        if not event.charge and not self.backfill:
            raise InvalidEvent(
                "Only a key with the scope backfill may leave an event uncharged.",
                [FieldError("/data/charge", "needs a key with the scope backfill")],
            )
        if event.time is None:
            return came
        reach = REACH_BACK_BACKFILL if self.backfill else REACH_BACK
        if not came - reach <= event.time <= came + REACH_AHEAD:
            days = reach.days
            raise InvalidEvent(
                "The event's time is out of reach.",
                [FieldError("/time", f"must lie between {days} days ago and 5 minutes ahead")],
            )
        return event.time
