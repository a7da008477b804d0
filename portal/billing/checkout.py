"""Buying a pack: an intent of ours, Stripe's Checkout, and the grant, exactly once.

Invariant: what is sold (pack, price, currency) is fixed in our row before Stripe is called; credits
land only for a session that is ours and paid, whichever of webhook, return page and reconciliation
gets there first, and however long the method takes. Stripe is never called inside a transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, insert, select, update

from portal import accounts, audit, catalog, notices
from portal.accounts import Member, Organization
from portal.billing.customers import ensure_customer
from portal.billing.effects import Mark, Quarantined, no_mark
from portal.billing.gateway import CheckoutSession, Gateway
from portal.billing.payments import Payment, record
from portal.core.catalog import Pack, money_words
from portal.core.errors import InvalidRequest, NotFound
from portal.core.units import format_micro
from portal.db import Database
from portal.desk import open_desk
from portal.ids import new_id
from portal.notices.words import amount
from portal.tables import checkouts
from portal.wallet import Paid, Wallet


@dataclass(frozen=True)
class Checkout:
    """A purchase as it stands; credits in millionths, the amount in minor units."""

    checkout_id: str
    pack_name: str
    credits_micro: int
    amount_minor: int
    currency: str
    status: str
    grant_id: str | None
    created_at: datetime


def start(
    database: Database,
    payments: Gateway,
    *,
    organization: Organization,
    member: Member,
    pack: str,
    portal_base_url: str,
    now: datetime,
    keep_method: bool = False,
) -> str:
    """Open a checkout for a pack and return the address to send the buyer to.

    With ``keep_method`` auto top-up may charge later what it is paid with. Raises InvalidRequest
    for an unknown pack or another currency, Unavailable without Stripe.
    """
    checkout_id, item, currency = _intend(database, organization, member, pack, now)
    customer_id = ensure_customer(database, payments, organization)
    price_id = payments.ensure_price(
        f"clearmeter-pack-{item.key}",
        name=item.name,
        amount_minor=item.price_minor,
        currency=currency,
    )
    session = payments.create_checkout(
        checkout_id=checkout_id,
        organization_id=organization.organization_id,
        customer_id=customer_id,
        price_id=price_id,
        success_url=f"{portal_base_url}/plans/thanks?session_id={{CHECKOUT_SESSION_ID}}",
        cancel_url=f"{portal_base_url}/plans?cancelled=1",
        keep_method=keep_method,
    )
    with database.transaction() as tx:
        tx.execute(
            update(checkouts)
            .where(
                checkouts.c.organization_id == organization.organization_id,
                checkouts.c.checkout_id == checkout_id,
                checkouts.c.status == "started",
            )
            .values(status="open", stripe_session_id=session.session_id)
        )
    return session.url


def _intend(
    database: Database, organization: Organization, member: Member, pack: str, now: datetime
) -> tuple[str, Pack, str]:
    """Write down what is to be sold; returns the checkout's id, the pack and the currency."""
    with database.transaction() as tx:
        book = catalog.in_force(tx, at=now)
        item = catalog.pack_of(book, pack)
        if book.currency != organization.currency:
            raise InvalidRequest(
                f"Packs are priced in {book.currency.upper()}, this organization is billed in "
                f"{organization.currency.upper()}. Ask us for a price."
            )
        checkout_id = new_id("co")
        tx.execute(
            insert(checkouts).values(
                organization_id=organization.organization_id,
                checkout_id=checkout_id,
                pack=item.key,
                pack_name=item.name,
                price_book_version=book.version,
                credits_micro=item.credits_micro,
                amount_minor=item.price_minor,
                currency=book.currency,
                expires_after_days=item.expires_after_days,
                status="started",
                started_by=member.member_id,
                created_at=now,
            )
        )
    return checkout_id, item, book.currency


def returned(
    database: Database,
    payments: Gateway,
    *,
    organization_id: str,
    session_id: str,
    now: datetime,
) -> Checkout:
    """Return the purchase a buyer comes back from, fulfilled where it is paid. Raises NotFound.

    Another organization's session is the same as one that does not exist.
    """
    with database.reading() as tx:
        known = tx.execute(
            select(checkouts.c.checkout_id).where(
                checkouts.c.organization_id == organization_id,
                checkouts.c.stripe_session_id == session_id,
            )
        ).first()
    if known is None:
        raise NotFound("payment", session_id)
    return fulfil(
        database, payments.checkout_session(session_id), livemode=payments.livemode, now=now
    )


def fulfil(
    database: Database,
    session: CheckoutSession,
    *,
    livemode: bool,
    now: datetime,
    mark: Mark = no_mark,
) -> Checkout:
    """Bring our row to what Stripe's session says; paid means granted, once, whoever asks.

    ``session`` must just have been fetched from Stripe. ``mark`` runs in the transaction that has
    the effect. Raises Quarantined where the session does not fit what we sold.
    """
    if not session.organization_id or not session.checkout_id:
        raise Quarantined(f"Session {session.session_id} carries no checkout of ours.")
    with database.transaction() as tx:
        try:
            wallet = open_desk(tx, session.organization_id, now=now).wallet
        except NotFound as error:
            raise Quarantined(
                f"Session {session.session_id} names no organization here."
            ) from error
        checkout = _checked(tx, session, livemode)
        if session.paid:
            if checkout.status != "fulfilled":
                checkout = _grant(tx, wallet, session, checkout, now)
            _record(wallet, session, checkout, now)
        elif checkout.status in {"started", "open"} and session.status == "expired":
            checkout = _close(tx, session, "expired", now)
        elif checkout.status in {"started", "open"} and session.failed:
            checkout = _close(tx, session, "failed", now)
            _tell_failed(tx, session.organization_id, checkout, now)
        elif session.status == "complete":
            _note_on_its_way(tx, session)
        wallet.write()
        mark(tx)
        return checkout


def _checked(tx: Connection, session: CheckoutSession, livemode: bool) -> Checkout:
    row = tx.execute(
        select(checkouts).where(
            checkouts.c.organization_id == session.organization_id,
            checkouts.c.checkout_id == session.checkout_id,
        )
    ).first()
    if row is None:
        raise Quarantined(f"Session {session.session_id} names a checkout we never opened.")
    customer = accounts.find_organization(tx, session.organization_id).stripe_customer_id
    net = row.amount_minor - session.discount_minor
    # Tax comes on top of our price, or is a part of it where the seller's account says so.
    total = session.amount_total_minor
    total = total if total in {net, net + session.tax_minor} else net + session.tax_minor
    expected = {
        "mode": (livemode, session.livemode),
        "customer": (customer, session.customer_id),
        "amount": (row.amount_minor, session.amount_subtotal_minor),
        "total": (total, session.amount_total_minor),
        "currency": (row.currency, session.currency),
        "session": (row.stripe_session_id or session.session_id, session.session_id),
    }
    for what, (ours, theirs) in expected.items():
        if ours != theirs:
            raise Quarantined(
                f"Session {session.session_id}: the {what} is {theirs!r}, we expected {ours!r}."
            )
    return _checkout(row)


def _checkout(row: object) -> Checkout:
    return Checkout(
        checkout_id=row.checkout_id,  # type: ignore[attr-defined] # a row of checkouts
        pack_name=row.pack_name,  # type: ignore[attr-defined]
        credits_micro=row.credits_micro,  # type: ignore[attr-defined]
        amount_minor=row.amount_minor,  # type: ignore[attr-defined]
        currency=row.currency,  # type: ignore[attr-defined]
        status=row.status,  # type: ignore[attr-defined]
        grant_id=row.grant_id,  # type: ignore[attr-defined]
        created_at=row.created_at,  # type: ignore[attr-defined]
    )


def _find(tx: Connection, session: CheckoutSession) -> Checkout:
    return _checkout(
        tx.execute(
            select(checkouts).where(
                checkouts.c.organization_id == session.organization_id,
                checkouts.c.checkout_id == session.checkout_id,
            )
        ).one()
    )


def _grant(
    tx: Connection, wallet: Wallet, session: CheckoutSession, checkout: Checkout, now: datetime
) -> Checkout:
    days = tx.execute(
        select(checkouts.c.expires_after_days).where(
            checkouts.c.organization_id == session.organization_id,
            checkouts.c.checkout_id == checkout.checkout_id,
        )
    ).scalar()
    grant_id = wallet.grant(
        source="pack",
        credits_micro=checkout.credits_micro,
        expires_at=now + timedelta(days=days) if days else None,
        paid=Paid((session.amount_total_minor or 0) - session.tax_minor, checkout.currency),
        reason=checkout.pack_name,
        external_key=f"stripe:checkout:{session.session_id}",
    )
    tx.execute(
        update(checkouts)
        .where(
            checkouts.c.organization_id == session.organization_id,
            checkouts.c.checkout_id == checkout.checkout_id,
        )
        .values(
            status="fulfilled",
            grant_id=grant_id,
            settled_at=now,
            stripe_session_id=session.session_id,
            stripe_payment_intent_id=session.payment_intent_id or None,
        )
    )
    # Whatever the bank did not pay before: there are credits now.
    notices.end_all(tx, session.organization_id, notices.PACK_FAILED, now=now)
    audit.note(
        tx,
        session.organization_id,
        actor="stripe",
        act="pack.bought",
        target=checkout.checkout_id,
        detail={"credits": format_micro(checkout.credits_micro), "session": session.session_id},
        now=now,
    )
    return _find(tx, session)


def _record(wallet: Wallet, session: CheckoutSession, checkout: Checkout, now: datetime) -> None:
    """Write the payment down; where a promotion left nothing to pay, there is none."""
    if not session.amount_total_minor or not session.payment_intent_id:
        return
    record(
        wallet,
        Payment(
            payment_id=session.payment_intent_id,
            kind="pack",
            amount_minor=session.amount_total_minor,
            tax_minor=session.tax_minor,
            currency=session.currency,
            settled_at=session.paid_at or now,
            grant_id=checkout.grant_id,
            charge_id=session.charge_id,
            invoice_id=session.invoice_id,
            fee_minor=session.fee_minor,
        ),
    )


def _note_on_its_way(tx: Connection, session: CheckoutSession) -> None:
    """Keep that the buyer is done and the bank is not: the payment there is then known."""
    tx.execute(
        update(checkouts)
        .where(
            checkouts.c.organization_id == session.organization_id,
            checkouts.c.checkout_id == session.checkout_id,
            checkouts.c.status.in_(["started", "open"]),
        )
        .values(stripe_payment_intent_id=session.payment_intent_id or None)
    )


def on_its_way(tx: Connection, organization_id: str) -> list[Checkout]:
    """Return what was bought by a method that takes its time and is not paid yet, oldest first."""
    rows = tx.execute(
        select(checkouts)
        .where(
            checkouts.c.organization_id == organization_id,
            checkouts.c.status == "open",
            checkouts.c.stripe_payment_intent_id.is_not(None),
        )
        .order_by(checkouts.c.created_at, checkouts.c.checkout_id)
    )
    return [_checkout(row) for row in rows]


def _close(tx: Connection, session: CheckoutSession, status: str, now: datetime) -> Checkout:
    tx.execute(
        update(checkouts)
        .where(
            checkouts.c.organization_id == session.organization_id,
            checkouts.c.checkout_id == session.checkout_id,
            checkouts.c.status.in_(["started", "open"]),
        )
        .values(status=status, settled_at=now, stripe_session_id=session.session_id)
    )
    return _find(tx, session)


def _tell_failed(tx: Connection, organization_id: str, checkout: Checkout, now: datetime) -> None:
    """Tell that a bank did not pay in the end: whoever bought has long left the page."""
    price = money_words(checkout.amount_minor, checkout.currency)
    notices.raise_notice(
        tx,
        organization_id,
        notices.PACK_FAILED,
        f"The bank did not pay {price} for {amount(checkout.credits_micro)} credits. "
        "Nothing was charged, and no credits were added.",
        subject=checkout.checkout_id,
        url="/plans",
        now=now,
    )
