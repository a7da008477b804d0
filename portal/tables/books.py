"""What things cost: dated, immutable versions of the price book and of the cost book."""

from __future__ import annotations

from sqlalchemy import Column, Integer, UniqueConstraint

from portal.tables.columns import instant, table, text_column

price_books = table(
    "price_books",
    Column("version", Integer, primary_key=True, autoincrement=False),
    instant("effective_at"),
    instant("loaded_at"),
    text_column("document"),
    UniqueConstraint("effective_at"),
)

cost_books = table(
    "cost_books",
    Column("version", Integer, primary_key=True, autoincrement=False),
    instant("effective_at"),
    instant("loaded_at"),
    text_column("document"),
    text_column("digest"),
    UniqueConstraint("effective_at"),
)
