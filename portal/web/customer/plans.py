"""Plans and credits: the tiers side by side, the packs, and the way to and back from paying."""

from __future__ import annotations

from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal import balances
from portal.billing import checkout
from portal.core.errors import NotAllowed, NotFound
from portal.spending import book_at
from portal.web.customer.shell import blueprint, reader
from portal.web.services import services


@blueprint.get("/plans")
def plans() -> str:
    """Show the tiers and the packs."""
    organization, member = reader()
    parts = services()
    now = parts.clock()
    with parts.database.reading() as tx:
        book = book_at(tx, now)
        balance = balances.balance(tx, organization.organization_id, now=now)
    return render_template(
        "customer/plans.html",
        book=book,
        balance=balance,
        organization=organization,
        member=member,
        payable=parts.payments.configured,
        cancelled=request.args.get("cancelled") == "1",
    )


@blueprint.post("/plans/packs/<pack>")
def buy(pack: str) -> Response:
    """Send the buyer to pay for a pack."""
    organization, member = reader()
    if not member.may_buy:
        raise NotAllowed("Only an owner, an admin or a billing member may buy credits.")
    parts = services()
    url = checkout.start(
        parts.database,
        parts.payments,
        organization=organization,
        member=member,
        pack=pack,
        portal_base_url=parts.settings.portal_base_url,
        now=parts.clock(),
    )
    return redirect(url, 303)


@blueprint.get("/plans/thanks")
def thanks() -> Response | str:
    """Show what became of a purchase the buyer comes back from."""
    organization, _ = reader()
    session_id = request.args.get("session_id", "")
    if not session_id:
        return redirect(url_for(".plans"))
    if not session_id.startswith("cs_"):
        raise NotFound("payment", session_id[:80])
    parts = services()
    now = parts.clock()
    purchase = checkout.returned(
        parts.database,
        parts.payments,
        organization_id=organization.organization_id,
        session_id=session_id,
        now=now,
    )
    with parts.database.reading() as tx:
        balance = balances.balance(tx, organization.organization_id, now=now)
    return render_template(
        "customer/thanks.html", purchase=purchase, balance=balance, session_id=session_id
    )
