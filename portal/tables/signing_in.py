"""Signing in: secrets that work once, passkeys, and passwords that did not fit."""

from __future__ import annotations

from sqlalchemy import Column, Index

from portal.tables.columns import Document, instant, key, maybe, of, table, text_column, whole

tokens = table(
    "tokens",
    key("token_hash"),
    text_column("purpose"),
    text_column("email"),
    maybe("organization_id"),
    Column("data", Document, nullable=False),
    instant("created_at"),
    instant("expires_at"),
    instant("used_at", nullable=True),
    Index(None, "email"),
)

passkeys = table(
    "passkeys",
    key("organization_id"),
    key("passkey_id"),
    text_column("member_id"),
    text_column("credential_id"),
    text_column("public_key"),
    whole("sign_count"),
    text_column("name"),
    instant("created_at"),
    instant("used_at", nullable=True),
    of("members", "organization_id", "member_id"),
    # What signs in names its key, and nothing of ours.
    Index(None, "credential_id", unique=True),
    Index(None, "organization_id", "member_id"),
)

sign_in_attempts = table(
    "sign_in_attempts",
    key("attempt_id"),
    text_column("account_hash"),
    text_column("address_hash"),
    instant("at"),
    Index(None, "account_hash", "at"),
    Index(None, "address_hash", "at"),
)
