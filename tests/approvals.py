"""Refunds that two operators are needed for: Olga asks, Otto approves."""

from __future__ import annotations

from datetime import datetime

from portal.billing import approvals
from portal.billing.gateway import Gateway
from portal.billing.refunds import GivenBack
from portal.db import Database


def approved(
    database: Database,
    payments: Gateway,
    organization_id: str,
    payment_id: str,
    *,
    amount: str | None = None,
    of: str = "",
    now: datetime,
) -> GivenBack:
    """Have more of a payment go back than is unspent."""
    refund_id = approvals.ask(
        database, organization_id=organization_id, payment_id=payment_id, amount=amount, of=of,
        reason="goodwill", actor="operator:olga", now=now,
    )  # fmt: skip
    return approvals.approve(
        database, payments, organization_id=organization_id, refund_id=refund_id, shown_minor=0,
        actor="operator:otto", now=now,
    )  # fmt: skip
