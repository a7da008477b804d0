"""The express lane as it is now: its guards keep their plans from call to call."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0012"
down_revision = "0005"
branch_labels = None
depends_on = None

#: What PostgreSQL does by itself on the hot path (see portal/express.py).
EXPRESS = Path(__file__).resolve().parents[1] / "functions" / "express.sql"


def upgrade() -> None:
    """Write the functions anew."""
    if op.get_bind().dialect.name == "postgresql":
        op.get_bind().exec_driver_sql(EXPRESS.read_text(encoding="utf-8"))


def downgrade() -> None:
    """Leave them: they do the same as before."""
