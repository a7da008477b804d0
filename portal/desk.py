"""One organization's books, opened for an act: locked, and brought up to the instant of the act.

Every use case that spends, grants or limits begins here, so that answers are the same with every
job stopped: holds past their deadline are given back and periods that are due begin, one after the
other as their instants came.
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


def book_due(database: Database, organization_id: str, *, now: datetime) -> None:
    """Book what fell due by itself up to now: holds' deadlines, periods, expiry."""
    with database.transaction() as tx:
        desk = open_desk(tx, organization_id, now=now)
        desk.wallet.expire_grants()
        desk.wallet.write()


def open_desk(tx: Connection, organization_id: str, *, now: datetime) -> Desk:
    """Lock an organization's books and bring them up to now. Raises NotFound."""
    wallet = Wallet(tx, organization_id, now=now)
    organization = accounts.find_organization(tx, organization_id)
    while organization.subscribed and tiers.is_due(organization, now=wallet.now):
        # In the order of the instants: what a hold gives back before what is due rolls over, and
        # a hold whose deadline is still to come goes on.
        holds.expire_lapsed(tx, wallet, until=tiers.due_at(organization))
        organization = tiers.begin_next(tx, wallet, organization)
    holds.expire_lapsed(tx, wallet)
    return Desk(tx, wallet, organization)
