"""What goes back with the money: the ledger follows a payment's refunds and disputes.

Works on an open wallet. Invariant: refunds and disputes of a payment never take more than its
grant; what was taken once is not taken again; a dispute that is won gives back exactly what it
took.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import select

from portal import reversals
from portal.core.refunds import Disputed, Refunded, of_plan, taken_back
from portal.tables import grants
from portal.wallet import Wallet


@dataclass(frozen=True)
class Reversal:
    """How much of a payment went back, in minor units, and of its grant, in millionths.

    ``disputed_minor`` is what banks hold of it now; ``dispute_revoked_micro`` what the ledger
    really took for that, and would give back. Of what was refunded some said that it was of the
    plan, or of overage.
    """

    refunded_minor: int = 0
    plan_refunded_minor: int = 0
    overage_refunded_minor: int = 0
    disputed_minor: int = 0
    dispute: str = "none"
    dispute_id: str = ""
    refund_revoked_micro: int = 0
    dispute_revoked_micro: int = 0

    @property
    def refunded(self) -> Refunded:
        """What was refunded, by what it was said to be of."""
        return Refunded(self.refunded_minor, self.plan_refunded_minor, self.overage_refunded_minor)

    def told(self, refunded: Refunded, disputed: Disputed) -> Reversal:
        """Return it with what Stripe says now; what was refunded once stays refunded."""
        return replace(
            self,
            refunded_minor=max(self.refunded_minor, refunded.amount_minor),
            plan_refunded_minor=max(self.plan_refunded_minor, refunded.plan_minor),
            overage_refunded_minor=max(self.overage_refunded_minor, refunded.overage_minor),
            disputed_minor=disputed.taken_minor,
            dispute=disputed.standing,
            dispute_id=disputed.dispute_id,
        )

    def refunded_by(self, amount_minor: int, of: str = "") -> Reversal:
        """Return it as it would be with that much more refunded, of a part where it is said."""
        return replace(
            self,
            refunded_minor=self.refunded_minor + amount_minor,
            plan_refunded_minor=self.plan_refunded_minor + (amount_minor if of == "plan" else 0),
            overage_refunded_minor=self.overage_refunded_minor
            + (amount_minor if of == "overage" else 0),
        )


def bring(
    wallet: Wallet,
    grant_id: str,
    paid_minor: int,
    *,
    grant_part_minor: int,
    before: Reversal,
    told: Reversal,
) -> Reversal:
    """Bring a grant to what was told of its payment; returns that with what was taken by now.

    ``grant_part_minor`` is what of the payment was for the grant, above zero.
    """
    credits_micro = wallet.lot(grant_id).granted_micro
    refunded, disputed = of_plan(
        paid_minor,
        grant_part_minor,
        refunded=told.refunded,
        disputed_minor=told.disputed_minor,
    )
    refund, dispute = taken_back(
        credits_micro, grant_part_minor, refunded_minor=refunded, disputed_minor=disputed
    )
    restored = _restored(wallet, told.dispute_id)
    taken = _refund(wallet, grant_id, restored, before, refund, credits_micro)
    if told.disputed_minor < before.disputed_minor:
        if taken > dispute:
            key = f"restoration:{before.dispute_id}" + (f":{len(restored)}" if restored else "")
            reversals.restore(wallet, grant_id, taken - dispute, external_key=key)
        taken = min(taken, dispute)
    elif taken < dispute:
        taken += reversals.revoke(wallet, grant_id, dispute - taken, restored=restored)
    for one in (grant_id, *restored):
        (reversals.freeze if told.dispute == "open" else reversals.unfreeze)(wallet, one)
    return replace(told, refund_revoked_micro=refund, dispute_revoked_micro=taken)


def _refund(
    wallet: Wallet,
    grant_id: str,
    restored: list[str],
    before: Reversal,
    refund_micro: int,
    credits_micro: int,
) -> int:
    """Take what refunds claim beyond before; returns what is still the dispute's, in millionths.

    What a dispute has taken beyond the rest of the grant is the refund's from now on.
    """
    more = refund_micro - before.refund_revoked_micro
    disputed = before.dispute_revoked_micro
    shared = max(0, min(more, disputed + refund_micro - credits_micro))
    reversals.revoke(wallet, grant_id, more - shared, restored=restored)
    return disputed - shared


def _restored(wallet: Wallet, dispute_id: str) -> list[str]:
    """Return the grants by which a dispute gave back what it had taken, the oldest first."""
    if not dispute_id:
        return []
    found = wallet.tx.execute(
        select(grants.c.grant_id)
        .where(
            grants.c.organization_id == wallet.organization_id,
            grants.c.source == "restoration",
            grants.c.external_key.startswith(f"restoration:{dispute_id}", autoescape=True),
        )
        .order_by(grants.c.grant_id)
    )
    return [str(row.grant_id) for row in found]
