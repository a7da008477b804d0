"""A cloud bill in FOCUS 1.0: its charges added up by layer, provider and month.

Pure. Invariant: charges are added exactly and rounded once; what the months and layers have adds up
to the file's total, rounded half to even to billionths of a US dollar. Credits and adjustments are
charges below zero. Source: FinOps Open Cost and Usage Specification 1.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from portal.core.costs import LAYERS
from portal.core.errors import InvalidRequest
from portal.core.units import NANO

#: Which layer each of the specification's service categories is, where the operator says nothing.
LAYER_OF_CATEGORY = {
    "AI and Machine Learning": "inference",
    "Analytics": "processing",
    "Business Applications": "external",
    "Compute": "processing",
    "Databases": "storage",
    "Developer Tools": "orchestration",
    "Identity": "orchestration",
    "Integration": "orchestration",
    "Internet of Things": "external",
    "Management and Governance": "orchestration",
    "Media": "processing",
    "Migration": "orchestration",
    "Mobile": "external",
    "Multicloud": "orchestration",
    "Networking": "orchestration",
    "Other": "external",
    "Security": "orchestration",
    "Storage": "storage",
    "Web": "external",
}
#: What a bill's provider is called where model calls name theirs.
PROVIDERS = {"aws": "aws", "microsoft": "azure", "google cloud": "google", "google": "google"}
#: What was invoiced, or what it comes to once commitments are spread over their time.
COLUMNS = ("BilledCost", "EffectiveCost")
NEEDED = ("BillingCurrency", "ChargePeriodStart", "ProviderName", "ServiceCategory", "ServiceName")
_AMOUNT = re.compile(r"-?\d{1,13}(?:\.\d{1,30})?(?:[eE][+-]?\d{1,2})?", re.ASCII)


@dataclass(frozen=True)
class Reading:
    """How a file is read: which column, and which layer a service or a category is.

    ``layer`` is that of the whole file, where it is one; a service's own layer goes before its
    category's.
    """

    column: str = "BilledCost"
    layer: str = ""
    services: Mapping[str, str] = field(default_factory=dict)
    categories: Mapping[str, str] = field(default_factory=dict)

    def layer_of(self, service: str, category: str) -> str:
        """Return the layer of a charge; what nobody placed is external."""
        return (
            self.layer
            or self.services.get(service)
            or self.categories.get(category)
            or LAYER_OF_CATEGORY.get(category, "external")
        )

    def record(self) -> dict[str, object]:
        """Return what is to be stored beside what was read."""
        known = {**LAYER_OF_CATEGORY, **self.categories}
        return {
            "column": self.column,
            "layer": self.layer,
            "services": dict(self.services),
            "categories": known,
        }


@dataclass(frozen=True)
class Charge:
    """What a layer cost in a month by one provider, in billionths of a US dollar.

    ``provider`` is told for inference alone, where calls name theirs.
    """

    layer: str
    provider: str
    start: date
    end: date
    amount_nano_usd: int


@dataclass(frozen=True)
class Charges:
    """A whole file: its charges by layer and month, how many lines, and their total."""

    charges: tuple[Charge, ...]
    lines: int

    @property
    def amount_nano_usd(self) -> int:
        """The file's total."""
        return sum(one.amount_nano_usd for one in self.charges)


def mapped(stated: Iterable[str], *, column: str = COLUMNS[0], layer: str = "") -> Reading:
    """Return how to read a file from overrides such as "Databases=retrieval".

    A service is named as "service:Amazon Bedrock=inference"; ``layer`` is for the whole file.
    Raises InvalidRequest.
    """
    services: dict[str, str] = {}
    categories: dict[str, str] = {}
    for one in stated:
        name, _, target = one.rpartition("=")
        if target not in LAYERS or not name:
            raise InvalidRequest.at(
                "/map", f"{one!r} is not a category or service:NAME, =, and one of {_LAYERS}"
            )
        if name.startswith("service:"):
            services[name.removeprefix("service:")] = target
        else:
            categories[name] = target
    return Reading(column, layer, services, categories)


_LAYERS = ", ".join(LAYERS)


def add_up(rows: Iterable[Mapping[str, str | None]], reading: Reading) -> Charges:
    """Add a file's charges up. Raises InvalidRequest with the line that cannot be read."""
    sums: dict[tuple[str, str, date], Fraction] = {}
    lines = 0
    for lines, row in enumerate(rows, start=1):
        key, amount = _charge(row, reading, line=lines + 1)
        sums[key] = sums.get(key, Fraction()) + amount
    keys = sorted(sums)
    amounts = _rounded([sums[key] * NANO for key in keys])
    return Charges(
        tuple(
            Charge(layer, provider, start, _next_month(start), amount)
            for (layer, provider, start), amount in zip(keys, amounts, strict=True)
            if amount
        ),
        lines,
    )


def _charge(
    row: Mapping[str, str | None], reading: Reading, *, line: int
) -> tuple[tuple[str, str, date], Fraction]:
    missing = [name for name in (*NEEDED, reading.column) if row.get(name) is None]
    if missing:
        raise InvalidRequest(f"Line {line} has no {missing[0]}: this is not a file of FOCUS 1.0.")
    told = {name: (row[name] or "").strip() for name in (*NEEDED, reading.column)}
    if told["BillingCurrency"] != "USD":
        raise InvalidRequest(
            f"Line {line} is in {told['BillingCurrency']!r}; only bills in USD are taken."
        )
    amount = told[reading.column]
    if not _AMOUNT.fullmatch(amount):
        raise InvalidRequest(f"Line {line}: the {reading.column} {amount[:40]!r} is no number.")
    try:
        begun = datetime.fromisoformat(told["ChargePeriodStart"]).date()
    except ValueError as error:
        raise InvalidRequest(
            f"Line {line}: the ChargePeriodStart {told['ChargePeriodStart'][:40]!r} is no time."
        ) from error
    layer = reading.layer_of(told["ServiceName"], told["ServiceCategory"])
    name = told["ProviderName"].lower()
    provider = PROVIDERS.get(name, name) if layer == "inference" else ""
    return (layer, provider, begun.replace(day=1)), Fraction(Decimal(amount))


def _rounded(exact: list[Fraction]) -> list[int]:
    """Return whole numbers that add up to the rounded sum: what was cut off most is made good."""
    down = [amount.numerator // amount.denominator for amount in exact]
    left = round(sum(exact, Fraction())) - sum(down)
    order = sorted(range(len(exact)), key=lambda place: (down[place] - exact[place], place))
    for place in order[:left]:
        down[place] += 1
    return down


def _next_month(first: date) -> date:
    return (first + timedelta(days=32)).replace(day=1)
