"""Stripe's customer of an organization: made once, whoever needs it first, and remembered.

What people pay with and what stands on their invoices is kept there, and changed there.
"""

from __future__ import annotations

from typing import Literal

from portal import accounts, cycles
from portal.accounts import Organization
from portal.billing.gateway import Gateway, SavedMethod
from portal.db import Database


def ensure_customer(database: Database, payments: Gateway, organization: Organization) -> str:
    """Return the id of an organization's customer. Raises Unavailable without Stripe."""
    if organization.stripe_customer_id:
        return organization.stripe_customer_id
    customer_id = payments.create_customer(
        organization.organization_id, name=organization.name, email=organization.email
    )
    with database.transaction() as tx:
        accounts.remember_stripe_customer(tx, organization.organization_id, customer_id)
        known = accounts.find_organization(tx, organization.organization_id)
    return known.stripe_customer_id or customer_id


def portal_page(
    database: Database,
    payments: Gateway,
    organization: Organization,
    *,
    act: Literal["method", "details"],
    return_url: str,
) -> str:
    """Return where to change the payment method, or the address and tax details, at Stripe.

    Raises Unavailable where Stripe does not answer.
    """
    customer_id = ensure_customer(database, payments, organization)
    flow = "payment_method_update" if act == "method" else ""
    return payments.portal_page(customer_id, return_url=return_url, flow=flow)


def method_in_words(payments: Gateway, organization: Organization) -> SavedMethod | None:
    """Return what is charged by default, None where nothing is saved. Raises Unavailable."""
    if not organization.stripe_customer_id:
        return None
    return payments.method_in_words(organization.stripe_customer_id)


def method_of_plan(
    database: Database, payments: Gateway, organization: Organization
) -> SavedMethod | None:
    """Return what the plan is charged to, without one what is by default; None where nothing is.

    Raises Unavailable.
    """
    with database.reading() as tx:
        billed = cycles.find(tx, organization.organization_id)
    own = None
    if billed is not None and billed.alive:
        own = payments.method_of_subscription(billed.stripe_subscription_id)
    return own or method_in_words(payments, organization)


def charge_plan_to_default(database: Database, payments: Gateway, organization_id: str) -> bool:
    """Have a plan charged to the default that was saved since; tells whether it was not so.

    Raises NotFound, and Unavailable where Stripe does not answer.
    """
    with database.reading() as tx:
        customer_id = accounts.find_organization(tx, organization_id).stripe_customer_id
        billed = cycles.find(tx, organization_id)
    if customer_id is None or billed is None or not billed.alive:
        return False
    return payments.charge_what_was_chosen(customer_id, billed.stripe_subscription_id)
