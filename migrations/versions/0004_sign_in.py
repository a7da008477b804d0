"""Ways to sign in: secrets that work once, passkeys, sessions that say whose device they are on.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import portal.tables

revision = "0004"
down_revision = "0003"

COLUMNS = {
    "sessions": ("session_id", "method", "device", "role", "proven_email", "link_id"),
    "portal_links": ("link_id",),
}


def upgrade() -> None:
    """Make the tables, and let sessions and links say more of themselves."""
    op.create_table(
        "tokens",
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("organization_id", sa.Text(), nullable=True),
        sa.Column("data", portal.tables.Document(), nullable=False),
        sa.Column("created_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("expires_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("used_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_tokens")),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_tokens_email"), "tokens", ["email"], unique=False)
    op.create_table(
        "passkeys",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("passkey_id", sa.Text(), nullable=False),
        sa.Column("member_id", sa.Text(), nullable=False),
        sa.Column("credential_id", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column(
            "sign_count", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", portal.tables.Instant(timezone=True), nullable=False),
        sa.Column("used_at", portal.tables.Instant(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id", "member_id"],
            ["members.organization_id", "members.member_id"],
            name=op.f("fk_passkeys_members"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "passkey_id", name=op.f("pk_passkeys")),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_passkeys_credential_id"), "passkeys", ["credential_id"], unique=True)
    op.create_index(
        op.f("ix_passkeys_organization_id_member_id"),
        "passkeys",
        ["organization_id", "member_id"],
        unique=False,
    )
    op.create_table(
        "sign_in_attempts",
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("account_hash", sa.Text(), nullable=False),
        sa.Column("address_hash", sa.Text(), nullable=False),
        sa.Column("at", portal.tables.Instant(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("attempt_id", name=op.f("pk_sign_in_attempts")),
        sqlite_strict=True,
    )
    for column in ("account_hash", "address_hash"):
        op.create_index(
            op.f(f"ix_sign_in_attempts_{column}_at"),
            "sign_in_attempts",
            [column, "at"],
            unique=False,
        )
    for table, columns in COLUMNS.items():
        for column in columns:
            op.add_column(table, sa.Column(column, sa.Text(), nullable=False, server_default=""))
    # Sessions in force stay so, and get a name. Twenty of its hash's digits give nothing away.
    op.execute("UPDATE sessions SET session_id = 'se_' || substr(session_hash, 1, 20)")
    op.execute("UPDATE sessions SET method = 'link'")


def downgrade() -> None:
    """Take it all away again."""
    for table, columns in COLUMNS.items():
        for column in columns:
            op.drop_column(table, column)
    for table in ("sign_in_attempts", "passkeys", "tokens"):
        op.drop_table(table)
