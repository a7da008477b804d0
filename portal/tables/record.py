"""The record: the audit log, and who runs which job."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Text, UniqueConstraint

from portal.tables.columns import Document, instant, key, table, text_column, whole

audit_log = table(
    "audit_log",
    # "" for what the operator did to no organization.
    key("organization_id"),
    Column("audit_id", Text, primary_key=True),
    # The chain: without a gap from 1, each with the hash of the one before it.
    whole("sequence"),
    text_column("previous_hash"),
    text_column("hash"),
    instant("at"),
    text_column("actor"),
    text_column("act"),
    text_column("target", ""),
    Column("detail", Document, nullable=False),
    UniqueConstraint("organization_id", "sequence"),
    CheckConstraint("sequence > 0", name="sequence_positive"),
    Index(None, "organization_id", "at"),
)

#: Where each chain ends: the row that is locked while an act is added to it.
audit_heads = table(
    "audit_heads",
    key("organization_id"),
    whole("sequence"),
    text_column("hash"),
    CheckConstraint("sequence >= 0", name="sequence_not_negative"),
)

job_leases = table(
    "job_leases",
    key("job"),
    instant("leased_until"),
)
