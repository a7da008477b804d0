"""What a batch is charged: as far as the balance, what is allowed beyond it, and hard caps go.

Invariant: what neither covers is uncollected, never charged; an event sees what the events before
it in the batch took.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from portal import caps, overage
from portal.catalog import PriceBooks
from portal.core.caps import Cap, CapState, Spender, window_of
from portal.core.ledger import Account, Take
from portal.core.overage import Place
from portal.core.periods import Period
from portal.desk import Desk
from portal.overage import Standing


@dataclass
class _Counter:
    """A cap's window with what this batch adds to it."""

    state: CapState
    added_micro: int = 0

    @property
    def room_micro(self) -> int:
        return max(0, self.state.remaining_micro - self.added_micro)


class Charges:
    """What one organization's share of a batch takes from its grants, beyond them, and of its caps.

    Nothing is written before all of it is known: first ``charge`` for each event, then ``debit``,
    and ``count`` after the ledger is written.
    """

    def __init__(self, desk: Desk, books: PriceBooks) -> None:
        self.tx, self.now, self.books = desk.tx, desk.now, books
        self.wallet, self.organization = desk.wallet, desk.organization
        self.caps: list[Cap] = caps.in_force(self.tx, desk.organization.organization_id)
        self._counters: dict[tuple[str, datetime], _Counter] = {}
        self._windows: dict[str, Period] = {}
        self._debits: dict[str, int] = {}
        # The order does not change while the batch is charged: what is taken is in _debits.
        self._lots = self.wallet.lots
        self._beyond: Standing | None = None

    @property
    def place(self) -> Place | None:
        """Where what is used beyond all grants is counted, once something was."""
        return self._beyond.place if self._beyond else None

    def charge(
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

    def _counters_for(self, spender: Spender, occurred_at: datetime) -> list[_Counter]:
        """Return the counters this work counts in, read from the store once for each window."""
        # A time a little ahead of the clock must not open a window that has not begun.
        at = min(occurred_at, self.now)
        counters = []
        for cap in self.caps:
            if not cap.applies_to(spender):
                continue
            key = (cap.cap_id, self._window(cap.window, at).start)
            if key not in self._counters:
                (state,) = caps.open_windows(self.tx, self.organization, [cap], at=at)
                self._counters[key] = _Counter(state)
            counters.append(self._counters[key])
        return counters

    def _window(self, kind: str, at: datetime) -> Period:
        """Return the window that holds an instant: most often that of the event before."""
        known = self._windows.get(kind)
        if known is None or at not in known:
            zone, period = self.organization.zone, self.organization.period_at(at)
            known = self._windows[kind] = window_of(kind, at, zone, period)
        return known

    def debit(self, reference: str) -> None:
        """Spend in the ledger what was charged, and count what of it was beyond all grants."""
        for account, amount in self._debits.items():
            self.wallet.debit([Take(account, amount)], reference)
        used = self._debits.get(Account.OVERAGE, 0)
        if used and self._beyond is not None:
            overage.count(
                self.tx, self.wallet.organization_id, self._beyond, held_micro=0, spent_micro=used
            )

    def count(self) -> None:
        """Count in every cap's window what was charged."""
        organization_id = self.organization.organization_id
        for counter in self._counters.values():
            caps.add_spent(
                self.tx, organization_id, [counter.state], counter.added_micro, now=self.now
            )
