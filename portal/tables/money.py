"""Money: checkouts, subscriptions, payments, invoices, top-ups, bills, and Stripe's events."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Integer, UniqueConstraint, text

from portal.tables.columns import (
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

checkouts = table(
    "checkouts",
    key("organization_id"),
    key("checkout_id"),
    text_column("pack"),
    text_column("pack_name"),
    whole("price_book_version"),
    whole("credits_micro"),
    whole("amount_minor"),
    text_column("currency"),
    Column("expires_after_days", Integer),
    text_column("status"),
    maybe("stripe_session_id"),
    maybe("stripe_payment_intent_id"),
    text_column("started_by"),
    instant("created_at"),
    instant("settled_at", nullable=True),
    maybe("grant_id"),
    CheckConstraint("(status = 'fulfilled') = (grant_id IS NOT NULL)", name="fulfilled_by_a_grant"),
    CheckConstraint("amount_minor > 0 AND credits_micro > 0", name="sells_something"),
    one_of("status", "started", "open", "fulfilled", "failed", "expired"),
    UniqueConstraint("organization_id", "stripe_session_id"),
    of("organizations", "organization_id"),
)

stripe_subscriptions = table(
    "stripe_subscriptions",
    key("organization_id"),
    text_column("stripe_subscription_id"),
    text_column("status"),
    text_column("tier"),
    Column("seats", Whole),
    # Stripe's own period, to the second; the billing period is cut at the days that hold its ends.
    instant("cycle_start"),
    instant("cycle_end"),
    # The most that any tier of this cycle includes: what an upgrade adds is measured from here.
    whole("largest_allowance_micro", 0),
    instant("cancels_at", nullable=True),
    maybe("scheduled_tier"),
    Column("scheduled_seats", Whole),
    instant("scheduled_at", nullable=True),
    maybe("stripe_schedule_id"),
    maybe("awaited_tier"),
    instant("awaited_until", nullable=True),
    maybe("awaited_invoice_id"),
    instant("past_due_since", nullable=True),
    instant("created_at"),
    CheckConstraint("cycle_start < cycle_end", name="cycle_ordered"),
    CheckConstraint("largest_allowance_micro >= 0", name="allowance_not_negative"),
    CheckConstraint("(scheduled_tier IS NULL) = (scheduled_at IS NULL)", name="scheduled_whole"),
    UniqueConstraint("organization_id", "stripe_subscription_id"),
    of("organizations", "organization_id"),
)

tier_checkouts = table(
    "tier_checkouts",
    key("organization_id"),
    key("checkout_id"),
    text_column("tier"),
    Column("seats", Whole),
    whole("price_book_version"),
    whole("amount_minor"),
    text_column("currency"),
    text_column("status"),
    maybe("stripe_session_id"),
    maybe("stripe_subscription_id"),
    text_column("started_by"),
    instant("created_at"),
    instant("settled_at", nullable=True),
    CheckConstraint("amount_minor > 0", name="sells_something"),
    one_of("status", "started", "open", "fulfilled", "failed", "expired"),
    UniqueConstraint("organization_id", "stripe_session_id"),
    of("organizations", "organization_id"),
)

tier_changes = table(
    "tier_changes",
    key("organization_id"),
    key("change_id"),
    text_column("kind"),
    text_column("from_tier"),
    text_column("to_tier", ""),
    Column("seats", Whole),
    Column("from_seats", Whole),
    # From when an upgrade is prorated; when anything else takes effect.
    instant("as_of"),
    whole("charge_minor", 0),
    # What goes on the next invoice instead; below zero a credit that is left for it.
    whole("carried_minor", 0),
    text_column("currency"),
    whole("credits_micro", 0),
    text_column("status"),
    maybe("stripe_invoice_id"),
    text_column("started_by"),
    instant("created_at"),
    instant("settled_at", nullable=True),
    one_of("kind", "upgrade", "downgrade", "cancel", "undo"),
    one_of("status", "previewed", "started", "awaiting_payment", "done", "failed"),
    of("organizations", "organization_id"),
)

payments = table(
    "payments",
    key("organization_id"),
    key("payment_id"),
    text_column("kind"),
    whole("amount_minor"),
    whole("tax_minor", 0),
    text_column("currency"),
    Column("fee_minor", Whole),
    maybe("grant_id"),
    # What of the amount was for the grant, where it was for something else as well.
    Column("grant_part_minor", Whole),
    maybe("stripe_charge_id"),
    maybe("stripe_invoice_id"),
    text_column("receipt_url", ""),
    instant("settled_at", nullable=True),
    whole("refunded_minor", 0),
    # What of it said which part of the payment it was of.
    whole("plan_refunded_minor", 0),
    whole("overage_refunded_minor", 0),
    whole("disputed_minor", 0),
    text_column("dispute", "none"),
    maybe("stripe_dispute_id"),
    whole("refund_revoked_micro", 0),
    # What of that could not be taken: it had ended before.
    whole("refund_missed_micro", 0),
    whole("dispute_revoked_micro", 0),
    CheckConstraint("amount_minor >= 0", name="amount_not_negative"),
    CheckConstraint("tax_minor BETWEEN 0 AND amount_minor", name="tax_is_a_part"),
    CheckConstraint("refunded_minor BETWEEN 0 AND amount_minor", name="refunds_what_was_paid"),
    CheckConstraint("disputed_minor >= 0", name="disputes_not_negative"),
    CheckConstraint(
        "refund_revoked_micro >= 0 AND dispute_revoked_micro >= 0", name="revokes_not_negative"
    ),
    one_of("kind", "pack", "top_up", "tier", "overage", "unknown"),
    one_of("dispute", "none", "inquiry", "open", "withdrawn", "won", "lost"),
    Index(None, "organization_id", "settled_at"),
    of("organizations", "organization_id"),
)

refunds = table(
    "refunds",
    key("organization_id"),
    key("refund_id"),
    text_column("payment_id"),
    whole("amount_minor"),
    text_column("currency"),
    # What of a payment for a plan and for overage it is of, where that is said.
    text_column("part", ""),
    text_column("reason", ""),
    text_column("asked_by"),
    instant("asked_at"),
    # Until when somebody else may approve it; nothing where nobody has to.
    instant("expires_at", nullable=True),
    maybe("decided_by"),
    instant("decided_at", nullable=True),
    text_column("status"),
    # Why it came to nothing.
    text_column("answer", ""),
    maybe("stripe_refund_id"),
    CheckConstraint("amount_minor > 0", name="gives_something"),
    CheckConstraint(
        "expires_at IS NULL OR status NOT IN ('started', 'done', 'failed') "
        "OR (decided_by IS NOT NULL AND lower(decided_by) <> lower(asked_by))",
        name="approved_by_another",
    ),
    CheckConstraint("status <> 'done' OR stripe_refund_id IS NOT NULL", name="done_at_stripe"),
    one_of("part", "", "plan", "overage"),
    one_of(
        "status",
        "waiting",
        "started",
        "done",
        "failed",
        "refused",
        "declined",
        "withdrawn",
        "lapsed",
    ),
    of("payments", "organization_id", "payment_id"),
    Index(
        "ux_refunds_one_open",
        "organization_id",
        "payment_id",
        unique=True,
        postgresql_where=text("status IN ('waiting', 'started')"),
        sqlite_where=text("status IN ('waiting', 'started')"),
    ),
    Index(None, "status", "asked_at"),
)

invoices = table(
    "invoices",
    key("organization_id"),
    key("invoice_id"),
    text_column("number", ""),
    text_column("status"),
    text_column("reason", ""),
    text_column("currency"),
    whole("subtotal_minor"),
    whole("tax_minor"),
    whole("total_minor"),
    whole("paid_minor"),
    whole("due_minor"),
    instant("issued_at"),
    instant("paid_at", nullable=True),
    text_column("page_url", ""),
    text_column("file_url", ""),
    # What it is made of, as read from Stripe: kind, tier or action, amount, the time it is for.
    Column("lines", Document, nullable=False),
    one_of("status", "draft", "open", "paid", "void", "uncollectible"),
    Index(None, "organization_id", "issued_at"),
    of("organizations", "organization_id"),
)

auto_top_ups = table(
    "auto_top_ups",
    key("organization_id"),
    text_column("pack"),
    whole("threshold_micro"),
    whole("monthly_limit_minor"),
    text_column("set_by"),
    instant("set_at"),
    whole("declines", 0),
    # Why it rests until a person acts, and with which payment method it failed.
    text_column("suspended", ""),
    maybe("failed_method_id"),
    CheckConstraint("threshold_micro > 0 AND monthly_limit_minor > 0", name="buys_something"),
    CheckConstraint("declines >= 0", name="declines_counted"),
    one_of("suspended", "", "declined", "authentication", "disputed"),
    of("organizations", "organization_id"),
)

top_ups = table(
    "top_ups",
    key("organization_id"),
    key("top_up_id"),
    text_column("pack"),
    text_column("pack_name"),
    whole("price_book_version"),
    whole("credits_micro"),
    whole("amount_minor"),
    text_column("currency"),
    Column("expires_after_days", Integer),
    text_column("status"),
    text_column("failure", ""),
    maybe("stripe_payment_intent_id"),
    maybe("stripe_method_id"),
    instant("started_at"),
    # Until its end is known: when Stripe is asked again.
    instant("ask_at"),
    instant("settled_at", nullable=True),
    maybe("grant_id"),
    CheckConstraint("amount_minor > 0 AND credits_micro > 0", name="buys_something"),
    CheckConstraint("(status = 'succeeded') = (grant_id IS NOT NULL)", name="succeeds_by_a_grant"),
    one_of("status", "pending", "unknown", "succeeded", "failed", "needs_authentication"),
    of("organizations", "organization_id"),
    Index(
        "ux_top_ups_one_in_flight",
        "organization_id",
        unique=True,
        postgresql_where=text("status IN ('pending', 'unknown')"),
        sqlite_where=text("status IN ('pending', 'unknown')"),
    ),
    Index(None, "organization_id", "started_at"),
)

overage_bills = table(
    "overage_bills",
    key("organization_id"),
    Column("period_start", Instant, primary_key=True),
    Column("price_micro_minor", Whole, primary_key=True, autoincrement=False),
    key("action"),
    # A period is billed again where something came late: each bill has what none before it had.
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    whole("credits_micro"),
    whole("amount_minor"),
    text_column("currency"),
    maybe("stripe_invoice_id"),
    maybe("stripe_invoice_item_id"),
    instant("created_at"),
    # From here on nothing more of ours is to be done about it.
    instant("done_at", nullable=True),
    # What became of it on its invoice: given up by the operator, or owed and not collected.
    text_column("status", "due"),
    one_of("status", "due", "waived", "uncollectible"),
    of("wallets", "organization_id"),
    Index(
        "ix_overage_bills_begun",
        "organization_id",
        postgresql_where=text("done_at IS NULL"),
        sqlite_where=text("done_at IS NULL"),
    ),
)

notices = table(
    "notices",
    key("organization_id"),
    key("notice_id"),
    text_column("kind"),
    text_column("subject", ""),
    text_column("sentence"),
    text_column("url", ""),
    instant("raised_at"),
    instant("ended_at", nullable=True),
    of("organizations", "organization_id"),
    Index(
        "ux_notices_one_standing",
        "organization_id",
        "kind",
        "subject",
        unique=True,
        postgresql_where=text("ended_at IS NULL"),
        sqlite_where=text("ended_at IS NULL"),
    ),
)

reconciliations = table(
    "reconciliations",
    key("reconciliation_id"),
    # Who asked: an operator's address, or the job that compares every day.
    text_column("asked_by"),
    instant("since"),
    instant("begun_at"),
    # Each a list of sentences; what could not be mended is among the first, and says so.
    Column("mended", Document, nullable=False),
    Column("differing", Document, nullable=False),
    Index(None, "begun_at"),
)

stripe_inbox = table(
    "stripe_inbox",
    key("stripe_event_id"),
    text_column("type"),
    text_column("object_id"),
    Column("livemode", Flag, nullable=False),
    text_column("status"),
    text_column("detail", ""),
    instant("received_at"),
    instant("done_at", nullable=True),
    one_of("status", "pending", "done", "ignored", "quarantined"),
    Index(None, "status", "received_at"),
)
