"""Commands of the operator's bills of cost, and of what was recognised."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click
from flask.cli import AppGroup
from rich.console import Console
from rich.table import Table

from portal import accounts
from portal.console import parts, plainly
from portal.core.costs import LAYERS
from portal.core.errors import InvalidRequest
from portal.core.margin.figures import Span
from portal.core.margin.focus import COLUMNS, Charge, mapped
from portal.core.units import NotExact, format_nano_usd, parse_micro, parse_nano_usd
from portal.margin import costs, revenue

margin_commands = AppGroup("margin", help="What was recognised of what customers paid.")
#: What belongs to the commands about costs.
_bills = AppGroup("costs")
_DAY = click.DateTime(["%Y-%m-%d"])
#: Whose acts these are, in the record.
_ACTOR = "operator:cli"


@_bills.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--layer", type=click.Choice(LAYERS), help="The layer that all of it is.")
@click.option("--amount", help="Of an invoice: what it asks, in US dollars, such as 412.50.")
@click.option("--start", type=_DAY, help="Of an invoice: the first day that it is for.")
@click.option("--end", type=_DAY, help="Of an invoice: the day after the last one.")
@click.option("--provider", default="", help="Of an invoice: only for this provider's calls.")
@click.option("--column", type=click.Choice(COLUMNS), default=COLUMNS[0], help="Of FOCUS.")
@click.option("--map", "overrides", multiple=True, help="CATEGORY=LAYER, or service:NAME=LAYER.")
def import_bill(
    file: Path,
    layer: str | None,
    amount: str | None,
    start: datetime | None,
    end: datetime | None,
    provider: str,
    column: str,
    overrides: tuple[str, ...],
) -> None:
    """Take FILE: an invoice with its layer, amount and days, or a cloud bill in FOCUS 1.0 (CSV)."""
    given = parts()
    content, name = file.read_bytes(), file.name
    stated = (amount, start, end)
    if any(stated) and not (all(stated) and layer):
        raise click.UsageError("An invoice needs --layer, --amount, --start and --end.")
    with plainly():
        if amount and start and end and layer:
            charge = _charge(layer, provider, start, end, amount)
            done = costs.import_invoice(
                given.database, content, name=name, charge=charge, actor=_ACTOR, now=given.clock()
            )
        else:
            reading = mapped(overrides, column=column, layer=layer or "")
            done = costs.import_focus(
                given.database, content, reading, name=name, actor=_ACTOR, now=given.clock()
            )
    if not done.new:
        click.echo("Unchanged: this was imported before.")
    _show(done.bills)
    click.echo(f"Import {done.digest}")


def _charge(layer: str, provider: str, start: datetime, end: datetime, amount: str) -> Charge:
    if not start < end:
        raise InvalidRequest.at("/end", "must be later than start")
    try:
        return Charge(layer, provider, start.date(), end.date(), parse_nano_usd(amount))
    except NotExact as error:
        raise InvalidRequest.at("/amount", str(error)) from error


def _show(found: Sequence[costs.Bill]) -> None:
    table = Table("Bill", "Layer", "Provider", "From", "Until", "USD", "Shared by", "Document")
    for one in found:
        table.add_row(
            one.bill_id,
            one.layer,
            one.provider or "any other",
            str(one.span.start),
            str(one.span.end),
            format_nano_usd(one.amount_nano_usd),
            one.rule or "nothing",
            one.name,
        )
    Console(width=160).print(table)


@_bills.command("bills")
def list_bills() -> None:
    """List all bills, and how they were shared out."""
    with plainly(), parts().database.reading() as tx:
        _show(costs.every(tx))


@_bills.command("reconcile")
@click.option("--start", type=_DAY, required=True, help="The first day.")
@click.option("--end", type=_DAY, required=True, help="The day after the last one.")
def reconcile_bills(start: datetime, end: datetime) -> None:
    """Compare what was billed for some days with what customers' work explains of it."""
    if not start < end:
        raise click.UsageError("The end must be later than the start.")
    with plainly(), parts().database.reading() as tx:
        found = costs.reconcile(tx, Span(start.date(), end.date()))
    table = Table("Layer", "Provider", "Billed", "Explained", "Shared out", "Unattributed")
    for one in found:
        amounts = (
            one.billed_nano_usd,
            one.attributed_nano_usd,
            one.shared_nano_usd,
            one.unattributed_nano_usd,
        )
        table.add_row(
            one.layer, one.provider or "any other", *(format_nano_usd(amount) for amount in amounts)
        )
    Console(width=160).print(table)


@_bills.command("share")
@click.argument("bill_id", metavar="BILL")
@click.option("--by", "rule", type=click.Choice(list(costs.RULES)), required=True)
@click.option(
    "--weights",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="For --by stated: a CSV file of organization,quantity.",
)
def share_bill(bill_id: str, rule: str, weights: Path | None) -> None:
    """Share what no event explains of BILL among customers, by a rule that is stored with it."""
    given = parts()
    with plainly():
        stated = _weights(weights) if weights else None
        done = costs.share_out(
            given.database, bill_id, rule, weights=stated, actor=_ACTOR, now=given.clock()
        )
    click.echo(f"Shared ${format_nano_usd(done)} by {costs.RULES[rule]}.")


def _weights(path: Path) -> dict[str, int]:
    """Read quantities by organization, in millionths."""
    found = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        for line, row in enumerate(csv.reader(file), start=1):
            try:
                organization_id, quantity = row
                found[organization_id.strip()] = parse_micro(quantity.strip())
            except ValueError as error:
                raise InvalidRequest(
                    f"Line {line} of {path.name} is not an organization, a comma, a quantity."
                ) from error
    return found


@_bills.command("withdraw")
@click.argument("digest", metavar="IMPORT")
def withdraw_import(digest: str) -> None:
    """Forget IMPORT, its bills and what was shared out of them."""
    given = parts()
    with plainly():
        costs.withdraw(given.database, digest, actor=_ACTOR, now=given.clock())
    click.echo("Withdrawn.")


@margin_commands.command("rebuild")
@click.option("--org", "organization_id", help="Only this organization.")
def rebuild_revenue(organization_id: str | None) -> None:
    """Recognise all revenue anew, from the ledger, the payments and the history of tiers."""
    given = parts()
    done, after = 0, ""
    with plainly():
        while True:
            with given.database.reading() as tx:
                page = accounts.list_organizations(tx, after=after)
            for one in page:
                if organization_id in {None, one.organization_id}:
                    revenue.rebuild(given.database, one.organization_id, now=given.clock())
                    done += 1
            if not page:
                break
            after = page[-1].organization_id
    click.echo(f"{done} organizations recognised anew.")


COMMANDS = tuple(_bills.commands.values())
