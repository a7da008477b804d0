"""The overview page: what there is, what it went on, where the period goes, the most it can cost.

Reads only, from one snapshot; all of the page's arithmetic is here. A member who may not see
everybody's use gets their own, with the organization's balance.
"""

from __future__ import annotations

from portal.overview.made import DAY
from portal.overview.page import Overview, overview
from portal.overview.standing import Standing

__all__ = [
    "DAY",
    "Overview",
    "Standing",
    "overview",
]
