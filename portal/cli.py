"""Commands of the operator: catalogue, costs, keys, people, ledger, Stripe, worker."""

from __future__ import annotations

import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

import click
from flask import Flask
from flask.cli import AppGroup
from markupsafe import escape
from rich.console import Console
from rich.table import Table

from portal import (
    access,
    accounts,
    audit,
    bill_commands,
    catalog,
    cost_books,
    cost_review,
    jobs,
    keys,
    proof,
)
from portal.billing import inbox, listing, refunds
from portal.billing import reconcile as reconciliation
from portal.console import parts as _parts
from portal.console import plainly as _plainly
from portal.core import catalog as core_catalog
from portal.core.audit_chain import read_anchor
from portal.core.catalog import PriceBook, minor_places
from portal.core.cost_book import PRICE_PLACES, TOKEN_PRICES, CostBook, parse_cost_book
from portal.core.units import format_micro, format_nano_usd, format_scaled
from portal.cost_review import Suspect
from portal.jobs import Workshop
from portal.notices.delivering import Post
from portal.notices.mail import Mail
from portal.web.services import Services

catalog_commands = AppGroup("catalog", help="Price books: load, check, show, push to Stripe.")
cost_commands = AppGroup("costs", help="Cost books, and stated costs that look wrong.")
key_commands = AppGroup("keys", help="API keys.")
member_commands = AppGroup("members", help="People of an organization.")
operator_commands = AppGroup("operators", help="The operator's own people.")
ledger_commands = AppGroup("ledger", help="The ledger.")
audit_commands = AppGroup("audit", help="The record of who did what.")
stripe_commands = AppGroup("stripe", help="Payments.")
mail_commands = AppGroup("mail", help="Mail.")


def register(app: Flask) -> None:
    """Attach every command to the application."""
    for group in (
        catalog_commands,
        cost_commands,
        key_commands,
        member_commands,
        operator_commands,
        ledger_commands,
        audit_commands,
        stripe_commands,
        mail_commands,
    ):
        app.cli.add_command(group)
    for command in bill_commands.COMMANDS:
        cost_commands.add_command(command)
    app.cli.add_command(bill_commands.margin_commands)
    app.cli.add_command(worker)


def _document(file: str | None) -> str:
    return _text_of(Path(file or _parts().settings.catalog_file or catalog.DEFAULT_FILE))


def _text_of(path: Path) -> str:
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


@cost_commands.command("load")
@click.argument("file", required=False)
def load_costs(file: str | None) -> None:
    """Store a cost book from FILE (default: the example that ships) as a new dated version."""
    parts = _parts()
    document = _text_of(Path(file or cost_books.EXAMPLE_FILE))
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
        book = parse_cost_book(_text_of(Path(file)))
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


@mail_commands.command("test")
@click.argument("address")
def test_mail(address: str) -> None:
    """Send a mail to ADDRESS by MAIL_URL and say whether the server took it."""
    parts = _parts()
    words = f"This is a test: {parts.settings.brand.name} can send mail."
    with _plainly():
        parts.mailer.send(Mail(address, "A test", f"{words}\n", f"<p>{escape(words)}</p>"))
    click.echo("The mail server took it." if parts.mailer.url else "MAIL_URL is missing.")


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
                with parts.database.reading(patient=True) as tx:
                    faults = proof.ledger_faults(tx, organization.organization_id)
                for fault in faults:
                    click.echo(f"{organization.organization_id}: {fault}")
                faulty += bool(faults)
                proven += not faults
            after = page[-1].organization_id
    click.echo(f"{proven} organizations proven, {faulty} at fault.")
    if faulty:
        sys.exit(1)


@audit_commands.command("verify")
@click.option("--anchor", "file", help="An anchor that `audit anchor` wrote, kept elsewhere.")
def verify_record(file: str | None) -> None:
    """Prove that no act on record was changed, put in or taken away; exit 1 where one was."""
    parts = _parts()
    anchored = None
    if file is not None:
        try:
            anchored = read_anchor(_text_of(Path(file)), secret=parts.settings.secret_key)
        except ValueError as error:
            raise click.ClickException(f"{file}: {error}") from error
    with _plainly(), parts.database.reading(patient=True) as tx:
        found = list(audit.verify(tx, anchored))
        chains, acts = audit.count(tx)
    for organization_id, fault in found:
        click.echo(f"{organization_id or 'the operator'}: {fault}")
    since = "" if anchored is None else f", {len(anchored)} of them against the anchor"
    click.echo(f"{acts} acts in {chains} chains{since}: {len(found)} faults.")
    if found:
        sys.exit(1)


@audit_commands.command("anchor")
@click.argument("file", required=False)
def anchor_record(file: str | None) -> None:
    """Write where every chain stands now, signed, to FILE or to standard output."""
    parts = _parts()
    with _plainly(), parts.database.reading() as tx:
        document = audit.anchor(tx, secret=parts.settings.secret_key, now=parts.clock())
    if file is None:
        click.echo(document)
        return
    Path(file).write_text(document + "\n", encoding="utf-8")
    click.echo(f"Keep {file} where nobody who can write the store can write.")


@stripe_commands.command("reconcile")
@click.option("--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]))
def reconcile(since: datetime | None) -> None:
    """Fetch from Stripe what webhooks did not bring; print what was mended, and what differs."""
    parts = _parts()
    begin = since.replace(tzinfo=UTC) if since else None
    with _plainly():
        mended = reconciliation.reconcile(
            parts.database, parts.payments, since=begin, now=parts.clock()
        )
        for line in mended:
            click.echo(line)
        differing = reconciliation.differences(
            parts.database, parts.payments, since=begin, now=parts.clock()
        )
    for line in differing:
        click.echo(f"differs: {line}")
    click.echo(f"{len(mended)} mended, {len(differing)} differ.")


@stripe_commands.command("replay")
@click.argument("events", nargs=-1)
def replay(events: tuple[str, ...]) -> None:
    """Try EVENTS again that were set aside; without any, list them and why."""
    parts = _parts()
    with _plainly():
        if not events:
            for event, reason in inbox.quarantined(parts.database):
                click.echo(f"{event.event_id} ({event.type}, {event.object_id}): {reason}")
            return
        for line in inbox.replay(parts.database, parts.payments, events, now=parts.clock()):
            click.echo(line)


@stripe_commands.command("refund")
@click.argument("organization_id", metavar="ORGANIZATION")
@click.argument("payment_id", metavar="PAYMENT")
@click.option("--amount", help="In the payment's currency, such as 10.50; default: the unspent.")
@click.option(
    "--of",
    type=click.Choice(["plan", "overage"]),
    default="",
    help="What of an invoice for both; default: both in proportion.",
)
@click.option("--reason", default="", help="Why; it goes on record.")
def refund(organization_id: str, payment_id: str, amount: str | None, of: str, reason: str) -> None:
    """Give PAYMENT of ORGANIZATION back, as far as its credits are unspent."""
    parts = _parts()
    with _plainly():
        done = refunds.give_back(
            parts.database,
            parts.payments,
            organization_id=organization_id,
            payment_id=payment_id,
            amount=amount,
            of=of,
            reason=reason,
            actor="operator",
            now=parts.clock(),
        )
    click.echo(f"{done.refund_id}: {done.amount} of {payment_id} goes back, it is {done.status}.")


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
