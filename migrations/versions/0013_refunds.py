"""Refunds that operators ask for: who asked, who approved, and how far each came.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import portal.tables

revision = "0013"
down_revision = "0012"

_WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OPEN = "status IN ('waiting', 'started')"


def upgrade() -> None:
    """Make the table, and the column for what a refund could not take."""
    op.add_column(
        "payments",
        sa.Column("refund_missed_micro", _WHOLE, nullable=False, server_default=sa.text("0")),
    )
    op.create_table(
        "refunds",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("refund_id", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("amount_minor", _WHOLE, nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("part", sa.Text(), server_default="", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("asked_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("expires_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), server_default="", nullable=False),
        sa.Column("stripe_refund_id", sa.Text(), nullable=True),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_refunds_gives_something")),
        sa.CheckConstraint(
            "expires_at IS NULL OR status NOT IN ('started', 'done', 'failed') "
            "OR (decided_by IS NOT NULL AND lower(decided_by) <> lower(asked_by))",
            name=op.f("ck_refunds_approved_by_another"),
        ),
        sa.CheckConstraint(
            "status <> 'done' OR stripe_refund_id IS NOT NULL",
            name=op.f("ck_refunds_done_at_stripe"),
        ),
        sa.CheckConstraint("part IN ('', 'plan', 'overage')", name=op.f("ck_refunds_part_known")),
        sa.CheckConstraint(
            "status IN ('waiting', 'started', 'done', 'failed', 'refused', 'declined', "
            "'withdrawn', 'lapsed')",
            name=op.f("ck_refunds_status_known"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "payment_id"],
            ["payments.organization_id", "payments.payment_id"],
            name=op.f("fk_refunds_payments"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "refund_id", name=op.f("pk_refunds")),
        sqlite_strict=True,
    )
    op.create_index(
        "ux_refunds_one_open",
        "refunds",
        ["organization_id", "payment_id"],
        unique=True,
        postgresql_where=sa.text(_OPEN),
        sqlite_where=sa.text(_OPEN),
    )
    op.create_index(op.f("ix_refunds_status_asked_at"), "refunds", ["status", "asked_at"])


def downgrade() -> None:
    """Take them away again."""
    op.drop_table("refunds")
    op.drop_column("payments", "refund_missed_micro")
