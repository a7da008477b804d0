"""Benchmarks: each prints a ratio against a peer or the store's own limit, measured in one run."""
