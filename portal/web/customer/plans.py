"""Plans and credits: the tiers side by side, the packs, and the way to and back from paying."""

from __future__ import annotations

from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal import accounts, balances, catalog, offer
from portal.billing import checkout, returns
from portal.core.catalog import tier_called
from portal.core.errors import NotFound
from portal.spending import book_at
from portal.web.customer.shell import blueprint, buyer, reader
from portal.web.services import services


@blueprint.get("/plans")
def plans() -> str:
    """Show the tiers and the packs."""
    organization, member = reader()
    parts = services()
    with parts.database.reading() as tx:
        page = offer.offer(tx, organization, member, now=parts.clock())
    return render_template(
        "customer/plans.html",
        page=page,
        organization=organization,
        member=member,
        sees_balance=accounts.sees_balance(organization, member),
        cancelled=request.args.get("cancelled") == "1",
    )


@blueprint.post("/plans/packs/<pack>")
def buy(pack: str) -> Response:
    """Send the buyer to pay for a pack."""
    organization, member = buyer()
    parts = services()
    url = checkout.start(
        parts.database,
        parts.payments,
        organization=organization,
        member=member,
        pack=pack,
        portal_base_url=parts.settings.portal_base_url,
        now=parts.clock(),
        # What is paid with now is what credits are bought with later, where they buy themselves.
        keep_method=organization.on_empty == "top_up",
    )
    return redirect(url, 303)


@blueprint.get("/plans/thanks")
def thanks() -> Response | str:
    """Show what became of a purchase the buyer comes back from."""
    organization, member = reader()
    session_id = request.args.get("session_id", "")
    if not session_id:
        return redirect(url_for(".plans"))
    if not session_id.startswith("cs_"):
        raise NotFound("payment", session_id[:80])
    parts = services()
    now = parts.clock()
    purchase = returns.returned(
        parts.database,
        parts.payments,
        organization_id=organization.organization_id,
        session_id=session_id,
        now=now,
    )
    with parts.database.reading() as tx:
        balance = balances.balance(tx, organization.organization_id, now=now)
        book = book_at(tx, now)
        names = catalog.tier_names(tx, at=now)
    return render_template(
        "customer/thanks.html",
        purchase=purchase,
        balance=balance,
        sees_balance=accounts.sees_balance(organization, member),
        tier=book.tiers.get(purchase.tier) if book else None,
        name=tier_called(purchase.tier, names),
        session_id=session_id,
    )
