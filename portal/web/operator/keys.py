"""Keys: which there are, a new one that is shown once, and taking one back."""

from __future__ import annotations

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal import keys as read
from portal.core.errors import InvalidRequest, NotFound
from portal.office import issuing
from portal.web import showing
from portal.web.operator.shell import (
    actor,
    blueprint,
    form_key,
    reason,
    sent_key,
)
from portal.web.problems import error_words
from portal.web.services import services

#: What a key that was just made waits as, to be shown.
NEW_KEY = "issued key"


@blueprint.get("/keys")
def keys() -> str:
    """Show all keys without their secrets, but for one that was just made: once."""
    return _page(made=showing.take(NEW_KEY))


def _page(*, made: str | None = None, wrong: str = "") -> str:
    parts = services()
    with parts.database.reading() as tx:
        lines = read.every(tx)
    lines.sort(key=lambda line: (line.revoked_at is not None, line.organization_id or ""))
    return render_template(
        "operator/keys.html",
        lines=lines,
        scopes=read.SCOPES,
        made=made,
        wrong=wrong,
        key=form_key(),
        as_of=parts.clock(),
    )


@blueprint.post("/keys")
def issue_key() -> Response | tuple[str, int]:
    """Make a key, which the page of keys shows once."""
    parts = services()
    owner = request.form.get("organization", "").strip()
    try:
        made = issuing.issue(
            parts.database,
            name=request.form.get("name", "").strip(),
            organization_id=owner or None,
            scopes=tuple(dict.fromkeys(request.form.getlist("scope"))),
            form=sent_key(),
            actor=actor(),
            now=parts.clock(),
        )
    except (InvalidRequest, NotFound) as error:
        return _page(wrong=error_words(error)), error.status
    showing.put_aside(NEW_KEY, made)
    return redirect(url_for(".keys"), 303)


@blueprint.post("/keys/<key_id>/revoke")
def revoke_key(key_id: str) -> Response:
    """Take a key back: its next request is refused."""
    parts = services()
    issuing.revoke(parts.database, key_id, reason=reason(), actor=actor(), now=parts.clock())
    flash("The key is revoked. Its next request is refused.")
    return redirect(url_for(".keys"), 303)


@blueprint.get("/keys/<key_id>/revoke")
def ask_revoke(key_id: str) -> str:
    """Ask whether to revoke a key, and why. Raises NotFound."""
    with services().database.reading() as tx:
        line = next((one for one in read.every(tx) if one.key_id == key_id), None)
    if line is None or line.revoked_at is not None:
        raise NotFound("key", key_id)
    return render_template("operator/revoke.html", line=line)
