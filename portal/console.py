"""What every command stands on: the parts of the application, and errors told in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import click
from flask import current_app
from sqlalchemy.exc import DBAPIError

from portal.core.errors import ClearmeterError
from portal.web.services import Services


def parts() -> Services:
    """Return the parts of the application that runs the command."""
    found: Services = current_app.extensions["clearmeter"]
    return found


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """Turn an error of the domain or the store into one line and exit status 1."""
    try:
        yield
    except ClearmeterError as error:
        raise click.ClickException(error.detail) from error
    except DBAPIError as error:
        raise click.ClickException(
            f"The store does not answer as it should ({error.orig}). "
            "Is DATABASE_URL right, and has `flask --app app db upgrade` been run?"
        ) from error


def text_of(path: Path) -> str:
    """Return what a file says. Raises ClickException where it cannot be read as text."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{path} cannot be read: {error}") from error
