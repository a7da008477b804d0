"""Margin: the history of tiers, what was recognised of what was paid, and bills of cost.

Revision ID: 0008
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import portal.tables

revision = "0008"
down_revision = "0003"

TABLES = (
    "cost_bills",
    "cost_imports",
    "cost_shares",
    "payment_movements",
    "recognitions",
    "revenue_daily",
    "tier_fees",
    "tier_terms",
)

#: What is known of before: the tier everybody has now, and what went back of payments in all.
KNOWN = (
    """
    INSERT INTO tier_terms (organization_id, since, tier, seats, period_start, period_end, billed)
    SELECT organization_id, period_start, tier, seats, period_start, period_end,
        {billed}
    FROM subscriptions
    """,
    """
    INSERT INTO payment_movements (organization_id, payment_id, kind, amount_minor, at)
    SELECT organization_id, payment_id, 'fee', fee_minor, settled_at
    FROM payments WHERE kind <> 'unknown' AND settled_at IS NOT NULL AND fee_minor <> 0
    """,
    """
    INSERT INTO payment_movements (organization_id, payment_id, kind, amount_minor, at)
    SELECT organization_id, payment_id, 'refund',
        (refunded_minor + disputed_minor) * (amount_minor - tax_minor) / amount_minor, settled_at
    FROM payments WHERE kind <> 'unknown' AND settled_at IS NOT NULL AND amount_minor > 0
        AND (refunded_minor + disputed_minor) * (amount_minor - tax_minor) >= amount_minor
    """,
)


def upgrade() -> None:
    """Make the tables of margin, and begin them with what is known."""
    op.create_table(
        "cost_bills",
        sa.Column("bill_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("layer", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), server_default="", nullable=False),
        sa.Column("start_day", portal.tables.Day(), nullable=False),
        sa.Column("end_day", portal.tables.Day(), nullable=False),
        sa.Column(
            "amount_nano_usd", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("rule", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint(
            "layer IN ('inference', 'retrieval', 'processing', 'storage', 'orchestration', 'external')",
            name=op.f("ck_cost_bills_layer_known"),
        ),
        sa.CheckConstraint(
            "rule IN ('', 'credits', 'events', 'cost', 'customers', 'stated')",
            name=op.f("ck_cost_bills_rule_known"),
        ),
        sa.CheckConstraint("start_day < end_day", name=op.f("ck_cost_bills_ordered")),
        sa.PrimaryKeyConstraint("bill_id", name=op.f("pk_cost_bills")),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_cost_bills_start_day"), "cost_bills", ["start_day"], unique=False)
    op.create_table(
        "cost_imports",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reading", portal.tables.Document(), nullable=False),
        sa.Column("lines", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "amount_nano_usd", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("imported_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('invoice', 'focus')", name=op.f("ck_cost_imports_kind_known")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_cost_imports")),
        sqlite_strict=True,
    )
    op.create_table(
        "cost_shares",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("bill_id", sa.Text(), nullable=False),
        sa.Column("weight", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "amount_nano_usd", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.CheckConstraint("weight >= 0", name=op.f("ck_cost_shares_weight_not_negative")),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_cost_shares_organizations"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "bill_id", name=op.f("pk_cost_shares")),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_cost_shares_bill_id"), "cost_shares", ["bill_id"], unique=False)
    op.create_table(
        "recognitions",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("seen", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "transfers", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("at", portal.tables.Instant(timezone=True), nullable=False),
        sa.CheckConstraint("seen >= 0 AND transfers >= 0", name=op.f("ck_recognitions_counted")),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_recognitions_organizations"),
        ),
        sa.PrimaryKeyConstraint("organization_id", name=op.f("pk_recognitions")),
        sqlite_strict=True,
    )
    op.create_table(
        "revenue_daily",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("day", portal.tables.Day(), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("team_id", sa.Text(), nullable=False),
        sa.Column(
            "credits_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "amount_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.CheckConstraint(
            "part IN ('credits_used', 'credits_expired', 'credits_returned', 'overage', 'refunds', 'fees')",
            name=op.f("ck_revenue_daily_part_known"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_revenue_daily_organizations"),
        ),
        sa.PrimaryKeyConstraint(
            "organization_id",
            "day",
            "part",
            "origin",
            "action",
            "team_id",
            name=op.f("pk_revenue_daily"),
        ),
        sqlite_strict=True,
    )
    op.create_index(
        op.f("ix_revenue_daily_organization_id_origin"),
        "revenue_daily",
        ["organization_id", "origin"],
        unique=False,
    )
    op.create_table(
        "tier_fees",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("fee_id", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column(
            "amount_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "first_day", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("days", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("from_day", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "until_day", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.CheckConstraint("days > 0", name=op.f("ck_tier_fees_takes_time")),
        sa.CheckConstraint(
            "first_day <= from_day AND from_day < until_day AND until_day <= first_day + days",
            name=op.f("ck_tier_fees_within_its_time"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_tier_fees_organizations"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "fee_id", name=op.f("pk_tier_fees")),
        sqlite_strict=True,
    )
    op.create_table(
        "tier_terms",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("since", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("tier", sa.Text(), server_default="", nullable=False),
        sa.Column("seats", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("period_start", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column("period_end", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column("billed", portal.tables.Flag(), nullable=False),
        sa.CheckConstraint(
            "(tier = '') = (period_start IS NULL)", name=op.f("ck_tier_terms_period_of_a_tier")
        ),
        sa.CheckConstraint(
            "(period_start IS NULL) = (period_end IS NULL)", name=op.f("ck_tier_terms_period_whole")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_tier_terms_organizations"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "since", name=op.f("pk_tier_terms")),
        sqlite_strict=True,
    )
    op.create_table(
        "payment_movements",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column(
            "amount_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.CheckConstraint(
            "kind IN ('refund', 'fee')", name=op.f("ck_payment_movements_kind_known")
        ),
        sa.CheckConstraint("amount_minor <> 0", name=op.f("ck_payment_movements_moves_something")),
        sa.ForeignKeyConstraint(
            ["organization_id", "payment_id"],
            ["payments.organization_id", "payments.payment_id"],
            name=op.f("fk_payment_movements_payments"),
        ),
        sa.PrimaryKeyConstraint(
            "organization_id", "payment_id", "kind", "at", name=op.f("pk_payment_movements")
        ),
        sqlite_strict=True,
    )
    op.add_column("grants", sa.Column("continues", sa.Text(), nullable=True))

    embedded = op.get_bind().dialect.name == "sqlite"
    whether = "cycle_end IS NOT NULL"
    billed = f"CASE WHEN {whether} THEN 1 ELSE 0 END" if embedded else whether
    for known in KNOWN:
        op.execute(known.format(billed=billed))


def downgrade() -> None:
    """Take them away again."""
    op.drop_column("grants", "continues")
    for table in TABLES:
        op.drop_table(table)
