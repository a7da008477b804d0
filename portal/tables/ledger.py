"""The ledger: wallets, accounts, grants, transfers and entries, holds, idempotency keys."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Computed,
    Index,
    Integer,
    UniqueConstraint,
    literal_column,
    text,
)

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

wallets = table(
    "wallets",
    key("organization_id"),
    whole("transfers", 0),
    instant("moved_at", nullable=True),
    # How much of this organization there was to tell: see the outbox.
    whole("told", 0),
    CheckConstraint("transfers >= 0", name="transfers_counted"),
    CheckConstraint("told >= 0", name="told_counted"),
    of("organizations", "organization_id"),
)

accounts = table(
    "accounts",
    key("organization_id"),
    key("account"),
    whole("balance_micro", 0),
    whole("version", 0),
    # Indexed in place of the balance, so that a balance that only changes moves no index entry.
    Column("standing", Flag, Computed("balance_micro <> 0", persisted=True), nullable=False),
    CheckConstraint(
        "balance_micro >= 0 OR account IN ('issued', 'overage', 'debt')", name="never_below_zero"
    ),
    CheckConstraint("version >= 0", name="version_counted"),
    of("wallets", "organization_id"),
    Index(
        "ix_accounts_standing",
        "organization_id",
        postgresql_where=text("standing"),
        sqlite_where=text("standing"),
    ),
)

grants = table(
    "grants",
    key("organization_id"),
    key("grant_id"),
    text_column("source"),
    whole("priority"),
    whole("granted_micro"),
    instant("effective_at"),
    instant("expires_at", nullable=True),
    Column("paid_minor", Whole),
    maybe("paid_currency"),
    text_column("reason", ""),
    maybe("external_key"),
    # The grant whose credits these were before a dispute took them.
    maybe("continues"),
    whole("frozen_micro", 0),
    whole("claimed_micro", 0),
    whole("owed_micro", 0),
    instant("frozen_at", nullable=True),
    instant("voided_at", nullable=True),
    instant("created_at"),
    CheckConstraint("granted_micro > 0", name="grants_something"),
    CheckConstraint(
        "frozen_micro >= 0 AND claimed_micro >= 0 AND owed_micro >= 0", name="not_negative"
    ),
    CheckConstraint("frozen_micro = 0 OR frozen_at IS NOT NULL", name="frozen_since"),
    CheckConstraint("expires_at IS NULL OR expires_at > effective_at", name="lives"),
    CheckConstraint("(paid_minor IS NULL) = (paid_currency IS NULL)", name="paid_in_a_currency"),
    CheckConstraint("paid_minor IS NULL OR paid_minor >= 0", name="paid_not_negative"),
    one_of("source", "allowance", "rollover", "promotion", "pack", "adjustment", "restoration"),
    UniqueConstraint("organization_id", "external_key"),
    of("wallets", "organization_id"),
)

transfers = table(
    "transfers",
    key("organization_id"),
    Column("transfer_id", Whole, primary_key=True, autoincrement=False),
    text_column("kind"),
    text_column("from_account"),
    text_column("to_account"),
    whole("amount_micro"),
    instant("at"),
    text_column("reference", ""),
    CheckConstraint("amount_micro > 0", name="moves_something"),
    CheckConstraint("from_account <> to_account", name="between_two_accounts"),
    # For questions about time alone: one transfer is found by its key (see events).
    Index(None, "organization_id", "at", postgresql_where=text("at IS NOT NULL")),
    of("wallets", "organization_id"),
)

entries = table(
    "entries",
    key("organization_id"),
    key("account"),
    Column("version", Whole, primary_key=True, autoincrement=False),
    whole("transfer_id"),
    whole("amount_micro"),
    whole("before_micro"),
    whole("after_micro"),
    instant("at"),
    CheckConstraint("after_micro = before_micro + amount_micro", name="adds_up"),
    CheckConstraint("amount_micro <> 0", name="moves_something"),
    CheckConstraint("version > 0", name="version_counted"),
    Index(None, "organization_id", "account", "at", "version"),
    of("accounts", "organization_id", "account"),
    of("transfers", "organization_id", "transfer_id"),
)

holds = table(
    "holds",
    key("organization_id"),
    key("hold_id"),
    text_column("status"),
    text_column("action"),
    whole("quantity_micro"),
    whole("credits_micro"),
    whole("price_micro"),
    whole("price_book_version"),
    whole("overage_price_micro_minor", 0),
    instant("overage_since", nullable=True),
    text_column("member_id", ""),
    text_column("team_id", ""),
    text_column("project_id", ""),
    text_column("run_id", ""),
    instant("authorized_at"),
    instant("expires_at"),
    instant("lapsed_at", nullable=True),
    instant("ended_at", nullable=True),
    Column("outcome", Document),
    CheckConstraint("credits_micro >= 0 AND quantity_micro >= 0", name="not_negative"),
    CheckConstraint("(status = 'authorized') = (ended_at IS NULL)", name="ends_once"),
    one_of("status", "authorized", "captured", "released", "expired"),
    of("wallets", "organization_id"),
    Index(None, "hold_id"),
    Index(
        "ix_holds_lapsed",
        "organization_id",
        "lapsed_at",
        postgresql_where=text("lapsed_at IS NOT NULL"),
        sqlite_where=text("lapsed_at IS NOT NULL"),
    ),
    Index(
        "ix_holds_open",
        "organization_id",
        "expires_at",
        postgresql_where=text("status = 'authorized'"),
        sqlite_where=text("status = 'authorized'"),
    ),
)

#: The condition of the index of open holds, as it stands there: of a parameter SQLite cannot tell
#: that the index serves, and would go over all holds there ever were.
IS_OPEN = holds.c.status == literal_column("'authorized'")

hold_pins = table(
    "hold_pins",
    key("organization_id"),
    key("hold_id"),
    Column("position", Integer, primary_key=True, autoincrement=False),
    text_column("account"),
    whole("amount_micro"),
    instant("at"),
    CheckConstraint("amount_micro > 0", name="pins_something"),
    of("holds", "organization_id", "hold_id"),
)

hold_caps = table(
    "hold_caps",
    key("organization_id"),
    key("hold_id"),
    key("cap_id"),
    Column("window_start", Instant, primary_key=True),
    of("holds", "organization_id", "hold_id"),
)

idempotency_keys = table(
    "idempotency_keys",
    key("organization_id"),
    key("route"),
    key("key"),
    text_column("fingerprint"),
    whole("status"),
    text_column("body"),
    instant("created_at"),
    of("organizations", "organization_id"),
    Index(None, "created_at", postgresql_using="brin"),
)
