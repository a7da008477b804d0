"""Where the benchmarks run: stores made for them and gone afterwards, and what their user gave."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path

from flask import Flask
from flask_migrate import upgrade

from app import create_app
from portal.config import Settings
from tests.postgresql import Server

SECRET_KEY = secrets.token_urlsafe(48)


@dataclass(frozen=True)
class Machine:
    """What the benchmarks of one run share."""

    folder: Path
    server: Server
    #: A checkout of pgledger, which the benchmark's user fetches.
    pgledger: Path | None
    #: Whether to take the sizes that the goals name, rather than those that fit in ten minutes.
    full: bool
    #: Addresses of stores that several benchmarks of the run share, by what is in them.
    kept: dict[str, str] = field(default_factory=dict)

    def postgresql(self) -> str:
        """Make a migrated PostgreSQL store that waits for the disk; return its address."""
        return _migrated(self.server.url(self.server.create()))

    def sqlite(self, name: str) -> str:
        """Make a migrated SQLite store; return its address."""
        return _migrated(f"sqlite:///{self.folder / name}.db")


def application(url: str) -> Flask:
    """Return the product on a store."""
    return create_app(Settings(url, SECRET_KEY, "http://127.0.0.1:8000"))


def _migrated(url: str) -> str:
    with application(url).app_context():
        upgrade()
    return url
