"""The express lane as it is now: an earlier revision had left a slower text of it in the store.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0012"
down_revision = "0011"

#: What PostgreSQL does by itself on the hot path (see portal/express.py), as it is now.
EXPRESS = Path(__file__).resolve().parents[1] / "functions" / "express.sql"
#: What its functions no longer call.
GONE = ("plain", "local_day")


def upgrade() -> None:
    """Take the functions as they are written today."""
    if op.get_bind().dialect.name == "postgresql":
        for name in GONE:
            op.execute(f"DROP FUNCTION IF EXISTS clearmeter_{name}")
        # The driver takes it as it is: the functions are full of colons that are no parameters.
        op.get_bind().exec_driver_sql(EXPRESS.read_text(encoding="utf-8"))


def downgrade() -> None:
    """Leave them: they do what the earlier ones did, in less time."""
