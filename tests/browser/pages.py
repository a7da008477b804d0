"""Every page there is, by its endpoint: a page that is on no list here fails the tests.

A path may name what the browser's store has: ``{event}`` is an event of Acme's, ``{run}`` its run.
"""

from __future__ import annotations

#: Pages of a signed-in member.
CUSTOMER = {
    "customer.account": "/account",
    "customer.billing": "/billing",
    "customer.design": "/design",
    "customer.event": "/usage/events/event-0?source=test",
    "customer.events": "/usage/events?open=run-0",
    "customer.overview": "/",
    "customer.plans": "/plans",
    "customer.preview_top_up": "/spending/top-up?pack=small&threshold=100&monthly_limit=100",
    "customer.spending": "/spending",
    "customer.usage": "/usage?group=member&action=image",
}
#: Pages of the operator.
OPERATOR = {"operator.customers": "/operator/"}
#: Pages that anybody meets.
DOORS = {"auth.sign_in": "/sign-in", "health.reference": "/docs"}
#: The same pages in another state: an address that leads nowhere, a run alone, nothing found.
STATES = (
    "/no-such-page",
    "/usage/events?run=run-0",
    "/usage?project=nowhere",
    "/usage?range=own&from=tomorrow&to=2026-01-01",
    "/billing?period=1999-01-01",
)
#: Pages that a flow leads to, and the file of the test that holds them against the same.
IN_FLOWS = {
    "auth.sign_in_by_link": "test_accessibility.py",
    "customer.change": "test_plans.py",
    "customer.thanks": "test_stories.py",
}
#: Addresses that send a file, a part of a page or somebody elsewhere.
NO_PAGES = frozenset(
    {
        "customer.caps_are_on_spending",
        "customer.choices_are_on_plans",
        "customer.method",
        "customer.returned_from_stripe",
        "customer.statement_csv",
        "customer.usage_csv",
    }
)
