"""The core decides in plain Python, and is tested without a store."""
