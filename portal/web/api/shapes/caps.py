"""Bodies about caps: what one limits, in credits or in money, and raises of it."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from portal.core.errors import InvalidRequest
from portal.web.api.shapes.fields import Currency, Id, Number, Strict, Text, micro, money

Thresholds = Annotated[list[Annotated[int, Meta(ge=1, le=100)]], Meta(max_length=10)]


class LimitBody(Strict):
    """A cap's limit: credits, or an amount of money."""

    credits: Number | None = None
    amount: Number | None = None
    currency: Currency | None = None


class CapBody(Strict):
    """POST …/caps"""

    scope: Literal["organization", "team", "member", "project"]
    limit: LimitBody
    target: Id | None = None
    action: Id | None = None
    window: Literal["period", "day", "week"] = "period"
    mode: Literal["hard", "soft"] = "hard"
    thresholds: Thresholds | None = None


class CapChangeBody(Strict):
    """PATCH …/caps/{cap}"""

    limit: LimitBody | None = None
    mode: Literal["hard", "soft"] | None = None
    thresholds: Thresholds | None = None


class RaiseBody(Strict):
    """POST …/caps/{cap}/raise_requests: who asks, for how many credits more"""

    member: Id
    credits: Number
    reason: Text = ""


class RaiseAnswerBody(Strict):
    """POST …/raise_requests/{request}/answer: with credits, so many and not as asked"""

    answer: Literal["allow", "decline"]
    credits: Number | None = None


def limit(body: LimitBody, currency: str) -> tuple[int | None, int | None]:
    """Return a cap's limit: millionths of a credit, or minor units of the organization's currency.

    Raises InvalidRequest where both are given, or neither, or another currency.
    """
    if body.credits is not None and body.amount is None and body.currency is None:
        return micro(body.credits, "/limit/credits"), None
    if body.credits is not None or body.amount is None:
        raise InvalidRequest.at("/limit", "must have credits, or amount and currency")
    if body.currency not in {None, currency}:
        raise InvalidRequest.at("/limit/currency", f"must be the organization's, {currency!r}")
    return None, money(body.amount, "/limit/amount", currency)
