"""What the operator was billed, beside what customers' work explains of it, layer by layer.

The only writer of ``cost_imports``, ``cost_bills`` and ``cost_shares``. Invariant: the same
document is one import; a bill that was shared out has parts that add up to what no event explained
of it then; layers and what is unattributed are the total. A bill counts by time, day by day.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, literal, select, update

from portal import audit
from portal.core.costs import LAYERS
from portal.core.errors import InvalidRequest, NotFound
from portal.core.margin.figures import Span
from portal.core.margin.focus import Charge, Charges, Reading, add_up
from portal.core.margin.recognition import share
from portal.core.units import apportion, format_nano_usd
from portal.db import Database, insert_or_ignore, insert_rows
from portal.ids import new_id
from portal.margin import sums
from portal.tables import (
    Whole,
    cost_bills,
    cost_daily,
    cost_imports,
    cost_shares,
    organizations,
    usage_daily,
)

DAY = timedelta(days=1)
#: By what a bill can be shared out among customers.
RULES = {
    "credits": "the credits of what each customer used in the bill's days, charged or not",
    "events": "how many events of work each customer had in the bill's days",
    "cost": "what each customer's own work cost in the bill's days, in all layers",
    "customers": "one part for each customer with any work in the bill's days",
    "stated": "quantities that the operator stated, such as gigabytes stored",
}
#: The record of these is the operator's own, of no organization.
_NOBODY = ""
_LARGEST_WEIGHT = 10**12


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


@dataclass(frozen=True)
class Reconciled:
    """What bills say of a layer (of one provider, or of all that no other bill is for).

    ``attributed`` is what events of customers explain, ``shared`` what was shared out beside that.
    """

    layer: str
    provider: str
    billed_nano_usd: int
    attributed_nano_usd: int
    shared_nano_usd: int

    @property
    def unattributed_nano_usd(self) -> int:
        """What no customer explains; below zero where customers explain more than was billed."""
        return self.billed_nano_usd - self.attributed_nano_usd - self.shared_nano_usd


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
            return Imported(False, digest, _bills(tx, cost_bills.c.digest == digest))
        insert_rows(tx, cost_bills, [_bill_row(digest, one) for one in charges.charges])
        audit.note(
            tx,
            _NOBODY,
            actor=actor,
            act="cost.imported",
            target=digest,
            detail={"name": name, "amount_usd": format_nano_usd(charges.amount_nano_usd)},
            now=now,
        )
        return Imported(True, digest, _bills(tx, cost_bills.c.digest == digest))


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
        audit.note(
            tx, _NOBODY, actor=actor, act="cost.withdrawn", target=digest, detail={}, now=now
        )


def every(tx: Connection) -> list[Bill]:
    """Return all bills, by their days."""
    return _bills(tx)


def _bills(tx: Connection, *where: Any) -> list[Bill]:
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
    return _bills(tx, cost_bills.c.start_day < span.end, cost_bills.c.end_day > span.start)


def share_out(
    database: Database,
    bill_id: str,
    rule: str,
    *,
    weights: Mapping[str, int] | None = None,
    actor: str,
    now: datetime,
) -> int:
    """Share what no event explains of a bill among customers by a rule; returns that amount.

    In billionths of a US dollar; the largest remainders take what rounding left over, so that the
    parts are the whole. Again, it is shared anew. ``weights`` are the quantities that the rule
    "stated" needs, by organization. Raises NotFound, and InvalidRequest for another rule, for an
    organization that is unknown, and where nobody has any part.
    """
    if rule not in RULES:
        raise InvalidRequest.at("/rule", f"is not one of {', '.join(RULES)}")
    with database.transaction() as tx:
        found = _bills(tx, cost_bills.c.bill_id == bill_id)
        if not found:
            raise NotFound("bill", bill_id)
        bill = found[0]
        tx.execute(delete(cost_shares).where(cost_shares.c.bill_id == bill_id))
        parts = _weights(tx, bill.span, rule, weights or {})
        if not any(parts.values()):
            raise InvalidRequest("Nobody has any part by this rule: nothing can be shared out.")
        left = min(max(0, _of_scope(tx, bill)), max(0, bill.amount_nano_usd))
        amounts = apportion(left, list(parts.values()))
        insert_rows(
            tx,
            cost_shares,
            [
                {
                    "organization_id": organization_id,
                    "bill_id": bill_id,
                    "weight": weight,
                    "amount_nano_usd": amount,
                }
                for (organization_id, weight), amount in zip(parts.items(), amounts, strict=True)
                if weight
            ],
        )
        tx.execute(update(cost_bills).where(cost_bills.c.bill_id == bill_id).values(rule=rule))
        audit.note(
            tx,
            _NOBODY,
            actor=actor,
            act="cost.shared",
            target=bill_id,
            detail={"rule": rule, "amount_usd": format_nano_usd(left)},
            now=now,
        )
        return left


def _of_scope(tx: Connection, bill: Bill) -> int:
    """Return what nobody explains of a bill's layer and provider in the bill's days."""
    return sum(
        one.unattributed_nano_usd
        for one in reconcile(tx, bill.span)
        if (one.layer, one.provider) == (bill.layer, bill.provider)
    )


def _weights(tx: Connection, span: Span, rule: str, stated: Mapping[str, int]) -> dict[str, int]:
    """Return each customer's weight by a rule, by id."""
    if rule == "stated":
        return _stated(tx, stated)
    table = cost_daily if rule == "cost" else usage_daily
    weight = {
        "credits": func.sum(usage_daily.c.credits_micro + usage_daily.c.uncollected_micro),
        "events": func.sum(usage_daily.c.events),
        "cost": func.sum(cost_daily.c.cost_nano_usd),
        "customers": func.min(literal(1, Whole)),
    }[rule]
    query = (
        select(table.c.organization_id, weight)
        .where(table.c.day >= span.start, table.c.day < span.end)
        .group_by(table.c.organization_id)
        .order_by(table.c.organization_id)
    )
    if rule != "cost":
        query = query.where(usage_daily.c.action != "")
    return {organization_id: max(0, int(weight)) for organization_id, weight in tx.execute(query)}


def _stated(tx: Connection, stated: Mapping[str, int]) -> dict[str, int]:
    known = set(tx.execute(select(organizations.c.organization_id)).scalars())
    for organization_id, weight in stated.items():
        if organization_id not in known:
            raise NotFound("organization", organization_id)
        if not 0 <= weight <= _LARGEST_WEIGHT:
            raise InvalidRequest.at(f"/{organization_id}", "is not a quantity from zero up")
    return dict(sorted(stated.items()))


def reconcile(tx: Connection, span: Span) -> list[Reconciled]:
    """Compare what bills say of a span with what customers explain of the same days.

    A bill of a provider stands beside that provider's cost, one without beside all of the layer
    that no bill of a provider is for. Days without a bill are left out.
    """
    found = overlapping(tx, span)
    scopes: dict[tuple[str, str], list[Bill]] = defaultdict(list)
    for bill in found:
        scopes[bill.layer, bill.provider].append(bill)
    covered = {scope: _days(mine, span) for scope, mine in scopes.items()}
    attributed: dict[tuple[str, str], int] = defaultdict(int)
    for row in tx.execute(_explained(span, {bill.layer for bill in found})):
        for provider in (row.provider, ""):
            if row.day in covered.get((row.layer, provider), ()):
                attributed[row.layer, provider] += int(row.cost_nano_usd)
                break
    return [
        Reconciled(
            layer,
            provider,
            sum(of_span(bill, span) for bill in mine),
            attributed[layer, provider],
            sum(_shared(tx, bill, span) for bill in mine if bill.rule),
        )
        for (layer, provider), mine in sorted(scopes.items(), key=lambda one: _place(one[0]))
    ]


def _place(scope: tuple[str, str]) -> tuple[int, str]:
    return LAYERS.index(scope[0]), scope[1]


def _days(found: Sequence[Bill], span: Span) -> set[date]:
    """Return the days of a span that bills are for."""
    days: set[date] = set()
    for bill in found:
        start, end = max(bill.span.start, span.start), min(bill.span.end, span.end)
        days.update(start + number * DAY for number in range((end - start).days))
    return days


def _explained(span: Span, layers: set[str]) -> Select[Any]:
    return (
        select(
            cost_daily.c.layer,
            cost_daily.c.provider,
            cost_daily.c.day,
            func.sum(cost_daily.c.cost_nano_usd).label("cost_nano_usd"),
        )
        .where(
            cost_daily.c.day >= span.start,
            cost_daily.c.day < span.end,
            cost_daily.c.layer.in_(sorted(layers)),
        )
        .group_by(cost_daily.c.layer, cost_daily.c.provider, cost_daily.c.day)
    )


def of_span(bill: Bill, span: Span) -> int:
    """Return what of a bill is for the days of a span: by time, rounded as fees are."""
    first = bill.span.start.toordinal()
    until = [
        share(bill.amount_nano_usd, day.toordinal() - first, bill.span.days)
        for day in (span.start, span.end)
    ]
    return until[1] - until[0]


def _shared(tx: Connection, bill: Bill, span: Span) -> int:
    start, end = (sums.bill_until(bill, day) for day in (span.start, span.end))
    query = select(func.coalesce(func.sum(end - start), 0)).where(
        cost_shares.c.bill_id == bill.bill_id
    )
    return int(tx.execute(query).scalar_one())


def shares_of(tx: Connection, organization_id: str) -> list[Row[Any]]:
    """Return what an organization has of bills that were shared out, with rule and weight."""
    return list(
        tx.execute(
            select(
                cost_bills.c.bill_id,
                cost_bills.c.layer,
                cost_bills.c.start_day,
                cost_bills.c.end_day,
                cost_bills.c.rule,
                cost_shares.c.weight,
                cost_shares.c.amount_nano_usd,
            )
            .join(cost_bills, cost_bills.c.bill_id == cost_shares.c.bill_id)
            .where(cost_shares.c.organization_id == organization_id)
            .order_by(cost_bills.c.start_day, cost_bills.c.bill_id)
        )
    )
