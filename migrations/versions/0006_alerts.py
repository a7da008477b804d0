"""What is told to whom, and caps that are raised for one window.

Revision ID: 0006
Revises: 0003
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from alembic import op

import portal.tables

revision = "0006"
down_revision = "0005"

#: What PostgreSQL does by itself on the hot path (see portal/express.py), as it is now.
EXPRESS = Path(__file__).resolve().parents[1] / "functions" / "express.sql"
#: Where its functions begin that know of raised caps.
FIRST = "CREATE OR REPLACE FUNCTION clearmeter_authorize("
RAISED = "c.limit_micro + w.raised_micro"
#: Whole numbers with a default and a check of their own, which both stores add in place.
COUNTED = (
    ("cap_windows", "raised_micro", "ck_cap_windows_raise_not_negative"),
    ("wallets", "told", "ck_wallets_told_counted"),
)


def upgrade() -> None:
    """Make the tables of telling and of raises."""
    kind = "BIGINT" if op.get_bind().dialect.name == "postgresql" else "INTEGER"
    for table, column, check in COUNTED:
        op.execute(
            f"ALTER TABLE {table} ADD COLUMN {column} {kind} DEFAULT 0 NOT NULL "
            f"CONSTRAINT {check} CHECK ({column} >= 0)"
        )
    _express(lambda text: text)
    op.create_table(
        "alert_settings",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("low_percent", sa.Integer(), nullable=True),
        sa.Column("low_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.CheckConstraint(
            "(low_percent IS NULL) <> (low_micro IS NULL)",
            name=op.f("ck_alert_settings_one_threshold"),
        ),
        sa.CheckConstraint(
            "low_micro IS NULL OR low_micro >= 0", name=op.f("ck_alert_settings_low_not_negative")
        ),
        sa.CheckConstraint(
            "low_percent IS NULL OR low_percent BETWEEN 0 AND 100",
            name=op.f("ck_alert_settings_in_percent"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_alert_settings_organizations"),
        ),
        sa.PrimaryKeyConstraint("organization_id", name=op.f("pk_alert_settings")),
        sqlite_strict=True,
    )
    op.create_table(
        "mailboxes",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("member_id", sa.Text(), nullable=False),
        sa.Column("choices", portal.tables.Document(), nullable=False),
        sa.Column("mailed_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column("leased_until", portal.tables.Instant(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_mailboxes_organizations"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "member_id", name=op.f("pk_mailboxes")),
        sqlite_strict=True,
    )
    op.create_table(
        "outbox",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), server_default="", nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("facts", portal.tables.Document(), nullable=False),
        sa.Column("at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("spread_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('begun', 'over', 'once')", name=op.f("ck_outbox_state_known")
        ),
        sa.CheckConstraint("sequence > 0", name=op.f("ck_outbox_sequence_counted")),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_outbox_organizations"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "sequence", name=op.f("pk_outbox")),
        sa.UniqueConstraint(
            "organization_id", "message_id", name=op.f("uq_outbox_organization_id_message_id")
        ),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_outbox_unspread",
        "outbox",
        ["organization_id"],
        unique=False,
        postgresql_where=sa.text("spread_at IS NULL"),
        sqlite_where=sa.text("spread_at IS NULL"),
    )
    op.create_table(
        "webhook_endpoints",
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("organization_id", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("kinds", portal.tables.Document(), nullable=False),
        sa.Column("generation", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("rotated_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("disabled_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column("disabled_why", sa.Text(), server_default="", nullable=False),
        sa.Column("removed_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.CheckConstraint("generation > 0", name=op.f("ck_webhook_endpoints_generation_counted")),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_webhook_endpoints_organizations"),
        ),
        sa.PrimaryKeyConstraint("endpoint_id", name=op.f("pk_webhook_endpoints")),
        sqlite_strict=True,
    )
    op.create_index(
        op.f("ix_webhook_endpoints_organization_id"),
        "webhook_endpoints",
        ["organization_id"],
        unique=False,
    )
    op.create_table(
        "deliveries",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column(
            "attempts",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column("due_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("leased_until", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column("batch", sa.Text(), server_default="", nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("done_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(status = 'due') = (done_at IS NULL)", name=op.f("ck_deliveries_done_when_it_ends")
        ),
        sa.CheckConstraint(
            "channel IN ('mail', 'webhook')", name=op.f("ck_deliveries_channel_known")
        ),
        sa.CheckConstraint(
            "status IN ('due', 'done', 'dead', 'dropped')", name=op.f("ck_deliveries_status_known")
        ),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_deliveries_attempts_counted")),
        sa.ForeignKeyConstraint(
            ["organization_id", "sequence"],
            ["outbox.organization_id", "outbox.sequence"],
            name=op.f("fk_deliveries_outbox"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "delivery_id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint(
            "organization_id",
            "sequence",
            "channel",
            "target",
            name=op.f("uq_deliveries_organization_id_sequence_channel_target"),
        ),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["channel", "due_at"],
        unique=False,
        postgresql_where=sa.text("status = 'due'"),
        sqlite_where=sa.text("status = 'due'"),
    )
    op.create_index(
        op.f("ix_deliveries_target_created_at"),
        "deliveries",
        ["target", "created_at"],
        unique=False,
    )
    op.create_table(
        "raise_requests",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("cap_id", sa.Text(), nullable=False),
        sa.Column("window_start", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("window_end", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("member_id", sa.Text(), nullable=False),
        sa.Column(
            "asked_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("asked_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("status", sa.Text(), server_default="open", nullable=False),
        sa.Column(
            "granted_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("answered_by", sa.Text(), nullable=True),
        sa.Column("answered_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(status = 'allowed') = (granted_micro IS NOT NULL)",
            name=op.f("ck_raise_requests_allowed_so_much"),
        ),
        sa.CheckConstraint(
            "(status = 'open') = (answered_at IS NULL)",
            name=op.f("ck_raise_requests_answered_once"),
        ),
        sa.CheckConstraint(
            "status IN ('open', 'allowed', 'declined')", name=op.f("ck_raise_requests_status_known")
        ),
        sa.CheckConstraint("asked_micro > 0", name=op.f("ck_raise_requests_asks_for_something")),
        sa.CheckConstraint(
            "window_start < window_end", name=op.f("ck_raise_requests_window_ordered")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "cap_id"],
            ["caps.organization_id", "caps.cap_id"],
            name=op.f("fk_raise_requests_caps"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "request_id", name=op.f("pk_raise_requests")),
        sqlite_strict=True,
    )
    op.create_index(
        "ux_raise_requests_one_open",
        "raise_requests",
        ["organization_id", "cap_id", "window_start", "member_id"],
        unique=True,
        postgresql_where=sa.text("status = 'open'"),
        sqlite_where=sa.text("status = 'open'"),
    )


def _express(as_it_was: Callable[[str], str]) -> None:
    """Have the store take the functions of the express lane, as they are or as they were."""
    if op.get_bind().dialect.name == "postgresql":
        text = EXPRESS.read_text(encoding="utf-8")
        op.get_bind().exec_driver_sql(as_it_was(text[text.index(FIRST) :]))


def downgrade() -> None:
    """Take them away again; raised caps have their own limit again."""
    op.drop_table("raise_requests")
    op.drop_table("deliveries")
    op.drop_table("webhook_endpoints")
    op.drop_table("outbox")
    op.drop_table("mailboxes")
    op.drop_table("alert_settings")
    _express(
        lambda text: text.replace(f"({RAISED})", "c.limit_micro").replace(RAISED, "c.limit_micro")
    )
    for table, column, _ in COUNTED[::-1]:
        op.drop_column(table, column)
