"""Limits: caps and the windows they count in, their alerts, overage by period."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Integer, text

from portal.tables.columns import (
    Document,
    Instant,
    Whole,
    instant,
    key,
    maybe,
    of,
    one_of,
    table,
    text_column,
    whole,
)

caps = table(
    "caps",
    key("organization_id"),
    key("cap_id"),
    text_column("scope"),
    text_column("target", ""),
    text_column("action", ""),
    text_column("window_kind"),
    whole("limit_micro"),
    Column("limit_minor", Whole),
    text_column("mode"),
    Column("thresholds", Document, nullable=False),
    instant("created_at"),
    instant("removed_at", nullable=True),
    CheckConstraint("limit_micro >= 0", name="limit_not_negative"),
    CheckConstraint("limit_minor IS NULL OR limit_minor >= 0", name="amount_not_negative"),
    CheckConstraint("(scope = 'organization') = (target = '')", name="target_fits_scope"),
    one_of("scope", "organization", "team", "member", "project"),
    one_of("window_kind", "period", "day", "week"),
    one_of("mode", "hard", "soft"),
    of("organizations", "organization_id"),
    Index(
        "ux_caps_one_in_force",
        "organization_id",
        "scope",
        "target",
        "action",
        "window_kind",
        "mode",
        unique=True,
        postgresql_where=text("removed_at IS NULL"),
        sqlite_where=text("removed_at IS NULL"),
    ),
)

cap_windows = table(
    "cap_windows",
    key("organization_id"),
    key("cap_id"),
    Column("window_start", Instant, primary_key=True),
    instant("window_end"),
    whole("spent_micro"),
    whole("held_micro"),
    # What is added to the cap's limit in this window alone.
    whole("raised_micro", 0),
    CheckConstraint("spent_micro >= 0 AND held_micro >= 0", name="not_negative"),
    CheckConstraint("raised_micro >= 0", name="raise_not_negative"),
    CheckConstraint("window_start < window_end", name="window_ordered"),
    of("caps", "organization_id", "cap_id"),
)

cap_alerts = table(
    "cap_alerts",
    key("organization_id"),
    key("cap_id"),
    Column("window_start", Instant, primary_key=True),
    Column("threshold", Integer, primary_key=True, autoincrement=False),
    Column("raised_at", Instant, primary_key=True),
    instant("ended_at", nullable=True),
    CheckConstraint("threshold BETWEEN 1 AND 100", name="threshold_in_percent"),
    of("caps", "organization_id", "cap_id"),
)

raise_requests = table(
    "raise_requests",
    key("organization_id"),
    key("request_id"),
    text_column("cap_id"),
    # The window it is asked for: it ends with that, answered or not.
    instant("window_start"),
    instant("window_end"),
    text_column("member_id"),
    whole("asked_micro"),
    text_column("reason", ""),
    instant("asked_at"),
    text_column("status", "open"),
    Column("granted_micro", Whole),
    maybe("answered_by"),
    instant("answered_at", nullable=True),
    CheckConstraint("asked_micro > 0", name="asks_for_something"),
    CheckConstraint("window_start < window_end", name="window_ordered"),
    CheckConstraint("(status = 'open') = (answered_at IS NULL)", name="answered_once"),
    CheckConstraint("(status = 'allowed') = (granted_micro IS NOT NULL)", name="allowed_so_much"),
    one_of("status", "open", "allowed", "declined"),
    of("caps", "organization_id", "cap_id"),
    Index(
        "ux_raise_requests_one_open",
        "organization_id",
        "cap_id",
        "window_start",
        "member_id",
        unique=True,
        postgresql_where=text("status = 'open'"),
        sqlite_where=text("status = 'open'"),
    ),
)

overage_periods = table(
    "overage_periods",
    key("organization_id"),
    Column("period_start", Instant, primary_key=True),
    Column("price_micro_minor", Whole, primary_key=True, autoincrement=False),
    instant("period_end"),
    whole("spent_micro", 0),
    whole("held_micro", 0),
    CheckConstraint("spent_micro >= 0 AND held_micro >= 0", name="not_negative"),
    CheckConstraint("price_micro_minor > 0", name="has_a_price"),
    CheckConstraint("period_start < period_end", name="period_ordered"),
    of("wallets", "organization_id"),
)
