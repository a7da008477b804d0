"""What Acme has and does: grants, caps, holds, facts; and what they cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

PRICE_MICRO = {"document": 5_000_000, "analysis": 10_000_000, "image": 2_000_000}
ALLOWANCE = {"": 0, "starter": 500_000_000, "pro": 2_500_000_000, "carry": 60_000_000}
#: Millionths of a cent for a credit beyond all grants.
OVERAGE_PRICE = {"": 0, "starter": 8_000_000, "pro": 6_000_000, "carry": 7_500_000}
ROLLS_OVER = {"carry"}
_NEVER = datetime.max.replace(tzinfo=UTC)
EXACT = 10**12


@dataclass
class Lot:
    id: str
    source: str
    priority: int
    effective_at: datetime
    expires_at: datetime | None
    paid: bool
    left: int
    frozen: bool = False
    frozen_credits: int = 0
    voided: bool = False
    claimed: int = 0
    granted: int = 0
    spent: int = 0
    settled: int = 0
    revoked: int = 0
    owed: int = 0

    @property
    def key(self) -> tuple[int, datetime, bool, datetime, str]:
        return (self.priority, self.expires_at or _NEVER, self.paid, self.effective_at, self.id)

    def expired(self, at: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= at


@dataclass
class Cap:
    id: str
    scope: str
    target: str
    action: str
    window: str
    limit: int
    hard: bool
    cents: int | None = None
    #: What was added to the limit, by the window it was added in.
    raised: dict[datetime, int] = field(default_factory=dict)

    @property
    def kind(self) -> tuple[str, str, str, str, bool]:
        return (self.scope, self.target, self.action, self.window, self.hard)

    def binds(self, who: Spender) -> bool:
        if self.action and self.action != who.action:
            return False
        mine = {"organization": "", "member": who.member, "team": who.team, "project": who.project}
        return mine[self.scope] == self.target


@dataclass(frozen=True)
class Spender:
    member: str
    team: str
    project: str
    action: str


@dataclass
class Hold:
    id: str
    who: Spender
    quantity: int
    credits: int
    at: datetime
    expires_at: datetime
    pins: list[tuple[Lot, int]]
    over: int = 0
    over_since: datetime | None = None
    over_price: int = 0
    #: The caps whose window it was counted in from the start.
    linked: set[str] = field(default_factory=set)
    status: str = "authorized"


@dataclass
class Fact:
    """Work that was recorded, with what corrections have left of it."""

    who: Spender
    at: datetime
    quantity: int
    credits: int
    short: int = 0
    paid: list[tuple[Lot, int]] = field(default_factory=list)
    over: int = 0
    over_at: tuple[datetime, int] | None = None
    corrected: bool = False


@dataclass
class Spend:
    """Credits that were charged, and the instant that decides in which window they count."""

    at: datetime
    who: Spender
    credits: int
