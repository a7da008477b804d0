"""Which plan fits what an organization is going to use, with the arithmetic behind it. Reads only.

What is projected is the period's own forecast: its middle, or what was used where a projection says
too little. The rule is ``core.recommendation``'s.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from portal import catalog
from portal.accounts import Organization
from portal.core.recommendation import Recommendation, recommend
from portal.forecasting import forecast


def recommended(
    tx: Connection, organization: Organization, *, now: datetime
) -> Recommendation | None:
    """Compare the plans for the credits the period is projected to use; None without a projection.

    Raises CatalogError where no price book was loaded yet.
    """
    found = forecast(tx, organization, now=now)
    if found.projection is None:
        return None
    return recommend(
        catalog.in_force(tx, at=now),
        current=organization.tier,
        projected_micro=found.projection.middle_micro,
    )
