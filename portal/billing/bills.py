"""What overage comes to, written down bill by bill before anybody is asked to pay it.

Owns ``overage_bills``. Invariant: under the wallet's lock, the bills of a period that has ended add
up to what the page shows of it. What comes late, or is given back, is a further bill with what
none before it had; a bill is never changed but for where it was put and what became of it there.

An invoice that the operator voids is given up: its bills are waived and never billed again, and a
correction of what was waived gives nothing back. One that is written off stays owed: its bills are
uncollectible, the operator's loss until it is paid after all. A draft that is deleted was never
sent: its bills are billed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    case,
    func,
    insert,
    select,
    update,
)

from portal import accounts
from portal.accounts import Organization
from portal.core.ledger import Account
from portal.core.overage import Part, Place, itemised, still_due
from portal.desk import Desk
from portal.tables import (
    event_debits,
    events,
    invoices,
    overage_bills,
    overage_periods,
    stripe_subscriptions,
)

#: A subscription in one of these states is renewed, and its overage billed with that.
RENEWS = ("active", "trialing", "past_due")
#: What becomes of a bill by how its invoice ended; by any other it is due.
_ENDS = {"void": "waived", "uncollectible": "uncollectible"}

_BILLED = (
    select(func.coalesce(func.sum(overage_bills.c.credits_micro), 0))
    .where(
        overage_bills.c.organization_id == overage_periods.c.organization_id,
        overage_bills.c.period_start == overage_periods.c.period_start,
        overage_bills.c.price_micro_minor == overage_periods.c.price_micro_minor,
    )
    .scalar_subquery()
)
_UNBILLED = (
    select(
        overage_periods.c.organization_id,
        overage_periods.c.period_start,
        overage_periods.c.price_micro_minor,
    )
    .where(overage_periods.c.spent_micro != _BILLED)
    .order_by(overage_periods.c.organization_id, overage_periods.c.period_start)
)


@dataclass(frozen=True)
class Bill:
    """What one action costs, or gives back, of a period at a price; amounts in minor units.

    ``sequence`` counts the bills of that action, period and price from 0. The ids are Stripe's.
    ``period_end`` is that of the period as it was counted, which no later change of plan moves.
    """

    place: Place
    period_end: datetime
    action: str
    sequence: int
    credits_micro: int
    amount_minor: int
    currency: str
    created_at: datetime
    invoice_id: str | None
    item_id: str | None

    @property
    def key(self) -> str:
        """What makes it one and the same bill for ever, within its organization."""
        since = int(self.place.since.timestamp())
        return f"{since}-{self.place.price_micro_minor}-{self.action}-{self.sequence}"


def action_of(key: str) -> str:
    """Return the action that a bill's key is about."""
    return key.split("-", 2)[-1].rpartition("-")[0]


def without_renewal(tx: Connection, *, now: datetime) -> list[str]:
    """Return the organizations with overage to bill and no renewal to bill it with."""
    renews = select(stripe_subscriptions.c.organization_id).where(
        stripe_subscriptions.c.status.in_(RENEWS)
    )
    used = tx.execute(_UNBILLED.where(overage_periods.c.organization_id.not_in(renews)))
    found = {
        row["organization_id"]
        for row in used.mappings().all()
        if _has_ended(accounts.find_organization(tx, row["organization_id"]), row, now)
    }
    begun = select(overage_bills.c.organization_id).where(
        overage_bills.c.done_at.is_(None), overage_bills.c.organization_id.not_in(renews)
    )
    return sorted(found.union(tx.execute(begun).scalars()))


def _has_ended(organization: Organization, row: RowMapping, now: datetime) -> bool:
    ended: bool = row["period_start"] < organization.period_at(now).start
    return ended


def write_down(desk: Desk) -> None:
    """Write down what periods that have ended cost beyond all grants and no bill has yet."""
    mine = _UNBILLED.where(overage_periods.c.organization_id == desk.organization.organization_id)
    for row in desk.tx.execute(mine).mappings().all():
        if _has_ended(desk.organization, row, desk.now):
            _write_down(desk, Place(row["period_start"], row["price_micro_minor"]))


def _write_down(desk: Desk, place: Place) -> None:
    organization_id = desk.organization.organization_id
    whole = itemised(_spent(desk.tx, organization_id, place), place.price_micro_minor)
    billed, bills, waived = _billed(desk.tx, organization_id, place)
    for action, part in still_due(whole, billed).items():
        # What nobody was asked to pay is not given back either.
        gives_up = part.amount_minor < 0 and waived.get(action, 0) >= -part.amount_minor
        desk.tx.execute(
            insert(overage_bills).values(
                organization_id=organization_id,
                period_start=place.since,
                price_micro_minor=place.price_micro_minor,
                action=action,
                sequence=bills.get(action, 0),
                credits_micro=part.credits_micro,
                amount_minor=part.amount_minor,
                currency=desk.organization.currency,
                created_at=desk.now,
                # What comes to nothing is told on no invoice.
                done_at=None if part.amount_minor and not gives_up else desk.now,
                status="waived" if gives_up else "due",
            )
        )


def _spent(tx: Connection, organization_id: str, place: Place) -> dict[str, int]:
    """Return what each action spent beyond all grants there, in millionths."""
    rows = tx.execute(
        select(events.c.action, func.sum(event_debits.c.amount_micro))
        .join(
            events,
            and_(
                events.c.organization_id == event_debits.c.organization_id,
                events.c.source == event_debits.c.source,
                events.c.event_id == event_debits.c.event_id,
            ),
        )
        .where(
            event_debits.c.organization_id == organization_id,
            event_debits.c.account == Account.OVERAGE,
            event_debits.c.overage_since == place.since,
            event_debits.c.overage_price_micro_minor == place.price_micro_minor,
        )
        .group_by(events.c.action)
    )
    return {action: int(spent) for action, spent in rows.all()}


def _billed(
    tx: Connection, organization_id: str, place: Place
) -> tuple[Mapping[str, Part], Mapping[str, int], Mapping[str, int]]:
    """Return what was billed there by action, by how many bills, and what of it was waived."""
    rows = tx.execute(
        select(
            overage_bills.c.action,
            func.sum(overage_bills.c.credits_micro),
            func.sum(overage_bills.c.amount_minor),
            func.count(),
            func.sum(
                case((overage_bills.c.status == "waived", overage_bills.c.amount_minor), else_=0)
            ),
        )
        .where(
            overage_bills.c.organization_id == organization_id,
            overage_bills.c.period_start == place.since,
            overage_bills.c.price_micro_minor == place.price_micro_minor,
        )
        .group_by(overage_bills.c.action)
    ).all()
    return (
        {action: Part(int(credits_), int(amount)) for action, credits_, amount, _, _ in rows},
        {action: count for action, _, _, count, _ in rows},
        {action: int(waived) for action, _, _, _, waived in rows},
    )


def _open(organization_id: str) -> tuple[ColumnElement[bool], ...]:
    return overage_bills.c.organization_id == organization_id, overage_bills.c.done_at.is_(None)


def open_bills(tx: Connection, organization_id: str) -> Sequence[Bill]:
    """Return the bills about which something is still to be done, oldest first."""
    return _listed(tx, *_open(organization_id))


def on_invoice(tx: Connection, organization_id: str, invoice_id: str) -> Sequence[Bill]:
    """Return the bills that are on an invoice or were to go on it, oldest first."""
    return _listed(tx, *_on(organization_id, invoice_id))


def _on(organization_id: str, invoice_id: str) -> tuple[ColumnElement[bool], ...]:
    return (
        overage_bills.c.organization_id == organization_id,
        overage_bills.c.stripe_invoice_id == invoice_id,
    )


def _listed(tx: Connection, *which: ColumnElement[bool]) -> list[Bill]:
    query: Select[tuple[object, ...]] = (
        select(overage_bills, overage_periods.c.period_end)
        .join(
            overage_periods,
            and_(
                overage_periods.c.organization_id == overage_bills.c.organization_id,
                overage_periods.c.period_start == overage_bills.c.period_start,
                overage_periods.c.price_micro_minor == overage_bills.c.price_micro_minor,
            ),
        )
        .where(*which)
        .order_by(*(column for column in overage_bills.primary_key))
    )
    return [
        Bill(
            Place(row["period_start"], row["price_micro_minor"]),
            row["period_end"],
            row["action"],
            row["sequence"],
            row["credits_micro"],
            row["amount_minor"],
            row["currency"],
            row["created_at"],
            row["stripe_invoice_id"],
            row["stripe_invoice_item_id"],
        )
        for row in tx.execute(query).mappings()
    ]


def _the_one(organization_id: str, bill: Bill) -> tuple[ColumnElement[bool], ...]:
    return (*_open(organization_id), *_itself(bill))


def _itself(bill: Bill) -> tuple[ColumnElement[bool], ...]:
    return (
        overage_bills.c.period_start == bill.place.since,
        overage_bills.c.price_micro_minor == bill.place.price_micro_minor,
        overage_bills.c.action == bill.action,
        overage_bills.c.sequence == bill.sequence,
    )


def aim(tx: Connection, organization_id: str, bills: Sequence[Bill], invoice_id: str) -> None:
    """Say on which invoice bills are to go, unless somebody said so before."""
    for bill in bills:
        tx.execute(
            update(overage_bills)
            .where(*_the_one(organization_id, bill), overage_bills.c.stripe_invoice_id.is_(None))
            .values(stripe_invoice_id=invoice_id)
        )


def release(tx: Connection, organization_id: str, bills: Sequence[Bill]) -> None:
    """Say that bills are not on the invoice they were to go on, which takes no more."""
    for bill in bills:
        tx.execute(
            update(overage_bills)
            .where(
                *_the_one(organization_id, bill),
                overage_bills.c.stripe_invoice_id == bill.invoice_id,
            )
            .values(stripe_invoice_id=None, stripe_invoice_item_id=None)
        )


def placed(
    tx: Connection, organization_id: str, bill: Bill, item_id: str, *, now: datetime
) -> bool:
    """Remember the item a bill became: there is no more to do about it. False where it was so."""
    done = tx.execute(
        update(overage_bills)
        .where(
            *_the_one(organization_id, bill), overage_bills.c.stripe_invoice_id == bill.invoice_id
        )
        .values(stripe_invoice_item_id=item_id, done_at=now)
    )
    return done.rowcount == 1


def follow(
    tx: Connection, organization_id: str, invoice_id: str, invoice_status: str
) -> tuple[str, int] | None:
    """Have the bills on an invoice follow what became of it, as far as it came by all we know.

    Returns what they are from now on and what they come to, in minor units; None without news.
    """
    status = _ENDS.get(_furthest(tx, organization_id, invoice_id, invoice_status), "due")
    news = (
        *_on(organization_id, invoice_id),
        overage_bills.c.done_at.is_not(None),
        overage_bills.c.status != status,
    )
    amount = tx.execute(select(func.sum(overage_bills.c.amount_minor)).where(*news)).scalar()
    if amount is None:
        return None
    tx.execute(update(overage_bills).where(*news).values(status=status))
    return status, int(amount)


def _furthest(tx: Connection, organization_id: str, invoice_id: str, told: str) -> str:
    """Return how far an invoice came: what was fetched before another's write does not stand."""
    kept = tx.execute(
        select(invoices.c.status).where(
            invoices.c.organization_id == organization_id, invoices.c.invoice_id == invoice_id
        )
    ).scalar()
    ended = kept in {"void", "paid"} or (kept == "uncollectible" and told in {"draft", "open"})
    return str(kept) if ended else told


def move(tx: Connection, organization_id: str, bill: Bill, to: str | None) -> None:
    """Say where a bill went whose draft was deleted: on another invoice, or nowhere yet."""
    again: dict[str, object] = {"stripe_invoice_id": to, "status": "due"}
    if to is None:
        again |= {"stripe_invoice_item_id": None, "done_at": None}
    tx.execute(
        update(overage_bills)
        .where(*_on(organization_id, str(bill.invoice_id)), *_itself(bill))
        .values(again)
    )


def waived_by_invoice(tx: Connection, organization_id: str) -> dict[str, int]:
    """Return what was waived on each invoice, in minor units, by the invoice's id."""
    rows = tx.execute(
        select(overage_bills.c.stripe_invoice_id, func.sum(overage_bills.c.amount_minor))
        .where(
            overage_bills.c.organization_id == organization_id,
            overage_bills.c.status == "waived",
            overage_bills.c.stripe_invoice_id.is_not(None),
        )
        .group_by(overage_bills.c.stripe_invoice_id)
    )
    return {str(invoice_id): int(amount) for invoice_id, amount in rows}


def owner_of(tx: Connection, invoice_id: str) -> str | None:
    """Return whose overage an invoice carries; None where it carries none."""
    found = tx.execute(
        select(overage_bills.c.organization_id)
        .where(overage_bills.c.stripe_invoice_id == invoice_id)
        .limit(1)
    ).scalar()
    return None if found is None else str(found)


def unheard_of(tx: Connection) -> list[tuple[str, str]]:
    """Return the invoices with overage that we have no copy of: whose they are, and their ids."""
    known = (
        select(invoices.c.invoice_id)
        .where(
            invoices.c.organization_id == overage_bills.c.organization_id,
            invoices.c.invoice_id == overage_bills.c.stripe_invoice_id,
        )
        .exists()
    )
    rows = tx.execute(
        select(overage_bills.c.organization_id, overage_bills.c.stripe_invoice_id)
        .where(
            overage_bills.c.stripe_invoice_id.is_not(None),
            overage_bills.c.done_at.is_not(None),
            ~known,
        )
        .distinct()
        .order_by(overage_bills.c.organization_id, overage_bills.c.stripe_invoice_id)
    )
    return [(row.organization_id, str(row.stripe_invoice_id)) for row in rows]
