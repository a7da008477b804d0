"""An organization in which things wait: a cap nearly used, a request, an invitation, an endpoint.

Furnished once in a store, beside Acme, whose figures other tests count.
"""

from __future__ import annotations

from portal import access, accounts, invitations, limits, raises
from portal.caps import CapRequest
from portal.core.units import MICRO
from portal.notices import endpoints, links
from portal.notices.links import Unsubscribing
from tests.browser.product import PASSWORD, Product

ATELIER = "atelier"
#: Belongs to two organizations by one address and one password.
DORA = "dora@both.test"


def furnish(product: Product) -> dict[str, str]:
    """Make it, and return what the addresses in ``pages.FURNISHED`` name."""
    product.found(ATELIER)
    now = product.now()
    with product.database.transaction() as tx:
        for organization in (ATELIER, "newcomer"):
            dora, _ = accounts.put_member(
                tx,
                organization,
                "dora",
                email=DORA,
                name="Dora",
                role="viewer",
                team_id="",
                now=now,
            )
            access.set_password(tx, dora, PASSWORD)
        ana = accounts.find_member(tx, ATELIER, "ana")
        endpoint = endpoints.create(
            tx, ATELIER, "https://hooks.example/clearmeter", (), actor="ana", now=now
        )
    cap = limits.set_cap(
        product.database,
        ATELIER,
        CapRequest("member", "cleo", "", "day", 20 * MICRO, "hard"),
        actor="ana",
        now=now,
    ).state.cap
    asked = raises.ask(
        product.database, ATELIER, cap.cap_id, "cleo", 5 * MICRO, reason="For Monday", now=now
    )
    invited = invitations.invite(
        product.database, ATELIER, email="hugo@atelier.test", role="member", team_id="", by=ana,
        now=now,
    )  # fmt: skip
    return {
        "cap": cap.cap_id,
        "request": asked.request_id,
        "endpoint": endpoint.endpoint_id,
        "invitation": invited.token,
        "unsubscribe": links.unsubscribe(product.secret, Unsubscribing(ATELIER, "ana", "near")),
    }
