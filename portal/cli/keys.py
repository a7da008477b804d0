"""Commands of the API keys: make, list, revoke; each act is on record."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from portal import audit, keys
from portal.console import parts as _parts
from portal.console import plainly as _plainly

key_commands = AppGroup("keys", help="API keys.")


@key_commands.command("create")
@click.option("--name", required=True, help="What the key is for.")
@click.option("--org", "organization_id", help="Only this organization; else a service key.")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(keys.SCOPES))
def create_key(name: str, organization_id: str | None, scopes: tuple[str, ...]) -> None:
    """Make a key and print it once, alone on the last line."""
    parts = _parts()
    with _plainly(), parts.database.transaction() as tx:
        key = keys.create(
            tx, name=name, organization_id=organization_id, scopes=scopes, now=parts.clock()
        )
        audit.note(
            tx,
            organization_id or audit.OPERATOR,
            actor="operator",
            act="key.made",
            target=keys.id_of(key),
            detail={"name": name, "scopes": " ".join(scopes)},
            now=parts.clock(),
        )
    click.echo("Keep this key now: it is not shown again.", err=True)
    click.echo(key)


@key_commands.command("list")
def list_keys() -> None:
    """List all keys, without their secrets."""
    parts = _parts()
    with parts.database.reading() as tx:
        for one in keys.every(tx):
            whose = one.organization_id or "service"
            ended = f"revoked {one.revoked_at:%Y-%m-%d}" if one.revoked_at else "in force"
            click.echo(f"{one.key_id}  {ended}  {whose}  {one.scopes}  {one.name}")


@key_commands.command("revoke")
@click.argument("key_id")
def revoke_key(key_id: str) -> None:
    """Take a key back: its next request is refused."""
    parts = _parts()
    with _plainly(), parts.database.transaction() as tx:
        found = keys.revoke(tx, key_id, now=parts.clock())
        audit.note(
            tx,
            found.organization_id or audit.OPERATOR,
            actor="operator",
            act="key.revoked",
            target=key_id,
            detail={"name": found.name},
            now=parts.clock(),
        )
    click.echo("Revoked.")
