"""Margin: what was recognised, what it cost, what is left."""
