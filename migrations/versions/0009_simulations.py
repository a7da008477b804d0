"""Simulations of other prices: what was asked, how far they have come, what they found.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import portal.tables

revision = "0009"
down_revision = "0008"


def _whole(name: str, default: str | None = None) -> sa.Column[int]:
    return sa.Column(
        name,
        sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
        nullable=False,
        server_default=default,
    )


def upgrade() -> None:
    """Make the tables of simulations."""
    op.create_table(
        "simulations",
        sa.Column("simulation_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("request", portal.tables.Document(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("done_until", sa.Text(), server_default="", nullable=False),
        _whole("done", "0"),
        _whole("total"),
        sa.Column("notes", portal.tables.Document(), nullable=False),
        sa.Column("lease", sa.Text(), nullable=True),
        sa.Column("leased_until", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("created_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("finished_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column("result", portal.tables.Document(), nullable=True),
        sa.Column("failure", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint(
            "done >= 0 AND total >= 0", name=op.f("ck_simulations_progress_counted")
        ),
        sa.CheckConstraint(
            "(status = 'done') = (result IS NOT NULL)",
            name=op.f("ck_simulations_done_with_a_result"),
        ),
        sa.CheckConstraint(
            "(status = 'failed') = (failure <> '')", name=op.f("ck_simulations_failed_for_a_reason")
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'done', 'failed')",
            name=op.f("ck_simulations_status_known"),
        ),
        sa.PrimaryKeyConstraint("simulation_id", name=op.f("pk_simulations")),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_simulations_created_at"), "simulations", ["created_at"])
    op.create_index(op.f("ix_simulations_status"), "simulations", ["status"])
    op.create_table(
        "simulated_customers",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("simulation_id", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column(
            "rate_nano_usd", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        _whole("revenue_minor"),
        _whole("today_minor"),
        _whole("cost_nano_usd"),
        _whole("swing_permille"),
        _whole("today_swing_permille"),
        _whole("uncollected_micro"),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_simulated_customers_organizations"),
        ),
        sa.PrimaryKeyConstraint(
            "organization_id", "simulation_id", name=op.f("pk_simulated_customers")
        ),
        sqlite_strict=True,
    )
    op.create_index(
        op.f("ix_simulated_customers_simulation_id_organization_id"),
        "simulated_customers",
        ["simulation_id", "organization_id"],
    )


def downgrade() -> None:
    """Take them away again."""
    op.drop_table("simulated_customers")
    op.drop_table("simulations")
