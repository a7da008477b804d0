"""Corrections: an event that says what another should have been, and gives back what was too much.

Works on open books. Invariant: the original stays; a correction is its own event with the
difference, so every total is what should have been. What was not collected is reduced first; what
was charged goes back to the very grants that paid, last taken first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, func, literal, select, union_all

from portal import caps, overage
from portal.accounts import Organization
from portal.core.caps import CapState, Spender
from portal.core.errors import FieldError, InvalidEvent
from portal.core.events import RatedEvent, UsageEvent
from portal.core.ledger import Account, Take, beyond_grants, burn_down_key
from portal.core.overage import Place
from portal.core.rating import rate
from portal.desk import Desk
from portal.tables import IS_CORRECTION, event_debits, events, holds


@dataclass(frozen=True)
class Standing:
    """What an event comes to with what corrected it so far; millionths."""

    row: RowMapping
    counted_at: datetime
    quantity_micro: int
    credits_micro: int
    uncollected_micro: int
    paid: dict[str, int]
    #: Where what it used beyond all grants is counted, if it used any.
    beyond: Place | None


def correct(desk: Desk, event: UsageEvent) -> RatedEvent:
    """Give back what an event was too much, and return the correction to be recorded.

    Raises InvalidEvent, and has changed nothing, where there is no such event to correct, where it
    would grow, or where the correction says more than a quantity.
    """
    if event.costs:
        raise _wrong("/data/costs", "belong to an event of their own; this one corrects a quantity")
    stands = _standing(desk.tx, desk.organization, event)
    more = stands.quantity_micro - event.quantity_micro
    if more < 0:
        raise _wrong("/data/quantity", "is more than what stands; send another event for the rest")
    should_be = rate(quantity_micro=event.quantity_micro, price_micro=stands.row["price_micro"])
    back = stands.credits_micro - should_be
    forgiven = min(back, stands.uncollected_micro)
    receipt = _last_first(desk, stands.paid, back - forgiven)
    _return(desk, stands, receipt, forgiven, event.event_id)
    row = stands.row
    return RatedEvent(
        event=event,
        occurred_at=stands.counted_at,
        action=row["action"],
        team=row["team_id"],
        credits_micro=-back,
        uncollected_micro=-forgiven,
        price_micro=row["price_micro"],
        price_book_version=row["price_book_version"],
        charged=row["charged"],
        receipt=tuple(Take(line.account, -line.amount_micro) for line in receipt),
        costs=(),
        quantity_micro=-more,
        adjusts=(
            desk.organization.closed_period(row["occurred_at"], now=desk.now)
            if row["charged"]
            else None
        ),
        beyond=stands.beyond,
        like=dict(row),
    )


def _wrong(pointer: str, detail: str) -> InvalidEvent:
    return InvalidEvent("The correction cannot be taken.", [FieldError(pointer, detail)])


def _standing(tx: Connection, organization: Organization, event: UsageEvent) -> Standing:
    source, event_id = event.corrects or ("", "")
    mine = events.c.organization_id == organization.organization_id
    row = (
        tx.execute(
            select(events).where(mine, events.c.source == source, events.c.event_id == event_id)
        )
        .mappings()
        .first()
    )
    if row is None:
        raise _wrong("/data/corrects", f"names no event: there is no {event_id!r} of {source!r}")
    if row["corrects_id"]:
        raise _wrong("/data/corrects", "names a correction: correct the event itself again")
    if not row["action"]:
        raise _wrong("/data/corrects", "names an event that costs no credits: there is no quantity")
    if row["type"] != event.type:
        raise _wrong("/type", f"must be that of the event it corrects, {row['type']!r}")
    corrected = tx.execute(
        select(
            func.coalesce(func.sum(events.c.quantity_micro), 0),
            func.coalesce(func.sum(events.c.credits_micro), 0),
            func.coalesce(func.sum(events.c.uncollected_micro), 0),
        ).where(
            mine,
            IS_CORRECTION,
            events.c.corrects_source == source,
            events.c.corrects_id == event_id,
        )
    ).one()
    quantity, credits_, uncollected = (int(one) for one in corrected)
    paid, beyond = _paid(tx, row)
    return Standing(
        row,
        _counted_at(tx, row),
        row["quantity_micro"] + quantity,
        row["credits_micro"] + credits_,
        row["uncollected_micro"] + uncollected,
        paid,
        beyond,
    )


def _counted_at(tx: Connection, row: RowMapping) -> datetime:
    """Return the instant that decides in which windows the event counted."""
    if not row["hold_id"]:
        found: datetime = row["occurred_at"] if row["adjusts"] is None else row["received_at"]
        came: datetime = row["received_at"]
        return min(found, came)
    hold = tx.execute(
        select(holds.c.authorized_at, holds.c.expires_at, holds.c.ended_at).where(
            holds.c.organization_id == row["organization_id"], holds.c.hold_id == row["hold_id"]
        )
    ).one()
    late = hold.ended_at is not None and hold.ended_at >= hold.expires_at
    return hold.ended_at if late else hold.authorized_at  # type: ignore[no-any-return]


def _paid(tx: Connection, row: RowMapping) -> tuple[dict[str, int], Place | None]:
    """Return which accounts paid for the event, less what corrections gave back already.

    Also where what it used beyond all grants is counted.
    """
    place = (event_debits.c.overage_since, event_debits.c.overage_price_micro_minor)
    organization_id = row["organization_id"]
    corrections = select(events.c.source, events.c.event_id).where(
        events.c.organization_id == organization_id,
        IS_CORRECTION,
        events.c.corrects_source == row["source"],
        events.c.corrects_id == row["event_id"],
    )
    itself = select(
        literal(row["source"]).label("source"), literal(row["event_id"]).label("event_id")
    )
    about = union_all(itself, corrections).cte("about")
    rows = tx.execute(
        select(
            event_debits.c.account,
            *place,
            func.sum(event_debits.c.amount_micro).label("amount_micro"),
        )
        .join(
            about,
            (event_debits.c.source == about.c.source)
            & (event_debits.c.event_id == about.c.event_id),
        )
        .where(event_debits.c.organization_id == organization_id)
        .group_by(event_debits.c.account, *place)
    ).all()
    beyond = [one for one in rows if one.account == Account.OVERAGE]
    return (
        {one.account: int(one.amount_micro) for one in rows if one.amount_micro},
        Place(beyond[0].overage_since, beyond[0].overage_price_micro_minor) if beyond else None,
    )


def _last_first(desk: Desk, paid: dict[str, int], back_micro: int) -> list[Take]:
    """Return what goes back where: beyond all grants first, then what burn-down took last."""
    grants = [desk.wallet.lot(account) for account in paid if account != Account.OVERAGE]
    order = [lot.account for lot in sorted(grants, key=burn_down_key, reverse=True)]
    receipt = []
    for account in [Account.OVERAGE.value, *order]:
        part = min(paid.get(account, 0), back_micro)
        if part:
            receipt.append(Take(account, part))
            back_micro -= part
    return receipt


def _return(
    desk: Desk, stands: Standing, receipt: list[Take], forgiven_micro: int, reference: str
) -> None:
    organization_id = desk.organization.organization_id
    if forgiven_micro:
        desk.wallet.move("correct", Account.UNCOLLECTED, Account.ISSUED, forgiven_micro, reference)
    if not receipt:
        return
    desk.wallet.give_back(receipt, reference, of=Account.CAPTURED)
    over = beyond_grants(receipt)
    if over and stands.beyond is not None:
        overage.give_back(desk.tx, organization_id, stands.beyond, spent_micro=over)
    back = sum(line.amount_micro for line in receipt)
    caps.add_spent(desk.tx, organization_id, _counters(desk, stands), -back, now=desk.now)


def _counters(desk: Desk, stands: Standing) -> list[CapState]:
    """Return the windows the event counted in, of caps in force.

    A window that nobody has counted yet is made only where work can still count in it.
    """
    row, at, organization = stands.row, stands.counted_at, desk.organization
    spender = Spender(row["member_id"], row["team_id"], row["project_id"], row["action"])
    takes_more = organization.closed_period(at, now=desk.now) is None
    return caps.open_windows(
        desk.tx,
        organization,
        caps.applying(desk.tx, organization.organization_id, spender),
        at=at,
        make=lambda window: takes_more or window.end > desk.now,
    )
