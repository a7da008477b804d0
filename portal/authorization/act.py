"""One call on one organization's open books: which limits it meets, and what it takes from where.

Invariant: the sum of holds and debits never passes a hard limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from portal import accounts, caps, catalog, holds, idempotency, notices, overage
from portal.accounts import Organization, Recognized
from portal.core import refusals
from portal.core.caps import CapState, Spender, tightest
from portal.core.errors import InsufficientCredits, InvalidRequest
from portal.core.ledger import Account, Take
from portal.core.units import format_micro
from portal.db import Database
from portal.desk import open_desk
from portal.holds import Hold
from portal.idempotency import Answer
from portal.overage import Standing


class Act:
    """One call on one organization's open books: what it may take, and from where."""

    def __init__(self, tx: Connection, organization_id: str, *, now: datetime) -> None:
        desk = open_desk(tx, organization_id, now=now)
        self.tx, self.now = tx, desk.now
        self.wallet = desk.wallet
        self.organization: Organization = desk.organization
        self.organization_id = organization_id

    def hold(self, hold_id: str) -> Hold:
        """Return one of the organization's holds as it stands under the lock. Raises NotFound."""
        return holds.find(self.tx, self.organization_id, hold_id)

    def counters(self, spender: Spender) -> list[CapState]:
        """Return the windows, open now, of every cap that counts this spender's work."""
        if self.organization.shadow:
            return []
        wanted = caps.applying(self.tx, self.organization_id, spender)
        return caps.open_windows(self.tx, self.organization, wanted, at=self.now)

    def recognize(self, member: str, team: str) -> Recognized:
        """Return whom work is for."""
        return accounts.recognize(self.tx, self.organization_id, member=member, team=team)

    def admit(self, known: Recognized) -> None:
        """Let those who are known begin or extend work that no limit has refused.

        Raises InvalidRequest for a member who was removed, and for one nobody knows where caps
        bind members or teams: misspelt, they would pass them by.
        """
        if self.organization.shadow:
            return
        if known.removed:
            raise InvalidRequest.at("/member", "was removed from this organization")
        if known.stranger and any(
            cap.scope in {"member", "team"} for cap in caps.in_force(self.tx, self.organization_id)
        ):
            raise InvalidRequest.at(
                "/member",
                "is not a member of this organization, where caps bind members or teams. PUT the "
                "member under this id first, or leave it out",
            )

    def overage(self, hold: Hold | None = None) -> Standing:
        """Return what may be used beyond all grants, where a hold counts if one is given."""
        book = catalog.in_force(self.tx, at=self.now)
        return overage.standing(
            self.tx,
            self.organization,
            book,
            at=hold.authorized_at if hold else self.now,
            since=hold.overage_since if hold else None,
            price_micro_minor=hold.overage_price_micro_minor if hold else 0,
        )

    def _pay_first(self) -> None:
        """Refuse new work where a plan was not paid for too long. Raises PaymentOverdue.

        Seats are owed for though no credits are; whom the operator only watches nothing stops.
        """
        stops_at = self.organization.stops_at
        if stops_at is None or self.now < stops_at:
            return
        if self.organization.shadow:
            owed = catalog.in_force(self.tx, at=self.now).plan_of(self.organization.tier)
            if owed is None or not owed.paid_anyway:
                return
        page_url = notices.url_of(self.tx, self.organization_id, notices.PAYMENT_FAILED)
        raise refusals.payment_overdue(stops_at, page_url)

    def plan(
        self, credits_micro: int, counters: Sequence[CapState], hold: Hold | None = None
    ) -> tuple[list[Take], Standing | None]:
        """Return the receipt for new work, and the overage it takes from, where it takes from it.

        Raises PaymentOverdue, InDebt, CapReached or InsufficientCredits.
        """
        self._pay_first()
        if self.organization.shadow:
            return [], None
        if self.wallet.debt_micro and credits_micro:
            raise refusals.in_debt(self.wallet.debt_micro)
        cap = tightest(counters)
        if cap is not None and cap.remaining_micro < credits_micro:
            raise refusals.cap_reached(cap, credits_micro)
        receipt, missing = self.wallet.take(credits_micro)
        if not missing:
            return receipt, None
        beyond = self.overage(hold)
        if beyond.room_micro < missing:
            raise self._insufficient(credits_micro, beyond)
        return [*receipt, Take(Account.OVERAGE, missing)], beyond

    def _insufficient(self, credits_micro: int, beyond: Standing) -> InsufficientCredits:
        period = self.organization.period_at(self.now)
        price = overage.sold(self.organization, catalog.in_force(self.tx, at=self.now))
        return refusals.insufficient(
            self.organization_id,
            credits_micro,
            available_micro=self.wallet.available_micro,
            held_micro=self.wallet.balance("held"),
            overage_room_micro=beyond.room_micro if beyond.price_micro_minor else None,
            sells_overage=price is not None,
            resets_at=period.end if self.organization.tier else None,
        )

    def finish(self) -> None:
        """Write the ledger."""
        self.wallet.write()

    def figures(self) -> dict[str, str]:
        """Return the balance as an answer shows it."""
        return {
            "available": format_micro(self.wallet.available_micro),
            "held": format_micro(self.wallet.balance("held")),
        }


def once(
    database: Database,
    organization_id: str,
    *,
    route: str,
    key: str | None,
    content: object,
    now: datetime,
    act: Callable[[Act], tuple[int, dict[str, Any]]],
) -> Answer:
    """Act on an organization's open books in one transaction, once for a key of a route.

    Raises NotFound, IdempotencyConflict, Unavailable, and what ``act`` raises.
    """
    with database.transaction() as tx:
        opened = Act(tx, organization_id, now=now)
        answer = idempotency.once(
            tx,
            organization_id,
            route=route,
            key=key,
            content=content,
            now=now,
            act=lambda: act(opened),
        )
        opened.finish()
        return answer
