"""The record in chains, invitations, and what is kept of members and keys.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa
from alembic import op

import portal.tables
from portal.core.audit_chain import NOTHING, Link, hash_of

revision = "0005"
down_revision = "0004"

_INSTANT = portal.tables.Instant(timezone=True)
#: What an act on record had before it was in a chain.
_PLAIN = (
    sa.column("organization_id", sa.Text()),
    sa.column("audit_id", sa.Text()),
    sa.column("at", _INSTANT),
    sa.column("actor", sa.Text()),
    sa.column("act", sa.Text()),
    sa.column("target", sa.Text()),
    sa.column("detail", portal.tables.Document()),
)
_LOG = sa.table("audit_log", *_PLAIN)
_CHAINED = sa.table(
    "audit_log",
    *(sa.column(one.name, one.type) for one in _PLAIN),
    sa.column("sequence", sa.BigInteger()),
    sa.column("previous_hash", sa.Text()),
    sa.column("hash", sa.Text()),
)
_HEADS = sa.table(
    "audit_heads",
    sa.column("organization_id", sa.Text()),
    sa.column("sequence", sa.BigInteger()),
    sa.column("hash", sa.Text()),
)


def upgrade() -> None:
    """Chain what is on record, and make room for the rest."""
    op.add_column(
        "organizations",
        sa.Column(
            "members_see_balance", portal.tables.Flag(), server_default=sa.true(), nullable=False
        ),
    )
    op.add_column("members", sa.Column("seen_at", _INSTANT, nullable=True))
    op.add_column("api_keys", sa.Column("expires_at", _INSTANT, nullable=True))
    op.add_column("api_keys", sa.Column("last_used_at", _INSTANT, nullable=True))
    op.add_column("api_keys", sa.Column("created_by", sa.Text(), server_default="", nullable=False))
    _invitations()
    _chain()


def _invitations() -> None:
    op.create_table(
        "invitations",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("invitation_id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("team_id", sa.Text(), server_default="", nullable=False),
        sa.Column("invited_by", sa.Text(), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("sent_at", _INSTANT, nullable=True),
        sa.Column("member_id", sa.Text(), nullable=True),
        sa.Column("ended_at", _INSTANT, nullable=True),
        sa.CheckConstraint(
            "role IN ('owner', 'admin', 'billing', 'member', 'viewer')",
            name=op.f("ck_invitations_role_known"),
        ),
        sa.CheckConstraint(
            "member_id IS NULL OR ended_at IS NOT NULL",
            name=op.f("ck_invitations_accepted_is_over"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organizations.organization_id"],
            name=op.f("fk_invitations_organizations"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "invitation_id", name=op.f("pk_invitations")),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_invitations_waiting",
        "invitations",
        ["organization_id", "email"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
        sqlite_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "invitation_links",
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("invitation_id", sa.Text(), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.Column("used_at", _INSTANT, nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id", "invitation_id"],
            ["invitations.organization_id", "invitations.invitation_id"],
            name=op.f("fk_invitation_links_invitations"),
        ),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_invitation_links")),
        sqlite_strict=True,
    )
    op.create_index(
        op.f("ix_invitation_links_organization_id_invitation_id"),
        "invitation_links",
        ["organization_id", "invitation_id"],
    )


def _chain() -> None:
    """Make the log anew, each organization's acts in the order in which they were done."""
    kept = _kept()
    op.drop_table("audit_log")
    op.create_table(
        "audit_log",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("audit_id", sa.Text(), nullable=False),
        sa.Column("sequence", portal.tables.Whole, nullable=False),
        sa.Column("previous_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        *_plain_columns(),
        sa.CheckConstraint("sequence > 0", name=op.f("ck_audit_log_sequence_positive")),
        sa.PrimaryKeyConstraint("organization_id", "audit_id", name=op.f("pk_audit_log")),
        sa.UniqueConstraint(
            "organization_id", "sequence", name=op.f("uq_audit_log_organization_id_sequence")
        ),
        sqlite_strict=True,
    )
    op.create_table(
        "audit_heads",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("sequence", portal.tables.Whole, nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.CheckConstraint("sequence >= 0", name=op.f("ck_audit_heads_sequence_not_negative")),
        sa.PrimaryKeyConstraint("organization_id", name=op.f("pk_audit_heads")),
        sqlite_strict=True,
    )
    links, last = [], {}
    for row in kept:
        before = last.get(row["organization_id"])
        sequence, previous = (before.sequence, before.hash) if before else (0, NOTHING)
        link = Link(sequence=sequence + 1, previous_hash=previous, **row)
        last[link.organization_id] = link = replace(link, hash=hash_of(link))
        links.append(vars(link))
    heads = [
        {"organization_id": one.organization_id, "sequence": one.sequence, "hash": one.hash}
        for one in last.values()
    ]
    _fill(_CHAINED, links)
    _fill(_HEADS, heads)
    _guard()


def _fill(table: sa.TableClause, rows: list[dict[str, object]]) -> None:
    if rows:
        op.get_bind().execute(sa.insert(table), rows)


def _kept() -> list[dict[str, object]]:
    order = (_LOG.c.organization_id, _LOG.c.at, _LOG.c.audit_id)
    return [dict(row) for row in op.get_bind().execute(sa.select(_LOG).order_by(*order)).mappings()]


def _plain_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), server_default="", nullable=False),
        sa.Column("detail", portal.tables.Document(), nullable=False),
    ]


def _guard() -> None:
    """Find the log by time, and have the store refuse to change it."""
    op.create_index(op.f("ix_audit_log_organization_id_at"), "audit_log", ["organization_id", "at"])
    if op.get_bind().dialect.name == "sqlite":
        for act in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_log_refuse_{act.lower()} BEFORE {act} ON audit_log "
                "BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END"
            )
        return
    op.execute(
        "CREATE TRIGGER audit_log_refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def downgrade() -> None:
    """Take the chains away, and keep what is on record."""
    kept = _kept()
    op.drop_table("audit_heads")
    op.drop_table("audit_log")
    op.create_table(
        "audit_log",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("audit_id", sa.Text(), nullable=False),
        *_plain_columns(),
        sa.PrimaryKeyConstraint("organization_id", "audit_id", name=op.f("pk_audit_log")),
        sqlite_strict=True,
    )
    _fill(_LOG, kept)
    _guard()
    op.drop_table("invitation_links")
    op.drop_table("invitations")
    for column in ("created_by", "last_used_at", "expires_at"):
        op.drop_column("api_keys", column)
    op.drop_column("members", "seen_at")
    op.drop_column("organizations", "members_see_balance")
