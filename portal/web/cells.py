"""Cells of a CSV that no spreadsheet takes for a formula."""

from __future__ import annotations


def safe_cell(text: str) -> str:
    """Return a text that no spreadsheet runs (OWASP: CSV injection)."""
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r", "\n"} else text
