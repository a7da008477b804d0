"""Caps, costs and the errors that carry them: the smaller rules."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from portal.core.caps import Cap, CapState, Spender, tightest, window_of
from portal.core.costs import CostLine, ModelUsage, Quality
from portal.core.errors import InvalidRequest, NotFound
from portal.core.periods import Period, Zone, day_of, period_of, week_of

NOW = datetime(2026, 11, 9, 12, tzinfo=UTC)
ZONE = Zone("Europe/Berlin")
PERIOD = period_of(NOW, ZONE)
CLEO = Spender("cleo", "research", "atlas", "document")


def cap(scope: str = "organization", target: str = "", action: str = "", **more: object) -> Cap:
    values = {"window": "period", "limit_micro": 100, "mode": "hard"} | more
    return Cap("cap", scope, target, action, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "applies"),
    [
        (cap(), True),
        (cap(action="document"), True),
        (cap(action="image"), False),
        (cap("member", "cleo"), True),
        (cap("member", "ben"), False),
        (cap("team", "research"), True),
        (cap("team", "cleo"), False),
        (cap("project", "atlas", "document"), True),
        (cap("project", "atlas", "image"), False),
    ],
)
def test_a_cap_applies_to_its_scope_and_action(found: Cap, applies: bool) -> None:
    assert found.applies_to(CLEO) is applies


def test_a_target_never_binds_those_who_are_nobody() -> None:
    assert not cap("member", "cleo").applies_to(Spender(action="document"))


def test_what_remains_is_never_below_zero() -> None:
    assert CapState(cap(), PERIOD, 60, 30).remaining_micro == 10
    assert CapState(cap(), PERIOD, 90, 30).remaining_micro == 0


def test_the_tightest_is_the_hard_one_with_the_least_left() -> None:
    loose, tight = CapState(cap(), PERIOD, 10, 0), CapState(cap(), PERIOD, 50, 20)
    soft = CapState(cap(mode="soft"), PERIOD, 100, 0)
    assert tightest([loose, soft, tight]) is tight
    assert tightest([soft]) is None
    assert tightest([]) is None


def test_windows_are_the_organizations() -> None:
    assert window_of("day", NOW, ZONE, PERIOD) == day_of(NOW, ZONE)
    assert window_of("week", NOW, ZONE, PERIOD) == week_of(NOW, ZONE)
    assert window_of("period", NOW, ZONE, PERIOD) == PERIOD


@pytest.mark.parametrize(
    ("provider", "expected"), [("openai", 100), ("anthropic", 175), ("google", 100), ("", 100)]
)
def test_cached_tokens_are_counted_once_whatever_the_providers_habit(
    provider: str, expected: int
) -> None:
    usage = ModelUsage(100, 5, cached_input_tokens=50, cache_write_tokens=25)
    assert usage.whole(provider).input_tokens == expected


@pytest.mark.parametrize(
    ("quality", "amount"), [(Quality.UNKNOWN, 0), (Quality.MEASURED, None), (Quality.PRICED, None)]
)
def test_an_unknown_cost_is_never_a_number_and_a_known_one_always(
    quality: Quality, amount: int | None
) -> None:
    with pytest.raises(AssertionError):
        CostLine("inference", quality, amount)


def test_a_period_is_half_open() -> None:
    period = Period(NOW, PERIOD.end)
    assert NOW in period
    assert PERIOD.end not in period


def test_errors_say_where_and_what() -> None:
    error = InvalidRequest.at("/quantity", "is negative")
    assert error.detail == "/quantity is negative."
    assert error.fields == {"errors": [{"pointer": "/quantity", "detail": "is negative"}]}
    assert NotFound("organization", "x").code == "unknown-organization"
