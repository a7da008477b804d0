"""The kinds of column every table is built of, and the one ``metadata`` they belong to.

Amounts are integers: millionths of a credit (``_micro``), minor units (``_minor``), billionths of a
US dollar (``_nano_usd``).
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
    Date,
    Dialect,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
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


def key(name: str) -> Column[str]:
    """Return a text column that is part of the primary key."""
    return Column(name, Text, primary_key=True)


def text_column(name: str, default: str | None = None) -> Column[str]:
    """Return a text column that is never NULL."""
    return Column(name, Text, nullable=False, server_default=default)


def maybe(name: str) -> Column[str]:
    """Return a text column that may be NULL."""
    return Column(name, Text, nullable=True)


def whole(name: str, default: int | None = None) -> Column[int]:
    """Return a 64-bit integer column that is never NULL."""
    given = None if default is None else text(str(default))
    return Column(name, Whole, nullable=False, server_default=given)


def instant(name: str, *, nullable: bool = False) -> Column[datetime]:
    """Return a column of aware UTC instants."""
    return Column(name, Instant, nullable=nullable)


def one_of(column: str, *values: str) -> CheckConstraint:
    """Return the check that a column holds one of a few words."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


def table(name: str, *parts: Any) -> Table:
    """Return a table of ``metadata``; STRICT on SQLite, which else stores text among integers."""
    return Table(name, metadata, *parts, sqlite_strict=True)


def of(parent: str, *columns: str) -> ForeignKeyConstraint:
    """Return the foreign key to a parent by columns of the same names."""
    return ForeignKeyConstraint(list(columns), [f"{parent}.{column}" for column in columns])
