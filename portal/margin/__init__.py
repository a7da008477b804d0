"""The operator's figures: what customers pay for, what they cost, and what is left.

Nothing of it ever reaches a customer's page, key or export.
"""
