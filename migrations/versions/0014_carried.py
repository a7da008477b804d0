"""Changes of tier remember what they leave for the next invoice.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the column."""
    op.add_column(
        "tier_changes",
        sa.Column("carried_minor", _WHOLE, nullable=False, server_default=sa.text("0")),
    )


def downgrade() -> None:
    """Take it away again."""
    op.drop_column("tier_changes", "carried_minor")
