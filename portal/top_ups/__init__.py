"""Auto top-up: what an organization set, how it stands, and the attempts that were made of it."""
