"""Who: organizations, their people and projects, the operator's people, keys, sessions."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, text, true

from portal.tables.columns import (
    Document,
    Flag,
    Whole,
    instant,
    key,
    maybe,
    of,
    one_of,
    table,
    text_column,
)

organizations = table(
    "organizations",
    key("organization_id"),
    text_column("name"),
    maybe("email"),
    text_column("timezone"),
    # What came after the zone it began in, and its billing periods: see core/calendars.py.
    Column("calendar", Document, nullable=False),
    text_column("currency"),
    text_column("charging", "on"),
    text_column("on_empty", "stop"),
    Column("overage_limit_minor", Whole),
    maybe("stripe_customer_id"),
    instant("created_at"),
    # Whether a plain member sees what the whole organization has left.
    Column("members_see_balance", Flag, nullable=False, server_default=true()),
    one_of("charging", "on", "shadow"),
    one_of("on_empty", "stop", "top_up", "overage"),
    CheckConstraint(
        "overage_limit_minor IS NULL OR overage_limit_minor >= 0", name="overage_limit_not_negative"
    ),
    CheckConstraint(
        "on_empty <> 'overage' OR overage_limit_minor IS NOT NULL", name="overage_is_limited"
    ),
    # Stripe names a customer where it names nothing of ours.
    Index(None, "stripe_customer_id"),
)

subscriptions = table(
    "subscriptions",
    key("organization_id"),
    text_column("tier"),
    Column("seats", Whole),
    instant("period_start"),
    instant("period_end"),
    instant("created_at"),
    # Where a payment is overdue: from here on no new work is authorized.
    instant("stops_at", nullable=True),
    # Where Stripe bills it: where the cycle ends, to the second. None where the operator put it.
    instant("cycle_end", nullable=True),
    CheckConstraint("period_start < period_end", name="period_ordered"),
    CheckConstraint("seats IS NULL OR seats > 0", name="seats_positive"),
    of("organizations", "organization_id"),
)

teams = table(
    "teams",
    key("organization_id"),
    key("team_id"),
    text_column("name"),
    of("organizations", "organization_id"),
)

members = table(
    "members",
    key("organization_id"),
    key("member_id"),
    text_column("email"),
    text_column("name"),
    text_column("role"),
    text_column("team_id", ""),
    maybe("password_hash"),
    instant("created_at"),
    instant("removed_at", nullable=True),
    instant("seen_at", nullable=True),
    one_of("role", "owner", "admin", "billing", "member", "viewer"),
    of("organizations", "organization_id"),
    Index(None, "email"),
)

projects = table(
    "projects",
    key("organization_id"),
    key("project_id"),
    text_column("name"),
    of("organizations", "organization_id"),
)

operators = table(
    "operators",
    key("email"),
    text_column("name"),
    instant("created_at"),
)

api_keys = table(
    "api_keys",
    key("key_id"),
    text_column("secret_hash"),
    maybe("organization_id"),
    text_column("name"),
    text_column("scopes"),
    instant("created_at"),
    instant("revoked_at", nullable=True),
    # From here on it is worth nothing; None where it lasts until it is revoked.
    instant("expires_at", nullable=True),
    instant("last_used_at", nullable=True),
    # The member who made it, or "" where the operator did.
    text_column("created_by", ""),
    of("organizations", "organization_id"),
)

invitations = table(
    "invitations",
    key("organization_id"),
    key("invitation_id"),
    text_column("email"),
    text_column("role"),
    text_column("team_id", ""),
    text_column("invited_by"),
    instant("created_at"),
    # When a link was last mailed; None where none could be.
    instant("sent_at", nullable=True),
    # How it ended: as this member, or withdrawn.
    maybe("member_id"),
    instant("ended_at", nullable=True),
    one_of("role", "owner", "admin", "billing", "member", "viewer"),
    CheckConstraint("member_id IS NULL OR ended_at IS NOT NULL", name="accepted_is_over"),
    of("organizations", "organization_id"),
    # One invitation at a time waits for an address.
    Index(
        "ix_invitations_waiting",
        "organization_id",
        "email",
        unique=True,
        postgresql_where=text("ended_at IS NULL"),
        sqlite_where=text("ended_at IS NULL"),
    ),
)

invitation_links = table(
    "invitation_links",
    key("token_hash"),
    text_column("organization_id"),
    text_column("invitation_id"),
    instant("created_at"),
    instant("expires_at"),
    instant("used_at", nullable=True),
    of("invitations", "organization_id", "invitation_id"),
    Index(None, "organization_id", "invitation_id"),
)

portal_links = table(
    "portal_links",
    key("token_hash"),
    maybe("organization_id"),
    maybe("member_id"),
    maybe("operator_email"),
    text_column("page"),
    text_column("return_url", ""),
    instant("created_at"),
    instant("expires_at"),
    instant("used_at", nullable=True),
    text_column("link_id", ""),
    CheckConstraint(
        "(organization_id IS NOT NULL AND member_id IS NOT NULL AND operator_email IS NULL)"
        " OR (organization_id IS NULL AND member_id IS NULL AND operator_email IS NOT NULL)",
        name="for_one_person",
    ),
)

sessions = table(
    "sessions",
    key("session_hash"),
    maybe("organization_id"),
    maybe("member_id"),
    maybe("operator_email"),
    Column("data", Document, nullable=False),
    instant("created_at"),
    instant("seen_at"),
    instant("expires_at"),
    # What a list of sessions names one by; its secret's hash is nobody's business.
    text_column("session_id", ""),
    # How they signed in: see access/sessions.py.
    text_column("method", ""),
    # What their browser calls itself.
    text_column("device", ""),
    # The role this session's secret was made for: with another one it gets a new secret.
    text_column("role", ""),
    # The address that whoever signed in has shown to be theirs, where they did.
    text_column("proven_email", ""),
    # The portal link it began with, if one.
    text_column("link_id", ""),
    Index(None, "organization_id", "member_id"),
)
