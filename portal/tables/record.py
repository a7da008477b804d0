"""The record: the audit log, and who runs which job."""

from __future__ import annotations

from sqlalchemy import Column, Index, Text

from portal.tables.columns import Document, instant, key, table, text_column

audit_log = table(
    "audit_log",
    key("organization_id"),
    Column("audit_id", Text, primary_key=True),
    instant("at"),
    text_column("actor"),
    text_column("act"),
    text_column("target", ""),
    Column("detail", Document, nullable=False),
    Index(None, "organization_id", "at"),
)

job_leases = table(
    "job_leases",
    key("job"),
    instant("leased_until"),
)
