"""Parsed JSON, as a store can keep it."""

from __future__ import annotations

from typing import Any


def plain(value: Any) -> Any:
    """Return a parsed value as JSON can keep it: Decimals and what was refused as text."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, dict):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return str(value)
