"""What Clearmeter decides. Standard library only: no SQL, no HTTP, no clock, no environment."""
