"""Commands that let people in: links for members and for the operator's own."""

from __future__ import annotations

from datetime import timedelta

import click
from flask.cli import AppGroup

from portal import access, accounts, audit
from portal.console import parts as _parts
from portal.console import plainly as _plainly

member_commands = AppGroup("members", help="People of an organization.")
operator_commands = AppGroup("operators", help="The operator's own people.")


@member_commands.command("link")
@click.argument("organization_id")
@click.argument("member_id")
@click.option("--hours", default=0, help="How long it may be used; default ten minutes.")
def link_member(organization_id: str, member_id: str, hours: int) -> None:
    """Print a single-use link that signs a member in."""
    parts = _parts()
    lifetime = timedelta(hours=hours) if hours else access.LINK_LIFETIME
    with _plainly(), parts.database.transaction() as tx:
        accounts.find_member(tx, organization_id, member_id)
        token, _ = access.make_link(
            tx,
            now=parts.clock(),
            organization_id=organization_id,
            member_id=member_id,
            lifetime=lifetime,
        )
    click.echo(f"{parts.settings.portal_base_url}/sign-in/{token}")


@operator_commands.command("link")
@click.option("--email", required=True)
@click.option("--name", default="Operator")
@click.option("--hours", default=0, help="How long it may be used; default ten minutes.")
def link_operator(email: str, name: str, hours: int) -> None:
    """Make somebody an operator and print a single-use link that signs them in."""
    parts = _parts()
    lifetime = timedelta(hours=hours) if hours else access.LINK_LIFETIME
    with _plainly(), parts.database.transaction() as tx:
        if access.put_operator(tx, email, name, now=parts.clock()):
            audit.note(
                tx,
                audit.OPERATOR,
                actor="operator",
                act="operator.added",
                target=email,
                now=parts.clock(),
            )
        token, _ = access.make_link(tx, now=parts.clock(), operator_email=email, lifetime=lifetime)
    click.echo(f"{parts.settings.portal_base_url}/sign-in/{token}")
