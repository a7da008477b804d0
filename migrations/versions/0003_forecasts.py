"""What was forecast on each day, to be told against what came.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import portal.tables

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table of forecasts."""
    op.create_table(
        "forecasts",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("period_start", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("day", portal.tables.Day(), nullable=False),
        sa.Column("made_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("period_end", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column(
            "spent_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "p10_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "p50_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "p90_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.CheckConstraint(
            "p10_micro <= p50_micro AND p50_micro <= p90_micro AND spent_micro <= p10_micro",
            name=op.f("ck_forecasts_in_order"),
        ),
        sa.CheckConstraint("period_start < period_end", name=op.f("ck_forecasts_period_ordered")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["wallets.organization_id"], name=op.f("fk_forecasts_wallets")
        ),
        sa.PrimaryKeyConstraint(
            "organization_id", "period_start", "day", name=op.f("pk_forecasts")
        ),
        sqlite_strict=True,
    )


def downgrade() -> None:
    """Take it away again."""
    op.drop_table("forecasts")
