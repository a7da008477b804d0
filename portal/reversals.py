"""Credits taken back: a grant voided, frozen by a dispute, revoked by a refund or a lost dispute.

Everything here works on an open wallet. Invariant: what is taken comes first from what is left of
that very grant, then from what holds give back, and only what was spent becomes debt. What is given
back after all undoes that in the other order.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import RowMapping, case, func, or_, select, update

from portal.core.errors import NotFound
from portal.core.ledger import Account
from portal.tables import event_debits, grants, transfers
from portal.wallet import Paid, Wallet


def void(wallet: Wallet, grant_id: str) -> int:
    """Take back what is left of a grant, and later what holds give back; the spent stays spent.

    Returns what was taken now, in millionths. Raises NotFound.
    """
    row = _grant(wallet, grant_id)
    taken = _take_back(wallet, row, None)
    wallet.mark(grant_id, voided=True)
    if row["voided_at"] is None:
        _set(wallet, grant_id, voided_at=wallet.now, frozen_at=None)
    return taken


def freeze(wallet: Wallet, grant_id: str) -> None:
    """Set aside what is left of a grant while its payment is disputed. Raises NotFound."""
    row = _grant(wallet, grant_id)
    if row["frozen_at"] is not None or row["voided_at"] is not None:
        return
    lot = wallet.lot(grant_id)
    wallet.mark(grant_id, frozen=True)
    _set(wallet, grant_id, frozen_at=wallet.now)
    if lot.expired(wallet.now):
        wallet.onward("expire", grant_id, Account.EXPIRED, lot.remaining_micro)
    else:
        wallet.onward("freeze", grant_id, Account.FROZEN, lot.remaining_micro)
        wallet.note(grant_id, frozen=lot.remaining_micro)


def unfreeze(wallet: Wallet, grant_id: str) -> None:
    """Give back what a dispute froze; what has expired meanwhile is gone. Raises NotFound."""
    row = _grant(wallet, grant_id)
    if row["frozen_at"] is None:
        return
    frozen = row["frozen_micro"]
    wallet.note(grant_id, frozen=-frozen)
    wallet.mark(grant_id)
    _set(wallet, grant_id, frozen_at=None)
    if frozen:
        wallet.move("unfreeze", Account.FROZEN, grant_id, frozen, grant_id)
        lot = wallet.lot(grant_id)
        if lot.expired(wallet.now):
            # What stood aside when the grant ended ends now.
            wallet.onward("lapse", grant_id, Account.EXPIRED, lot.remaining_micro)
    wallet.settle_debt()


def revoke(
    wallet: Wallet, grant_id: str, credits_micro: int, *, restored: Sequence[str] = ()
) -> int:
    """Take credits of a grant back because its payment was: a refund, a lost dispute.

    First what is left of that very grant and of what was ``restored`` of it, then what holds give
    back of them, then as debt what was spent. What expired unspent cannot be taken any more.
    Returns what was taken or is owed, in millionths. Raises NotFound.
    """
    rows = [_grant(wallet, one) for one in (grant_id, *restored)]
    missing = credits_micro
    for row in rows:
        missing -= _take_back(wallet, row, missing)
    for row in rows:
        lot = wallet.lot(row["grant_id"])
        claimed = min(missing, wallet.pinned(lot.grant_id) - lot.claimed_micro)
        wallet.note(lot.grant_id, claimed=claimed)
        missing -= claimed
    for row in rows:
        owed = max(0, min(missing, _spent(wallet, row["grant_id"]) - row["owed_micro"]))
        wallet.owe(row["grant_id"], owed)
        missing -= owed
    wallet.settle_debt()
    return credits_micro - missing


def restore(wallet: Wallet, grant_id: str, credits_micro: int, *, external_key: str) -> None:
    """Give back what a dispute took of a grant: as a grant of its own, which settles debt first.

    What holds still pin is simply no longer claimed. The new grant has the place, the end and the
    price of the old one; where that has ended meanwhile only what had become debt comes back, and
    without an end, since other credits paid for it. Raises NotFound.
    """
    row = _grant(wallet, grant_id)
    owed = min(row["owed_micro"], credits_micro)
    lot = wallet.lot(grant_id)
    claimed = min(lot.claimed_micro, credits_micro - owed)
    wallet.note(grant_id, claimed=-claimed, owed=-owed)
    ended = lot.expired(wallet.now)
    back = owed if ended else credits_micro - claimed
    if back == 0:
        return
    ends = None if ended else row["expires_at"]
    _give_anew(wallet, row, back, expires_at=ends, external_key=external_key)


def reinstate(
    wallet: Wallet, grant_id: str, credits_micro: int, *, restored: Sequence[str] = ()
) -> None:
    """Give back what a refund took of a grant, since it failed after all.

    What had become debt is undone first, then what is still pinned by holds is no longer claimed,
    and the rest stands on that very grant again. Of a grant that has ended meanwhile the rest is
    gone; only where other credits have paid the debt by now they come back, as a grant without an
    end. Raises NotFound.
    """
    rows = [_grant(wallet, one) for one in (grant_id, *restored)]
    lot = wallet.lot(grant_id)
    ended = lot.expired(wallet.now) or lot.voided
    left, paid_by_others = credits_micro, 0
    for row in reversed(rows):
        owed = min(row["owed_micro"], left)
        undone = min(owed, wallet.debt_micro)
        # What others paid stands in a grant of its own then, and is not to be owed a second time.
        wallet.note(row["grant_id"], owed=-(undone if ended else owed))
        if undone:
            wallet.move("reinstate", Account.REVOKED, Account.DEBT, undone, row["grant_id"])
        left, paid_by_others = left - owed, paid_by_others + owed - undone
    for row in rows:
        claimed = min(wallet.lot(row["grant_id"]).claimed_micro, left)
        wallet.note(row["grant_id"], claimed=-claimed)
        left -= claimed
    back = paid_by_others if ended else left + paid_by_others
    if back and ended:
        _give_anew(wallet, rows[0], back, expires_at=None)
    elif back:
        wallet.move("reinstate", Account.REVOKED, grant_id, back, grant_id)
        wallet.came_back(grant_id, back, at=wallet.now)
    wallet.settle_debt()


def standing(wallet: Wallet, grant_ids: Sequence[str]) -> int:
    """Return what stands as taken back of grants, in millionths, with what is still claimed.

    Writes what has moved before: the ledger is asked.
    """
    wallet.write()
    taken = case(
        (transfers.c.to_account == Account.REVOKED, transfers.c.amount_micro),
        else_=-transfers.c.amount_micro,
    )
    found = wallet.tx.execute(
        select(func.coalesce(func.sum(taken), 0)).where(
            transfers.c.organization_id == wallet.organization_id,
            or_(
                transfers.c.to_account == Account.REVOKED,
                transfers.c.from_account == Account.REVOKED,
            ),
            or_(transfers.c.from_account.in_(grant_ids), transfers.c.reference.in_(grant_ids)),
        )
    ).scalar_one()
    return int(found) + sum(wallet.lot(one).claimed_micro for one in grant_ids)


def _give_anew(
    wallet: Wallet,
    row: RowMapping,
    credits_micro: int,
    *,
    expires_at: datetime | None,
    external_key: str | None = None,
) -> None:
    """Give credits of a grant back as one of its own, with the place and the price of the old."""
    paid = None
    if row["paid_minor"] is not None:
        share = row["paid_minor"] * credits_micro // row["granted_micro"]
        paid = Paid(share, row["paid_currency"])
    wallet.grant(
        source="restoration",
        credits_micro=credits_micro,
        effective_at=max(row["effective_at"], wallet.now),
        expires_at=expires_at,
        priority=row["priority"],
        paid=paid,
        reason=row["reason"],
        external_key=external_key,
        continues=row["grant_id"],
    )


def _grant(wallet: Wallet, grant_id: str) -> RowMapping:
    """Return a grant's row, and have the wallet know its lot also where nothing is left of it."""
    found = wallet.tx.execute(
        select(grants).where(
            grants.c.organization_id == wallet.organization_id, grants.c.grant_id == grant_id
        )
    )
    row = found.mappings().first()
    if row is None:
        raise NotFound("grant", grant_id)
    wallet.lot(grant_id)
    return row


def _set(wallet: Wallet, grant_id: str, **instants: datetime | None) -> None:
    wallet.tx.execute(
        update(grants)
        .where(grants.c.organization_id == wallet.organization_id, grants.c.grant_id == grant_id)
        .values(**instants)
    )


def _take_back(wallet: Wallet, row: RowMapping, most_micro: int | None) -> int:
    """Revoke what a dispute froze, then what is left, up to ``most_micro``."""
    grant_id, frozen = row["grant_id"], row["frozen_micro"]
    lot = wallet.lot(grant_id)
    if lot.expired(wallet.now):
        wallet.onward("expire", grant_id, Account.EXPIRED, lot.remaining_micro)
    left = wallet.balance(grant_id)
    wanted = frozen + left if most_micro is None else most_micro
    of_frozen = min(frozen, wanted)
    if of_frozen:
        wallet.move("revoke", Account.FROZEN, Account.REVOKED, of_frozen, grant_id)
        wallet.note(grant_id, frozen=-of_frozen)
    of_left = min(left, wanted - of_frozen)
    wallet.onward("revoke", grant_id, Account.REVOKED, of_left)
    taken: int = of_frozen + of_left
    return taken


def _spent(wallet: Wallet, grant_id: str) -> int:
    """Return what work used of a grant, and what paid a debt out of it."""
    worked = wallet.tx.execute(
        select(func.coalesce(func.sum(event_debits.c.amount_micro), 0)).where(
            event_debits.c.organization_id == wallet.organization_id,
            event_debits.c.account == grant_id,
        )
    ).scalar_one()
    return int(worked) + wallet.settled_from(grant_id)
