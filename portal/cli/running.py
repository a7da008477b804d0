"""Commands that keep the service running: the worker, and whether mail goes out."""

from __future__ import annotations

import signal
from types import FrameType

import click
from flask.cli import AppGroup
from markupsafe import escape

from portal import jobs
from portal.console import parts as _parts
from portal.console import plainly as _plainly
from portal.jobs import Workshop
from portal.notices.delivering import Post
from portal.notices.mail import Mail
from portal.web.services import Services

mail_commands = AppGroup("mail", help="Mail.")


@mail_commands.command("test")
@click.argument("address")
def test_mail(address: str) -> None:
    """Send a mail to ADDRESS by MAIL_URL and say whether the server took it."""
    parts = _parts()
    words = f"This is a test: {parts.settings.brand.name} can send mail."
    with _plainly():
        parts.mailer.send(Mail(address, "A test", f"{words}\n", f"<p>{escape(words)}</p>"))
    click.echo("The mail server took it." if parts.mailer.url else "MAIL_URL is missing.")


def post_of(parts: Services) -> Post:
    """Return what the worker tells people by."""
    settings = parts.settings
    return Post(
        parts.mailer,
        settings.portal_base_url,
        settings.secret_key,
        settings.brand.name,
        loopback=settings.webhooks_to_loopback,
    )


@click.command("worker")
def worker() -> None:
    """Run the scheduled jobs; safe to start many times."""
    parts = _parts()

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    jobs.work(Workshop(parts.database, parts.payments, parts.clock, post_of(parts)))
