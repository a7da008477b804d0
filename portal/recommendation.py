"""Which plan fits what an organization is going to use, with the arithmetic behind it. Reads only.

What is projected is the middle of the period's own forecast. The rule is ``core.recommendation``'s.
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
    # Where the credits run out, a plan is chosen for the work that is wanted, not for what is left.
    short = found.runs_out is not None and found.runs_out.middle is not None
    wanted = found.wanted if short and found.wanted else found.projection
    return recommend(
        catalog.in_force(tx, at=now),
        current=organization.tier,
        projected_micro=wanted.middle_micro,
    )
