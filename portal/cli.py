"""Commands of the operator: catalogue, keys, people, ledger, Stripe, worker."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

import click
from flask import Flask, current_app
from flask.cli import AppGroup
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import DBAPIError

from portal import access, accounts, audit, catalog, jobs, keys
from portal.billing import reconcile as reconciliation
from portal.core import catalog as core_catalog
from portal.core.catalog import PriceBook, minor_places
from portal.core.errors import ClearmeterError
from portal.core.units import format_micro, format_scaled
from portal.jobs import Workshop
from portal.web.services import Services

catalog_commands = AppGroup("catalog", help="Price books: load, check, show, push to Stripe.")
key_commands = AppGroup("keys", help="API keys.")
member_commands = AppGroup("members", help="People of an organization.")
operator_commands = AppGroup("operators", help="The operator's own people.")
ledger_commands = AppGroup("ledger", help="The ledger.")
stripe_commands = AppGroup("stripe", help="Payments.")


def register(app: Flask) -> None:
    """Attach every command to the application."""
    for group in (
        catalog_commands,
        key_commands,
        member_commands,
        operator_commands,
        ledger_commands,
        stripe_commands,
    ):
        app.cli.add_command(group)
    app.cli.add_command(worker)


def _parts() -> Services:
    parts: Services = current_app.extensions["clearmeter"]
    return parts


@contextlib.contextmanager
def _plainly() -> Iterator[None]:
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


def _document(file: str | None) -> str:
    path = Path(file or _parts().settings.catalog_file or catalog.DEFAULT_FILE)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{path} cannot be read: {error}") from error


@catalog_commands.command("load")
@click.argument("file", required=False)
def load_catalog(file: str | None) -> None:
    """Store a price book from FILE (default: the one that ships) as a new dated version."""
    parts = _parts()
    with _plainly(), parts.database.transaction() as tx:
        book, new = catalog.load(tx, _document(file), now=parts.clock())
    if not new:
        click.echo(f"Unchanged: version {book.version} already says this.")
        return
    begins = book.effective_at.isoformat() if book.effective_at else "now"
    click.echo(f"Loaded version {book.version}, in force from {begins}.")


@catalog_commands.command("check")
@click.argument("file", required=False)
def check_catalog(file: str | None) -> None:
    """Say what is wrong with FILE, without storing it."""
    with _plainly():
        book = core_catalog.parse(_document(file))
    click.echo(
        f"Fine: {len(book.actions)} actions, {len(book.tiers)} tiers, {len(book.packs)} packs."
    )


@catalog_commands.command("show")
def show_catalog() -> None:
    """Show the price book in force."""
    parts = _parts()
    with _plainly(), parts.database.reading() as tx:
        book = catalog.in_force(tx, at=parts.clock())
    console = Console()
    console.print(f"Version {book.version}, {book.currency.upper()}, from {book.effective_at}")
    for table in _tables(book):
        console.print(table)


def _tables(book: PriceBook) -> list[Table]:
    places = minor_places(book.currency)

    def money(minor: int | None) -> str:
        return "on request" if minor is None else format_scaled(minor, places=places)

    actions = Table("Action", "Name", "Credits")
    for action in book.actions.values():
        actions.add_row(action.key, action.name, format_micro(action.price_micro))
    tiers = Table("Tier", "Name", "Kind", "Price", "Credits", "Then, a credit")
    for tier in book.tiers.values():
        overage = tier.overage_price_micro_minor
        tiers.add_row(
            tier.key,
            tier.name,
            tier.kind,
            money(tier.price_minor),
            format_micro(tier.allowance_micro),
            "" if overage is None else format_scaled(overage, places=places + 6),
        )
    packs = Table("Pack", "Name", "Credits", "Price", "Days")
    for pack in book.packs.values():
        packs.add_row(
            pack.key,
            pack.name,
            format_micro(pack.credits_micro),
            money(pack.price_minor),
            str(pack.expires_after_days or "no end"),
        )
    return [actions, tiers, packs]


@catalog_commands.command("push")
def push_catalog() -> None:
    """Make the packs and tiers in force known to Stripe as products and prices."""
    parts = _parts()
    with _plainly():
        with parts.database.reading() as tx:
            book = catalog.in_force(tx, at=parts.clock())
        for pack in book.packs.values():
            price = parts.payments.ensure_price(
                f"clearmeter-pack-{pack.key}",
                name=pack.name,
                amount_minor=pack.price_minor,
                currency=book.currency,
            )
            click.echo(f"pack {pack.key}: {price}")
        for tier in book.tiers.values():
            if not tier.price_minor:
                continue
            price = parts.payments.ensure_price(
                f"clearmeter-tier-{tier.key}",
                name=tier.name,
                amount_minor=tier.price_minor,
                currency=book.currency,
                monthly=True,
            )
            click.echo(f"tier {tier.key}: {price}")


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
    click.echo("Keep this key now: it is not shown again.", err=True)
    click.echo(key)


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
        access.put_operator(tx, email, name, now=parts.clock())
        token, _ = access.make_link(tx, now=parts.clock(), operator_email=email, lifetime=lifetime)
    click.echo(f"{parts.settings.portal_base_url}/sign-in/{token}")


@ledger_commands.command("audit")
def audit_ledger() -> None:
    """Prove the ledger's invariants for every organization; exit 1 where one fails."""
    parts = _parts()
    proven = faulty = 0
    after = ""
    with _plainly():
        while True:
            with parts.database.reading() as tx:
                page = accounts.list_organizations(tx, after=after, limit=100)
            if not page:
                break
            for organization in page:
                with parts.database.reading() as tx:
                    faults = audit.ledger_faults(tx, organization.organization_id)
                for fault in faults:
                    click.echo(f"{organization.organization_id}: {fault}")
                faulty += bool(faults)
                proven += not faults
            after = page[-1].organization_id
    click.echo(f"{proven} organizations proven, {faulty} at fault.")
    if faulty:
        sys.exit(1)


@stripe_commands.command("reconcile")
@click.option("--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]))
def reconcile(since: datetime | None) -> None:
    """Fetch from Stripe what webhooks did not bring, and print what was mended."""
    parts = _parts()
    begin = since.replace(tzinfo=UTC) if since else None
    with _plainly():
        mended = reconciliation.reconcile(
            parts.database, parts.payments, since=begin, now=parts.clock()
        )
    for line in mended:
        click.echo(line)
    click.echo(f"{len(mended)} mended.")


@click.command("worker")
def worker() -> None:
    """Run the scheduled jobs; safe to start many times."""
    parts = _parts()

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    jobs.work(Workshop(parts.database, parts.payments, parts.clock))
