"""Sharing a bill out among customers by a rule.

Fills ``cost_shares``; only withdrawing a bill empties it besides. Invariant: the parts of a bill
add up to what no event explained of it when it was shared out.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, literal, select, update

from portal import audit
from portal.core.errors import InvalidRequest, NotFound
from portal.core.margin.figures import Span
from portal.core.units import apportion, format_nano_usd
from portal.db import Database
from portal.margin.costs.bills import NOBODY, Bill, bills_where
from portal.margin.costs.reconciling import reconcile
from portal.rows import insert_rows
from portal.tables import Whole, cost_bills, cost_daily, cost_shares, organizations, usage_daily

#: By what a bill can be shared out among customers.
RULES = {
    "credits": "the credits of what each customer used in the bill's days, charged or not",
    "events": "how many events of work each customer had in the bill's days",
    "cost": "what each customer's own work cost in the bill's days, in all layers",
    "customers": "one part for each customer with any work in the bill's days",
    "stated": "quantities that the operator stated, such as gigabytes stored",
}
_LARGEST_WEIGHT = 10**12


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
        found = bills_where(tx, cost_bills.c.bill_id == bill_id)
        if not found:
            raise NotFound("bill", bill_id)
        bill = found[0]
        tx.execute(delete(cost_shares).where(cost_shares.c.bill_id == bill_id))
        parts = _weights(tx, bill.span, rule, weights or {})
        if not any(parts.values()):
            raise InvalidRequest("Nobody has any part by this rule: nothing can be shared out.")
        left = min(max(0, _of_scope(tx, bill)), max(0, bill.amount_nano_usd))
        amounts = apportion(left, list(parts.values()))
        rows = [
            _share_row(bill_id, organization_id, weight, amount)
            for (organization_id, weight), amount in zip(parts.items(), amounts, strict=True)
            if weight
        ]
        insert_rows(tx, cost_shares, rows)
        tx.execute(update(cost_bills).where(cost_bills.c.bill_id == bill_id).values(rule=rule))
        audit.note(
            tx,
            NOBODY,
            actor=actor,
            act="cost.shared",
            target=bill_id,
            detail={"rule": rule, "amount_usd": format_nano_usd(left)},
            now=now,
        )
        return left


def _share_row(
    bill_id: str, organization_id: str, weight: int, amount_nano_usd: int
) -> dict[str, Any]:
    return {
        "organization_id": organization_id,
        "bill_id": bill_id,
        "weight": weight,
        "amount_nano_usd": amount_nano_usd,
    }


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
