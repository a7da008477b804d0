"""The index of events by time is for questions about time alone.

A new PostgreSQL store has no statistics, and took it for as good as the primary key to find one
event by: each check of a reference to an event then went over all events of its organization.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

NAME = "ix_events_organization_id_occurred_at"
COLUMNS = ["organization_id", "occurred_at"]


def upgrade() -> None:
    """Say in the index that there is a time, so that it serves where one is asked for."""
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index(NAME, "events")
        timed = sa.text("occurred_at IS NOT NULL")
        op.create_index(NAME, "events", COLUMNS, postgresql_where=timed)


def downgrade() -> None:
    """Let it serve whatever question again."""
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index(NAME, "events")
        op.create_index(NAME, "events", COLUMNS)
