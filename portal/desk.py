"""One organization's books, opened for an act: locked, and brought up to the instant of the act.

Every use case that spends, grants or limits begins here, so that answers are the same with every
job stopped: holds past their deadline are given back first, then the period that is due begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from portal import accounts, holds, tiers
from portal.accounts import Organization
from portal.db import Database
from portal.wallet import Wallet


@dataclass(frozen=True)
class Desk:
    """The wallet, locked until the transaction ends, and the organization as it is now."""

    tx: Connection
    wallet: Wallet
    organization: Organization

    @property
    def now(self) -> datetime:
        """The instant of the act: never before what the ledger has written already."""
        return self.wallet.now


def begin_due(database: Database, organization_id: str, *, now: datetime) -> Organization:
    """Begin the period that is due, for somebody who looks before any job or spending did."""
    with database.transaction() as tx:
        desk = open_desk(tx, organization_id, now=now)
        desk.wallet.write()
    return desk.organization


def open_desk(tx: Connection, organization_id: str, *, now: datetime) -> Desk:
    """Lock an organization's books and bring them up to now. Raises NotFound."""
    wallet = Wallet(tx, organization_id, now=now)
    holds.expire_lapsed(tx, wallet)
    organization = accounts.find_organization(tx, organization_id)
    return Desk(tx, wallet, tiers.renew(tx, wallet, organization))
