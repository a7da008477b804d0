"""Many at once, and things that break."""
