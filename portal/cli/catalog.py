"""Commands of the price books: load, check, show, push to Stripe."""

from __future__ import annotations

from pathlib import Path

import click
from flask.cli import AppGroup
from rich.console import Console
from rich.table import Table

from portal import catalog
from portal.billing import listing
from portal.console import parts as _parts
from portal.console import plainly as _plainly
from portal.console import text_of
from portal.core import catalog as core_catalog
from portal.core.catalog import PriceBook, minor_places
from portal.core.units import format_micro, format_scaled

catalog_commands = AppGroup("catalog", help="Price books: load, check, show, push to Stripe.")


def _document(file: str | None) -> str:
    return text_of(Path(file or _parts().settings.catalog_file or catalog.DEFAULT_FILE))


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
    tiers = Table("Tier", "Name", "Kind", "Price", "Every", "Credits", "Then, a credit")
    for tier in book.tiers.values():
        overage = tier.overage_price_micro_minor
        tiers.add_row(
            tier.key,
            tier.name,
            tier.kind,
            money(tier.price_minor),
            tier.interval,
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
        for one in listing.push(parts.payments, book):
            click.echo(f"{one.kind} {one.key}: {one.price_id}")
