"""Simulations: what was asked, how far each has come, and what it found for each customer."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index

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

simulations = table(
    "simulations",
    key("simulation_id"),
    text_column("name"),
    Column("request", Document, nullable=False),
    text_column("status"),
    # Organizations are gone through in the order of their ids: where it goes on after a stop.
    text_column("done_until", ""),
    whole("done", 0),
    whole("total"),
    # What could not be priced so far, and whom it leaves out.
    Column("notes", Document, nullable=False),
    # Who works on it, and until when nobody else may.
    maybe("lease"),
    instant("leased_until", nullable=True),
    text_column("started_by"),
    instant("created_at"),
    instant("finished_at", nullable=True),
    Column("result", Document),
    text_column("failure", ""),
    CheckConstraint("done >= 0 AND total >= 0", name="progress_counted"),
    CheckConstraint("(status = 'done') = (result IS NOT NULL)", name="done_with_a_result"),
    CheckConstraint("(status = 'failed') = (failure <> '')", name="failed_for_a_reason"),
    one_of("status", "queued", "running", "done", "failed"),
    Index(None, "created_at"),
    Index(None, "status"),
)

simulated_customers = table(
    "simulated_customers",
    key("organization_id"),
    key("simulation_id"),
    text_column("currency"),
    # What a minor unit is worth in billionths of a dollar; NULL where nobody stated it.
    Column("rate_nano_usd", Whole),
    whole("revenue_minor"),
    whole("today_minor"),
    whole("cost_nano_usd"),
    whole("swing_permille"),
    whole("today_swing_permille"),
    whole("uncollected_micro"),
    of("organizations", "organization_id"),
    Index(None, "simulation_id", "organization_id"),
)
