"""Commands of what happens at Stripe: reconcile, replay, refund."""

from __future__ import annotations

from datetime import UTC, datetime

import click
from flask.cli import AppGroup

from portal.billing import inbox, mending, refunds
from portal.billing import reconcile as reconciliation
from portal.console import parts as _parts
from portal.console import plainly as _plainly

stripe_commands = AppGroup("stripe", help="Payments.")


@stripe_commands.command("reconcile")
@click.option("--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]))
def reconcile(since: datetime | None) -> None:
    """Fetch from Stripe what webhooks did not bring; print what was mended, and what differs."""
    parts = _parts()
    begin = since.replace(tzinfo=UTC) if since else None
    with _plainly():
        told = reconciliation.reconcile(
            parts.database, parts.payments, since=begin, now=parts.clock()
        )
        for line in [*mending.mended(told), *mending.unmended(told)]:
            click.echo(line)
        differing = reconciliation.differences(
            parts.database, parts.payments, since=begin, now=parts.clock()
        )
    for line in differing:
        click.echo(f"differs: {line}")
    click.echo(mending.counted(told, differing))


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
