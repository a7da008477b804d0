"""Commands of the cost books, and of stated costs that look wrong."""

from __future__ import annotations

from pathlib import Path

import click
from flask.cli import AppGroup
from rich.console import Console
from rich.table import Table

from portal import cost_books, cost_review
from portal.console import parts as _parts
from portal.console import plainly as _plainly
from portal.console import text_of
from portal.core.cost_book import PRICE_PLACES, TOKEN_PRICES, CostBook, parse_cost_book
from portal.core.units import format_nano_usd, format_scaled
from portal.cost_review import Suspect

cost_commands = AppGroup("costs", help="Cost books, and stated costs that look wrong.")


@cost_commands.command("load")
@click.argument("file", required=False)
def load_costs(file: str | None) -> None:
    """Store a cost book from FILE (default: the example that ships) as a new dated version."""
    parts = _parts()
    document = text_of(Path(file or cost_books.EXAMPLE_FILE))
    with _plainly(), parts.database.transaction() as tx:
        book, new = cost_books.load(tx, document, now=parts.clock())
    if not new:
        click.echo(f"Unchanged: version {book.version} already says this.")
        return
    if file is None:
        click.echo(
            f"These are an example's figures: put yours in a copy of {cost_books.EXAMPLE_FILE}."
        )
    click.echo(f"Loaded version {book.version}, in force from {_since(book)}.")


@cost_commands.command("check")
@click.argument("file")
def check_costs(file: str) -> None:
    """Say what is wrong with FILE, without storing it."""
    with _plainly():
        book = parse_cost_book(text_of(Path(file)))
    click.echo(f"Fine: {len(book.models)} models, {len(book.units)} resources.")


@cost_commands.command("show")
def show_costs() -> None:
    """Show the cost book in force."""
    parts = _parts()
    with _plainly(), parts.database.reading() as tx:
        book = cost_books.cost_books_of(tx).in_force(parts.clock())
    if book is None:
        click.echo("No cost book is in force: only the public model prices are known.")
        return
    models = Table("Model", "Provider", *(kind.replace("_", " ") for kind in TOKEN_PRICES))
    for model in book.models.values():
        prices = model.per_million_nano_usd
        cells = (format_nano_usd(prices[kind]) if kind in prices else "" for kind in TOKEN_PRICES)
        models.add_row(model.model, model.provider or "any", *cells)
    resources = Table("Resource", "Layer", "Unit", "USD")
    for unit in book.units.values():
        price = format_scaled(unit.price_femto_usd, places=PRICE_PLACES)
        resources.add_row(unit.resource, unit.layer, unit.unit, price)
    console = Console()
    console.print(f"Version {book.version}, from {_since(book)}; models in USD per million tokens")
    console.print(models)
    console.print(resources)


def _since(book: CostBook) -> str:
    return book.effective_at.isoformat() if book.effective_at else "now"


@cost_commands.command("review")
@click.option("--org", "organization_id", help="Only this organization.")
@click.option("--accept", "decision", flag_value=cost_review.ACCEPTED, help="Book what was stated.")
@click.option("--reject", "decision", flag_value=cost_review.REJECTED, help="Keep the book's.")
@click.argument("lines", nargs=-1)
def review_costs(organization_id: str | None, decision: str | None, lines: tuple[str, ...]) -> None:
    """List stated costs that are far from the book, or decide on LINES of that list."""
    if bool(decision) != bool(lines):
        raise click.UsageError("A decision is --accept or --reject, and the ids of the lines.")
    parts = _parts()
    with _plainly():
        if decision:
            decided = cost_review.decide(
                parts.database,
                lines,
                decision,
                organization_id=organization_id,
                actor="operator:cli",
                now=parts.clock(),
            )
            for one in decided:
                click.echo(f"{one.review_id} {decision}: {_told(one)}")
            return
        with parts.database.reading() as tx:
            found = cost_review.waiting(tx, organization_id=organization_id)
    for one in found:
        click.echo(f"{one.review_id} {one.organization_id} {_told(one)}")
    click.echo(f"{len(found)} to decide.")


def _told(one: Suspect) -> str:
    return (
        f"event {one.event_id} of {one.source}, {one.layer} {one.subject}: "
        f"stated ${format_nano_usd(one.stated_nano_usd)}, "
        f"booked ${format_nano_usd(one.booked_nano_usd)} by {one.price_source}"
    )
