"""Money in: Stripe moves it, the ledger moves credits, each effect happens exactly once."""
