"""Commands of the operator: catalogue, costs, keys, people, ledger, Stripe, worker."""

from __future__ import annotations

from flask import Flask

from portal import bill_commands
from portal.cli.catalog import catalog_commands
from portal.cli.costs import cost_commands
from portal.cli.keys import key_commands
from portal.cli.payments import stripe_commands
from portal.cli.people import member_commands, operator_commands
from portal.cli.proof import audit_commands, ledger_commands
from portal.cli.running import mail_commands, worker

__all__ = ["register"]


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
