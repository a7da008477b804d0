"""Reading Stripe's objects, whatever version of its API shaped them."""

from __future__ import annotations

from typing import Any


def id_of(value: Any) -> str:
    """Return the id of an object that may be expanded, be an id, or be missing."""
    if isinstance(value, dict):
        return str(value.get("id") or "")
    return str(getattr(value, "id", value) or "")
