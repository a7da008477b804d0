"""A believable day in the life of Clearmeter: history, servers and sign-in links, on loopback."""
