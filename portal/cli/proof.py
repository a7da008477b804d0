"""Commands that prove what is stored: the ledger's invariants, the record's chains."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from flask.cli import AppGroup

from portal import accounts, audit, proof
from portal.console import parts as _parts
from portal.console import plainly as _plainly
from portal.console import text_of
from portal.core.audit_chain import read_anchor

ledger_commands = AppGroup("ledger", help="The ledger.")
audit_commands = AppGroup("audit", help="The record of who did what.")


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
            anchored = read_anchor(text_of(Path(file)), secret=parts.settings.secret_key)
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
