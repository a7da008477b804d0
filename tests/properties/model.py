"""Acme's credits and caps in plain Python and lists: what the product must agree with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

PRICE_MICRO = {"document": 5_000_000, "analysis": 10_000_000, "image": 2_000_000}
TEAM = {"cleo": "research", "ben": "", "": ""}
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass
class Lot:
    id: str
    priority: int
    effective_at: datetime
    expires_at: datetime | None
    paid: bool
    left: int

    @property
    def key(self) -> tuple[int, datetime, bool, datetime, str]:
        return (self.priority, self.expires_at or _NEVER, self.paid, self.effective_at, self.id)


@dataclass
class Cap:
    id: str
    scope: str
    target: str
    action: str
    window: str
    limit: int
    hard: bool

    @property
    def kind(self) -> tuple[str, str, str, str, bool]:
        return (self.scope, self.target, self.action, self.window, self.hard)

    def binds(self, member: str, action: str) -> bool:
        if self.action and self.action != action:
            return False
        who = {"organization": "", "member": member, "team": TEAM[member]}[self.scope]
        return who == self.target


@dataclass
class Hold:
    id: str
    action: str
    member: str
    quantity: int
    credits: int
    at: datetime
    expires_at: datetime
    pins: list[tuple[Lot, int]]
    linked: set[str]
    status: str = "authorized"


@dataclass
class Spend:
    """Credits that were charged, and the instant that decides in which window they count."""

    at: datetime
    member: str
    action: str
    credits: int


@dataclass
class Model:
    now: datetime
    lots: list[Lot] = field(default_factory=list)
    holds: dict[str, Hold] = field(default_factory=dict)
    caps: dict[str, Cap] = field(default_factory=dict)
    spends: list[Spend] = field(default_factory=list)
    rated: int = 0
    uncollected: int = 0

    # --- what stands ---

    def tidy(self) -> None:
        """End holds past their deadline: what they pinned is back where it came from."""
        for hold in self.holds.values():
            if hold.status == "authorized" and hold.expires_at <= self.now:
                self._give_back(hold.pins)
                hold.pins, hold.status = [], "expired"

    def _give_back(self, pins: list[tuple[Lot, int]]) -> None:
        for lot, amount in pins:
            lot.left += amount

    def spendable(self) -> list[Lot]:
        alive = [
            lot
            for lot in self.lots
            if lot.left
            and lot.effective_at <= self.now
            and (lot.expires_at is None or self.now < lot.expires_at)
        ]
        return sorted(alive, key=lambda lot: lot.key)

    @property
    def available(self) -> int:
        return sum(lot.left for lot in self.spendable())

    @property
    def held(self) -> int:
        return sum(amount for hold in self.open for _, amount in hold.pins)

    @property
    def open(self) -> list[Hold]:
        return [hold for hold in self.holds.values() if hold.status == "authorized"]

    @property
    def charged(self) -> int:
        return sum(spend.credits for spend in self.spends)

    @staticmethod
    def same_window(cap: Cap, one: datetime, other: datetime) -> bool:
        length = 10 if cap.window == "day" else 7
        return one.isoformat()[:length] == other.isoformat()[:length]

    def counted(self, cap: Cap, at: datetime) -> tuple[int, int]:
        """Return what a cap's window at ``at`` has spent and holds."""
        spent = sum(
            spend.credits
            for spend in self.spends
            if cap.binds(spend.member, spend.action) and self.same_window(cap, spend.at, at)
        )
        held = sum(
            hold.credits
            for hold in self.open
            if cap.binds(hold.member, hold.action) and self.same_window(cap, hold.at, at)
        )
        return spent, held

    def room(self, caps: list[Cap], at: datetime, otherwise: int) -> int:
        left = [max(0, cap.limit - sum(self.counted(cap, at))) for cap in caps if cap.hard]
        return min(left, default=otherwise)

    def binding(self, member: str, action: str) -> list[Cap]:
        return [cap for cap in self.caps.values() if cap.binds(member, action)]

    def linked(self, hold: Hold) -> list[Cap]:
        return [cap for cap in self.caps.values() if cap.id in hold.linked]

    # --- what is done ---

    def _take(self, amount: int) -> list[tuple[Lot, int]]:
        taken = []
        for lot in self.spendable():
            part = min(lot.left, amount)
            if part:
                lot.left -= part
                amount -= part
                taken.append((lot, part))
        return taken

    def fits(self, credits_: int, caps: list[Cap], at: datetime) -> bool:
        return credits_ <= self.available and credits_ <= self.room(caps, at, credits_)

    def authorize(
        self, id_: str, action: str, member: str, quantity: int, lasts: timedelta
    ) -> None:
        credits_ = quantity * PRICE_MICRO[action] // 1_000_000
        caps = {cap.id for cap in self.binding(member, action)}
        pins = self._take(credits_)
        self.holds[id_] = Hold(
            id_, action, member, quantity, credits_, self.now, self.now + lasts, pins, caps
        )

    def increment(self, hold: Hold, quantity: int) -> None:
        more = quantity * PRICE_MICRO[hold.action] // 1_000_000
        hold.pins += self._take(more)
        hold.quantity += quantity
        hold.credits += more

    def release(self, hold: Hold) -> int:
        self._give_back(hold.pins)
        returned = sum(amount for _, amount in hold.pins)
        hold.pins, hold.status = [], "released"
        return returned

    def capture(self, hold: Hold, quantity: int) -> tuple[int, int]:
        """Return the uncollected credits and those that were given back."""
        late = hold.status == "expired"
        due = quantity * PRICE_MICRO[hold.action] // 1_000_000
        used, back, rest = 0, [], due
        for lot, amount in hold.pins:
            part = min(amount, rest)
            rest -= part
            used += part
            back.append((lot, amount - part))
        self._give_back(back)
        at = self.now if late else hold.at
        hold.pins, hold.status = [], "captured"
        self.spends.append(Spend(at, hold.member, hold.action, used))
        caps = self.binding(hold.member, hold.action) if late else self.linked(hold)
        extra = sum(part for _, part in self._take(min(due - used, self.room(caps, at, due))))
        self.spends.append(Spend(at, hold.member, hold.action, extra))
        self.rated += due
        self.uncollected += due - used - extra
        return due - used - extra, sum(amount for _, amount in back)

    def happen(self, action: str, member: str, quantity: int, at: datetime) -> int:
        """Take an event of work that was not authorized; return what stays uncollected."""
        due = quantity * PRICE_MICRO[action] // 1_000_000
        room = self.room(self.binding(member, action), at, due)
        paid = sum(part for _, part in self._take(min(due, room)))
        self.spends.append(Spend(at, member, action, paid))
        self.rated += due
        self.uncollected += due - paid
        return due - paid

    def set_cap(self, cap: Cap) -> None:
        self.caps[cap.id] = cap
        for hold in self.open:
            if cap.binds(hold.member, hold.action) and self.same_window(cap, hold.at, self.now):
                hold.linked.add(cap.id)
