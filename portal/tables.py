"""Every table as a record: columns, CHECK, UNIQUE. No behaviour.

Invariant: every table of an organization has ``organization_id`` first in its primary key, so that
the store can be distributed by it; tables found by a secret's hash or by Stripe's id are the named
exceptions. Amounts are integers: millionths of a credit (``_micro``), minor units (``_minor``),
billionths of a US dollar (``_nano_usd``).
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import (
    JSON,
    TIMESTAMP,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    Dialect,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware UTC instant: timestamptz on PostgreSQL, microseconds since 1970 on SQLite."""

    impl = TIMESTAMP(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column type of the store."""
        kind: TypeEngine[Any] = Integer() if dialect.name == "sqlite" else TIMESTAMP(timezone=True)
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Refuse naive instants; write UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant needs a time zone")
        if dialect.name == "sqlite":
            return (value - _EPOCH) // _MICROSECOND
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Read an aware UTC instant."""
        if value is None:
            return None
        if dialect.name == "sqlite":
            return _EPOCH + timedelta(microseconds=value)
        return value.astimezone(UTC)  # type: ignore[no-any-return] # the driver gives a datetime


class Day(TypeDecorator[date]):
    """A calendar day of an organization: date on PostgreSQL, ISO text on SQLite."""

    impl = Date
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column type of the store."""
        kind: TypeEngine[Any] = Text() if dialect.name == "sqlite" else Date()
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: date | None, dialect: Dialect) -> Any:
        """Write ISO text on SQLite."""
        return value.isoformat() if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> date | None:  # noqa: ARG002 # SQLAlchemy's
        """Read a date."""
        return date.fromisoformat(value) if isinstance(value, str) else value


class Flag(TypeDecorator[bool]):
    """True or false: boolean on PostgreSQL, 0 or 1 on SQLite (STRICT tables have no boolean)."""

    impl = Boolean
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column type of the store."""
        kind: TypeEngine[Any] = Integer() if dialect.name == "sqlite" else Boolean()
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: bool | None, dialect: Dialect) -> Any:
        """Write 0 or 1 on SQLite."""
        return int(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> bool | None:  # noqa: ARG002 # SQLAlchemy's
        """Read a truth value."""
        return None if value is None else bool(value)


class Document(TypeDecorator[Any]):
    """A JSON value: jsonb on PostgreSQL, text on SQLite."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column type of the store."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(Text())
        return dialect.type_descriptor(JSONB(none_as_null=True))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Write JSON text on SQLite."""
        if value is None or dialect.name != "sqlite":
            return value
        return json.dumps(value, sort_keys=True, separators=(",", ":"))

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Read a JSON value."""
        return json.loads(value) if isinstance(value, str) and dialect.name == "sqlite" else value


Whole = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _key(name: str) -> Column[str]:
    return Column(name, Text, primary_key=True)


def _text(name: str, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=False, server_default=default)


def _maybe(name: str) -> Column[str]:
    return Column(name, Text, nullable=True)


def _whole(name: str, default: int | None = None) -> Column[int]:
    given = None if default is None else text(str(default))
    return Column(name, Whole, nullable=False, server_default=given)


def _instant(name: str, *, nullable: bool = False) -> Column[datetime]:
    return Column(name, Instant, nullable=nullable)


def _one_of(column: str, *values: str) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


def _table(name: str, *parts: Any) -> Table:
    return Table(name, metadata, *parts, sqlite_strict=True)


def _of(parent: str, *columns: str) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(list(columns), [f"{parent}.{column}" for column in columns])


# --- who -----------------------------------------------------------------------------------------

organizations = _table(
    "organizations",
    _key("organization_id"),
    _text("name"),
    _maybe("email"),
    _text("timezone"),
    # What came after the zone it began in, and its billing periods: see core/calendars.py.
    Column("calendar", Document, nullable=False),
    _text("currency"),
    _text("charging", "on"),
    _text("on_empty", "stop"),
    Column("overage_limit_minor", Whole),
    _maybe("stripe_customer_id"),
    _instant("created_at"),
    _one_of("charging", "on", "shadow"),
    _one_of("on_empty", "stop", "top_up", "overage"),
    CheckConstraint(
        "overage_limit_minor IS NULL OR overage_limit_minor >= 0", name="overage_limit_not_negative"
    ),
    CheckConstraint(
        "on_empty <> 'overage' OR overage_limit_minor IS NOT NULL", name="overage_is_limited"
    ),
    # Stripe names a customer where it names nothing of ours.
    Index(None, "stripe_customer_id"),
)

subscriptions = _table(
    "subscriptions",
    _key("organization_id"),
    _text("tier"),
    Column("seats", Whole),
    _instant("period_start"),
    _instant("period_end"),
    _instant("created_at"),
    # Where a payment is overdue: from here on no new work is authorized.
    _instant("stops_at", nullable=True),
    # Where Stripe bills it: where the cycle ends, to the second. None where the operator put it.
    _instant("cycle_end", nullable=True),
    CheckConstraint("period_start < period_end", name="period_ordered"),
    CheckConstraint("seats IS NULL OR seats > 0", name="seats_positive"),
    _of("organizations", "organization_id"),
)

teams = _table(
    "teams",
    _key("organization_id"),
    _key("team_id"),
    _text("name"),
    _of("organizations", "organization_id"),
)

members = _table(
    "members",
    _key("organization_id"),
    _key("member_id"),
    _text("email"),
    _text("name"),
    _text("role"),
    _text("team_id", ""),
    _maybe("password_hash"),
    _instant("created_at"),
    _instant("removed_at", nullable=True),
    _one_of("role", "owner", "admin", "billing", "member", "viewer"),
    _of("organizations", "organization_id"),
    Index(None, "email"),
)

projects = _table(
    "projects",
    _key("organization_id"),
    _key("project_id"),
    _text("name"),
    _of("organizations", "organization_id"),
)

operators = _table(
    "operators",
    _key("email"),
    _text("name"),
    _instant("created_at"),
)

api_keys = _table(
    "api_keys",
    _key("key_id"),
    _text("secret_hash"),
    _maybe("organization_id"),
    _text("name"),
    _text("scopes"),
    _instant("created_at"),
    _instant("revoked_at", nullable=True),
    _of("organizations", "organization_id"),
)

portal_links = _table(
    "portal_links",
    _key("token_hash"),
    _maybe("organization_id"),
    _maybe("member_id"),
    _maybe("operator_email"),
    _text("page"),
    _text("return_url", ""),
    _instant("created_at"),
    _instant("expires_at"),
    _instant("used_at", nullable=True),
    CheckConstraint(
        "(organization_id IS NOT NULL AND member_id IS NOT NULL AND operator_email IS NULL)"
        " OR (organization_id IS NULL AND member_id IS NULL AND operator_email IS NOT NULL)",
        name="for_one_person",
    ),
)

sessions = _table(
    "sessions",
    _key("session_hash"),
    _maybe("organization_id"),
    _maybe("member_id"),
    _maybe("operator_email"),
    Column("data", Document, nullable=False),
    _instant("created_at"),
    _instant("seen_at"),
    _instant("expires_at"),
    Index(None, "organization_id", "member_id"),
)

# --- what things cost ----------------------------------------------------------------------------

price_books = _table(
    "price_books",
    Column("version", Integer, primary_key=True, autoincrement=False),
    _instant("effective_at"),
    _instant("loaded_at"),
    _text("document"),
    UniqueConstraint("effective_at"),
)

cost_books = _table(
    "cost_books",
    Column("version", Integer, primary_key=True, autoincrement=False),
    _instant("effective_at"),
    _instant("loaded_at"),
    _text("document"),
    _text("digest"),
    UniqueConstraint("effective_at"),
)

# --- the ledger ----------------------------------------------------------------------------------

wallets = _table(
    "wallets",
    _key("organization_id"),
    _whole("transfers", 0),
    _instant("moved_at", nullable=True),
    CheckConstraint("transfers >= 0", name="transfers_counted"),
    _of("organizations", "organization_id"),
)

accounts = _table(
    "accounts",
    _key("organization_id"),
    _key("account"),
    _whole("balance_micro", 0),
    _whole("version", 0),
    # Indexed in place of the balance, so that a balance that only changes moves no index entry.
    Column("standing", Flag, Computed("balance_micro <> 0", persisted=True), nullable=False),
    CheckConstraint(
        "balance_micro >= 0 OR account IN ('issued', 'overage', 'debt')", name="never_below_zero"
    ),
    CheckConstraint("version >= 0", name="version_counted"),
    _of("wallets", "organization_id"),
    Index(
        "ix_accounts_standing",
        "organization_id",
        postgresql_where=text("standing"),
        sqlite_where=text("standing"),
    ),
)

grants = _table(
    "grants",
    _key("organization_id"),
    _key("grant_id"),
    _text("source"),
    _whole("priority"),
    _whole("granted_micro"),
    _instant("effective_at"),
    _instant("expires_at", nullable=True),
    Column("paid_minor", Whole),
    _maybe("paid_currency"),
    _text("reason", ""),
    _maybe("external_key"),
    _whole("frozen_micro", 0),
    _whole("claimed_micro", 0),
    _whole("owed_micro", 0),
    _instant("frozen_at", nullable=True),
    _instant("voided_at", nullable=True),
    _instant("created_at"),
    CheckConstraint("granted_micro > 0", name="grants_something"),
    CheckConstraint(
        "frozen_micro >= 0 AND claimed_micro >= 0 AND owed_micro >= 0", name="not_negative"
    ),
    CheckConstraint("frozen_micro = 0 OR frozen_at IS NOT NULL", name="frozen_since"),
    CheckConstraint("expires_at IS NULL OR expires_at > effective_at", name="lives"),
    CheckConstraint("(paid_minor IS NULL) = (paid_currency IS NULL)", name="paid_in_a_currency"),
    CheckConstraint("paid_minor IS NULL OR paid_minor >= 0", name="paid_not_negative"),
    _one_of("source", "allowance", "rollover", "promotion", "pack", "adjustment", "restoration"),
    UniqueConstraint("organization_id", "external_key"),
    _of("wallets", "organization_id"),
)

transfers = _table(
    "transfers",
    _key("organization_id"),
    Column("transfer_id", Whole, primary_key=True, autoincrement=False),
    _text("kind"),
    _text("from_account"),
    _text("to_account"),
    _whole("amount_micro"),
    _instant("at"),
    _text("reference", ""),
    CheckConstraint("amount_micro > 0", name="moves_something"),
    CheckConstraint("from_account <> to_account", name="between_two_accounts"),
    Index(None, "organization_id", "at"),
    _of("wallets", "organization_id"),
)

entries = _table(
    "entries",
    _key("organization_id"),
    _key("account"),
    Column("version", Whole, primary_key=True, autoincrement=False),
    _whole("transfer_id"),
    _whole("amount_micro"),
    _whole("before_micro"),
    _whole("after_micro"),
    _instant("at"),
    CheckConstraint("after_micro = before_micro + amount_micro", name="adds_up"),
    CheckConstraint("amount_micro <> 0", name="moves_something"),
    CheckConstraint("version > 0", name="version_counted"),
    Index(None, "organization_id", "account", "at", "version"),
    _of("accounts", "organization_id", "account"),
    _of("transfers", "organization_id", "transfer_id"),
)

holds = _table(
    "holds",
    _key("organization_id"),
    _key("hold_id"),
    _text("status"),
    _text("action"),
    _whole("quantity_micro"),
    _whole("credits_micro"),
    _whole("price_micro"),
    _whole("price_book_version"),
    _whole("overage_price_micro_minor", 0),
    _instant("overage_since", nullable=True),
    _text("member_id", ""),
    _text("team_id", ""),
    _text("project_id", ""),
    _text("run_id", ""),
    _instant("authorized_at"),
    _instant("expires_at"),
    _instant("lapsed_at", nullable=True),
    _instant("ended_at", nullable=True),
    Column("outcome", Document),
    CheckConstraint("credits_micro >= 0 AND quantity_micro >= 0", name="not_negative"),
    CheckConstraint("(status = 'authorized') = (ended_at IS NULL)", name="ends_once"),
    _one_of("status", "authorized", "captured", "released", "expired"),
    _of("wallets", "organization_id"),
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

hold_pins = _table(
    "hold_pins",
    _key("organization_id"),
    _key("hold_id"),
    Column("position", Integer, primary_key=True, autoincrement=False),
    _text("account"),
    _whole("amount_micro"),
    _instant("at"),
    CheckConstraint("amount_micro > 0", name="pins_something"),
    _of("holds", "organization_id", "hold_id"),
)

hold_caps = _table(
    "hold_caps",
    _key("organization_id"),
    _key("hold_id"),
    _key("cap_id"),
    Column("window_start", Instant, primary_key=True),
    _of("holds", "organization_id", "hold_id"),
)

idempotency_keys = _table(
    "idempotency_keys",
    _key("organization_id"),
    _key("route"),
    _key("key"),
    _text("fingerprint"),
    _whole("status"),
    _text("body"),
    _instant("created_at"),
    _of("organizations", "organization_id"),
    Index(None, "created_at", postgresql_using="brin"),
)

# --- the meter -----------------------------------------------------------------------------------

#: What came too late for its period, and what corrects, may count on another day than it happened.
COUNTS_ON_ANOTHER_DAY = text("(adjusts IS NOT NULL OR corrects_id <> '')")

events = _table(
    "events",
    _key("organization_id"),
    _key("source"),
    _key("event_id"),
    _text("fingerprint"),
    _text("type"),
    _instant("occurred_at"),
    _instant("received_at"),
    Column("day", Day, nullable=False),
    _text("action", ""),
    _text("member_id", ""),
    _text("team_id", ""),
    _text("project_id", ""),
    _text("run_id", ""),
    _text("request_type", ""),
    _text("model", ""),
    _text("hold_id", ""),
    _text("corrects_source", ""),
    _text("corrects_id", ""),
    _instant("adjusts", nullable=True),
    _whole("quantity_micro"),
    _whole("credits_micro"),
    _whole("uncollected_micro"),
    _whole("price_micro"),
    _whole("price_book_version"),
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
    _of("wallets", "organization_id"),
    Index(None, "organization_id", "occurred_at"),
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

event_debits = _table(
    "event_debits",
    _key("organization_id"),
    _key("source"),
    _key("event_id"),
    _key("account"),
    _whole("amount_micro"),
    _instant("overage_since", nullable=True),
    Column("overage_price_micro_minor", Whole),
    CheckConstraint("amount_micro <> 0", name="debits_something"),
    CheckConstraint(
        "(account = 'overage') = (overage_since IS NOT NULL)"
        " AND (account = 'overage') = (overage_price_micro_minor IS NOT NULL)",
        name="overage_is_counted_somewhere",
    ),
    _of("events", "organization_id", "source", "event_id"),
    Index(None, "organization_id", "account"),
)

event_costs = _table(
    "event_costs",
    _key("organization_id"),
    _key("source"),
    _key("event_id"),
    Column("line", Integer, primary_key=True, autoincrement=False),
    _text("layer"),
    _text("quality"),
    Column("amount_nano_usd", Whole),
    _text("provider", ""),
    _text("model", ""),
    _text("resource", ""),
    _whole("input_tokens", 0),
    _whole("output_tokens", 0),
    _whole("cached_input_tokens", 0),
    _whole("cache_write_tokens", 0),
    _whole("reasoning_tokens", 0),
    _text("price_source", ""),
    Column("stated_nano_usd", Whole),
    Column("suspect", Flag, nullable=False),
    CheckConstraint("NOT suspect OR stated_nano_usd IS NOT NULL", name="suspects_a_statement"),
    CheckConstraint(
        "(amount_nano_usd IS NULL) = (quality = 'unknown')", name="unknown_is_not_zero"
    ),
    _one_of("quality", "measured", "priced", "allocated", "unknown"),
    _one_of(
        "layer", "inference", "retrieval", "processing", "storage", "orchestration", "external"
    ),
    _of("events", "organization_id", "source", "event_id"),
)

cost_reviews = _table(
    "cost_reviews",
    _key("organization_id"),
    _key("review_id"),
    _text("source"),
    _text("event_id"),
    Column("line", Integer, nullable=False),
    _instant("raised_at"),
    _maybe("decision"),
    _instant("decided_at", nullable=True),
    CheckConstraint("(decision IS NULL) = (decided_at IS NULL)", name="decided_at_an_instant"),
    _one_of("decision", "accepted", "rejected"),
    UniqueConstraint("organization_id", "source", "event_id", "line"),
    _of("event_costs", "organization_id", "source", "event_id", "line"),
    Index(
        "ix_cost_reviews_open",
        "organization_id",
        "review_id",
        postgresql_where=text("decision IS NULL"),
        sqlite_where=text("decision IS NULL"),
    ),
)

rejected_events = _table(
    "rejected_events",
    _key("organization_id"),
    _key("rejection_id"),
    _text("source", ""),
    _text("event_id", ""),
    _text("code"),
    _text("detail"),
    Column("content", Document),
    _instant("received_at"),
    _instant("replayed_at", nullable=True),
    Index(
        "ix_rejected_events_waiting",
        "organization_id",
        "rejection_id",
        postgresql_where=text("replayed_at IS NULL"),
        sqlite_where=text("replayed_at IS NULL"),
    ),
)

USAGE_LABELS = ("day", "action", "member_id", "team_id", "project_id", "model")

usage_daily = _table(
    "usage_daily",
    _key("organization_id"),
    Column("day", Day, primary_key=True),
    _key("action"),
    _key("member_id"),
    _key("team_id"),
    _key("project_id"),
    _key("model"),
    _whole("quantity_micro"),
    _whole("credits_micro"),
    _whole("uncollected_micro"),
    _whole("events"),
    _of("wallets", "organization_id"),
)

forecasts = _table(
    "forecasts",
    _key("organization_id"),
    Column("period_start", Instant, primary_key=True),
    Column("day", Day, primary_key=True),
    _instant("made_at"),
    _instant("period_end"),
    _whole("spent_micro"),
    _whole("p10_micro"),
    _whole("p50_micro"),
    _whole("p90_micro"),
    CheckConstraint(
        "p10_micro <= p50_micro AND p50_micro <= p90_micro AND spent_micro <= p10_micro",
        name="in_order",
    ),
    CheckConstraint("period_start < period_end", name="period_ordered"),
    _of("wallets", "organization_id"),
)

COST_LABELS = ("day", "layer", "quality", "provider", "model", "action", "member_id")

cost_daily = _table(
    "cost_daily",
    _key("organization_id"),
    Column("day", Day, primary_key=True),
    _key("layer"),
    _key("quality"),
    _key("provider"),
    _key("model"),
    _key("action"),
    _key("member_id"),
    _whole("cost_nano_usd"),
    _whole("input_tokens"),
    _whole("output_tokens"),
    _whole("lines"),
    _of("wallets", "organization_id"),
)

# --- limits --------------------------------------------------------------------------------------

caps = _table(
    "caps",
    _key("organization_id"),
    _key("cap_id"),
    _text("scope"),
    _text("target", ""),
    _text("action", ""),
    _text("window_kind"),
    _whole("limit_micro"),
    Column("limit_minor", Whole),
    _text("mode"),
    Column("thresholds", Document, nullable=False),
    _instant("created_at"),
    _instant("removed_at", nullable=True),
    CheckConstraint("limit_micro >= 0", name="limit_not_negative"),
    CheckConstraint("limit_minor IS NULL OR limit_minor >= 0", name="amount_not_negative"),
    CheckConstraint("(scope = 'organization') = (target = '')", name="target_fits_scope"),
    _one_of("scope", "organization", "team", "member", "project"),
    _one_of("window_kind", "period", "day", "week"),
    _one_of("mode", "hard", "soft"),
    _of("organizations", "organization_id"),
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

cap_windows = _table(
    "cap_windows",
    _key("organization_id"),
    _key("cap_id"),
    Column("window_start", Instant, primary_key=True),
    _instant("window_end"),
    _whole("spent_micro"),
    _whole("held_micro"),
    CheckConstraint("spent_micro >= 0 AND held_micro >= 0", name="not_negative"),
    CheckConstraint("window_start < window_end", name="window_ordered"),
    _of("caps", "organization_id", "cap_id"),
)

cap_alerts = _table(
    "cap_alerts",
    _key("organization_id"),
    _key("cap_id"),
    Column("window_start", Instant, primary_key=True),
    Column("threshold", Integer, primary_key=True, autoincrement=False),
    Column("raised_at", Instant, primary_key=True),
    _instant("ended_at", nullable=True),
    CheckConstraint("threshold BETWEEN 1 AND 100", name="threshold_in_percent"),
    _of("caps", "organization_id", "cap_id"),
)

overage_periods = _table(
    "overage_periods",
    _key("organization_id"),
    Column("period_start", Instant, primary_key=True),
    Column("price_micro_minor", Whole, primary_key=True, autoincrement=False),
    _instant("period_end"),
    _whole("spent_micro", 0),
    _whole("held_micro", 0),
    CheckConstraint("spent_micro >= 0 AND held_micro >= 0", name="not_negative"),
    CheckConstraint("price_micro_minor > 0", name="has_a_price"),
    CheckConstraint("period_start < period_end", name="period_ordered"),
    _of("wallets", "organization_id"),
)

# --- money ---------------------------------------------------------------------------------------

checkouts = _table(
    "checkouts",
    _key("organization_id"),
    _key("checkout_id"),
    _text("pack"),
    _text("pack_name"),
    _whole("price_book_version"),
    _whole("credits_micro"),
    _whole("amount_minor"),
    _text("currency"),
    Column("expires_after_days", Integer),
    _text("status"),
    _maybe("stripe_session_id"),
    _maybe("stripe_payment_intent_id"),
    _text("started_by"),
    _instant("created_at"),
    _instant("settled_at", nullable=True),
    _maybe("grant_id"),
    CheckConstraint("(status = 'fulfilled') = (grant_id IS NOT NULL)", name="fulfilled_by_a_grant"),
    CheckConstraint("amount_minor > 0 AND credits_micro > 0", name="sells_something"),
    _one_of("status", "started", "open", "fulfilled", "failed", "expired"),
    UniqueConstraint("organization_id", "stripe_session_id"),
    _of("organizations", "organization_id"),
)

stripe_subscriptions = _table(
    "stripe_subscriptions",
    _key("organization_id"),
    _text("stripe_subscription_id"),
    _text("status"),
    _text("tier"),
    Column("seats", Whole),
    # Stripe's own period, to the second; the billing period is cut at the days that hold its ends.
    _instant("cycle_start"),
    _instant("cycle_end"),
    # The most that any tier of this cycle includes: what an upgrade adds is measured from here.
    _whole("largest_allowance_micro", 0),
    _instant("cancels_at", nullable=True),
    _maybe("scheduled_tier"),
    Column("scheduled_seats", Whole),
    _instant("scheduled_at", nullable=True),
    _maybe("stripe_schedule_id"),
    _maybe("awaited_tier"),
    _instant("awaited_until", nullable=True),
    _maybe("awaited_invoice_id"),
    _instant("past_due_since", nullable=True),
    _instant("created_at"),
    CheckConstraint("cycle_start < cycle_end", name="cycle_ordered"),
    CheckConstraint("largest_allowance_micro >= 0", name="allowance_not_negative"),
    CheckConstraint("(scheduled_tier IS NULL) = (scheduled_at IS NULL)", name="scheduled_whole"),
    UniqueConstraint("organization_id", "stripe_subscription_id"),
    _of("organizations", "organization_id"),
)

tier_checkouts = _table(
    "tier_checkouts",
    _key("organization_id"),
    _key("checkout_id"),
    _text("tier"),
    Column("seats", Whole),
    _whole("price_book_version"),
    _whole("amount_minor"),
    _text("currency"),
    _text("status"),
    _maybe("stripe_session_id"),
    _maybe("stripe_subscription_id"),
    _text("started_by"),
    _instant("created_at"),
    _instant("settled_at", nullable=True),
    CheckConstraint("amount_minor > 0", name="sells_something"),
    _one_of("status", "started", "open", "fulfilled", "failed", "expired"),
    UniqueConstraint("organization_id", "stripe_session_id"),
    _of("organizations", "organization_id"),
)

tier_changes = _table(
    "tier_changes",
    _key("organization_id"),
    _key("change_id"),
    _text("kind"),
    _text("from_tier"),
    _text("to_tier", ""),
    Column("seats", Whole),
    # From when an upgrade is prorated; when anything else takes effect.
    _instant("as_of"),
    _whole("charge_minor", 0),
    _text("currency"),
    _whole("credits_micro", 0),
    _text("status"),
    _maybe("stripe_invoice_id"),
    _text("started_by"),
    _instant("created_at"),
    _instant("settled_at", nullable=True),
    _one_of("kind", "upgrade", "downgrade", "cancel", "undo"),
    _one_of("status", "previewed", "started", "awaiting_payment", "done", "failed"),
    _of("organizations", "organization_id"),
)

payments = _table(
    "payments",
    _key("organization_id"),
    _key("payment_id"),
    _text("kind"),
    _whole("amount_minor"),
    _whole("tax_minor", 0),
    _text("currency"),
    Column("fee_minor", Whole),
    _maybe("grant_id"),
    _maybe("stripe_charge_id"),
    _maybe("stripe_invoice_id"),
    _instant("settled_at", nullable=True),
    _whole("refunded_minor", 0),
    _whole("disputed_minor", 0),
    _text("dispute", "none"),
    _maybe("stripe_dispute_id"),
    _whole("refund_revoked_micro", 0),
    _whole("dispute_revoked_micro", 0),
    CheckConstraint("amount_minor >= 0", name="amount_not_negative"),
    CheckConstraint("tax_minor BETWEEN 0 AND amount_minor", name="tax_is_a_part"),
    CheckConstraint("refunded_minor BETWEEN 0 AND amount_minor", name="refunds_what_was_paid"),
    CheckConstraint("disputed_minor >= 0", name="disputes_not_negative"),
    CheckConstraint(
        "refund_revoked_micro >= 0 AND dispute_revoked_micro >= 0", name="revokes_not_negative"
    ),
    _one_of("kind", "pack", "top_up", "tier", "overage", "unknown"),
    _one_of("dispute", "none", "inquiry", "open", "withdrawn", "won", "lost"),
    Index(None, "organization_id", "settled_at"),
    _of("organizations", "organization_id"),
)

invoices = _table(
    "invoices",
    _key("organization_id"),
    _key("invoice_id"),
    _text("number", ""),
    _text("status"),
    _text("reason", ""),
    _text("currency"),
    _whole("subtotal_minor"),
    _whole("tax_minor"),
    _whole("total_minor"),
    _whole("paid_minor"),
    _whole("due_minor"),
    _instant("issued_at"),
    _instant("paid_at", nullable=True),
    _text("page_url", ""),
    _text("file_url", ""),
    # What it is made of, as read from Stripe: kind, tier or action, amount, the time it is for.
    Column("lines", Document, nullable=False),
    _one_of("status", "draft", "open", "paid", "void", "uncollectible"),
    Index(None, "organization_id", "issued_at"),
    _of("organizations", "organization_id"),
)

auto_top_ups = _table(
    "auto_top_ups",
    _key("organization_id"),
    _text("pack"),
    _whole("threshold_micro"),
    _whole("monthly_limit_minor"),
    _text("set_by"),
    _instant("set_at"),
    _whole("declines", 0),
    _instant("cools_until", nullable=True),
    # Why it rests until a person acts, and with which payment method it failed.
    _text("suspended", ""),
    _maybe("failed_method_id"),
    CheckConstraint("threshold_micro > 0 AND monthly_limit_minor > 0", name="buys_something"),
    CheckConstraint("declines >= 0", name="declines_counted"),
    _one_of("suspended", "", "declined", "authentication", "disputed"),
    _of("organizations", "organization_id"),
)

top_ups = _table(
    "top_ups",
    _key("organization_id"),
    _key("top_up_id"),
    _text("pack"),
    _text("pack_name"),
    _whole("price_book_version"),
    _whole("credits_micro"),
    _whole("amount_minor"),
    _text("currency"),
    Column("expires_after_days", Integer),
    _text("status"),
    _text("failure", ""),
    _maybe("stripe_payment_intent_id"),
    _maybe("stripe_method_id"),
    _instant("started_at"),
    # Until its end is known: when Stripe is asked again.
    _instant("ask_at"),
    _instant("settled_at", nullable=True),
    _maybe("grant_id"),
    CheckConstraint("amount_minor > 0 AND credits_micro > 0", name="buys_something"),
    CheckConstraint("(status = 'succeeded') = (grant_id IS NOT NULL)", name="succeeds_by_a_grant"),
    _one_of("status", "pending", "unknown", "succeeded", "failed", "needs_authentication"),
    _of("organizations", "organization_id"),
    Index(
        "ux_top_ups_one_in_flight",
        "organization_id",
        unique=True,
        postgresql_where=text("status IN ('pending', 'unknown')"),
        sqlite_where=text("status IN ('pending', 'unknown')"),
    ),
    Index(None, "organization_id", "started_at"),
)

overage_bills = _table(
    "overage_bills",
    _key("organization_id"),
    Column("period_start", Instant, primary_key=True),
    Column("price_micro_minor", Whole, primary_key=True, autoincrement=False),
    _key("action"),
    # A period is billed again where something came late: each bill has what none before it had.
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    _whole("credits_micro"),
    _whole("amount_minor"),
    _text("currency"),
    _maybe("stripe_invoice_id"),
    _maybe("stripe_invoice_item_id"),
    _instant("created_at"),
    # From here on nothing more of ours is to be done about it.
    _instant("done_at", nullable=True),
    _of("wallets", "organization_id"),
    Index(
        "ix_overage_bills_begun",
        "organization_id",
        postgresql_where=text("done_at IS NULL"),
        sqlite_where=text("done_at IS NULL"),
    ),
)

notices = _table(
    "notices",
    _key("organization_id"),
    _key("notice_id"),
    _text("kind"),
    _text("subject", ""),
    _text("sentence"),
    _text("url", ""),
    _instant("raised_at"),
    _instant("ended_at", nullable=True),
    _of("organizations", "organization_id"),
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

stripe_inbox = _table(
    "stripe_inbox",
    _key("stripe_event_id"),
    _text("type"),
    _text("object_id"),
    Column("livemode", Flag, nullable=False),
    _text("status"),
    _text("detail", ""),
    _instant("received_at"),
    _instant("done_at", nullable=True),
    _one_of("status", "pending", "done", "ignored", "quarantined"),
    Index(None, "status", "received_at"),
)

# --- the record ----------------------------------------------------------------------------------

audit_log = _table(
    "audit_log",
    _key("organization_id"),
    Column("audit_id", Text, primary_key=True),
    _instant("at"),
    _text("actor"),
    _text("act"),
    _text("target", ""),
    Column("detail", Document, nullable=False),
    Index(None, "organization_id", "at"),
)

job_leases = _table(
    "job_leases",
    _key("job"),
    _instant("leased_until"),
)

#: Rows of these are never changed or deleted; triggers refuse it (see migrations).
APPEND_ONLY = ("entries", "transfers", "event_debits", "price_books", "cost_books", "audit_log")
#: Tables that are not found through an organization: by a secret's hash, by Stripe's id, or global.
NOT_OF_AN_ORGANIZATION = (
    "operators",
    "api_keys",
    "portal_links",
    "sessions",
    "price_books",
    "cost_books",
    "stripe_inbox",
    "job_leases",
)
