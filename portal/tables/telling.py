"""Telling: what there is to tell, to whom it goes by which way, and what people want to hear."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Integer, UniqueConstraint, text

from portal.tables.columns import (
    Document,
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

outbox = table(
    "outbox",
    key("organization_id"),
    Column("sequence", Whole, primary_key=True, autoincrement=False),
    text_column("message_id"),
    text_column("kind"),
    text_column("subject", ""),
    text_column("state"),
    Column("facts", Document, nullable=False),
    instant("at"),
    # From here on it is known to whom it goes.
    instant("spread_at", nullable=True),
    CheckConstraint("sequence > 0", name="sequence_counted"),
    one_of("state", "begun", "over", "once"),
    UniqueConstraint("organization_id", "message_id"),
    of("organizations", "organization_id"),
    Index(
        "ix_outbox_unspread",
        "organization_id",
        postgresql_where=text("spread_at IS NULL"),
        sqlite_where=text("spread_at IS NULL"),
    ),
)

deliveries = table(
    "deliveries",
    key("organization_id"),
    key("delivery_id"),
    whole("sequence"),
    text_column("channel"),
    # A member, or an endpoint.
    text_column("target"),
    text_column("status"),
    whole("attempts", 0),
    instant("due_at"),
    instant("leased_until", nullable=True),
    # The mail it goes out in, with others: one that may have left is sent again as it was.
    text_column("batch", ""),
    text_column("detail", ""),
    instant("created_at"),
    instant("done_at", nullable=True),
    CheckConstraint("attempts >= 0", name="attempts_counted"),
    CheckConstraint("(status = 'due') = (done_at IS NULL)", name="done_when_it_ends"),
    one_of("channel", "mail", "webhook"),
    one_of("status", "due", "done", "dead", "dropped"),
    UniqueConstraint("organization_id", "sequence", "channel", "target"),
    of("outbox", "organization_id", "sequence"),
    Index(
        "ix_deliveries_due",
        "channel",
        "due_at",
        postgresql_where=text("status = 'due'"),
        sqlite_where=text("status = 'due'"),
    ),
    Index(None, "target", "created_at"),
)

mailboxes = table(
    "mailboxes",
    key("organization_id"),
    key("member_id"),
    # By group of kinds: by mail, or on the page alone. What is not named is as the role has it.
    Column("choices", Document, nullable=False),
    instant("mailed_at", nullable=True),
    instant("leased_until", nullable=True),
    of("organizations", "organization_id"),
)

webhook_endpoints = table(
    "webhook_endpoints",
    key("endpoint_id"),
    # None where it is the operator's, who hears of every organization.
    maybe("organization_id"),
    text_column("url"),
    # None named: all of them.
    Column("kinds", Document, nullable=False),
    # Which of its secrets signs; the one before signs too until the rotation is over.
    Column("generation", Integer, nullable=False, server_default=text("1")),
    instant("rotated_at", nullable=True),
    text_column("created_by"),
    instant("created_at"),
    instant("disabled_at", nullable=True),
    text_column("disabled_why", ""),
    instant("removed_at", nullable=True),
    CheckConstraint("generation > 0", name="generation_counted"),
    of("organizations", "organization_id"),
    Index(None, "organization_id"),
)

alert_settings = table(
    "alert_settings",
    key("organization_id"),
    # When the balance is low: below a part of the plan's allowance, or below a number of credits.
    Column("low_percent", Integer),
    Column("low_micro", Whole),
    CheckConstraint("(low_percent IS NULL) <> (low_micro IS NULL)", name="one_threshold"),
    CheckConstraint("low_percent IS NULL OR low_percent BETWEEN 0 AND 100", name="in_percent"),
    CheckConstraint("low_micro IS NULL OR low_micro >= 0", name="low_not_negative"),
    of("organizations", "organization_id"),
)
