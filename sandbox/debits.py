"""Test bank debits: accounts that pay, or fail to, some time after the payer has left.

Their outcome is known ``SETTLED_AFTER_SECONDS`` after the payment, or when control asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sandbox.cards import Decline

SETTLED_AFTER_SECONDS = 180


@dataclass(frozen=True)
class BankDebit:
    """One account and what comes of it."""

    name: str
    label: str
    last4: str
    decline: Decline | None = None
    challenge: None = None
    disputed: bool = False
    refund: None = None

    @property
    def setup_decline(self) -> Decline | None:
        """Return why it cannot even be saved, if it cannot: any account can."""
        return None


DEBITS = (
    BankDebit("bank_pays", "Bank debit that is paid later", "6789"),
    BankDebit(
        "bank_fails",
        "Bank debit that fails later",
        "2227",
        Decline(
            "insufficient_funds",
            "The customer's account has insufficient funds to cover this payment.",
            "The bank returned the payment for insufficient funds.",
        ),
    ),
)
BY_NAME = {debit.name: debit for debit in DEBITS}


def type_for(currency: str) -> str:
    """Return the type of payment method by which banks are debited in a currency."""
    return "sepa_debit" if currency == "eur" else "us_bank_account"


def details(kind: str, debit: BankDebit) -> dict[str, Any]:
    """Tell an account as its payment method does, but for its fingerprint."""
    if kind == "sepa_debit":
        return {
            "bank_code": "37040044",
            "branch_code": "",
            "country": "DE",
            "generated_from": {"charge": None, "setup_attempt": None},
            "last4": debit.last4,
        }
    return {
        "account_holder_type": "company",
        "account_type": "checking",
        "bank_name": "STRIPE TEST BANK",
        "financial_connections_account": None,
        "last4": debit.last4,
        "networks": {"preferred": "ach", "supported": ["ach"]},
        "routing_number": "110000000",
        "status_details": {},
    }
