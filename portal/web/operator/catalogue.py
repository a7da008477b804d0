"""The catalogue: versions of prices and costs, what differs, and publishing a new one."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Response, flash, redirect, render_template, request, url_for
from werkzeug.exceptions import NotFound as NoSuchPage
from werkzeug.wrappers import Response as AnyResponse

from portal import audit, catalog
from portal.billing import listing
from portal.core.errors import CatalogError, InvalidRequest
from portal.office import catalogue as books
from portal.office.catalogue import BOOKS, Which
from portal.web.operator.shell import actor, blueprint, reason
from portal.web.services import services


def _which(given: str) -> Which:
    for one in BOOKS:
        if one == given:
            return one
    raise NoSuchPage


@blueprint.get("/catalogue")
def catalogue() -> str:
    """Show the versions of both books."""
    parts = services()
    with parts.database.reading() as tx:
        page = books.shelf(tx, now=parts.clock())
    return render_template("operator/catalogue.html", page=page)


@blueprint.get("/catalogue/<which>/<int:number>.toml")
def version(which: str, number: int) -> Response:
    """Send a version as it was loaded."""
    with services().database.reading() as tx:
        document = books.document_of(tx, _which(which), number)
    return Response(document, content_type="text/plain; charset=utf-8")


@blueprint.get("/catalogue/<which>/difference")
def difference(which: str) -> str:
    """Show what differs between two versions."""
    chosen = _which(which)
    old, new = (_number(request.args.get(name, "")) for name in ("old", "new"))
    with services().database.reading() as tx:
        changes = books.differences(tx, chosen, old, new)
    return render_template(
        "operator/difference.html", which=chosen, old=old, new=new, changes=changes
    )


def _number(given: str) -> int:
    if not (given.isascii() and given.isdigit() and len(given) <= 6):
        raise InvalidRequest.at("/version", "is not the number of a version")
    return int(given)


@blueprint.get("/catalogue/<which>/new")
def new_version(which: str) -> str:
    """Show the form of a new version, with the newest to begin from."""
    chosen, parts = _which(which), services()
    with parts.database.reading() as tx:
        shelf = books.shelf(tx, now=parts.clock())
    known = shelf.prices if chosen == "prices" else shelf.costs
    document = known[0].document if known else ""
    return render_template(
        "operator/new_version.html", which=chosen, document=document, checked=None
    )


@blueprint.post("/catalogue/<which>/check")
def check_version(which: str) -> str | tuple[str, int]:
    """Check a document and show what it would change; nothing is stored."""
    chosen = _which(which)
    with services().database.reading() as tx:
        checked = books.check(tx, chosen, _document())
    page = render_template(
        "operator/new_version.html", which=chosen, document=checked.document, checked=checked
    )
    return (page, 422) if checked.wrong else page


@blueprint.get("/catalogue/<which>/check")
def check_is_a_form(which: str) -> AnyResponse:
    """Lead back whoever loads the address a form was sent to."""
    return redirect(url_for(".new_version", which=_which(which)))


def _document() -> str:
    """Return the document that was sent: a file where one was chosen, else what was typed."""
    file = request.files.get("file")
    if file is not None and file.filename:
        try:
            sent: bytes = file.read(books.LARGEST_DOCUMENT + 1)
            return sent.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest.at("/file", "is not text in UTF-8") from error
    # A browser ends the lines of what is typed as networks do; a document ends them as files do.
    return request.form.get("document", "").replace("\r\n", "\n")


@blueprint.post("/catalogue/<which>/publish")
def publish(which: str) -> AnyResponse | tuple[str, int]:
    """Publish a version from a date on."""
    chosen, parts = _which(which), services()
    document = _document()
    try:
        number, begins, new = books.publish(
            parts.database,
            chosen,
            document,
            effective_at=_from(request.form.get("from", "")),
            reason=reason(),
            actor=actor(),
            now=parts.clock(),
        )
    except (CatalogError, InvalidRequest) as error:
        flash(error.detail, "bad")
        with parts.database.reading() as tx:
            checked = books.check(tx, chosen, document)
        return render_template(
            "operator/new_version.html", which=chosen, document=document, checked=checked
        ), 422
    since = f"{begins:%-d %b %Y, %H:%M} UTC" if begins else "now"
    flash(
        f"Version {number} is published, in force from {since}."
        if new
        else f"Version {number} says this already. Nothing was added."
    )
    return redirect(url_for(".catalogue"), 303)


def _from(given: str) -> datetime | None:
    """Return the instant a form names in UTC; None for now. Raises InvalidRequest."""
    if not given.strip():
        return None
    try:
        return datetime.fromisoformat(given.strip()).replace(tzinfo=UTC)
    except ValueError as error:
        raise InvalidRequest.at("/from", "is not a time such as 2026-12-01T00:00") from error


@blueprint.post("/catalogue/push")
def push() -> AnyResponse:
    """Make what is in force known to Stripe. Raises Unavailable."""
    parts = services()
    with parts.database.reading() as tx:
        book = catalog.in_force(tx, at=parts.clock())
    known = list(listing.push(parts.payments, book))
    with parts.database.transaction() as tx:
        audit.note(
            tx,
            "",
            actor=actor(),
            act="prices.pushed",
            target=f"version {book.version}",
            detail={"prices": len(known)},
            now=parts.clock(),
        )
    flash(f"Stripe knows all {len(known)} prices of version {book.version}.")
    return redirect(url_for(".catalogue"), 303)
