"""Margin: what tiers were in force, what went back of payments, what was recognised, bills of cost.

Days are counted as ``date.toordinal`` counts them where a figure is shared out by time (``_day``).
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index

from portal.tables.columns import (
    Day,
    Document,
    Flag,
    Instant,
    Whole,
    instant,
    key,
    of,
    one_of,
    table,
    text_column,
    whole,
)

tier_terms = table(
    "tier_terms",
    key("organization_id"),
    Column("since", Instant, primary_key=True),
    # Nothing where the organization has no tier from then on.
    text_column("tier", ""),
    Column("seats", Whole),
    instant("period_start", nullable=True),
    instant("period_end", nullable=True),
    # Whether Stripe bills it: then its invoices say what it costs, not the price book.
    Column("billed", Flag, nullable=False),
    CheckConstraint("(tier = '') = (period_start IS NULL)", name="period_of_a_tier"),
    CheckConstraint("(period_start IS NULL) = (period_end IS NULL)", name="period_whole"),
    of("organizations", "organization_id"),
)

payment_movements = table(
    "payment_movements",
    key("organization_id"),
    key("payment_id"),
    key("kind"),
    Column("at", Instant, primary_key=True),
    # What it takes from revenue, before tax; below zero where a dispute gives it back.
    whole("amount_minor"),
    one_of("kind", "refund", "fee"),
    CheckConstraint("amount_minor <> 0", name="moves_something"),
    of("payments", "organization_id", "payment_id"),
)

tier_fees = table(
    "tier_fees",
    key("organization_id"),
    key("fee_id"),
    text_column("tier"),
    # What the whole of its time costs; the fee is owed from one day of it until another.
    whole("amount_minor"),
    whole("first_day"),
    whole("days"),
    whole("from_day"),
    whole("until_day"),
    CheckConstraint("days > 0", name="takes_time"),
    CheckConstraint(
        "first_day <= from_day AND from_day < until_day AND until_day <= first_day + days",
        name="within_its_time",
    ),
    of("organizations", "organization_id"),
)

revenue_daily = table(
    "revenue_daily",
    key("organization_id"),
    Column("day", Day, primary_key=True),
    key("part"),
    # The grant, the place where overage is counted, or the payment that it comes of.
    key("origin"),
    key("action"),
    key("team_id"),
    whole("credits_micro"),
    whole("amount_minor"),
    one_of(
        "part", "credits_used", "credits_expired", "credits_returned", "overage", "refunds", "fees"
    ),
    of("organizations", "organization_id"),
    Index(None, "organization_id", "origin"),
)

recognitions = table(
    "recognitions",
    key("organization_id"),
    # How much had happened by then: what has more now is recognised anew.
    whole("seen"),
    whole("transfers"),
    instant("at"),
    CheckConstraint("seen >= 0 AND transfers >= 0", name="counted"),
    of("organizations", "organization_id"),
)

cost_imports = table(
    "cost_imports",
    key("digest"),
    text_column("name"),
    text_column("kind"),
    # How it was read: the columns, the layers of its categories.
    Column("reading", Document, nullable=False),
    whole("lines"),
    whole("amount_nano_usd"),
    instant("imported_at"),
    one_of("kind", "invoice", "focus"),
)

cost_bills = table(
    "cost_bills",
    key("bill_id"),
    text_column("digest"),
    text_column("layer"),
    # Nothing where it is for all of the layer that no other bill is for.
    text_column("provider", ""),
    Column("start_day", Day, nullable=False),
    Column("end_day", Day, nullable=False),
    whole("amount_nano_usd"),
    # How what no event explains was shared out among customers; nothing where it was not.
    text_column("rule", ""),
    CheckConstraint("start_day < end_day", name="ordered"),
    one_of("layer", "inference", "retrieval", "processing", "storage", "orchestration", "external"),
    one_of("rule", "", "credits", "events", "cost", "customers", "stated"),
    Index(None, "start_day"),
)

cost_shares = table(
    "cost_shares",
    key("organization_id"),
    key("bill_id"),
    whole("weight"),
    whole("amount_nano_usd"),
    CheckConstraint("weight >= 0", name="weight_not_negative"),
    of("organizations", "organization_id"),
    Index(None, "bill_id"),
)
