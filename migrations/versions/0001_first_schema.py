"""The first schema: who, prices, ledger, meter, limits, money, record.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

import portal.tables

revision = "0001"
down_revision = None

#: What PostgreSQL does by itself on the hot path (see portal/express.py).
EXPRESS = Path(__file__).resolve().parents[1] / "functions" / "express.sql"
REWRITTEN = ("accounts", "wallets", "cap_windows", "holds", "usage_daily", "cost_daily")
FUNCTIONS = ("authorize", "capture", "plain", "local_day", "instant", "decimal", "move")
#: Rows of these are history: the store itself refuses to change or delete one.
APPEND_ONLY = ("entries", "transfers", "event_debits", "price_books", "cost_books", "audit_log")


def upgrade() -> None:
    """Make every table and the refusals."""
    op.create_table(
        "audit_log",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("audit_id", sa.Text(), nullable=False),
        sa.Column("at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), server_default="", nullable=False),
        sa.Column("detail", portal.tables.Document(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "audit_id", name=op.f("pk_audit_log")),
        sqlite_strict=True,
    )
    op.create_index(
        op.f("ix_audit_log_organization_id_at"),
        "audit_log",
        ["organization_id", "at"],
        unique=False,
    )
    op.create_table(
        "cost_books",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("effective_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("loaded_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_cost_books")),
        sa.UniqueConstraint("effective_at", name=op.f("uq_cost_books_effective_at")),
        sqlite_strict=True,
    )
    op.create_table(
        "job_leases",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("leased_until", portal.tables.Instant(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("job", name=op.f("pk_job_leases")),
        sqlite_strict=True,
    )
    op.create_table(
        "operators",
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("email", name=op.f("pk_operators")),
        sqlite_strict=True,
    )
    op.create_table(
        "organizations",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("calendar", portal.tables.Document(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("charging", sa.Text(), server_default="on", nullable=False),
        sa.Column("on_empty", sa.Text(), server_default="stop", nullable=False),
        sa.Column(
            "overage_limit_minor",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
        ),
        sa.Column("stripe_customer_id", sa.Text(), nullable=True),
        sa.Column("created_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.CheckConstraint(
            "charging IN ('on', 'shadow')", name=op.f("ck_organizations_charging_known")
        ),
        sa.CheckConstraint(
            "on_empty <> 'overage' OR overage_limit_minor IS NOT NULL",
            name=op.f("ck_organizations_overage_is_limited"),
        ),
        sa.CheckConstraint(
            "on_empty IN ('stop', 'overage')", name=op.f("ck_organizations_on_empty_known")
        ),
        sa.CheckConstraint(
            "overage_limit_minor IS NULL OR overage_limit_minor >= 0",
            name=op.f("ck_organizations_overage_limit_not_negative"),
        ),
        sa.PrimaryKeyConstraint("organization_id", name=op.f("pk_organizations")),
        sqlite_strict=True,
    )
    op.create_table(
        "portal_links",
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("organization_id", sa.Text(), nullable=True),
        sa.Column("member_id", sa.Text(), nullable=True),
        sa.Column("operator_email", sa.Text(), nullable=True),
        sa.Column("page", sa.Text(), nullable=False),
        sa.Column("return_url", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("expires_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("used_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(organization_id IS NOT NULL AND member_id IS NOT NULL AND operator_email IS NULL) OR (organization_id IS NULL AND member_id IS NULL AND operator_email IS NOT NULL)",
            name=op.f("ck_portal_links_for_one_person"),
        ),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_portal_links")),
        sqlite_strict=True,
    )
    op.create_table(
        "price_books",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("effective_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("loaded_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_price_books")),
        sa.UniqueConstraint("effective_at", name=op.f("uq_price_books_effective_at")),
        sqlite_strict=True,
    )
    op.create_table(
        "rejected_events",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("rejection_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), server_default="", nullable=False),
        sa.Column("event_id", sa.Text(), server_default="", nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("content", portal.tables.Document(), nullable=True),
        sa.Column("received_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("replayed_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("organization_id", "rejection_id", name=op.f("pk_rejected_events")),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_rejected_events_waiting",
        "rejected_events",
        ["organization_id", "rejection_id"],
        unique=False,
        postgresql_where=sa.text("replayed_at IS NULL"),
        sqlite_where=sa.text("replayed_at IS NULL"),
    )
    op.create_table(
        "sessions",
        sa.Column("session_hash", sa.Text(), nullable=False),
        sa.Column("organization_id", sa.Text(), nullable=True),
        sa.Column("member_id", sa.Text(), nullable=True),
        sa.Column("operator_email", sa.Text(), nullable=True),
        sa.Column("data", portal.tables.Document(), nullable=False),
        sa.Column("created_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("seen_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("expires_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("session_hash", name=op.f("pk_sessions")),
        sqlite_strict=True,
    )
    op.create_index(
        op.f("ix_sessions_organization_id_member_id"),
        "sessions",
        ["organization_id", "member_id"],
        unique=False,
    )
    op.create_table(
        "stripe_inbox",
        sa.Column("stripe_event_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("livemode", portal.tables.Flag(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("received_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("done_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('pending', 'done', 'ignored', 'quarantined')",
            name=op.f("ck_stripe_inbox_status_known"),
        ),
        sa.PrimaryKeyConstraint("stripe_event_id", name=op.f("pk_stripe_inbox")),
        sqlite_strict=True,
    )
    op.create_index(
        op.f("ix_stripe_inbox_status_received_at"),
        "stripe_inbox",
        ["status", "received_at"],
        unique=False,
    )
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.Text(), nullable=False),
        sa.Column("organization_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("revoked_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_api_keys_organizations"),
        ),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_api_keys")),
        sqlite_strict=True,
    )
    op.create_table(
        "caps",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("cap_id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), server_default="", nullable=False),
        sa.Column("action", sa.Text(), server_default="", nullable=False),
        sa.Column("window_kind", sa.Text(), nullable=False),
        sa.Column(
            "limit_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "limit_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("thresholds", portal.tables.Document(), nullable=False),
        sa.Column("created_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("removed_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(scope = 'organization') = (target = '')", name=op.f("ck_caps_target_fits_scope")
        ),
        sa.CheckConstraint("mode IN ('hard', 'soft')", name=op.f("ck_caps_mode_known")),
        sa.CheckConstraint(
            "scope IN ('organization', 'team', 'member', 'project')",
            name=op.f("ck_caps_scope_known"),
        ),
        sa.CheckConstraint(
            "window_kind IN ('period', 'day', 'week')", name=op.f("ck_caps_window_kind_known")
        ),
        sa.CheckConstraint("limit_micro >= 0", name=op.f("ck_caps_limit_not_negative")),
        sa.CheckConstraint(
            "limit_minor IS NULL OR limit_minor >= 0", name=op.f("ck_caps_amount_not_negative")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_caps_organizations"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "cap_id", name=op.f("pk_caps")),
        sqlite_strict=True,
    )
    op.create_index(
        "ux_caps_one_in_force",
        "caps",
        ["organization_id", "scope", "target", "action", "window_kind", "mode"],
        unique=True,
        postgresql_where=sa.text("removed_at IS NULL"),
        sqlite_where=sa.text("removed_at IS NULL"),
    )
    op.create_table(
        "checkouts",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("checkout_id", sa.Text(), nullable=False),
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
        sa.Column("stripe_session_id", sa.Text(), nullable=True),
        sa.Column("stripe_payment_intent_id", sa.Text(), nullable=True),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("created_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("settled_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column("grant_id", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(status = 'fulfilled') = (grant_id IS NOT NULL)",
            name=op.f("ck_checkouts_fulfilled_by_a_grant"),
        ),
        sa.CheckConstraint(
            "status IN ('started', 'open', 'fulfilled', 'failed', 'expired')",
            name=op.f("ck_checkouts_status_known"),
        ),
        sa.CheckConstraint(
            "amount_minor > 0 AND credits_micro > 0", name=op.f("ck_checkouts_sells_something")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_checkouts_organizations"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "checkout_id", name=op.f("pk_checkouts")),
        sa.UniqueConstraint(
            "organization_id",
            "stripe_session_id",
            name=op.f("uq_checkouts_organization_id_stripe_session_id"),
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("status", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_idempotency_keys_organizations"),
        ),
        sa.PrimaryKeyConstraint(
            "organization_id", "route", "key", name=op.f("pk_idempotency_keys")
        ),
        sqlite_strict=True,
    )
    op.create_index(
        op.f("ix_idempotency_keys_created_at"),
        "idempotency_keys",
        ["created_at"],
        unique=False,
        postgresql_using="brin",
    )
    op.create_table(
        "members",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("member_id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("team_id", sa.Text(), server_default="", nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("created_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("removed_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.CheckConstraint(
            "role IN ('owner', 'admin', 'billing', 'member', 'viewer')",
            name=op.f("ck_members_role_known"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_members_organizations"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "member_id", name=op.f("pk_members")),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_members_email"), "members", ["email"], unique=False)
    op.create_table(
        "projects",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_projects_organizations"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "project_id", name=op.f("pk_projects")),
        sqlite_strict=True,
    )
    op.create_table(
        "subscriptions",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("seats", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("period_start", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("period_end", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("created_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.CheckConstraint(
            "period_start < period_end", name=op.f("ck_subscriptions_period_ordered")
        ),
        sa.CheckConstraint(
            "seats IS NULL OR seats > 0", name=op.f("ck_subscriptions_seats_positive")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_subscriptions_organizations"),
        ),
        sa.PrimaryKeyConstraint("organization_id", name=op.f("pk_subscriptions")),
        sqlite_strict=True,
    )
    op.create_table(
        "teams",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("team_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_teams_organizations"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "team_id", name=op.f("pk_teams")),
        sqlite_strict=True,
    )
    op.create_table(
        "wallets",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column(
            "transfers",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column("moved_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.CheckConstraint("transfers >= 0", name=op.f("ck_wallets_transfers_counted")),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_wallets_organizations"),
        ),
        sa.PrimaryKeyConstraint("organization_id", name=op.f("pk_wallets")),
        sqlite_strict=True,
    )
    op.create_table(
        "accounts",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column(
            "balance_micro",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "version",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "standing",
            portal.tables.Flag(),
            sa.Computed("balance_micro <> 0", persisted=True),
            nullable=False,
        ),
        sa.CheckConstraint(
            "balance_micro >= 0 OR account IN ('issued', 'overage', 'debt')",
            name=op.f("ck_accounts_never_below_zero"),
        ),
        sa.CheckConstraint("version >= 0", name=op.f("ck_accounts_version_counted")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["wallets.organization_id"], name=op.f("fk_accounts_wallets")
        ),
        sa.PrimaryKeyConstraint("organization_id", "account", name=op.f("pk_accounts")),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_accounts_standing",
        "accounts",
        ["organization_id"],
        unique=False,
        postgresql_where=sa.text("standing"),
        sqlite_where=sa.text("standing"),
    )
    op.create_table(
        "cap_alerts",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("cap_id", sa.Text(), nullable=False),
        sa.Column("window_start", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("threshold", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("raised_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("ended_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.CheckConstraint(
            "threshold BETWEEN 1 AND 100", name=op.f("ck_cap_alerts_threshold_in_percent")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "cap_id"],
            ["caps.organization_id", "caps.cap_id"],
            name=op.f("fk_cap_alerts_caps"),
        ),
        sa.PrimaryKeyConstraint(
            "organization_id",
            "cap_id",
            "window_start",
            "threshold",
            "raised_at",
            name=op.f("pk_cap_alerts"),
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "cap_windows",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("cap_id", sa.Text(), nullable=False),
        sa.Column("window_start", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("window_end", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column(
            "spent_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "held_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.CheckConstraint(
            "spent_micro >= 0 AND held_micro >= 0", name=op.f("ck_cap_windows_not_negative")
        ),
        sa.CheckConstraint("window_start < window_end", name=op.f("ck_cap_windows_window_ordered")),
        sa.ForeignKeyConstraint(
            ["organization_id", "cap_id"],
            ["caps.organization_id", "caps.cap_id"],
            name=op.f("fk_cap_windows_caps"),
        ),
        sa.PrimaryKeyConstraint(
            "organization_id", "cap_id", "window_start", name=op.f("pk_cap_windows")
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "cost_daily",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("day", portal.tables.Day(), nullable=False),
        sa.Column("layer", sa.Text(), nullable=False),
        sa.Column("quality", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("member_id", sa.Text(), nullable=False),
        sa.Column(
            "cost_nano_usd", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "input_tokens", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "output_tokens", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("lines", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["wallets.organization_id"], name=op.f("fk_cost_daily_wallets")
        ),
        sa.PrimaryKeyConstraint(
            "organization_id",
            "day",
            "layer",
            "quality",
            "provider",
            "model",
            "action",
            "member_id",
            name=op.f("pk_cost_daily"),
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "events",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("occurred_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("received_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("day", portal.tables.Day(), nullable=False),
        sa.Column("action", sa.Text(), server_default="", nullable=False),
        sa.Column("member_id", sa.Text(), server_default="", nullable=False),
        sa.Column("team_id", sa.Text(), server_default="", nullable=False),
        sa.Column("project_id", sa.Text(), server_default="", nullable=False),
        sa.Column("run_id", sa.Text(), server_default="", nullable=False),
        sa.Column("request_type", sa.Text(), server_default="", nullable=False),
        sa.Column("model", sa.Text(), server_default="", nullable=False),
        sa.Column("hold_id", sa.Text(), server_default="", nullable=False),
        sa.Column("corrects_source", sa.Text(), server_default="", nullable=False),
        sa.Column("corrects_id", sa.Text(), server_default="", nullable=False),
        sa.Column("adjusts", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column(
            "quantity_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "credits_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "uncollected_micro",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column(
            "price_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "price_book_version",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column("charged", portal.tables.Flag(), nullable=False),
        sa.Column("properties", portal.tables.Document(), nullable=True),
        sa.CheckConstraint(
            "CASE WHEN corrects_id = '' THEN quantity_micro >= 0 AND credits_micro >= 0 ELSE quantity_micro <= 0 AND credits_micro <= 0 END",
            name=op.f("ck_events_takes_back_only_where_it_corrects"),
        ),
        sa.CheckConstraint(
            "CASE WHEN corrects_id = '' THEN uncollected_micro BETWEEN 0 AND credits_micro ELSE uncollected_micro BETWEEN credits_micro AND 0 END",
            name=op.f("ck_events_uncollected_within"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["wallets.organization_id"], name=op.f("fk_events_wallets")
        ),
        sa.PrimaryKeyConstraint("organization_id", "source", "event_id", name=op.f("pk_events")),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_events_another_day",
        "events",
        ["organization_id", "day"],
        unique=False,
        postgresql_where=sa.text("(adjusts IS NOT NULL OR corrects_id <> '')"),
        sqlite_where=sa.text("(adjusts IS NOT NULL OR corrects_id <> '')"),
    )
    op.create_index(
        "ix_events_corrections",
        "events",
        ["organization_id", "corrects_source", "corrects_id"],
        unique=False,
        postgresql_where=sa.text("corrects_id <> ''"),
        sqlite_where=sa.text("corrects_id <> ''"),
    )
    op.create_index(
        op.f("ix_events_organization_id_occurred_at"),
        "events",
        ["organization_id", "occurred_at"],
        unique=False,
    )
    op.create_index(
        "ix_events_run",
        "events",
        ["organization_id", "run_id"],
        unique=False,
        postgresql_where=sa.text("run_id <> ''"),
        sqlite_where=sa.text("run_id <> ''"),
    )
    op.create_table(
        "grants",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("grant_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("priority", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "granted_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("effective_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("expires_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column(
            "paid_minor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("paid_currency", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("external_key", sa.Text(), nullable=True),
        sa.Column(
            "frozen_micro",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "claimed_micro",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "owed_micro",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column("frozen_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column("voided_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column("created_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.CheckConstraint(
            "source IN ('allowance', 'rollover', 'promotion', 'pack', 'adjustment', 'restoration')",
            name=op.f("ck_grants_source_known"),
        ),
        sa.CheckConstraint(
            "(paid_minor IS NULL) = (paid_currency IS NULL)",
            name=op.f("ck_grants_paid_in_a_currency"),
        ),
        sa.CheckConstraint(
            "expires_at IS NULL OR expires_at > effective_at", name=op.f("ck_grants_lives")
        ),
        sa.CheckConstraint(
            "frozen_micro = 0 OR frozen_at IS NOT NULL", name=op.f("ck_grants_frozen_since")
        ),
        sa.CheckConstraint(
            "frozen_micro >= 0 AND claimed_micro >= 0 AND owed_micro >= 0",
            name=op.f("ck_grants_not_negative"),
        ),
        sa.CheckConstraint("granted_micro > 0", name=op.f("ck_grants_grants_something")),
        sa.CheckConstraint(
            "paid_minor IS NULL OR paid_minor >= 0", name=op.f("ck_grants_paid_not_negative")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["wallets.organization_id"], name=op.f("fk_grants_wallets")
        ),
        sa.PrimaryKeyConstraint("organization_id", "grant_id", name=op.f("pk_grants")),
        sa.UniqueConstraint(
            "organization_id", "external_key", name=op.f("uq_grants_organization_id_external_key")
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "holds",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("hold_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column(
            "quantity_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "credits_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "price_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "price_book_version",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column(
            "overage_price_micro_minor",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column("overage_since", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column("member_id", sa.Text(), server_default="", nullable=False),
        sa.Column("team_id", sa.Text(), server_default="", nullable=False),
        sa.Column("project_id", sa.Text(), server_default="", nullable=False),
        sa.Column("run_id", sa.Text(), server_default="", nullable=False),
        sa.Column("authorized_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("expires_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("lapsed_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column("ended_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column("outcome", portal.tables.Document(), nullable=True),
        sa.CheckConstraint(
            "(status = 'authorized') = (ended_at IS NULL)", name=op.f("ck_holds_ends_once")
        ),
        sa.CheckConstraint(
            "status IN ('authorized', 'captured', 'released', 'expired')",
            name=op.f("ck_holds_status_known"),
        ),
        sa.CheckConstraint(
            "credits_micro >= 0 AND quantity_micro >= 0", name=op.f("ck_holds_not_negative")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["wallets.organization_id"], name=op.f("fk_holds_wallets")
        ),
        sa.PrimaryKeyConstraint("organization_id", "hold_id", name=op.f("pk_holds")),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_holds_hold_id"), "holds", ["hold_id"], unique=False)
    op.create_index(
        "ix_holds_lapsed",
        "holds",
        ["organization_id", "lapsed_at"],
        unique=False,
        postgresql_where=sa.text("lapsed_at IS NOT NULL"),
        sqlite_where=sa.text("lapsed_at IS NOT NULL"),
    )
    op.create_index(
        "ix_holds_open",
        "holds",
        ["organization_id", "expires_at"],
        unique=False,
        postgresql_where=sa.text("status = 'authorized'"),
        sqlite_where=sa.text("status = 'authorized'"),
    )
    op.create_table(
        "overage_periods",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("period_start", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column(
            "price_micro_minor",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("period_end", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column(
            "spent_micro",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "held_micro",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "period_start < period_end", name=op.f("ck_overage_periods_period_ordered")
        ),
        sa.CheckConstraint("price_micro_minor > 0", name=op.f("ck_overage_periods_has_a_price")),
        sa.CheckConstraint(
            "spent_micro >= 0 AND held_micro >= 0", name=op.f("ck_overage_periods_not_negative")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["wallets.organization_id"],
            name=op.f("fk_overage_periods_wallets"),
        ),
        sa.PrimaryKeyConstraint(
            "organization_id", "period_start", "price_micro_minor", name=op.f("pk_overage_periods")
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "transfers",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column(
            "transfer_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("from_account", sa.Text(), nullable=False),
        sa.Column("to_account", sa.Text(), nullable=False),
        sa.Column(
            "amount_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("reference", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint("amount_micro > 0", name=op.f("ck_transfers_moves_something")),
        sa.CheckConstraint(
            "from_account <> to_account", name=op.f("ck_transfers_between_two_accounts")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["wallets.organization_id"], name=op.f("fk_transfers_wallets")
        ),
        sa.PrimaryKeyConstraint("organization_id", "transfer_id", name=op.f("pk_transfers")),
        sqlite_strict=True,
    )
    op.create_index(
        op.f("ix_transfers_organization_id_at"),
        "transfers",
        ["organization_id", "at"],
        unique=False,
    )
    op.create_table(
        "usage_daily",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("day", portal.tables.Day(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("member_id", sa.Text(), nullable=False),
        sa.Column("team_id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column(
            "quantity_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "credits_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "uncollected_micro",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column("events", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["wallets.organization_id"], name=op.f("fk_usage_daily_wallets")
        ),
        sa.PrimaryKeyConstraint(
            "organization_id",
            "day",
            "action",
            "member_id",
            "team_id",
            "project_id",
            "model",
            name=op.f("pk_usage_daily"),
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "entries",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column(
            "version",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column(
            "transfer_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "amount_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "before_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "after_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("at", portal.tables.Instant(timezone=True), nullable=False),
        sa.CheckConstraint(
            "after_micro = before_micro + amount_micro", name=op.f("ck_entries_adds_up")
        ),
        sa.CheckConstraint("amount_micro <> 0", name=op.f("ck_entries_moves_something")),
        sa.CheckConstraint("version > 0", name=op.f("ck_entries_version_counted")),
        sa.ForeignKeyConstraint(
            ["organization_id", "account"],
            ["accounts.organization_id", "accounts.account"],
            name=op.f("fk_entries_accounts"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "transfer_id"],
            ["transfers.organization_id", "transfers.transfer_id"],
            name=op.f("fk_entries_transfers"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "account", "version", name=op.f("pk_entries")),
        sqlite_strict=True,
    )
    op.create_index(
        op.f("ix_entries_organization_id_account_at_version"),
        "entries",
        ["organization_id", "account", "at", "version"],
        unique=False,
    )
    op.create_table(
        "event_costs",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("line", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("layer", sa.Text(), nullable=False),
        sa.Column("quality", sa.Text(), nullable=False),
        sa.Column(
            "amount_nano_usd", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("provider", sa.Text(), server_default="", nullable=False),
        sa.Column("model", sa.Text(), server_default="", nullable=False),
        sa.Column("resource", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "input_tokens",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "output_tokens",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "cached_input_tokens",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "cache_write_tokens",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column(
            "reasoning_tokens",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            server_default=sa.text("0"),
            nullable=False,
        ),
        sa.Column("price_source", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "stated_nano_usd", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("suspect", portal.tables.Flag(), nullable=False),
        sa.CheckConstraint(
            "(amount_nano_usd IS NULL) = (quality = 'unknown')",
            name=op.f("ck_event_costs_unknown_is_not_zero"),
        ),
        sa.CheckConstraint(
            "layer IN ('inference', 'retrieval', 'processing', 'storage', 'orchestration', 'external')",
            name=op.f("ck_event_costs_layer_known"),
        ),
        sa.CheckConstraint(
            "quality IN ('measured', 'priced', 'allocated', 'unknown')",
            name=op.f("ck_event_costs_quality_known"),
        ),
        sa.CheckConstraint(
            "NOT suspect OR stated_nano_usd IS NOT NULL",
            name=op.f("ck_event_costs_suspects_a_statement"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "source", "event_id"],
            ["events.organization_id", "events.source", "events.event_id"],
            name=op.f("fk_event_costs_events"),
        ),
        sa.PrimaryKeyConstraint(
            "organization_id", "source", "event_id", "line", name=op.f("pk_event_costs")
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "event_debits",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column(
            "amount_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("overage_since", portal.tables.Instant(timezone=True), nullable=True),
        sa.Column(
            "overage_price_micro_minor",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=True,
        ),
        sa.CheckConstraint(
            "(account = 'overage') = (overage_since IS NOT NULL) AND (account = 'overage') = (overage_price_micro_minor IS NOT NULL)",
            name=op.f("ck_event_debits_overage_is_counted_somewhere"),
        ),
        sa.CheckConstraint("amount_micro <> 0", name=op.f("ck_event_debits_debits_something")),
        sa.ForeignKeyConstraint(
            ["organization_id", "source", "event_id"],
            ["events.organization_id", "events.source", "events.event_id"],
            name=op.f("fk_event_debits_events"),
        ),
        sa.PrimaryKeyConstraint(
            "organization_id", "source", "event_id", "account", name=op.f("pk_event_debits")
        ),
        sqlite_strict=True,
    )
    op.create_index(
        op.f("ix_event_debits_organization_id_account"),
        "event_debits",
        ["organization_id", "account"],
        unique=False,
    )
    op.create_table(
        "hold_caps",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("hold_id", sa.Text(), nullable=False),
        sa.Column("cap_id", sa.Text(), nullable=False),
        sa.Column("window_start", portal.tables.Instant(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "hold_id"],
            ["holds.organization_id", "holds.hold_id"],
            name=op.f("fk_hold_caps_holds"),
        ),
        sa.PrimaryKeyConstraint(
            "organization_id", "hold_id", "cap_id", "window_start", name=op.f("pk_hold_caps")
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "hold_pins",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("hold_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column(
            "amount_micro", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("at", portal.tables.Instant(timezone=True), nullable=False),
        sa.CheckConstraint("amount_micro > 0", name=op.f("ck_hold_pins_pins_something")),
        sa.ForeignKeyConstraint(
            ["organization_id", "hold_id"],
            ["holds.organization_id", "holds.hold_id"],
            name=op.f("fk_hold_pins_holds"),
        ),
        sa.PrimaryKeyConstraint(
            "organization_id", "hold_id", "position", name=op.f("pk_hold_pins")
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "cost_reviews",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("review_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("raised_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("decided_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.CheckConstraint(
            "decision IN ('accepted', 'rejected')", name=op.f("ck_cost_reviews_decision_known")
        ),
        sa.CheckConstraint(
            "(decision IS NULL) = (decided_at IS NULL)",
            name=op.f("ck_cost_reviews_decided_at_an_instant"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "source", "event_id", "line"],
            [
                "event_costs.organization_id",
                "event_costs.source",
                "event_costs.event_id",
                "event_costs.line",
            ],
            name=op.f("fk_cost_reviews_event_costs"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "review_id", name=op.f("pk_cost_reviews")),
        sa.UniqueConstraint(
            "organization_id",
            "source",
            "event_id",
            "line",
            name=op.f("uq_cost_reviews_organization_id_source_event_id_line"),
        ),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_cost_reviews_open",
        "cost_reviews",
        ["organization_id", "review_id"],
        unique=False,
        postgresql_where=sa.text("decision IS NULL"),
        sqlite_where=sa.text("decision IS NULL"),
    )
    for table in APPEND_ONLY:
        _refuse_changes(table)
    if op.get_bind().dialect.name == "postgresql":
        for table in REWRITTEN:
            # Room on the page for the next version of a row, so that it need not be indexed anew.
            op.execute(f"ALTER TABLE {table} SET (fillfactor = 70)")
        # The driver takes it as it is: the functions are full of colons that are no parameters.
        op.get_bind().exec_driver_sql(EXPRESS.read_text(encoding="utf-8"))


def _refuse_changes(table: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        for act in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_refuse_{act.lower()} BEFORE {act} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        return
    op.execute(
        """
        CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$
        """
    )
    op.execute(
        f"CREATE TRIGGER {table}_refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def downgrade() -> None:
    """Take all of it away."""
    op.drop_index(
        "ix_cost_reviews_open",
        table_name="cost_reviews",
        postgresql_where=sa.text("decision IS NULL"),
        sqlite_where=sa.text("decision IS NULL"),
    )
    op.drop_table("cost_reviews")
    op.drop_table("hold_pins")
    op.drop_table("hold_caps")
    op.drop_index(op.f("ix_event_debits_organization_id_account"), table_name="event_debits")
    op.drop_table("event_debits")
    op.drop_table("event_costs")
    op.drop_index(op.f("ix_entries_organization_id_account_at_version"), table_name="entries")
    op.drop_table("entries")
    op.drop_table("usage_daily")
    op.drop_index(op.f("ix_transfers_organization_id_at"), table_name="transfers")
    op.drop_table("transfers")
    op.drop_table("overage_periods")
    op.drop_index(
        "ix_holds_open",
        table_name="holds",
        postgresql_where=sa.text("status = 'authorized'"),
        sqlite_where=sa.text("status = 'authorized'"),
    )
    op.drop_index(
        "ix_holds_lapsed",
        table_name="holds",
        postgresql_where=sa.text("lapsed_at IS NOT NULL"),
        sqlite_where=sa.text("lapsed_at IS NOT NULL"),
    )
    op.drop_index(op.f("ix_holds_hold_id"), table_name="holds")
    op.drop_table("holds")
    op.drop_table("grants")
    op.drop_index(
        "ix_events_run",
        table_name="events",
        postgresql_where=sa.text("run_id <> ''"),
        sqlite_where=sa.text("run_id <> ''"),
    )
    op.drop_index(op.f("ix_events_organization_id_occurred_at"), table_name="events")
    op.drop_index(
        "ix_events_corrections",
        table_name="events",
        postgresql_where=sa.text("corrects_id <> ''"),
        sqlite_where=sa.text("corrects_id <> ''"),
    )
    op.drop_index(
        "ix_events_another_day",
        table_name="events",
        postgresql_where=sa.text("(adjusts IS NOT NULL OR corrects_id <> '')"),
        sqlite_where=sa.text("(adjusts IS NOT NULL OR corrects_id <> '')"),
    )
    op.drop_table("events")
    op.drop_table("cost_daily")
    op.drop_table("cap_windows")
    op.drop_table("cap_alerts")
    op.drop_index(
        "ix_accounts_standing",
        table_name="accounts",
        postgresql_where=sa.text("standing"),
        sqlite_where=sa.text("standing"),
    )
    op.drop_table("accounts")
    op.drop_table("wallets")
    op.drop_table("teams")
    op.drop_table("subscriptions")
    op.drop_table("projects")
    op.drop_index(op.f("ix_members_email"), table_name="members")
    op.drop_table("members")
    op.drop_index(
        op.f("ix_idempotency_keys_created_at"),
        table_name="idempotency_keys",
        postgresql_using="brin",
    )
    op.drop_table("idempotency_keys")
    op.drop_table("checkouts")
    op.drop_index(
        "ux_caps_one_in_force",
        table_name="caps",
        postgresql_where=sa.text("removed_at IS NULL"),
        sqlite_where=sa.text("removed_at IS NULL"),
    )
    op.drop_table("caps")
    op.drop_table("api_keys")
    op.drop_index(op.f("ix_stripe_inbox_status_received_at"), table_name="stripe_inbox")
    op.drop_table("stripe_inbox")
    op.drop_index(op.f("ix_sessions_organization_id_member_id"), table_name="sessions")
    op.drop_table("sessions")
    op.drop_index(
        "ix_rejected_events_waiting",
        table_name="rejected_events",
        postgresql_where=sa.text("replayed_at IS NULL"),
        sqlite_where=sa.text("replayed_at IS NULL"),
    )
    op.drop_table("rejected_events")
    op.drop_table("price_books")
    op.drop_table("portal_links")
    op.drop_table("organizations")
    op.drop_table("operators")
    op.drop_table("job_leases")
    op.drop_table("cost_books")
    op.drop_index(op.f("ix_audit_log_organization_id_at"), table_name="audit_log")
    op.drop_table("audit_log")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION IF EXISTS refuse_change()")
        for name in FUNCTIONS:
            op.execute(f"DROP FUNCTION IF EXISTS clearmeter_{name}")
