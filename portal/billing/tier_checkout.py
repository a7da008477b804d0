"""Subscribing to a first tier: an intent of ours, Stripe's Checkout, and the subscription.

Owns ``tier_checkouts``. Invariant: what is sold (tier, seats, price, currency) is fixed in our row
before Stripe is called; of an organization one checkout is open at a time; the subscription itself
is brought about by ``sync_subscription``, whichever of webhook, return page and reconciliation gets
there first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, RowMapping, insert, select, update

from portal import accounts, catalog, cycles
from portal.accounts import Member, Organization
from portal.billing.customers import ensure_customer
from portal.billing.effects import Mark, Quarantined, no_mark
from portal.billing.gateway import CheckoutSession, Gateway
from portal.billing.subscriptions import sync_subscription
from portal.core.catalog import Tier
from portal.core.errors import InvalidRequest, NotFound
from portal.db import Database
from portal.desk import open_desk
from portal.ids import new_id
from portal.tables import tier_checkouts

_OPEN = ("started", "open")
_ANOTHER = "Another checkout was opened just now. Go on there, or try again."


@dataclass(frozen=True)
class TierCheckout:
    """A subscription being bought; the amount of one cycle in minor units."""

    organization_id: str
    checkout_id: str
    tier: str
    seats: int | None
    amount_minor: int
    currency: str
    status: str
    stripe_session_id: str | None
    stripe_subscription_id: str | None


def price_of(tier: Tier, seats: int | None) -> int:
    """Return what a cycle of a tier costs, in minor units. Raises InvalidRequest: not sold here."""
    if not tier.price_minor or tier.kind == "custom":
        raise InvalidRequest.at("/tier", f"{tier.name} is not sold here: ask us for it")
    if tier.kind != "per_seat":
        return tier.price_minor
    if seats is None or seats < 1:
        raise InvalidRequest.at("/seats", "is needed: this plan is sold by the seat")
    return tier.price_minor * seats


def price_in_stripe(payments: Gateway, tier: Tier, currency: str) -> str:
    """Return the price that Stripe bills a tier by, made where there is none yet."""
    return payments.ensure_price(
        f"clearmeter-tier-{tier.key}",
        name=tier.name,
        amount_minor=tier.price_minor or 0,
        currency=currency,
        interval=tier.interval,
    )


def start(
    database: Database,
    payments: Gateway,
    *,
    organization: Organization,
    member: Member,
    tier: str,
    seats: int | None = None,
    portal_base_url: str,
    now: datetime,
) -> str:
    """Open a checkout for a first tier and return the address to send the buyer to.

    An earlier one that is still open is closed first: nobody pays twice. Raises InvalidRequest for
    a tier that is not sold, another currency, or an organization that has a plan; Unavailable
    without Stripe.
    """
    organization_id = organization.organization_id
    _close_earlier(database, payments, organization_id, now=now)
    checkout_id, chosen, found = _intend(database, organization_id, member, tier, seats, now)
    session = payments.create_tier_checkout(
        checkout_id=checkout_id,
        organization_id=organization_id,
        customer_id=ensure_customer(database, payments, found),
        price_id=price_in_stripe(payments, chosen, found.currency),
        quantity=(seats or 1) if chosen.kind == "per_seat" else 1,
        success_url=f"{portal_base_url}/plans/thanks?session_id={{CHECKOUT_SESSION_ID}}",
        cancel_url=f"{portal_base_url}/plans?cancelled=1",
    )
    opened = {"status": "open", "stripe_session_id": session.session_id}
    with database.transaction() as tx:
        mine = _set(tx, organization_id, checkout_id, ("started",), **opened)
    if not mine:
        # Somebody else began meanwhile, and closed this one without knowing its session.
        payments.expire_checkout(session.session_id)
        raise InvalidRequest(_ANOTHER)
    return session.url


def _intend(
    database: Database,
    organization_id: str,
    member: Member,
    tier: str,
    seats: int | None,
    now: datetime,
) -> tuple[str, Tier, Organization]:
    """Write down what is to be sold; returns the checkout's id, the tier and the buyer."""
    with database.transaction() as tx:
        desk = open_desk(tx, organization_id, now=now)
        desk.wallet.write()
        found = desk.organization
        book = catalog.in_force(tx, at=now)
        chosen = catalog.tier_of(book, tier)
        _first(tx, found)
        if _still_open(tx, organization_id):
            raise InvalidRequest(_ANOTHER)
        if book.currency != found.currency:
            raise InvalidRequest(
                f"Plans are priced in {book.currency.upper()}, this organization is billed in "
                f"{found.currency.upper()}. Ask us for a price."
            )
        checkout_id = new_id("tc")
        tx.execute(
            insert(tier_checkouts).values(
                organization_id=organization_id,
                checkout_id=checkout_id,
                tier=chosen.key,
                seats=seats if chosen.kind == "per_seat" else None,
                price_book_version=book.version,
                amount_minor=price_of(chosen, seats),
                currency=book.currency,
                status="started",
                started_by=member.member_id,
                created_at=now,
            )
        )
    return checkout_id, chosen, found


def _first(tx: Connection, organization: Organization) -> None:
    """Refuse a first tier to who has one. Raises InvalidRequest."""
    billed = cycles.find(tx, organization.organization_id)
    if organization.cycle_end is not None or (billed is not None and billed.alive):
        raise InvalidRequest("There is a plan already: change it instead.")
    if organization.tier is not None:
        raise InvalidRequest("Your plan is arranged with us. Ask us to change it.")


def _still_open(tx: Connection, organization_id: str) -> Sequence[Row[Any, Any]]:
    return tx.execute(
        select(tier_checkouts.c.checkout_id, tier_checkouts.c.stripe_session_id).where(
            tier_checkouts.c.organization_id == organization_id,
            tier_checkouts.c.status.in_(_OPEN),
        )
    ).all()


def _close_earlier(
    database: Database, payments: Gateway, organization_id: str, *, now: datetime
) -> None:
    with database.reading() as tx:
        earlier = _still_open(tx, organization_id)
    for row in earlier:
        if row.stripe_session_id is None:
            with database.transaction() as tx:
                _set(tx, organization_id, row.checkout_id, _OPEN, status="failed", settled_at=now)
            continue
        payments.expire_checkout(row.stripe_session_id)
        fulfil(database, payments, payments.checkout_session(row.stripe_session_id), now=now)


def returned(
    database: Database, payments: Gateway, *, organization_id: str, session_id: str, now: datetime
) -> TierCheckout:
    """Return what a buyer comes back from, brought about where it is paid. Raises NotFound.

    Another organization's session is the same as one that does not exist.
    """
    with database.reading() as tx:
        known = tx.execute(
            select(tier_checkouts.c.checkout_id).where(
                tier_checkouts.c.organization_id == organization_id,
                tier_checkouts.c.stripe_session_id == session_id,
            )
        ).first()
    if known is None:
        raise NotFound("payment", session_id)
    return fulfil(database, payments, payments.checkout_session(session_id), now=now)


def fulfil(
    database: Database,
    payments: Gateway,
    session: CheckoutSession,
    *,
    now: datetime,
    mark: Mark = no_mark,
) -> TierCheckout:
    """Bring our row to what Stripe's session says, and its subscription with it.

    ``session`` must just have been fetched from Stripe. ``mark`` runs in the transaction that has
    the effect. Raises Quarantined where the session does not fit what we sold.
    """
    with database.reading() as tx:
        checkout = _checked(tx, session, live=payments.livemode)

    def close(tx: Connection) -> None:
        done = {"expired": "expired", "complete": "fulfilled"}.get(session.status)
        waits = session.status == "complete" and session.payment_status == "unpaid"
        if done and not waits:
            _set(
                tx,
                checkout.organization_id,
                checkout.checkout_id,
                _OPEN,
                status=done,
                settled_at=now,
                stripe_session_id=session.session_id,
                stripe_subscription_id=session.subscription_id or None,
            )
        mark(tx)

    if session.status == "complete" and session.subscription_id:
        sync_subscription(database, payments, session.subscription_id, now=now, mark=close)
    else:
        with database.transaction() as tx:
            close(tx)
    with database.reading() as tx:
        return _find(tx, checkout.organization_id, checkout.checkout_id)


def _checked(tx: Connection, session: CheckoutSession, *, live: bool) -> TierCheckout:
    what = f"Session {session.session_id}"
    try:
        checkout = _find(tx, session.organization_id, session.tier_checkout_id)
        customer = accounts.find_organization(tx, session.organization_id).stripe_customer_id
    except NotFound as error:
        raise Quarantined(f"{what} names a checkout we never opened.") from error
    expected = {
        "mode": (live, session.livemode),
        "customer": (customer, session.customer_id),
        "currency": (checkout.currency, session.currency),
        "session": (checkout.stripe_session_id or session.session_id, session.session_id),
    }
    for name, (ours, theirs) in expected.items():
        if ours != theirs:
            raise Quarantined(f"{what}: the {name} is {theirs!r}, we expected {ours!r}.")
    return checkout


def status_of(database: Database, session: CheckoutSession) -> str | None:
    """Return where we think a session stands; None where we opened no such checkout."""
    with database.reading() as tx:
        found = tx.execute(
            select(tier_checkouts.c.status).where(
                tier_checkouts.c.organization_id == session.organization_id,
                tier_checkouts.c.checkout_id == session.tier_checkout_id,
            )
        ).scalar()
    return None if found is None else str(found)


def waiting(tx: Connection) -> list[str]:
    """Return the sessions of every organization that are open as far as we know."""
    rows = tx.execute(
        select(tier_checkouts.c.stripe_session_id)
        .where(tier_checkouts.c.status == "open", tier_checkouts.c.stripe_session_id.is_not(None))
        .order_by(tier_checkouts.c.created_at, tier_checkouts.c.checkout_id)
    )
    return [str(row.stripe_session_id) for row in rows]


def _find(tx: Connection, organization_id: str, checkout_id: str) -> TierCheckout:
    query = select(tier_checkouts).where(
        tier_checkouts.c.organization_id == organization_id,
        tier_checkouts.c.checkout_id == checkout_id,
    )
    row = tx.execute(query).mappings().first()
    if row is None:
        raise NotFound("payment", checkout_id)
    return _checkout(row)


def _checkout(row: RowMapping) -> TierCheckout:
    return TierCheckout(**{name: row[name] for name in TierCheckout.__dataclass_fields__})


def _set(
    tx: Connection,
    organization_id: str,
    checkout_id: str,
    from_: tuple[str, ...],
    **values: object,
) -> bool:
    """Change a checkout that still is one of these; tells whether it was."""
    done = tx.execute(
        update(tier_checkouts)
        .where(
            tier_checkouts.c.organization_id == organization_id,
            tier_checkouts.c.checkout_id == checkout_id,
            tier_checkouts.c.status.in_(from_),
        )
        .values(values)
    )
    return done.rowcount == 1
