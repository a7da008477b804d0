"""What auto top-up should do, in the plainest words: the model the product is held against.

Credits are whole, money is in cents; a pack is 500 credits for 39 dollars.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

PACK_CREDITS, PACK_MINOR = 500, 3_900
MINUTE = timedelta(minutes=1)


@dataclass
class Attempt:
    """An attempt with what Stripe really did, which the product may not know yet."""

    started: datetime
    card: str
    card_number: int
    status: str = "pending"
    #: What Stripe did with it: nothing yet, charged, refused, or failed for good under this key.
    did: str = ""
    ask_at: datetime | None = None


@dataclass
class Model:
    """One organization and its cards, each known by how it fares."""

    available: int = 100
    on: bool = False
    threshold: int = 0
    limit: int = 0
    suspended: str = ""
    declines: int = 0
    card: str = ""
    card_number: int = 0
    failed_number: int | None = None
    fault: str = ""
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def flying(self) -> Attempt | None:
        return next((one for one in self.attempts if one.status in {"pending", "unknown"}), None)

    def used(self, now: datetime, but: Attempt | None = None) -> int:
        """What this month's attempts charged or may charge."""
        return PACK_MINOR * sum(
            (one.started.year, one.started.month) == (now.year, now.month)
            and one.status in {"pending", "unknown", "succeeded"}
            and one is not but
            for one in self.attempts
        )

    def wants(self, now: datetime, but: Attempt | None = None) -> bool:
        """Whether a pack should be bought."""
        return (
            self.on
            and not self.suspended
            and self.available < self.threshold
            and self.used(now, but) + PACK_MINOR <= self.limit
        )

    def come_round(self, now: datetime) -> None:
        """What the worker does when it comes round."""
        flying = self.flying
        if flying is not None:
            if flying.ask_at is not None and now >= flying.ask_at:
                self.ask_again(flying, now)
        elif self.wants(now):
            if not self.card:
                self.suspended, self.failed_number = "declined", 0
                return
            self.another_card()
            attempt = Attempt(now, self.card, self.card_number)
            self.attempts.append(attempt)
            self.call(attempt)
            lost, self.fault = bool(self.fault), ""
            self.learn(attempt, now, answered=not lost)

    def call(self, attempt: Attempt) -> None:
        """One call to Stripe, which may not arrive; the same one again does nothing more."""
        if attempt.did or self.fault == "reset":
            return
        if self.fault == "status":
            attempt.did = "failed for good"
        else:
            attempt.did = "charged" if attempt.card == "good" else "refused"

    def learn(self, attempt: Attempt, now: datetime, *, answered: bool) -> None:
        """What follows from an answer, or from none."""
        if not answered or attempt.did not in {"charged", "refused"}:
            attempt.status = "unknown"
            waited = (now - attempt.started) / 2
            attempt.ask_at = now + min(10 * MINUTE, max(MINUTE / 6, waited))
        elif attempt.did == "charged":
            attempt.status = "succeeded"
            self.available += PACK_CREDITS
            self.settled()
        elif attempt.card == "asks":
            attempt.status = "needs_authentication"
            if self.suspended != "disputed":
                self.suspended, self.failed_number = "authentication", attempt.card_number
        else:
            attempt.status = "failed"
            self.declines += 1
            self.failed_number = attempt.card_number
            if not self.suspended:
                self.suspended = "declined"

    def ask_again(self, attempt: Attempt, now: datetime) -> None:
        """Ask with the same key while it is wanted and not too late; then look it up anyway."""
        age = now - attempt.started
        if self.wants(now, attempt) and age < 45 * MINUTE:
            self.call(attempt)
            self.fault = ""
        if age >= 60 * MINUTE and attempt.did not in {"charged", "refused"}:
            attempt.status = "failed"
        else:
            self.learn(attempt, now, answered=True)

    def hear(self, now: datetime) -> None:
        """Stripe's news of a payment arrive."""
        if self.flying is not None and self.flying.did in {"charged", "refused"}:
            self.learn(self.flying, now, answered=True)

    def turn_on(self, threshold: int, limit: int) -> None:
        """Somebody turns it on; what a dispute switched off begins anew."""
        self.on, self.threshold, self.limit = True, threshold, limit
        self.another_card()
        if self.suspended == "disputed":
            self.suspended, self.declines = "", 0
            self.failed_number = None

    def settled(self) -> None:
        """A payment settled: somebody was there, though perhaps not with another card."""
        if self.suspended == "authentication":
            self.suspended = ""

    def another_card(self) -> None:
        """The product hears of the card that is there now."""
        if self.suspended == "disputed" or not (self.suspended or self.declines):
            return
        if self.card and self.failed_number != self.card_number:
            self.suspended, self.declines = "", 0
            self.failed_number = None
