"""The settings page: an outline of sections, each with a module of its own that adds it here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import redirect, render_template, url_for
from werkzeug.wrappers import Response

from portal.accounts import Member, Organization
from portal.core.errors import InvalidRequest
from portal.web.customer.shell import blueprint, entitled
from portal.web.services import services


@dataclass(frozen=True)
class Section:
    """One section: its place on the page, and what fills it.

    ``right`` is what its reader's role must have; ``fill`` returns what its template needs, under
    names of the section's own.
    """

    place: int
    anchor: str
    title: str
    right: str
    fill: Callable[[Organization, Member], dict[str, Any]]

    @property
    def template(self) -> str:
        """The file that has it."""
        return f"customer/settings/_{self.anchor}.html"


_sections: list[Section] = []


def add(section: Section) -> None:
    """Put a section on the page."""
    _sections.append(section)
    _sections.sort(key=lambda one: one.place)


@blueprint.get("/settings")
def settings() -> str:
    """Show the settings."""
    return settings_page()


def settings_page(**more: Any) -> str:
    """Render the page; ``more`` is what a section's own form adds to it."""
    organization, member = entitled("see_settings")
    shown = [one for one in _sections if member.may(one.right)]
    filled: dict[str, Any] = {}
    for section in shown:
        filled |= section.fill(organization, member)
    return render_template(
        "customer/settings.html",
        sections=shown,
        organization=organization,
        member=member,
        as_of=services().clock(),
        **(filled | {"errors": {}, "typed": {}, "form": ""} | more),
    )


def again(form: str, typed: Any, error: InvalidRequest) -> tuple[str, int]:
    """Show the page with a form that was not taken, as it was typed, and what is wrong with it."""
    listed = error.fields.get("errors", [])
    errors = {one["pointer"].strip("/"): one["detail"] for one in listed} or {"": error.detail}
    return settings_page(form=form, typed=typed, errors=errors), 422


@blueprint.get("/settings/organization")
@blueprint.get("/settings/keys")
def forms_are_on_settings() -> Response:
    """Lead back whoever loads the address a form was sent to."""
    return redirect(url_for(".settings"))
