"""The express lane writes in one statement, and no check of a transfer goes over all there are.

The index of transfers by time was taken for as good as the primary key to find one transfer by,
where most organizations have few: each entry of a busy one then went over all of its transfers.

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

#: What PostgreSQL does by itself on the hot path (see portal/express.py), as it is now.
EXPRESS = Path(__file__).resolve().parents[1] / "functions" / "express.sql"
NAME = "ix_transfers_organization_id_at"
COLUMNS = ["organization_id", "at"]


def upgrade() -> None:
    """Say in the index that there is a time; take the functions as they are written today."""
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index(NAME, "transfers")
        timed = sa.text("at IS NOT NULL")
        op.create_index(NAME, "transfers", COLUMNS, postgresql_where=timed)
        # The driver takes it as it is: the functions are full of colons that are no parameters.
        op.get_bind().exec_driver_sql(EXPRESS.read_text(encoding="utf-8"))


def downgrade() -> None:
    """Let the index serve whatever question again; the functions do what the earlier ones did."""
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index(NAME, "transfers")
        op.create_index(NAME, "transfers", COLUMNS)
