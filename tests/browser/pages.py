"""Every page there is, by its endpoint: a page that is on no list here fails the tests.

What a path has in braces is made by ``furnished``.
"""

from __future__ import annotations

#: Pages of a signed-in member.
CUSTOMER = {
    "customer.account": "/account",
    "customer.activity": "/settings/activity?about=cap",
    "customer.billing": "/billing",
    "customer.design": "/design",
    "customer.event": "/usage/events/event-0?source=test",
    "customer.events": "/usage/events?open=run-0",
    "customer.notifications": "/settings/notifications",
    "customer.overview": "/",
    "customer.person": "/team/members/cleo",
    "customer.plans": "/plans",
    "customer.preview_top_up": "/spending/top-up?pack=small&threshold=100&monthly_limit=100",
    "customer.settings": "/settings",
    "customer.spending": "/spending",
    "customer.team": "/team",
    "customer.usage": "/usage?group=member&action=image",
    "customer.webhooks": "/settings/webhooks",
}
#: Pages of an owner where something waits, as ``furnished`` names it; and others in that state.
FURNISHED = {
    "customer.limit": "/limit/{cap}",
    "customer.raise_request": "/spending/raises/{request}",
}
WAITING = ("/", "/spending", "/team", "/settings", "/settings/activity", "/settings/webhooks")
#: Pages of the operator.
OPERATOR = {
    "operator.audit": "/operator/audit",
    "operator.catalogue": "/operator/catalogue",
    "operator.correct": "/operator/customers/acme/correct?source=test&id=event-0",
    "operator.customer": "/operator/customers/acme",
    "operator.customer_event": "/operator/customers/acme/event?source=test&id=event-0",
    "operator.customer_events": "/operator/customers/acme/events",
    "operator.customer_timeline": "/operator/customers/acme/timeline",
    "operator.customers": "/operator/customers",
    "operator.difference": "/operator/catalogue/prices/difference?old=0&new=1",
    "operator.events": "/operator/events",
    "operator.grant": "/operator/customers/acme/grant",
    "operator.keys": "/operator/keys",
    "operator.margin": "/operator/",
    "operator.new_version": "/operator/catalogue/prices/new",
    "operator.payments": "/operator/payments",
    "operator.payments_inbox": "/operator/payments/inbox?status=all",
    "operator.reconciliation": "/operator/payments/reconciliation",
    "operator.refunds": "/operator/payments/refunds",
    "operator.reviews": "/operator/events/reviews",
    "operator.undelivered": "/operator/events/undelivered",
    "operator.routing": "/operator/routing",
    "operator.simulations": "/operator/simulation",
    "operator.view": "/operator/customers/acme/view",
}
#: Pages that anybody meets.
DOORS = {
    "auth.ask_before_signing_in": "/sign-in/mail/some-link",
    "auth.sign_in": "/sign-in",
    "auth.unsubscribe": "/unsubscribe/{unsubscribe}",
    "health.reference": "/docs",
    "invited.invitation": "/invitations/{invitation}",
}
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
    "auth.choose": "test_accessibility.py",
    "auth.sign_in_by_link": "test_accessibility.py",
    "customer.change": "test_plans.py",
    "customer.thanks": "test_stories.py",
    "operator.ask_revoke": "test_accessibility.py",
    "operator.refund": "test_accessibility.py",
    "operator.refund_order": "test_accessibility.py",
    "operator.simulated": "test_accessibility.py",
    "operator.void": "test_accessibility.py",
}
#: Addresses that send a file, a part of a page or somebody elsewhere.
NO_PAGES = frozenset(
    {
        "auth.arrive",
        "auth.back_to_the_door",
        "auth.depart",
        "customer.activity_csv",
        "customer.caps_are_on_spending",
        "customer.choices_are_on_plans",
        "customer.forms_are_on_settings",
        "customer.forms_are_on_team",
        "customer.low_balance_is_on_notifications",
        "customer.method",
        "customer.raise_from_mail",
        "customer.returned_from_stripe",
        "customer.statement_csv",
        "customer.usage_csv",
        "customer.webhook_is_on_webhooks",
        "operator.check_is_a_form",
        "operator.customers_csv",
        "operator.simulated_csv",
        "operator.version",
    }
)
