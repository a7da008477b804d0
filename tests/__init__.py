"""What Clearmeter promises, as tests: the names are sentences, the cast is always the same."""
