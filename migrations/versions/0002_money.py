"""Money whole: subscriptions, invoices, payments, top-ups, overage bills, notices.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

import portal.tables

revision = "0002"
down_revision = "0001"

#: What an organization may choose for when its credits run out, before and after.
CHOICES = ("on_empty IN ('stop', 'overage')", "on_empty IN ('stop', 'top_up', 'overage')")
TABLES = (
    "auto_top_ups",
    "invoices",
    "notices",
    "payments",
    "stripe_subscriptions",
    "tier_changes",
    "tier_checkouts",
    "top_ups",
    "overage_bills",
)
#: What PostgreSQL does by itself on the hot path (see portal/express.py), as it is now.
EXPRESS = Path(__file__).resolve().parents[1] / "functions" / "express.sql"
#: The guard of PostgreSQL's express lane: an overdue payment is nothing plain, nor is a cycle that
#: has ended.
MORE = """
    AND (s.stops_at IS NULL OR s.stops_at > now_)
    AND (s.cycle_end IS NULL OR s.cycle_end > now_)"""
PLAIN = """
CREATE OR REPLACE FUNCTION clearmeter_plain(org text, route_ text, key_ text, now_ timestamptz)
RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT o.charging = 'on'
    AND (s.period_end IS NULL OR s.period_end > now_){more}
    AND NOT EXISTS (SELECT FROM holds h WHERE h.organization_id = org
      AND h.status = 'authorized' AND h.expires_at <= now_)
    AND (key_ IS NULL OR NOT EXISTS (SELECT FROM idempotency_keys i
      WHERE i.organization_id = org AND i.route = route_ AND i.key = key_))
    AND NOT EXISTS (SELECT FROM accounts a WHERE a.organization_id = org
      AND a.account = 'debt' AND a.balance_micro <> 0)
  FROM organizations o LEFT JOIN subscriptions s ON s.organization_id = o.organization_id
  WHERE o.organization_id = org
$$
"""


def upgrade() -> None:
    """Make the tables of money."""
    op.create_table(
        "auto_top_ups",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("pack", sa.Text(), nullable=False),
        sa.Column(
            "threshold_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "monthly_limit_minor",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("set_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column(
            "declines",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column("cools_until", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column("suspended", sa.Text(), server_default="", nullable=False),
        sa.Column("failed_method_id", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "suspended IN ('', 'declined', 'authentication', 'disputed')",
            name=op.f("ck_auto_top_ups_suspended_known"),
        ),
        sa.CheckConstraint("declines >= 0", name=op.f("ck_auto_top_ups_declines_counted")),
        sa.CheckConstraint(
            "threshold_micro > 0 AND monthly_limit_minor > 0",
            name=op.f("ck_auto_top_ups_buys_something"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_auto_top_ups_organizations"),
        ),
        sa.PrimaryKeyConstraint("organization_id", name=op.f("pk_auto_top_ups")),
        sqlite_strict=True,
    )
    op.create_table(
        "invoices",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("invoice_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), server_default="", nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column(
            "subtotal_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "tax_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "total_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "paid_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "due_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("issued_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("paid_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column("page_url", sa.Text(), server_default="", nullable=False),
        sa.Column("file_url", sa.Text(), server_default="", nullable=False),
        sa.Column("lines", portal.tables.Document(), nullable=False),
        sa.CheckConstraint(
            "status IN ('draft', 'open', 'paid', 'void', 'uncollectible')",
            name=op.f("ck_invoices_status_known"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_invoices_organizations"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "invoice_id", name=op.f("pk_invoices")),
        sqlite_strict=True,
    )
    op.create_index(
        op.f("ix_invoices_organization_id_issued_at"),
        "invoices",
        ["organization_id", "issued_at"],
        unique=False,
    )

    op.create_table(
        "notices",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("notice_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), server_default="", nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), server_default="", nullable=False),
        sa.Column("raised_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("ended_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_notices_organizations"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "notice_id", name=op.f("pk_notices")),
        sqlite_strict=True,
    )
    op.create_index(
        "ux_notices_one_standing",
        "notices",
        ["organization_id", "kind", "subject"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
        sqlite_where=sa.text("ended_at IS NULL"),
    )

    op.create_table(
        "payments",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column(
            "amount_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "tax_minor",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("fee_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("grant_id", sa.Text(), nullable=True),
        sa.Column("stripe_charge_id", sa.Text(), nullable=True),
        sa.Column("stripe_invoice_id", sa.Text(), nullable=True),
        sa.Column("settled_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column(
            "refunded_minor",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "disputed_minor",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column("dispute", sa.Text(), server_default="none", nullable=False),
        sa.Column("stripe_dispute_id", sa.Text(), nullable=True),
        sa.Column(
            "refund_revoked_micro",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "dispute_revoked_micro",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "dispute IN ('none', 'inquiry', 'open', 'withdrawn', 'won', 'lost')",
            name=op.f("ck_payments_dispute_known"),
        ),
        sa.CheckConstraint(
            "kind IN ('pack', 'top_up', 'tier', 'overage', 'unknown')",
            name=op.f("ck_payments_kind_known"),
        ),
        sa.CheckConstraint("amount_minor >= 0", name=op.f("ck_payments_amount_not_negative")),
        sa.CheckConstraint("disputed_minor >= 0", name=op.f("ck_payments_disputes_not_negative")),
        sa.CheckConstraint(
            "refund_revoked_micro >= 0 AND dispute_revoked_micro >= 0",
            name=op.f("ck_payments_revokes_not_negative"),
        ),
        sa.CheckConstraint(
            "tax_minor BETWEEN 0 AND amount_minor", name=op.f("ck_payments_tax_is_a_part")
        ),
        sa.CheckConstraint(
            "refunded_minor BETWEEN 0 AND amount_minor",
            name=op.f("ck_payments_refunds_what_was_paid"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_payments_organizations"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "payment_id", name=op.f("pk_payments")),
        sqlite_strict=True,
    )
    op.create_index(
        op.f("ix_payments_organization_id_settled_at"),
        "payments",
        ["organization_id", "settled_at"],
        unique=False,
    )

    op.create_table(
        "stripe_subscriptions",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("stripe_subscription_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("seats", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("cycle_start", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("cycle_end", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column(
            "largest_allowance_micro",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column("cancels_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column("scheduled_tier", sa.Text(), nullable=True),
        sa.Column(
            "scheduled_seats", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("scheduled_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column("stripe_schedule_id", sa.Text(), nullable=True),
        sa.Column("awaited_tier", sa.Text(), nullable=True),
        sa.Column("awaited_until", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column("awaited_invoice_id", sa.Text(), nullable=True),
        sa.Column("past_due_since", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column("created_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(scheduled_tier IS NULL) = (scheduled_at IS NULL)",
            name=op.f("ck_stripe_subscriptions_scheduled_whole"),
        ),
        sa.CheckConstraint(
            "cycle_start < cycle_end", name=op.f("ck_stripe_subscriptions_cycle_ordered")
        ),
        sa.CheckConstraint(
            "largest_allowance_micro >= 0",
            name=op.f("ck_stripe_subscriptions_allowance_not_negative"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_stripe_subscriptions_organizations"),
        ),
        sa.PrimaryKeyConstraint("organization_id", name=op.f("pk_stripe_subscriptions")),
        sa.UniqueConstraint(
            "organization_id",
            "stripe_subscription_id",
            name=op.f("uq_stripe_subscriptions_organization_id_stripe_subscription_id"),
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "tier_changes",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("change_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("from_tier", sa.Text(), nullable=False),
        sa.Column("to_tier", sa.Text(), server_default="", nullable=False),
        sa.Column("seats", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("as_of", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column(
            "charge_minor",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column(
            "credits_micro",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("stripe_invoice_id", sa.Text(), nullable=True),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("created_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("settled_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind IN ('upgrade', 'downgrade', 'cancel', 'undo')",
            name=op.f("ck_tier_changes_kind_known"),
        ),
        sa.CheckConstraint(
            "status IN ('previewed', 'started', 'awaiting_payment', 'done', 'failed')",
            name=op.f("ck_tier_changes_status_known"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_tier_changes_organizations"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "change_id", name=op.f("pk_tier_changes")),
        sqlite_strict=True,
    )
    op.create_table(
        "tier_checkouts",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("checkout_id", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("seats", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column(
            "price_book_version",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column(
            "amount_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("stripe_session_id", sa.Text(), nullable=True),
        sa.Column("stripe_subscription_id", sa.Text(), nullable=True),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("created_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("settled_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('started', 'open', 'fulfilled', 'failed', 'expired')",
            name=op.f("ck_tier_checkouts_status_known"),
        ),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_tier_checkouts_sells_something")),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_tier_checkouts_organizations"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "checkout_id", name=op.f("pk_tier_checkouts")),
        sa.UniqueConstraint(
            "organization_id",
            "stripe_session_id",
            name=op.f("uq_tier_checkouts_organization_id_stripe_session_id"),
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "top_ups",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("top_up_id", sa.Text(), nullable=False),
        sa.Column("pack", sa.Text(), nullable=False),
        sa.Column("pack_name", sa.Text(), nullable=False),
        sa.Column(
            "price_book_version",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column(
            "credits_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "amount_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("expires_after_days", sa.Integer(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("failure", sa.Text(), server_default="", nullable=False),
        sa.Column("stripe_payment_intent_id", sa.Text(), nullable=True),
        sa.Column("stripe_method_id", sa.Text(), nullable=True),
        sa.Column("started_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("ask_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("settled_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column("grant_id", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(status = 'succeeded') = (grant_id IS NOT NULL)",
            name=op.f("ck_top_ups_succeeds_by_a_grant"),
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'unknown', 'succeeded', 'failed', 'needs_authentication')",
            name=op.f("ck_top_ups_status_known"),
        ),
        sa.CheckConstraint(
            "amount_minor > 0 AND credits_micro > 0", name=op.f("ck_top_ups_buys_something")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_top_ups_organizations"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "top_up_id", name=op.f("pk_top_ups")),
        sqlite_strict=True,
    )
    op.create_index(
        op.f("ix_top_ups_organization_id_started_at"),
        "top_ups",
        ["organization_id", "started_at"],
        unique=False,
    )
    op.create_index(
        "ux_top_ups_one_in_flight",
        "top_ups",
        ["organization_id"],
        unique=True,
        postgresql_where=sa.text("status IN ('pending', 'unknown')"),
        sqlite_where=sa.text("status IN ('pending', 'unknown')"),
    )

    op.create_table(
        "overage_bills",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("period_start", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column(
            "price_micro_minor",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "credits_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "amount_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("stripe_invoice_id", sa.Text(), nullable=True),
        sa.Column("stripe_invoice_item_id", sa.Text(), nullable=True),
        sa.Column("created_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("done_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["wallets.organization_id"], name=op.f("fk_overage_bills_wallets")
        ),
        sa.PrimaryKeyConstraint(
            "organization_id",
            "period_start",
            "price_micro_minor",
            "action",
            "sequence",
            name=op.f("pk_overage_bills"),
        ),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_overage_bills_begun",
        "overage_bills",
        ["organization_id"],
        unique=False,
        postgresql_where=sa.text("done_at IS NULL"),
        sqlite_where=sa.text("done_at IS NULL"),
    )
    for column in ("stops_at", "cycle_end"):
        op.add_column(
            "subscriptions", sa.Column(column, portal.tables.Instant(timezone=True), nullable=True)
        )
    _choose(*CHOICES)
    op.create_index(
        op.f("ix_organizations_stripe_customer_id"),
        "organizations",
        ["stripe_customer_id"],
        unique=False,
    )
    if op.get_bind().dialect.name == "postgresql":
        op.get_bind().exec_driver_sql(EXPRESS.read_text(encoding="utf-8"))
        op.execute(PLAIN.format(more=MORE))


def _choose(old: str, new: str) -> None:
    """Have the store take other choices for when credits run out."""
    bind = op.get_bind()
    if bind.dialect.name == "postgresql":
        name = "ck_organizations_on_empty_known"
        op.execute(f"ALTER TABLE organizations DROP CONSTRAINT {name}")
        op.execute(f"ALTER TABLE organizations ADD CONSTRAINT {name} CHECK ({new}) NOT VALID")
        op.execute(f"ALTER TABLE organizations VALIDATE CONSTRAINT {name}")
        return
    # SQLite changes no check in place: the table is made anew beside the old one (sqlite.org,
    # "Making Other Kinds Of Table Schema Changes"); env.py holds back the foreign keys meanwhile.
    known = bind.exec_driver_sql(
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'organizations'"
    ).scalar_one()
    if old not in known:
        raise RuntimeError("the table organizations is not as the revision before made it")
    beside = known.replace(old, new).replace("organizations", "organizations_anew", 1)
    bind.exec_driver_sql(beside)
    bind.exec_driver_sql("INSERT INTO organizations_anew SELECT * FROM organizations")
    bind.exec_driver_sql("DROP TABLE organizations")
    bind.exec_driver_sql("ALTER TABLE organizations_anew RENAME TO organizations")


def downgrade() -> None:
    """Take them away again; who topped up by itself stops instead."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(PLAIN.format(more=""))
    op.execute("UPDATE organizations SET on_empty = 'stop' WHERE on_empty = 'top_up'")
    op.drop_index(op.f("ix_organizations_stripe_customer_id"), "organizations")
    _choose(*CHOICES[::-1])
    for column in ("cycle_end", "stops_at"):
        op.drop_column("subscriptions", column)
    for table in TABLES:
        op.drop_table(table)
