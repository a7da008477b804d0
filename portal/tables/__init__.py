"""Every table as a record: columns, CHECK, UNIQUE. No behaviour.

Invariant: every table of an organization has ``organization_id`` first in its primary key, so that
the store can be distributed by it; tables found by a secret's hash or by Stripe's id are the named
exceptions. Amounts are integers: millionths of a credit (``_micro``), minor units (``_minor``),
billionths of a US dollar (``_nano_usd``).
"""

from __future__ import annotations

from portal.tables.books import cost_books, price_books
from portal.tables.columns import Day, Document, Flag, Instant, Whole, metadata
from portal.tables.ledger import (
    accounts,
    entries,
    grants,
    hold_caps,
    hold_pins,
    holds,
    idempotency_keys,
    transfers,
    wallets,
)
from portal.tables.limits import cap_alerts, cap_windows, caps, overage_periods
from portal.tables.meter import (
    COST_LABELS,
    COUNTS_ON_ANOTHER_DAY,
    USAGE_LABELS,
    cost_daily,
    cost_reviews,
    event_costs,
    event_debits,
    events,
    forecasts,
    rejected_events,
    usage_daily,
)
from portal.tables.money import (
    auto_top_ups,
    checkouts,
    invoices,
    notices,
    overage_bills,
    payments,
    stripe_inbox,
    stripe_subscriptions,
    tier_changes,
    tier_checkouts,
    top_ups,
)
from portal.tables.people import (
    api_keys,
    invitation_links,
    invitations,
    members,
    operators,
    organizations,
    portal_links,
    projects,
    sessions,
    subscriptions,
    teams,
)
from portal.tables.record import audit_heads, audit_log, job_leases
from portal.tables.signing_in import passkeys, sign_in_attempts, tokens

#: Rows of these are never changed or deleted; triggers refuse it (see migrations).
APPEND_ONLY = ("entries", "transfers", "event_debits", "price_books", "cost_books", "audit_log")
#: Tables that are not found through an organization: by a secret's hash, by Stripe's id, or global.
NOT_OF_AN_ORGANIZATION = (
    "operators",
    "api_keys",
    "portal_links",
    "invitation_links",
    "sessions",
    "tokens",
    "sign_in_attempts",
    "price_books",
    "cost_books",
    "stripe_inbox",
    "job_leases",
)

__all__ = [
    "APPEND_ONLY",
    "COST_LABELS",
    "COUNTS_ON_ANOTHER_DAY",
    "NOT_OF_AN_ORGANIZATION",
    "USAGE_LABELS",
    "Day",
    "Document",
    "Flag",
    "Instant",
    "Whole",
    "accounts",
    "api_keys",
    "audit_heads",
    "audit_log",
    "auto_top_ups",
    "cap_alerts",
    "cap_windows",
    "caps",
    "checkouts",
    "cost_books",
    "cost_daily",
    "cost_reviews",
    "entries",
    "event_costs",
    "event_debits",
    "events",
    "forecasts",
    "grants",
    "hold_caps",
    "hold_pins",
    "holds",
    "idempotency_keys",
    "invitation_links",
    "invitations",
    "invoices",
    "job_leases",
    "members",
    "metadata",
    "notices",
    "operators",
    "organizations",
    "overage_bills",
    "overage_periods",
    "passkeys",
    "payments",
    "portal_links",
    "price_books",
    "projects",
    "rejected_events",
    "sessions",
    "sign_in_attempts",
    "stripe_inbox",
    "stripe_subscriptions",
    "subscriptions",
    "teams",
    "tier_changes",
    "tier_checkouts",
    "tokens",
    "top_ups",
    "transfers",
    "usage_daily",
    "wallets",
]
