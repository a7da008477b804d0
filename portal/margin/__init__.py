"""The operator's figures: what customers cost and bring in, what that says, and what else could be.

Nothing of it ever reaches a customer's page, key or export.
"""
