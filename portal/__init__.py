"""Clearmeter: the meter, the ledger and the pages of an AI product that sells credits."""
