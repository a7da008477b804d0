"""What is done to Acme, and what falls due by itself, in the order of the instants."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tests.properties.model.standing import Standing
from tests.properties.model.things import (
    ALLOWANCE,
    EXACT,
    PRICE_MICRO,
    ROLLS_OVER,
    Cap,
    Fact,
    Hold,
    Lot,
    Spend,
    Spender,
)


@dataclass
class Model(Standing):
    """Acme, and all that can be done to it; what falls due by itself happens in ``pass_to``."""

    # --- time ---

    def pass_to(self, now: datetime) -> None:
        """Let time pass: holds reach their deadlines and periods begin, each at its instant."""
        while True:
            deadlines = [(hold.expires_at, hold.id) for hold in self.open]
            due = min((one for one in deadlines if one[0] <= now), default=None)
            ends = self.periods[-1][1] if self.tier else None
            if ends is not None and ends <= now and (due is None or due[0] > ends):
                self._begin_period(ends)
            elif due is not None:
                hold = self.holds[due[1]]
                self._give_back(hold.pins, at=due[0])
                hold.pins, hold.over, hold.status = [], 0, "expired"
            else:
                break
        self.now = now

    def _begin_period(self, start: datetime) -> None:
        end = self.month_after(start)
        self.periods.append((start, end))
        if self.tier in ROLLS_OVER:
            over = [one for one in self.lots if one.source == "allowance" and one.left]
            over = [one for one in over if one.expires_at == start]
            total = sum(one.left for one in over)
            for one in over:
                one.left = 0
            if total:
                self.add_lot("", "rollover", 10, start, end, total, paid=False)
                self._settle(start)
        self.add_lot("", "allowance", 20, start, end, ALLOWANCE[self.tier], paid=False)
        self._settle(start)
        self._revalue()

    def add_lot(
        self,
        id_: str,
        source: str,
        priority: int,
        effective_at: datetime,
        expires_at: datetime | None,
        left: int,
        *,
        paid: bool,
    ) -> Lot:
        self.named += 1
        name = id_ or f"~{self.named}"
        lot = Lot(name, source, priority, effective_at, expires_at, paid, left, granted=left)
        self.lots.append(lot)
        return lot

    def _settle(self, at: datetime) -> None:
        alive = [lot for lot in self.lots if lot.left and not lot.expired(at)]
        for lot in sorted(alive, key=lambda lot: (lot.effective_at > at, lot.key)):
            part = min(lot.left, self.debt)
            lot.left -= part
            lot.settled += part
            self.debt -= part

    # --- work ---

    def _take(self, amount: int) -> list[tuple[Lot, int]]:
        taken = []
        for lot in self.spendable():
            part = min(lot.left, amount)
            if part:
                lot.left -= part
                amount -= part
                taken.append((lot, part))
        return taken

    def _give_back(self, pins: list[tuple[Lot, int]], *, at: datetime) -> None:
        for lot, amount in pins:
            claimed = min(lot.claimed, amount)
            lot.claimed -= claimed
            lot.revoked += claimed
            rest = amount - claimed
            if lot.voided:
                lot.revoked += rest
            elif lot.frozen:
                lot.frozen_credits += rest
            elif not lot.expired(at):
                lot.left += rest
        self._settle(at)

    def authorize(self, id_: str, who: Spender, quantity: int, lasts: timedelta) -> Hold:
        credits_ = quantity * PRICE_MICRO[who.action] // 1_000_000
        hold = Hold(id_, who, quantity, 0, self.now, self.now + lasts, [])
        hold.linked = {cap.id for cap in self.binding(who)}
        self._pin(hold, credits_, *self.overage_now())
        self.holds[id_] = hold
        return hold

    def _pin(self, hold: Hold, more: int, since: datetime, price: int) -> None:
        pins = self._take(more)
        over = more - sum(part for _, part in pins)
        hold.pins += pins
        hold.credits += more
        if over:
            hold.over += over
            hold.over_since, hold.over_price = since, price

    def increment(self, hold: Hold, quantity: int) -> None:
        more = quantity * PRICE_MICRO[hold.who.action] // 1_000_000
        self._pin(hold, more, *self.beyond_of(hold))
        hold.quantity += quantity

    def release(self, hold: Hold) -> int:
        returned = sum(amount for _, amount in hold.pins) + hold.over
        pins, hold.pins, hold.over, hold.status = hold.pins, [], 0, "released"
        self._give_back(pins, at=self.now)
        return returned

    def capture(self, hold: Hold, quantity: int) -> tuple[int, int]:
        """Return the uncollected credits and those that were given back."""
        late = hold.status == "expired"
        due = quantity * PRICE_MICRO[hold.who.action] // 1_000_000
        at = self.now if late else hold.at
        fact = self.facts[hold.id] = Fact(hold.who, at, quantity, due)
        used, returned = self._use(hold, due, fact)
        self.spends.append(Spend(at, hold.who, used))
        caps = self.binding(hold.who) if late else self.linked(hold)
        where = self.overage_now() if late else self.beyond_of(hold)
        extra = self._spend_now(due - used, fact, caps, where)
        fact.short = due - used - extra
        self.rated += due
        self.uncollected += fact.short
        return fact.short, returned

    def _use(self, hold: Hold, due: int, fact: Fact) -> tuple[int, int]:
        """Spend what a hold pins, first taken first, and give the rest back."""
        rest, back, touched = due, [], []
        for lot, amount in hold.pins:
            part = min(amount, rest)
            rest -= part
            lot.spent += part
            fact.paid.append((lot, part))
            touched.append(lot)
            back.append((lot, amount - part))
        over = min(hold.over, rest)
        returned = sum(part for _, part in back) + hold.over - over
        if over and hold.over_since:
            key = (hold.over_since, hold.over_price)
            self.beyond[key] = self.beyond.get(key, 0) + over
            fact.over, fact.over_at = over, key
        hold.pins, hold.over, hold.status = [], 0, "captured"
        self._give_back([one for one in back if one[1]], at=self.now)
        for lot in touched:
            self._owe_claims(lot)
        return due - rest + over, returned

    def _owe_claims(self, lot: Lot) -> None:
        """What a refund claimed of pins that were spent after all is owed."""
        owed = max(0, lot.claimed - self.pinned(lot))
        lot.claimed -= owed
        lot.owed += owed
        self.debt += owed
        self._settle(self.now)

    def _spend_now(
        self, due: int, fact: Fact, caps: list[Cap], beyond: tuple[datetime, int]
    ) -> int:
        """Charge work that was not set aside, as far as balance and caps go; return how much."""
        if self.debt:
            return 0
        at = fact.at
        since, price = beyond
        allowed = min(due, self.room(caps, at, due))
        taken = self._take(allowed)
        fact.paid += taken
        for lot, part in taken:
            lot.spent += part
        paid = sum(part for _, part in taken)
        over = min(allowed - paid, self.beyond_room(since, price))
        if over:
            self.beyond[since, price] = self.beyond.get((since, price), 0) + over
            fact.over, fact.over_at = fact.over + over, (since, price)
        self.spends.append(Spend(at, fact.who, paid + over))
        return paid + over

    def happen(self, id_: str, who: Spender, quantity: int, at: datetime) -> int:
        """Take an event of work that was not authorized; return what stays uncollected."""
        due = quantity * PRICE_MICRO[who.action] // 1_000_000
        fact = self.facts[id_] = Fact(who, at, quantity, due)
        paid = self._spend_now(due, fact, self.binding(who), self.overage_now())
        self.rated += due
        fact.short = due - paid
        self.uncollected += fact.short
        return fact.short

    def correct(self, fact: Fact, quantity: int) -> None:
        """Give back what was too much: the uncollected, what was beyond, what was taken last."""
        back = fact.credits - quantity * PRICE_MICRO[fact.who.action] // 1_000_000
        fact.quantity, fact.credits, fact.corrected = quantity, fact.credits - back, True
        self.rated -= back
        forgiven = min(back, fact.short)
        fact.short -= forgiven
        self.uncollected -= forgiven
        back -= forgiven
        self.spends.append(Spend(fact.at, fact.who, -back))
        over = min(fact.over, back)
        if over and fact.over_at:
            fact.over -= over
            self.beyond[fact.over_at] -= over
            back -= over
        returned, kept = [], []
        for lot, paid in sorted(fact.paid, key=lambda one: one[0].key, reverse=True):
            part = min(paid, back)
            back -= part
            lot.spent -= part
            returned.append((lot, part))
            kept.append((lot, paid - part))
        fact.paid = kept
        self._give_back([one for one in returned if one[1]], at=self.now)

    # --- what is taken back ---

    def void(self, lot: Lot) -> int:
        taken = lot.frozen_credits + (0 if lot.expired(self.now) else lot.left)
        lot.revoked += taken
        lot.left = lot.frozen_credits = 0
        lot.voided, lot.frozen = True, False
        return taken

    def freeze(self, lot: Lot) -> None:
        if lot.frozen or lot.voided:
            return
        lot.frozen = True
        lot.frozen_credits = 0 if lot.expired(self.now) else lot.left
        lot.left = 0

    def unfreeze(self, lot: Lot) -> None:
        if not lot.frozen:
            return
        lot.frozen = False
        lot.left = 0 if lot.expired(self.now) else lot.frozen_credits
        lot.frozen_credits = 0
        self._settle(self.now)

    def revoke(self, lot: Lot, credits_: int) -> None:
        if lot.expired(self.now):
            lot.left = 0
        for name in ("frozen_credits", "left"):
            part = min(getattr(lot, name), credits_)
            setattr(lot, name, getattr(lot, name) - part)
            lot.revoked += part
            credits_ -= part
        claimed = min(credits_, self.pinned(lot) - lot.claimed)
        lot.claimed += claimed
        owed = max(0, min(credits_ - claimed, lot.spent + lot.settled - lot.owed))
        lot.owed += owed
        self.debt += owed
        self._settle(self.now)

    # --- tiers and limits ---

    def subscribe(self, tier: str) -> None:
        if tier == self.tier:
            return
        today = datetime(self.now.year, self.now.month, self.now.day, tzinfo=UTC)
        self.anchor = today.day
        if self.tier:
            began, _ = self.periods.pop()
            self.periods += [(began, today)] if began < today else []
        self.tier = tier
        end = self.month_after(today)
        self.periods.append((today, end))
        todays = [one for one in self.lots if one.source == "allowance"]
        spent = 0
        for lot in todays:
            if lot.effective_at == today:
                spent += lot.granted - lot.left - lot.revoked
            if not lot.expired(self.now):
                lot.revoked += lot.left
                lot.left = 0
        if ALLOWANCE[tier] > spent:
            self.add_lot("", "allowance", 20, today, end, ALLOWANCE[tier] - spent, paid=False)
        self._revalue()
        self._settle(self.now)

    def _revalue(self) -> None:
        for cap in self.caps.values():
            if cap.cents is not None:
                cap.limit = cap.cents * EXACT // self.credit_value()

    def raise_cap(self, cap: Cap, credits_: int) -> None:
        start = self.window(cap.window, self.now)[0]
        cap.raised[start] = cap.raised.get(start, 0) + credits_

    def set_cap(self, cap: Cap) -> None:
        self.caps[cap.id] = cap
        for hold in self.open:
            if cap.binds(hold.who) and self._inside(cap, hold.at, self.now):
                hold.linked.add(cap.id)
