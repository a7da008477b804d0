"""What a reconciliation mended and found, kept to be read later.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import portal.tables

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make the table of reports."""
    op.create_table(
        "reconciliations",
        sa.Column("reconciliation_id", sa.Text(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("since", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("begun_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("mended", portal.tables.Document(), nullable=False),
        sa.Column("differing", portal.tables.Document(), nullable=False),
        sa.PrimaryKeyConstraint("reconciliation_id", name=op.f("pk_reconciliations")),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_reconciliations_begun_at"), "reconciliations", ["begun_at"])


def downgrade() -> None:
    """Take it away again."""
    op.drop_table("reconciliations")
