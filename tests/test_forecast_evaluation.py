"""The goals of the forecast on real series that had no part in choosing its method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import forecast, month_ends
from bench.forecast import Finding


@pytest.fixture(scope="module")
def findings(data: Path) -> Sequence[Finding]:
    folder = data / "forecast"
    if not folder.is_dir():
        pytest.skip(f"no daily series in {folder}")
    judging = [one for one in month_ends.read(folder) if one.judges]
    return list(forecast.findings([forecast.outcome(cut) for cut in month_ends.cuts(judging)]))


def of(findings: Sequence[Finding], group: str) -> Sequence[Finding]:
    return [one for one in findings if one.group == group]


@pytest.mark.parametrize("group", ["regular tenants", "all series"])
def test_it_errs_less_than_the_trailing_week_at_every_cut(
    findings: Sequence[Finding], group: str
) -> None:
    found = {one.day: one.ratio for one in of(findings, group)}
    assert set(found) == set(forecast.WIDTHS_PERCENT)
    assert {day: ratio for day, ratio in found.items() if ratio > forecast.GOAL} == {}


def test_ranges_hold_what_they_say_and_are_no_wider_than_they_need_be(
    findings: Sequence[Finding],
) -> None:
    for one in of(findings, "regular tenants"):
        assert 0.77 <= one.coverage <= 0.86, one
        assert one.mean_width * 100 <= forecast.WIDTHS_PERCENT[one.day], one


def test_the_series_that_judge_are_others_than_those_that_chose(data: Path) -> None:
    series = month_ends.read(data / "forecast")
    judging = {month_ends.family(one.name) for one in series if one.judges}
    choosing = {month_ends.family(one.name) for one in series if not one.judges}
    assert not judging & choosing
    assert (sum(one.judges for one in series), len(series)) == (32, 67)
