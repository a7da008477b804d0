"""Usage events in: dedupe, rate, charge, roll up; one transaction for each organization.

Invariant: usage is a fact and money is a decision. Every valid event is recorded, exactly once for
its (source, id); what neither the balance nor a hard cap covers is uncollected, never charged and
never dropped. A batch answers for each of its events.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from portal import accounts, caps, catalog, corrections, costs, events, overage, rejections
from portal.catalog import PriceBooks
from portal.core.caps import Cap, CapState, Spender, window_of
from portal.core.costs import LAYERS
from portal.core.errors import (
    ClearmeterError,
    EventConflict,
    FieldError,
    InvalidEvent,
    NotFound,
    UnknownAction,
)
from portal.core.events import (
    REACH_AHEAD,
    REACH_BACK,
    REACH_BACK_BACKFILL,
    RatedEvent,
    UsageEvent,
)
from portal.core.ledger import Account, Take, beyond_grants
from portal.core.rating import rate
from portal.db import Database, among
from portal.desk import Desk, open_desk
from portal.ids import new_id
from portal.overage import Standing
from portal.rejections import Reason, RejectedEvent
from portal.tables import events as events_table

#: Rated credits of one event stay well inside 64 bits.
LARGEST_EVENT_MICRO = 10**15


@dataclass(frozen=True)
class Sent:
    """One event of a batch as it arrived: its place, its content, and what was made of it."""

    index: int
    content: Any
    event: UsageEvent | None = None
    error: ClearmeterError | None = None
    #: The rejection it comes from, where it is tried again.
    again: RejectedEvent | None = None


@dataclass(frozen=True)
class Rejection:
    """Why one event of a batch was not taken."""

    index: int
    event_id: str
    code: str
    detail: str
    fields: Sequence[FieldError] = ()


@dataclass
class BatchAnswer:
    """What became of a batch."""

    accepted: int = 0
    duplicates: int = 0
    uncollected: int = 0
    rejected: list[Rejection] = field(default_factory=list)


def ingest(
    database: Database,
    batch: Sequence[Sent],
    *,
    now: datetime,
    backfill: bool = False,
    only: str | None = None,
) -> BatchAnswer:
    """Take a batch of events: the good ones land whatever the bad ones are.

    ``only`` is the organization of the caller's key; an event for any other is rejected as for an
    organization that does not exist. ``backfill`` lets times reach back three years.
    """
    answer = BatchAnswer()
    rejected: list[tuple[Sent, ClearmeterError]] = []
    by_organization: dict[str, list[Sent]] = defaultdict(list)
    for sent in batch:
        if sent.event is None:
            rejected.append((sent, sent.error or InvalidEvent("The event cannot be read.")))
        elif only is not None and sent.event.organization_id != only:
            rejected.append((sent, NotFound("organization", sent.event.organization_id)))
        else:
            by_organization[sent.event.organization_id].append(sent)
    for organization_id, group in sorted(by_organization.items()):
        try:
            with database.transaction() as tx:
                desk = open_desk(tx, organization_id, now=now)
                part = _Ingestion(desk, backfill=backfill).take(group)
                _keep_rejected(tx, part.rejected, organization_id, now)
        except NotFound as error:
            rejected.extend((sent, error) for sent in group)
            continue
        answer.accepted += part.accepted
        answer.duplicates += part.duplicates
        answer.uncollected += part.uncollected
        answer.rejected.extend(_rejection(sent, error) for sent, error in part.rejected)
    if rejected:
        with database.transaction() as tx:
            _keep_rejected(tx, rejected, only or "", now)
        answer.rejected.extend(_rejection(sent, error) for sent, error in rejected)
    answer.rejected.sort(key=lambda rejection: rejection.index)
    return answer


def take(desk: Desk, batch: Sequence[Sent]) -> BatchAnswer:
    """Take events of one organization at books that are open, in their transaction.

    What is rejected is told and not kept: whoever acts decides what becomes of it.
    """
    part = _Ingestion(desk, backfill=False).take(batch)
    answer = BatchAnswer(part.accepted, part.duplicates, part.uncollected)
    answer.rejected = [_rejection(sent, error) for sent, error in part.rejected]
    return answer


def _claimed(sent: Sent, name: str) -> str:
    """Return what a rejected event says its source or id is, as far as it can be read."""
    value = sent.content.get(name) if isinstance(sent.content, dict) else None
    return value[:128] if isinstance(value, str) else ""


def _rejection(sent: Sent, error: ClearmeterError) -> Rejection:
    detail = error.detail
    fields = [FieldError(one["pointer"], one["detail"]) for one in error.fields.get("errors", [])]
    if fields:
        detail = "; ".join(f"{one.pointer or '/'} {one.detail}" for one in fields)
    return Rejection(sent.index, _claimed(sent, "id"), error.code, detail, fields)


def _keep_rejected(
    tx: Connection,
    rejected: Sequence[tuple[Sent, ClearmeterError]],
    organization_id: str,
    now: datetime,
) -> None:
    """Keep what was not taken; what is tried again is kept already."""
    reasons = []
    for sent, error in rejected:
        why = _rejection(sent, error)
        if sent.again is None:
            source = _claimed(sent, "source")
            reason = Reason(source, why.event_id, why.code, why.detail, sent.content)
            reasons.append(reason)
        else:
            rejections.failed_again(tx, sent.again, code=why.code, detail=why.detail)
    rejections.keep(tx, organization_id, reasons, now=now)


def replay(
    database: Database,
    organization_id: str,
    parse: Callable[[Any], UsageEvent],
    *,
    code: str | None = None,
    chosen: Sequence[str] | None = None,
    limit: int,
    now: datetime,
    backfill: bool = False,
) -> BatchAnswer:
    """Try events again that were rejected, now that the cause may be mended.

    Also those that came before the organization existed. Their times are judged by when they first
    came. ``parse`` reads an event as it was sent and raises ClearmeterError; ``chosen`` are ids of
    rejections, where not all are tried. Raises NotFound.
    """
    with database.reading() as tx:
        accounts.find_organization(tx, organization_id)
        found = rejections.waiting(tx, organization_id, code=code, chosen=chosen, limit=limit)
        homeless = rejections.waiting(tx, "", code=code, chosen=chosen, limit=limit)
        found += [one for one in homeless if _subject(one.content) == organization_id]
    batch = [_again(index, one, parse) for index, one in enumerate(found[:limit])]
    return ingest(database, batch, now=now, backfill=backfill, only=organization_id)


def _subject(content: Any) -> Any:
    return content.get("subject") if isinstance(content, dict) else None


def _again(index: int, rejected: RejectedEvent, parse: Callable[[Any], UsageEvent]) -> Sent:
    try:
        return Sent(index, rejected.content, event=parse(rejected.content), again=rejected)
    except ClearmeterError as error:
        return Sent(index, rejected.content, error=error, again=rejected)


@dataclass
class _Part:
    accepted: int = 0
    duplicates: int = 0
    uncollected: int = 0
    rejected: list[tuple[Sent, ClearmeterError]] = field(default_factory=list)


class _Ingestion:
    """One organization's share of a batch, under the wallet's lock."""

    def __init__(self, desk: Desk, *, backfill: bool) -> None:
        self.desk = desk
        self.tx, self.now, self.backfill = desk.tx, desk.now, backfill
        self.wallet, self.organization = desk.wallet, desk.organization
        self.books: PriceBooks = catalog.price_books_of(self.tx)
        self.costing = costs.Costing(self.tx)
        self.caps: list[Cap] = caps.in_force(self.tx, desk.organization.organization_id)
        self._counters: dict[tuple[str, datetime], _Counter] = {}
        self._debits: dict[str, int] = {}
        # The order does not change while the batch is charged: what is taken is in _debits.
        self._lots = self.wallet.lots
        self._beyond: Standing | None = None

    def take(self, group: Sequence[Sent]) -> _Part:
        part = _Part()
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
                rated.append(self._rate(event, team, came=_came(sent, self.now)))
            except ClearmeterError as error:
                part.rejected.append((sent, error))
        for account, amount in self._debits.items():
            self.wallet.debit([Take(account, amount)], reference)
        self._count_beyond()
        short = sum(one.uncollected_micro for one in rated)
        self.wallet.leave_uncollected(short, reference)
        self.wallet.write()
        for counter in self._counters.values():
            organization_id = self.organization.organization_id
            caps.add_spent(
                self.tx, organization_id, [counter.state], counter.added_micro, now=self.now
            )
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

    def _correct(self, sent: Sent, event: UsageEvent, part: _Part) -> None:
        """Take a correction, after all that it could be about is recorded."""
        try:
            self._check_time(event, came=_came(sent, self.now))
            done = corrections.correct(self.desk, event)
        except InvalidEvent as error:
            part.rejected.append((sent, error))
            return
        self.wallet.write()
        events.record(self.tx, self.organization, [done], now=self.now)
        part.accepted += 1

    def _dedupe(self, group: Sequence[Sent], part: _Part) -> list[tuple[Sent, UsageEvent]]:
        """Set aside what is known: the same content is a duplicate, other content a conflict."""
        ids_of: dict[str, list[str]] = defaultdict(list)
        for sent in group:
            if sent.event:
                ids_of[sent.event.source].append(sent.event.event_id)
        known: dict[tuple[str, str], str] = {}
        for source, ids in ids_of.items():
            # One source at a time: a list of pairs would not be looked up in the key.
            rows = self.tx.execute(
                select(events_table.c.event_id, events_table.c.fingerprint).where(
                    events_table.c.organization_id == self.organization.organization_id,
                    events_table.c.source == source,
                    among(self.tx, events_table.c.event_id, ids),
                )
            )
            known.update({(source, row.event_id): row.fingerprint for row in rows})
        fresh = []
        for sent in group:
            event = sent.event
            if event is None:
                continue
            print_ = event.fingerprint()
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
            receipt, uncollected = self._charge(credits_micro, spender, counted_at)
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
            beyond=self._beyond.place if self._beyond and beyond_grants(receipt) else None,
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

    def _charge(
        self, credits_micro: int, spender: Spender, occurred_at: datetime
    ) -> tuple[list[Take], int]:
        """Take what balance and hard caps cover; the rest is uncollected."""
        counters = self._counters_for(spender, occurred_at)
        room = min(
            (counter.room_micro for counter in counters if counter.state.cap.hard),
            default=credits_micro,
        )
        allowed = min(credits_micro, room)
        receipt = self._spend(allowed)
        spent = sum(line.amount_micro for line in receipt)
        for counter in counters:
            counter.added_micro += spent
        return receipt, credits_micro - spent

    def _spend(self, amount_micro: int) -> list[Take]:
        """Take from the lots, counting what earlier events of the batch took already."""
        receipt = []
        for lot in self._lots:
            taken = self._debits.get(lot.account, 0)
            part = min(lot.remaining_micro - taken, amount_micro)
            if part > 0:
                receipt.append(Take(lot.account, part))
                self._debits[lot.account] = taken + part
                amount_micro -= part
        beyond = min(amount_micro, self._beyond_room()) if amount_micro else 0
        if beyond:
            receipt.append(Take(Account.OVERAGE, beyond))
            self._debits[Account.OVERAGE] = self._debits.get(Account.OVERAGE, 0) + beyond
        return receipt

    def _beyond_room(self) -> int:
        """Return what may still be used beyond all grants; nothing while credits are owed."""
        if self.wallet.debt_micro or self.organization.on_empty != "overage":
            return 0
        if self._beyond is None:
            book = self.books.in_force(self.now)
            self._beyond = overage.standing(self.tx, self.organization, book, at=self.now)
        return self._beyond.room_micro - self._debits.get(Account.OVERAGE, 0)

    def _count_beyond(self) -> None:
        used = self._debits.get(Account.OVERAGE, 0)
        if used and self._beyond is not None:
            overage.count(
                self.tx, self.wallet.organization_id, self._beyond, held_micro=0, spent_micro=used
            )

    def _counters_for(self, spender: Spender, occurred_at: datetime) -> list[_Counter]:
        """Return the counters this work counts in, read from the store once for each window."""
        # A time a little ahead of the clock must not open a window that has not begun.
        at = min(occurred_at, self.now)
        period = self.organization.period_at(at)
        counters = []
        for cap in self.caps:
            if not cap.applies_to(spender):
                continue
            window = window_of(cap.window, at, self.organization.zone, period)
            key = (cap.cap_id, window.start)
            if key not in self._counters:
                (state,) = caps.open_windows(self.tx, self.organization, [cap], at=at)
                self._counters[key] = _Counter(state)
            counters.append(self._counters[key])
        return counters


def _came(sent: Sent, now: datetime) -> datetime:
    """Return when an event first came: its reach back is judged by that."""
    return sent.again.received_at if sent.again else now


@dataclass
class _Counter:
    """A cap's window with what this batch adds to it."""

    state: CapState
    added_micro: int = 0

    @property
    def room_micro(self) -> int:
        return max(0, self.state.remaining_micro - self.added_micro)
