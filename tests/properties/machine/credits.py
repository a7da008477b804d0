"""Credits in, and taken back."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from portal import desk, onboarding, reversals
from portal.onboarding import GrantRequest
from portal.wallet import Paid, Wallet
from tests.properties.machine.stage import Stage
from tests.properties.model import Lot


class Credits(Stage):
    """Rules that grant credits, void, refund and dispute them."""

    @rule(
        credits_=st.sampled_from([1, 2_000_001, 10_000_000, 60_000_000]),
        priority=st.sampled_from([None, 0, 30]),
        begins=st.sampled_from([None, timedelta(hours=1)]),
        lasts=st.sampled_from([None, timedelta(hours=2), timedelta(days=2)]),
        paid=st.booleans(),
    )
    def grant(
        self, credits_: int, priority: int | None, begins: timedelta | None,
        lasts: timedelta | None, paid: bool,
    ) -> None:  # fmt: skip
        now = self.clock()
        request = GrantRequest(
            credits_, "pack" if paid else "promotion", "",
            expires_at=now + lasts if lasts else None,
            effective_at=now + begins if begins else None,
            priority=priority, paid=Paid(100, "usd") if paid else None,
        )  # fmt: skip
        key = f"grant-{next(self.numbers)}"
        grant_once = lambda: onboarding.grant_once(  # noqa: E731
            self.database, "acme", request, key=key, actor="tests", now=now
        )
        first = grant_once()
        assert grant_once() == first, "the same key and body: the same answer, and one grant"
        self.posted.add("grants", "audit_log", "idempotency_keys")
        id_ = json.loads(first.body)["id"]
        rank = (50 if paid else 30) if priority is None else priority
        source, starts = request.source, request.effective_at or now
        self.model.add_lot(id_, source, rank, starts, request.expires_at, credits_, paid=paid)
        self.model._settle(now)

    @precondition(lambda self: self.known_lots())
    @rule(data=st.data())
    def void_a_grant(self, data: st.DataObject) -> None:
        lot = self.pick_lot(data)
        taken = onboarding.void_grant(
            self.database, "acme", lot.id, reason="", actor="tests", now=self.clock()
        )
        assert taken == self.model.void(lot)
        self.posted.add("audit_log")

    @precondition(lambda self: self.known_lots())
    @rule(data=st.data())
    def open_a_dispute(self, data: st.DataObject) -> None:
        lot = self.pick_lot(data)
        self.on_wallet(lambda purse: reversals.freeze(purse, lot.id))
        self.model.freeze(lot)

    @precondition(lambda self: any(lot.frozen for lot in self.model.lots))
    @rule(data=st.data())
    def win_a_dispute(self, data: st.DataObject) -> None:
        lot = data.draw(st.sampled_from([lot for lot in self.model.lots if lot.frozen]))
        self.on_wallet(lambda purse: reversals.unfreeze(purse, lot.id))
        self.model.unfreeze(lot)

    @precondition(lambda self: any(lot.frozen for lot in self.model.lots))
    @rule(data=st.data())
    def lose_a_dispute(self, data: st.DataObject) -> None:
        lot = data.draw(st.sampled_from([lot for lot in self.model.lots if lot.frozen]))
        self.on_wallet(lambda purse: reversals.revoke(purse, lot.id, lot.granted))
        self.model.revoke(lot, lot.granted)

    @precondition(lambda self: self.known_lots())
    @rule(data=st.data(), credits_=st.sampled_from([1, 3_000_000, 40_000_000, 10**12]))
    def refund(self, data: st.DataObject, credits_: int) -> None:
        lot = self.pick_lot(data)
        self.on_wallet(lambda purse: reversals.revoke(purse, lot.id, credits_))
        self.model.revoke(lot, credits_)

    def known_lots(self) -> list[Lot]:
        return [lot for lot in self.model.lots if not lot.id.startswith("~")]

    def pick_lot(self, data: st.DataObject) -> Lot:
        """Choose a grant, mostly one that something is left of or that a hold pins."""
        known = self.known_lots()
        live = [lot for lot in known if lot.left or self.model.pinned(lot)]
        wanted = live if data.draw(st.integers(0, 3), label="which") else known
        return data.draw(st.sampled_from(wanted or known), label="grant")

    def on_wallet(self, act: Callable[[Wallet], object]) -> None:
        with self.database.transaction() as tx:
            purse = desk.open_desk(tx, "acme", now=self.clock()).wallet
            act(purse)
            purse.write()
