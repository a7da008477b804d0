"""Rules of money: what becomes of overage on its invoice, which part of a payment was for its grant.

Revision ID: 0011
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import portal.tables

revision = "0011"
down_revision = "0010"

_WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the columns."""
    # As one statement: SQLite takes a check only with the column it is about.
    op.execute(
        "ALTER TABLE overage_bills ADD COLUMN status TEXT DEFAULT 'due' NOT NULL "
        "CONSTRAINT ck_overage_bills_status_known "
        "CHECK (status IN ('due', 'waived', 'uncollectible'))"
    )
    op.add_column("payments", sa.Column("grant_part_minor", _WHOLE, nullable=True))
    for name in ("plan_refunded_minor", "overage_refunded_minor"):
        op.add_column(
            "payments",
            sa.Column(name, _WHOLE, nullable=False, server_default=sa.text("0")),
        )
    op.add_column(
        "payments",
        sa.Column("receipt_url", sa.Text(), nullable=False, server_default=""),
    )
    op.add_column("tier_changes", sa.Column("from_seats", _WHOLE, nullable=True))
    # A decline waits for another payment method, and no longer for an hour.
    op.execute(
        "UPDATE auto_top_ups SET suspended = 'declined' WHERE declines > 0 AND suspended = ''"
    )
    op.drop_column("auto_top_ups", "cools_until")


def downgrade() -> None:
    """Take them away again."""
    op.add_column(
        "auto_top_ups",
        sa.Column("cools_until", portal.tables.Instant(timezone=True), nullable=True),
    )
    op.drop_column("tier_changes", "from_seats")
    op.drop_column("payments", "receipt_url")
    op.drop_column("payments", "overage_refunded_minor")
    op.drop_column("payments", "plan_refunded_minor")
    op.drop_column("payments", "grant_part_minor")
    op.drop_column("overage_bills", "status")
