"""Test cards: the numbers the sandbox takes, and how each one fares."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal


@dataclass(frozen=True)
class Decline:
    """Why an issuer would not pay: the code, and the sentence the payer reads."""

    code: str
    message: str
    seller_message: str


@dataclass(frozen=True)
class KnownCard:
    """One number and what comes of it."""

    number: str
    label: str
    decline: Decline | None = None
    # Whether it can be set up all the same, and only its charges are declined.
    attaches: bool = False
    # When its issuer asks the payer to authenticate: until it is set up, or at every payment.
    challenge: Literal["until_set_up", "always"] | None = None
    disputed: bool = False  # at once, as fraudulent
    refund: Literal["fails_later", "succeeds_later"] | None = None

    @property
    def spaced(self) -> str:
        """Return the number in groups of four, as it stands on a card."""
        return " ".join(re.findall("....", self.number))

    @property
    def setup_decline(self) -> Decline | None:
        """Return why it cannot even be saved, if it cannot."""
        return None if self.attaches else self.decline


@dataclass(frozen=True)
class Card:
    """A card as it was entered, and found in order."""

    kind: KnownCard
    exp_month: int
    exp_year: int


_GENERIC = Decline(
    "generic_decline",
    "Your card was declined.",
    "The bank did not return any further details with this decline.",
)
AUTHENTICATION_REQUIRED = Decline(
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
    "The bank returned the decline code `authentication_required`.",
)
CARDS = (
    KnownCard("4242424242424242", "Pays"),
    KnownCard("4000000000000002", "Is declined", _GENERIC),
    KnownCard(
        "4000000000009995",
        "Has insufficient funds",
        Decline(
            "insufficient_funds",
            "Your card has insufficient funds.",
            "The bank returned the decline code `insufficient_funds`.",
        ),
    ),
    KnownCard(
        "4000000000000341", "Can be saved, then every charge is declined", _GENERIC, attaches=True
    ),
    KnownCard(
        "4000002500003155", "Asks you to authenticate, once if saved", challenge="until_set_up"
    ),
    KnownCard("4000002760003184", "Asks you to authenticate every time", challenge="always"),
    KnownCard("4000000000000259", "Pays, and is disputed at once", disputed=True),
    KnownCard("4000000000005126", "Pays; its refund fails later", refund="fails_later"),
    KnownCard("4000000000007726", "Pays; its refund takes a while", refund="succeeds_later"),
)
BY_NUMBER = {card.number: card for card in CARDS}
# The names by which the API takes a test card without its number.
BY_NAME = {
    "pm_card_visa": BY_NUMBER["4242424242424242"],
    "pm_card_chargeDeclined": BY_NUMBER["4000000000000002"],
    "pm_card_chargeDeclinedInsufficientFunds": BY_NUMBER["4000000000009995"],
    "pm_card_chargeCustomerFail": BY_NUMBER["4000000000000341"],
    "pm_card_authenticationRequiredOnSetup": BY_NUMBER["4000002500003155"],
    "pm_card_authenticationRequired": BY_NUMBER["4000002760003184"],
    "pm_card_createDispute": BY_NUMBER["4000000000000259"],
    "pm_card_refundFail": BY_NUMBER["4000000000005126"],
    "pm_card_pendingRefund": BY_NUMBER["4000000000007726"],
}


class CardProblems(Exception):
    """The fields of a card that do not fit, each with what to do about it."""

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__(", ".join(problems))
        self.problems = problems


def read_card(number: str, expiry: str, cvc: str, *, now: datetime) -> Card:
    """Read what was typed: a test card, not past its month, with a code of three digits."""
    problems: dict[str, str] = {}
    kind = BY_NUMBER.get(re.sub(r"[\s-]", "", number))
    if kind is None:
        problems["number"] = "This is not a test card. Use one of the test cards listed here."
    month, year = _read_expiry(expiry)
    if month is None or year is None:
        problems["expiry"] = "Enter the expiry date as month and year, like 12/34."
    elif (year, month) < (now.astimezone(UTC).year, now.astimezone(UTC).month):
        problems["expiry"] = "This date is in the past. Enter a later one, like 12/34."
    if not re.fullmatch(r"[0-9]{3}", cvc.strip()):
        problems["cvc"] = "Enter the security code: any three digits, like 123."
    if problems or kind is None or month is None or year is None:
        raise CardProblems(problems)
    return Card(kind, month, year)


def _read_expiry(expiry: str) -> tuple[int | None, int | None]:
    match = re.fullmatch(r"\s*([0-9]{1,2})\s*/?\s*((?:20)?[0-9]{2})\s*", expiry)
    if match is None or not 1 <= int(match[1]) <= 12:
        return None, None
    return int(match[1]), 2000 + int(match[2][-2:])
