"""Real daily series cut in the middle of their months, half of them to develop on, half to judge.

The split is by series and fixed: within each group the families of series are ordered by the hash
of their names and dealt in turns. Series that measure one source in two units are one family.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from portal.core.forecast import History
from portal.core.periods import Anchor

FOLDER = "CLEARMETER_DATA"
CUTS = (5, 10, 15, 20, 25)
#: With fewer days behind the cut not even the plainest method has its week.
FEWEST_DAYS = 7
DAY = timedelta(days=1)
_UNITS = ("_usd", "_tokens", "_requests")
#: The one group of single users of language models; all others are regular tenants.
SINGLE_USERS = "llm"


@dataclass(frozen=True)
class Series:
    """A real daily series; ``judges`` where it had no part in any choice."""

    name: str
    group: str
    history: History
    judges: bool

    @property
    def single_user(self) -> bool:
        """Whether it is one user of language models, rather than a regular tenant."""
        return self.group == SINGLE_USERS


@dataclass(frozen=True)
class Cut:
    """A month of a series as it stood after so many of its days."""

    series: Series
    day: int
    before: History
    spent: float
    days_left: int
    total: float


def folder() -> Path:
    """Return the folder of real series, which does not come with the code."""
    beside = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    return Path(os.environ.get(FOLDER, beside)) / "forecast"


def read(where: Path) -> list[Series]:
    """Read every series. Raises FileNotFoundError where the folder is not there."""
    with (where / "series_meta.csv").open(encoding="utf-8", newline="") as lines:
        groups = {row["series"]: row["group"] for row in csv.DictReader(lines)}
    days: dict[str, dict[date, float]] = defaultdict(dict)
    with gzip.open(where / "shared_daily.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            days[row["series"]][date.fromisoformat(row["date"])] = float(row["y"] or 0)
    judges = _judges(groups)
    return [
        Series(name, groups[name], _whole(found), family(name) in judges)
        for name, found in sorted(days.items())
    ]


def _whole(found: dict[date, float]) -> History:
    first, last = min(found), max(found)
    length = (last - first).days + 1
    return History(first, [found.get(first + DAY * place, 0.0) for place in range(length)])


def family(name: str) -> str:
    """Return the name without the unit it is measured in."""
    return next((name.removesuffix(unit) for unit in _UNITS if name.endswith(unit)), name)


def _judges(groups: dict[str, str]) -> set[str]:
    families: dict[str, set[str]] = defaultdict(set)
    for name, group in groups.items():
        families[group].add(family(name))
    found = set()
    for names in families.values():
        found.update(sorted(names, key=lambda one: hashlib.sha256(one.encode()).digest())[1::2])
    return found


def cuts(series: Iterable[Series], days: Sequence[int] = CUTS) -> Iterator[Cut]:
    """Cut every whole month of each series after each of ``days``."""
    for one in series:
        first, amounts = one.history.first_day, one.history.amounts
        start = Anchor().around(first)[0]
        while start <= first + DAY * len(amounts):
            start, end = Anchor().around(start)
            begins, ends = (start - first).days, (end - first).days
            if begins >= 0 and ends <= len(amounts):
                yield from _cuts_of_month(one, begins, ends, days)
            start = end


def _cuts_of_month(one: Series, begins: int, ends: int, days: Sequence[int]) -> Iterator[Cut]:
    amounts = one.history.amounts
    total = sum(amounts[begins:ends])
    for day in days:
        at = begins + day
        if at >= FEWEST_DAYS and total > 0:
            before = History(one.history.first_day, amounts[:at])
            yield Cut(one, day, before, sum(amounts[begins:at]), ends - at, total)
