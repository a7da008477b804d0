"""Payments: what was paid, Stripe's events and what became of them, and the books compared."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal import audit
from portal.billing import inbox, reconcile
from portal.core.errors import InvalidRequest
from portal.office import payments as read
from portal.office import places
from portal.web.operator.shell import actor, blueprint, operator, reason
from portal.web.services import services

PAGE = 50
STATES = ("pending", "quarantined", "ignored", "done")


@blueprint.get("/payments")
def payments() -> str:
    """Show payments of all customers, or those that are disputed."""
    parts = services()
    kind = request.args.get("kind", "")
    disputed = request.args.get("show") == "disputed"
    with parts.database.reading() as tx:
        page = read.payment_lines(
            tx,
            kind=kind if kind in read.KINDS else "",
            disputed=disputed,
            after=request.args.get("after", ""),
            now=parts.clock(),
        )
        standing = read.standing(tx, now=parts.clock())
    return render_template(
        "operator/payments.html",
        page=page,
        kind=kind,
        kinds=read.KINDS,
        disputed=disputed,
        **standing,
    )


@blueprint.get("/payments/inbox")
def payments_inbox() -> str:
    """Show what Stripe told, and what became of it: first what waits for somebody."""
    parts = services()
    with parts.database.reading() as tx:
        standing = read.standing(tx, now=parts.clock())
        given = request.args.get(
            "status", "quarantined" if standing["counts"].get("quarantined") else ""
        )
        status = given if given in STATES else ""
        found = inbox.listed(
            tx,
            status=status,
            before=places.read(request.args.get("after", "")),
            limit=PAGE + 1,
        )
    lines = found[:PAGE]
    last = lines[-1] if len(found) > PAGE else None
    return render_template(
        "operator/inbox.html",
        lines=lines,
        status=status,
        states=STATES,
        **standing,
        following=places.written(last.received_at, last.stripe_event_id) if last else "",
        as_of=parts.clock(),
    )


@blueprint.post("/payments/inbox")
def decide_inbox() -> Response:
    """Try the chosen events again, or decide that they need nothing."""
    chosen, decision = request.form.getlist("event"), request.form.get("decision", "")
    if not chosen or len(chosen) > PAGE:
        raise InvalidRequest("Choose at least one event.")
    parts = services()
    if decision == "set-aside":
        done = inbox.set_aside(
            parts.database, chosen, reason=reason(), actor=actor(), now=parts.clock()
        )
        flash(f"{done} {'event needs' if done == 1 else 'events need'} nothing, it is on record.")
    elif decision == "replay":
        told = inbox.replay(parts.database, parts.payments, chosen, now=parts.clock())
        _note("inbox.replayed", {"events": chosen})
        for line in told:
            flash(line, "good" if line.endswith(("done", "done already")) else "bad")
    else:
        raise InvalidRequest.at("/decision", "is neither replay nor set-aside")
    return redirect(url_for(".payments_inbox"), 303)


@blueprint.get("/payments/reconciliation")
def reconciliation() -> str:
    """Show what reconciliations mended and found, the last one whole."""
    parts = services()
    with parts.database.reading() as tx:
        reports = reconcile.reports(tx, limit=20)
        standing = read.standing(tx, now=parts.clock())
    return render_template(
        "operator/reconciliation.html",
        reports=reports,
        **standing,
        as_of=parts.clock(),
    )


@blueprint.post("/payments/reconciliation")
def reconcile_now() -> Response:
    """Fetch from Stripe what webhooks did not bring, and compare the books."""
    parts = services()
    since = _since(request.form.get("since", ""))
    report = reconcile.run(
        parts.database, parts.payments, since=since, asked_by=operator(), now=parts.clock()
    )
    found: dict[str, object] = {"mended": len(report.mended), "differ": len(report.differing)}
    if report.unmended:
        found["unmended"] = len(report.unmended)
    _note("books.reconciled", found)
    flash(report.counted, "bad" if report.differing or report.unmended else "good")
    return redirect(url_for(".reconciliation"), 303)


def _since(given: str) -> datetime | None:
    if not given.strip():
        return None
    try:
        return datetime.fromisoformat(given.strip()).replace(tzinfo=UTC)
    except ValueError as error:
        raise InvalidRequest.at("/since", "is not a day such as 2026-11-30") from error


def _note(act: str, detail: dict[str, object]) -> None:
    parts = services()
    with parts.database.transaction() as tx:
        audit.note(tx, "", actor=actor(), act=act, detail=detail, now=parts.clock())
