"""What stands at an instant, counted anew from what was done."""

from __future__ import annotations

import calendar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.properties.model.things import EXACT, OVERAGE_PRICE, Cap, Fact, Hold, Lot, Spend, Spender


@dataclass
class Standing:
    """Acme at an instant: its calendar, and what of its credits and limits stands."""

    now: datetime
    teams: dict[str, str]
    lots: list[Lot] = field(default_factory=list)
    holds: dict[str, Hold] = field(default_factory=dict)
    caps: dict[str, Cap] = field(default_factory=dict)
    spends: list[Spend] = field(default_factory=list)
    facts: dict[str, Fact] = field(default_factory=dict)
    rated: int = 0
    uncollected: int = 0
    debt: int = 0
    tier: str = ""
    anchor: int = 1
    periods: list[tuple[datetime, datetime]] = field(default_factory=list)
    overage_limit: int | None = None
    #: What was spent beyond all grants, by the period's start and the price.
    beyond: dict[tuple[datetime, int], int] = field(default_factory=dict)
    named: int = 0

    # --- the calendar, all in UTC ---

    def month_after(self, day: datetime) -> datetime:
        year, month = (day.year + 1, 1) if day.month == 12 else (day.year, day.month + 1)
        last = calendar.monthrange(year, month)[1]
        return datetime(year, month, min(self.anchor, last), tzinfo=UTC)

    def period_at(self, at: datetime) -> tuple[datetime, datetime]:
        for start, end in reversed(self.periods):
            if start <= at < end:
                return start, end
        first = datetime(at.year, at.month, 1, tzinfo=UTC)
        after = Standing.month_after(Standing(first, {}), first)
        return first, min([after, *(start for start, _ in self.periods[:1])])

    def counted_at(self, at: datetime) -> datetime:
        """Return when work counts: when it happened, or now where that came too late."""
        return self.now if self.now >= self.period_at(at)[1] + timedelta(hours=72) else at

    def window(self, kind: str, at: datetime) -> tuple[datetime, datetime]:
        day = datetime(at.year, at.month, at.day, tzinfo=UTC)
        if kind == "day":
            return day, day + timedelta(days=1)
        if kind == "week":
            monday = day - timedelta(days=day.weekday())
            return monday, monday + timedelta(days=7)
        return self.period_at(at)

    # --- credits ---

    def spendable(self) -> list[Lot]:
        ready = [
            lot
            for lot in self.lots
            if lot.left and lot.effective_at <= self.now and not lot.expired(self.now)
        ]
        return sorted(ready, key=lambda lot: lot.key)

    @property
    def available(self) -> int:
        return sum(lot.left for lot in self.spendable())

    @property
    def held(self) -> int:
        return sum(sum(part for _, part in hold.pins) + hold.over for hold in self.open)

    @property
    def frozen(self) -> int:
        return sum(lot.frozen_credits for lot in self.lots)

    @property
    def open(self) -> list[Hold]:
        return [hold for hold in self.holds.values() if hold.status == "authorized"]

    @property
    def charged(self) -> int:
        return sum(spend.credits for spend in self.spends)

    def pinned(self, lot: Lot) -> int:
        return sum(part for hold in self.open for one, part in hold.pins if one is lot)

    # --- caps ---

    def _inside(self, cap: Cap, instant: datetime, at: datetime) -> bool:
        start, end = self.window(cap.window, at)
        return start <= instant < end

    def spent_in(self, cap: Cap, at: datetime) -> int:
        return sum(
            one.credits
            for one in self.spends
            if cap.binds(one.who) and self._inside(cap, one.at, at)
        )

    def counted(self, cap: Cap, at: datetime) -> tuple[int, int]:
        """Return what a cap's window at ``at`` has spent and holds."""
        held = sum(
            hold.credits
            for hold in self.open
            if cap.binds(hold.who) and self._inside(cap, hold.at, at)
        )
        return self.spent_in(cap, at), held

    def binding(self, who: Spender) -> list[Cap]:
        return [cap for cap in self.caps.values() if cap.binds(who)]

    def linked(self, hold: Hold) -> list[Cap]:
        return [cap for cap in self.caps.values() if cap.id in hold.linked]

    def room(self, caps: list[Cap], at: datetime, otherwise: int) -> int:
        left = [
            max(0, self.limit(cap, at) - sum(self.counted(cap, at))) for cap in caps if cap.hard
        ]
        return min(left, default=otherwise)

    def limit(self, cap: Cap, at: datetime) -> int:
        """Return a cap's limit in the window at ``at``, with what that window was raised by."""
        return cap.limit + cap.raised.get(self.window(cap.window, at)[0], 0)

    def alerts(self, cap: Cap) -> set[int]:
        """Return the thresholds, in percent, that stand reached in the window of now."""
        limit = self.limit(cap, self.now)
        if not limit:
            return set()
        spent = self.spent_in(cap, self.now)
        return {one for one in (50, 75, 90, 100) if spent * 100 >= one * limit}

    # --- beyond all grants, and why work is refused ---

    def beyond_room(self, since: datetime, price: int) -> int:
        if self.overage_limit is None or not price:
            return 0
        used = sum(
            credits_ * rate for (start, rate), credits_ in self.beyond.items() if start == since
        )
        used += sum(hold.over * hold.over_price for hold in self.open if hold.over_since == since)
        return max(0, (self.overage_limit * EXACT - used) // price)

    def overage_now(self) -> tuple[datetime, int]:
        return self.period_at(self.now)[0], OVERAGE_PRICE[self.tier]

    def beyond_of(self, hold: Hold) -> tuple[datetime, int]:
        """Return where more of a hold counts beyond all grants: where it counts already, if so."""
        since, price = self.period_at(hold.at)[0], OVERAGE_PRICE[self.tier]
        return hold.over_since or since, hold.over_price or price

    def credit_value(self) -> int:
        return OVERAGE_PRICE[self.tier] or max(OVERAGE_PRICE.values())

    def refusal(self, credits_: int, caps: list[Cap], at: datetime, beyond: int) -> str | None:
        """Return why work is refused, or None where it may begin."""
        if self.debt and credits_:
            return "debt"
        if credits_ > self.room(caps, at, credits_):
            return "cap-reached"
        return "insufficient-credits" if credits_ > self.available + beyond else None
