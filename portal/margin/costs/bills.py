"""What the operator was billed: documents taken once each, and the bills they are made of.

The only writer of ``cost_imports``, and of ``cost_bills`` but for the rule one was shared out by.
Invariant: the same document is one import.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, select

from portal import audit
from portal.core.errors import InvalidRequest, NotFound
from portal.core.margin.figures import Span
from portal.core.margin.focus import Charge, Charges, Reading, add_up
from portal.core.units import format_nano_usd
from portal.db import Database
from portal.ids import new_id
from portal.rows import insert_or_ignore, insert_rows
from portal.tables import cost_bills, cost_imports, cost_shares

#: The record of these is the operator's own, of no organization.
NOBODY = ""


@dataclass(frozen=True)
class Bill:
    """What one layer cost in some days by one document; ``rule`` is "" where nothing was shared."""

    bill_id: str
    digest: str
    name: str
    layer: str
    provider: str
    span: Span
    amount_nano_usd: int
    rule: str


@dataclass(frozen=True)
class Imported:
    """A document as it was taken: whether it is new, its digest and its bills."""

    new: bool
    digest: str
    bills: Sequence[Bill]


def import_invoice(
    database: Database,
    content: bytes,
    *,
    name: str,
    charge: Charge,
    actor: str,
    now: datetime,
) -> Imported:
    """Take an invoice: what it asks for a layer and some days. The same again changes nothing.

    An invoice for several layers is taken once for each. Raises InvalidRequest where it was taken
    with another amount.
    """
    statement = (charge.layer, charge.provider, charge.start.isoformat(), charge.end.isoformat())
    digest = hashlib.sha256(json.dumps(statement).encode() + content).hexdigest()
    reading = {"layer": charge.layer}
    charges = Charges((charge,), 1)
    return _take(database, digest, name, "invoice", reading, charges, actor=actor, now=now)


def import_focus(
    database: Database, content: bytes, reading: Reading, *, name: str, actor: str, now: datetime
) -> Imported:
    """Take a cloud bill in FOCUS 1.0, a CSV file or the same compressed by gzip.

    The same file again changes nothing. Raises InvalidRequest.
    """
    charges = read_focus(content, reading)
    digest = hashlib.sha256(_plain(content)).hexdigest()
    return _take(database, digest, name, "focus", reading.record(), charges, actor=actor, now=now)


def read_focus(content: bytes, reading: Reading) -> Charges:
    """Add up a file in FOCUS 1.0 without storing it. Raises InvalidRequest."""
    try:
        text = _plain(content).decode("utf-8-sig")
        return add_up(csv.DictReader(io.StringIO(text, newline="")), reading)
    except (UnicodeDecodeError, csv.Error, gzip.BadGzipFile, EOFError) as error:
        raise InvalidRequest(f"The file cannot be read as CSV: {error}.") from error


def _plain(content: bytes) -> bytes:
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


def _take(
    database: Database,
    digest: str,
    name: str,
    kind: str,
    reading: Mapping[str, Any],
    charges: Charges,
    *,
    actor: str,
    now: datetime,
) -> Imported:
    with database.transaction() as tx:
        row = {
            "digest": digest,
            "name": name,
            "kind": kind,
            "reading": dict(reading),
            "lines": charges.lines,
            "amount_nano_usd": charges.amount_nano_usd,
            "imported_at": now,
        }
        if not insert_or_ignore(tx, cost_imports, row):
            known = tx.execute(
                select(cost_imports.c.amount_nano_usd).where(cost_imports.c.digest == digest)
            ).scalar_one()
            if known != charges.amount_nano_usd:
                raise InvalidRequest(
                    f"This document was imported before as ${format_nano_usd(known)}: "
                    "withdraw that first."
                )
            return Imported(False, digest, bills_where(tx, cost_bills.c.digest == digest))
        insert_rows(tx, cost_bills, [_bill_row(digest, one) for one in charges.charges])
        audit.note(
            tx,
            NOBODY,
            actor=actor,
            act="cost.imported",
            target=digest,
            detail={"name": name, "amount_usd": format_nano_usd(charges.amount_nano_usd)},
            now=now,
        )
        return Imported(True, digest, bills_where(tx, cost_bills.c.digest == digest))


def _bill_row(digest: str, charge: Charge) -> dict[str, Any]:
    return {
        "bill_id": new_id("bill"),
        "digest": digest,
        "layer": charge.layer,
        "provider": charge.provider,
        "start_day": charge.start,
        "end_day": charge.end,
        "amount_nano_usd": charge.amount_nano_usd,
        "rule": "",
    }


def withdraw(database: Database, digest: str, *, actor: str, now: datetime) -> None:
    """Forget an import, its bills and what was shared out of them. Raises NotFound."""
    with database.transaction() as tx:
        mine = select(cost_bills.c.bill_id).where(cost_bills.c.digest == digest)
        tx.execute(delete(cost_shares).where(cost_shares.c.bill_id.in_(mine)))
        tx.execute(delete(cost_bills).where(cost_bills.c.digest == digest))
        if not tx.execute(delete(cost_imports).where(cost_imports.c.digest == digest)).rowcount:
            raise NotFound("import", digest)
        audit.note(tx, NOBODY, actor=actor, act="cost.withdrawn", target=digest, detail={}, now=now)


def every(tx: Connection) -> list[Bill]:
    """Return all bills, by their days."""
    return bills_where(tx)


def bills_where(tx: Connection, *where: Any) -> list[Bill]:
    """Return the bills that meet the conditions, by their days."""
    rows = tx.execute(
        select(cost_bills, cost_imports.c.name)
        .join(cost_imports, cost_imports.c.digest == cost_bills.c.digest)
        .where(*where)
        .order_by(cost_bills.c.start_day, cost_bills.c.layer, cost_bills.c.bill_id)
    )
    return [
        Bill(
            row.bill_id,
            row.digest,
            row.name,
            row.layer,
            row.provider,
            Span(row.start_day, row.end_day),
            row.amount_nano_usd,
            row.rule,
        )
        for row in rows
    ]


def overlapping(tx: Connection, span: Span) -> list[Bill]:
    """Return the bills that are for any day of a span."""
    return bills_where(tx, cost_bills.c.start_day < span.end, cost_bills.c.end_day > span.start)
