"""What goes back with the money: the ledger follows a payment's refunds and disputes.

Works on an open wallet. Invariant: refunds and disputes of a payment never take more than its
grant; what was taken once is not taken again; a dispute that is won and a refund that fails give
back exactly what they took.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import select

from portal import reversals
from portal.billing.effects import Quarantined
from portal.core.refunds import Disputed, Refunded, of_plan, taken_back
from portal.tables import grants
from portal.wallet import Wallet


@dataclass(frozen=True)
class Reversal:
    """How much of a payment went back, in minor units, and of its grant, in millionths.

    ``disputed_minor`` is what banks hold of it now; ``dispute_revoked_micro`` what the ledger
    really took for that, and would give back; ``refund_missed_micro`` is what refunds claim and
    could not take: it had ended before. Of what was refunded some said that it was of the
    plan, or of overage.
    """

    refunded_minor: int = 0
    plan_refunded_minor: int = 0
    overage_refunded_minor: int = 0
    disputed_minor: int = 0
    dispute: str = "none"
    dispute_id: str = ""
    refund_revoked_micro: int = 0
    refund_missed_micro: int = 0
    dispute_revoked_micro: int = 0

    @property
    def refunded(self) -> Refunded:
        """What was refunded, by what it was said to be of."""
        return Refunded(self.refunded_minor, self.plan_refunded_minor, self.overage_refunded_minor)

    def told(self, refunded: Refunded, disputed: Disputed) -> Reversal:
        """Return it with what Stripe says now: a refund that failed is none any more."""
        return replace(
            self,
            refunded_minor=refunded.amount_minor,
            plan_refunded_minor=refunded.plan_minor,
            overage_refunded_minor=refunded.overage_minor,
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

    ``grant_part_minor`` is what of the payment was for the grant, above zero. Raises Quarantined.
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
    restored = _restored(wallet, grant_id, told.dispute_id)
    taken, missed = _refund(wallet, grant_id, restored, before, refund, dispute)
    if told.disputed_minor < before.disputed_minor:
        if taken > dispute:
            key = f"restoration:{before.dispute_id}" + (f":{len(restored)}" if restored else "")
            reversals.restore(wallet, grant_id, taken - dispute, external_key=key)
        taken = min(taken, dispute)
    elif taken < dispute:
        taken += reversals.revoke(wallet, grant_id, dispute - taken, restored=restored)
    for one in (grant_id, *restored):
        (reversals.freeze if told.dispute == "open" else reversals.unfreeze)(wallet, one)
    return replace(
        told,
        refund_revoked_micro=refund,
        refund_missed_micro=missed,
        dispute_revoked_micro=taken,
    )


def _refund(
    wallet: Wallet,
    grant_id: str,
    restored: list[str],
    before: Reversal,
    refund_micro: int,
    dispute_micro: int,
) -> tuple[int, int]:
    """Take what refunds claim beyond before, or give back what they claim no more.

    Returns what is the dispute's then, and what refunds miss, in millionths. What a dispute has
    taken that is the refunds' now is not taken twice; what it claims of theirs it keeps. Raises
    Quarantined where more would be given back than was taken.
    """
    more = refund_micro - before.refund_revoked_micro
    disputed, missed = before.dispute_revoked_micro, before.refund_missed_micro
    if more >= 0:
        credits_micro = wallet.lot(grant_id).granted_micro
        shared = max(0, min(more, disputed + refund_micro - credits_micro))
        taken = reversals.revoke(wallet, grant_id, more - shared, restored=restored)
        return disputed - shared, missed + more - shared - taken
    unmissed = min(-more, missed)
    kept = max(0, min(-more - unmissed, dispute_micro - disputed))
    back = -more - unmissed - kept
    if back > reversals.standing(wallet, [grant_id, *restored]):
        # Books that were meddled with, or a fault of ours: nothing is given that was not taken.
        raise Quarantined(f"More of {grant_id} is on record as refunded than the ledger took.")
    reversals.reinstate(wallet, grant_id, back, restored=restored)
    return disputed + kept, missed - unmissed


def _restored(wallet: Wallet, grant_id: str, dispute_id: str) -> list[str]:
    """Return the grants by which what had been taken of one was given back, the oldest first."""
    given_back = grants.c.continues == grant_id
    if dispute_id:
        key = f"restoration:{dispute_id}"
        given_back |= grants.c.external_key.startswith(key, autoescape=True)
    found = wallet.tx.execute(
        select(grants.c.grant_id)
        .where(
            grants.c.organization_id == wallet.organization_id,
            grants.c.source == "restoration",
            given_back,
        )
        .order_by(grants.c.grant_id)
    )
    return [str(row.grant_id) for row in found]
