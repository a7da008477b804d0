"""The meter: events, what they debited and cost, and the sums of each day."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Index,
    Integer,
    UniqueConstraint,
    literal_column,
    text,
)

from portal.tables.columns import (
    Day,
    Document,
    Flag,
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

#: What came too late for its period, and what corrects, may count on another day than it happened.
COUNTS_ON_ANOTHER_DAY = text("(adjusts IS NOT NULL OR corrects_id <> '')")

events = table(
    "events",
    key("organization_id"),
    key("source"),
    key("event_id"),
    text_column("fingerprint"),
    text_column("type"),
    instant("occurred_at"),
    instant("received_at"),
    Column("day", Day, nullable=False),
    text_column("action", ""),
    text_column("member_id", ""),
    text_column("team_id", ""),
    text_column("project_id", ""),
    text_column("run_id", ""),
    text_column("request_type", ""),
    text_column("model", ""),
    text_column("hold_id", ""),
    text_column("corrects_source", ""),
    text_column("corrects_id", ""),
    instant("adjusts", nullable=True),
    whole("quantity_micro"),
    whole("credits_micro"),
    whole("uncollected_micro"),
    whole("price_micro"),
    whole("price_book_version"),
    Column("charged", Flag, nullable=False),
    Column("properties", Document),
    CheckConstraint(
        "CASE WHEN corrects_id = '' THEN quantity_micro >= 0 AND credits_micro >= 0"
        " ELSE quantity_micro <= 0 AND credits_micro <= 0 END",
        name="takes_back_only_where_it_corrects",
    ),
    CheckConstraint(
        "CASE WHEN corrects_id = '' THEN uncollected_micro BETWEEN 0 AND credits_micro"
        " ELSE uncollected_micro BETWEEN credits_micro AND 0 END",
        name="uncollected_within",
    ),
    of("wallets", "organization_id"),
    # Always so, and said for PostgreSQL's sake: without it a new store, which knows nothing of its
    # tables yet, takes this index for as good as the primary key to find one event by.
    Index(
        None,
        "organization_id",
        "occurred_at",
        postgresql_where=text("occurred_at IS NOT NULL"),
    ),
    Index(
        "ix_events_corrections",
        "organization_id",
        "corrects_source",
        "corrects_id",
        postgresql_where=text("corrects_id <> ''"),
        sqlite_where=text("corrects_id <> ''"),
    ),
    Index(
        "ix_events_run",
        "organization_id",
        "run_id",
        postgresql_where=text("run_id <> ''"),
        sqlite_where=text("run_id <> ''"),
    ),
    Index(
        "ix_events_another_day",
        "organization_id",
        "day",
        postgresql_where=COUNTS_ON_ANOTHER_DAY,
        sqlite_where=COUNTS_ON_ANOTHER_DAY,
    ),
)

#: The conditions of two of its indexes, as they stand there (see IS_OPEN of holds).
IS_CORRECTION = events.c.corrects_id != literal_column("''")
IS_OF_A_RUN = events.c.run_id != literal_column("''")

event_debits = table(
    "event_debits",
    key("organization_id"),
    key("source"),
    key("event_id"),
    key("account"),
    whole("amount_micro"),
    instant("overage_since", nullable=True),
    Column("overage_price_micro_minor", Whole),
    CheckConstraint("amount_micro <> 0", name="debits_something"),
    CheckConstraint(
        "(account = 'overage') = (overage_since IS NOT NULL)"
        " AND (account = 'overage') = (overage_price_micro_minor IS NOT NULL)",
        name="overage_is_counted_somewhere",
    ),
    of("events", "organization_id", "source", "event_id"),
    Index(None, "organization_id", "account"),
)

event_costs = table(
    "event_costs",
    key("organization_id"),
    key("source"),
    key("event_id"),
    Column("line", Integer, primary_key=True, autoincrement=False),
    text_column("layer"),
    text_column("quality"),
    Column("amount_nano_usd", Whole),
    text_column("provider", ""),
    text_column("model", ""),
    text_column("resource", ""),
    whole("input_tokens", 0),
    whole("output_tokens", 0),
    whole("cached_input_tokens", 0),
    whole("cache_write_tokens", 0),
    whole("reasoning_tokens", 0),
    text_column("price_source", ""),
    Column("stated_nano_usd", Whole),
    Column("suspect", Flag, nullable=False),
    CheckConstraint("NOT suspect OR stated_nano_usd IS NOT NULL", name="suspects_a_statement"),
    CheckConstraint(
        "(amount_nano_usd IS NULL) = (quality = 'unknown')", name="unknown_is_not_zero"
    ),
    one_of("quality", "measured", "priced", "allocated", "unknown"),
    one_of("layer", "inference", "retrieval", "processing", "storage", "orchestration", "external"),
    of("events", "organization_id", "source", "event_id"),
)

cost_reviews = table(
    "cost_reviews",
    key("organization_id"),
    key("review_id"),
    text_column("source"),
    text_column("event_id"),
    Column("line", Integer, nullable=False),
    instant("raised_at"),
    maybe("decision"),
    instant("decided_at", nullable=True),
    CheckConstraint("(decision IS NULL) = (decided_at IS NULL)", name="decided_at_an_instant"),
    one_of("decision", "accepted", "rejected"),
    UniqueConstraint("organization_id", "source", "event_id", "line"),
    of("event_costs", "organization_id", "source", "event_id", "line"),
    Index(
        "ix_cost_reviews_open",
        "organization_id",
        "review_id",
        postgresql_where=text("decision IS NULL"),
        sqlite_where=text("decision IS NULL"),
    ),
)

rejected_events = table(
    "rejected_events",
    key("organization_id"),
    key("rejection_id"),
    text_column("source", ""),
    text_column("event_id", ""),
    text_column("code"),
    text_column("detail"),
    Column("content", Document),
    instant("received_at"),
    instant("replayed_at", nullable=True),
    Index(
        "ix_rejected_events_waiting",
        "organization_id",
        "rejection_id",
        postgresql_where=text("replayed_at IS NULL"),
        sqlite_where=text("replayed_at IS NULL"),
    ),
)

USAGE_LABELS = ("day", "action", "member_id", "team_id", "project_id", "model")

usage_daily = table(
    "usage_daily",
    key("organization_id"),
    Column("day", Day, primary_key=True),
    key("action"),
    key("member_id"),
    key("team_id"),
    key("project_id"),
    key("model"),
    whole("quantity_micro"),
    whole("credits_micro"),
    whole("uncollected_micro"),
    whole("events"),
    of("wallets", "organization_id"),
)

forecasts = table(
    "forecasts",
    key("organization_id"),
    Column("period_start", Instant, primary_key=True),
    Column("day", Day, primary_key=True),
    instant("made_at"),
    instant("period_end"),
    whole("spent_micro"),
    whole("p10_micro"),
    whole("p50_micro"),
    whole("p90_micro"),
    CheckConstraint(
        "p10_micro <= p50_micro AND p50_micro <= p90_micro AND spent_micro <= p10_micro",
        name="in_order",
    ),
    CheckConstraint("period_start < period_end", name="period_ordered"),
    of("wallets", "organization_id"),
)

COST_LABELS = ("day", "layer", "quality", "provider", "model", "action", "member_id")

cost_daily = table(
    "cost_daily",
    key("organization_id"),
    Column("day", Day, primary_key=True),
    key("layer"),
    key("quality"),
    key("provider"),
    key("model"),
    key("action"),
    key("member_id"),
    whole("cost_nano_usd"),
    whole("input_tokens"),
    whole("output_tokens"),
    whole("lines"),
    of("wallets", "organization_id"),
)
