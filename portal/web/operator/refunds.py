"""Refunds: what is unspent goes back at one operator's word, more than that once another approves.

As with every act, a page shows first what it would do; who approves is shown it again, as it is by
then.
"""

from __future__ import annotations

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal.billing import approvals
from portal.billing import refunds as act
from portal.core.errors import ClearmeterError, InvalidRequest, NotFound
from portal.office import payments as read
from portal.office import refunds as listed
from portal.office import rehearsal
from portal.office.refunds import RefundLine
from portal.office.rehearsal import Refund
from portal.web.operator.acts import Previewed, back_to, organization_of
from portal.web.operator.shell import (
    actor,
    blueprint,
    form_key,
    operator,
    reason,
    sent_key,
)
from portal.web.problems import error_words
from portal.web.services import services


def _amount_sent() -> str | None:
    """Return the amount that was typed; None asks for all there is."""
    return request.form.get("amount", "").strip() or None


@blueprint.get("/customers/<organization_id>/payments/<payment_id>/refund")
def refund(organization_id: str, payment_id: str) -> str | tuple[str, int]:
    """Show the form of a refund: the money, and the credits it takes back."""
    parts, organization = services(), organization_of(organization_id)
    typed = request.args.get("amount", "").strip()
    now = parts.clock()
    found = rehearsal.refund(parts.database, organization_id, payment_id, None, now=now)
    with parts.database.reading() as tx:
        open_id = listed.open_of(tx, organization_id, payment_id, now=now)
    shown = Previewed()
    if "amount" in request.args and not open_id:
        try:
            reason()
            found = rehearsal.refund(
                parts.database, organization_id, payment_id, typed or None, now=now
            )
            shown = Previewed(found, key=form_key())
        except InvalidRequest as error:
            shown = Previewed(wrong=error_words(error))
    page = render_template(
        "operator/refund.html",
        organization=organization,
        refund=found,
        shown=shown,
        open_id=open_id,
    )
    return (page, 422) if shown.wrong else page


@blueprint.post("/customers/<organization_id>/payments/<payment_id>/refund")
def make_refund(organization_id: str, payment_id: str) -> Response:
    """Refund a payment through Stripe."""
    parts = services()
    try:
        done = act.give_back(
            parts.database,
            parts.payments,
            organization_id=organization_id,
            payment_id=payment_id,
            amount=_amount_sent(),
            reason=reason(),
            actor=actor(),
            key=sent_key(),
            now=parts.clock(),
        )
    except NotFound:
        raise
    except ClearmeterError as error:
        flash(error_words(error), "bad")
        return back_to(organization_id, "payments")
    flash(f"{done.amount} goes back; at Stripe the refund is {done.status}.")
    return back_to(organization_id, "payments")


@blueprint.post("/customers/<organization_id>/payments/<payment_id>/refund/ask")
def ask_refund(organization_id: str, payment_id: str) -> Response:
    """Ask another operator for a refund of more than is unspent."""
    parts = services()
    refund_id = approvals.ask(
        parts.database,
        organization_id=organization_id,
        payment_id=payment_id,
        amount=_amount_sent(),
        reason=reason(),
        actor=actor(),
        key=sent_key(),
        now=parts.clock(),
    )
    flash("Nothing goes back yet: another operator has to approve it.")
    return _back_to_order(organization_id, refund_id)


@blueprint.get("/payments/refunds")
def refunds() -> str:
    """Show the refunds that wait for another operator, and what became of others."""
    parts = services()
    now = parts.clock()
    with parts.database.reading() as tx:
        page = listed.refund_lines(tx, operator=operator(), now=now)
        standing = read.standing(tx, now=now)
    return render_template("operator/refunds.html", page=page, **standing)


@blueprint.get("/customers/<organization_id>/refunds/<refund_id>")
def refund_order(organization_id: str, refund_id: str) -> str:
    """Show a refund that was asked for, and what it would do now."""
    parts, organization = services(), organization_of(organization_id)
    now = parts.clock()
    with parts.database.reading() as tx:
        line = listed.refund_line(tx, organization_id, refund_id, operator=operator())
        others = listed.others(tx, line)
    return render_template(
        "operator/refund_order.html",
        organization=organization,
        line=line,
        others=others,
        waits=line.order.waits(now),
        shown=_as_it_is_now(line),
        as_of=now,
    )


def _as_it_is_now(line: RefundLine) -> Previewed:
    """Return what a refund that waits would do, or why it can be done no more."""
    parts, order = services(), line.order
    if not order.waits(parts.clock()):
        return Previewed()
    try:
        found: Refund = rehearsal.ordered(parts.database, order, now=parts.clock())
    except InvalidRequest as error:
        return Previewed(wrong=error_words(error))
    return Previewed(found)


@blueprint.post("/customers/<organization_id>/refunds/<refund_id>/approve")
def approve_refund(organization_id: str, refund_id: str) -> Response:
    """Approve what another operator asked for, and refund it through Stripe."""
    parts = services()
    shown = request.form.get("shown", "")
    if not (shown.isascii() and shown.isdecimal() and len(shown) < 16):
        raise InvalidRequest("This form is not whole. Load its page again and send it once more.")
    try:
        done = approvals.approve(
            parts.database,
            parts.payments,
            organization_id=organization_id,
            refund_id=refund_id,
            shown_minor=int(shown),
            actor=actor(),
            now=parts.clock(),
        )
    except NotFound:
        raise
    except ClearmeterError as error:
        flash(error_words(error), "bad")
    else:
        flash(f"{done.amount} goes back; at Stripe the refund is {done.status}.")
    return _back_to_order(organization_id, refund_id)


@blueprint.post("/customers/<organization_id>/refunds/<refund_id>/decline")
def decline_refund(organization_id: str, refund_id: str) -> Response:
    """Decline what another operator asked for, or withdraw what one asked for oneself."""
    parts = services()
    try:
        order = approvals.decline(
            parts.database,
            organization_id=organization_id,
            refund_id=refund_id,
            reason=request.form.get("reason", "").strip()[:500],
            actor=actor(),
            now=parts.clock(),
        )
    except InvalidRequest as error:
        flash(error_words(error), "bad")
    else:
        flash(f"The refund is {order.status}. Nothing went back.")
    return _back_to_order(organization_id, refund_id)


def _back_to_order(organization_id: str, refund_id: str) -> Response:
    return redirect(
        url_for(".refund_order", organization_id=organization_id, refund_id=refund_id), 303
    )
