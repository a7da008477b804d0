"""Stripe's customer of an organization: made once, whoever needs it first, and remembered."""

from __future__ import annotations

from portal import accounts
from portal.accounts import Organization
from portal.billing.gateway import Gateway
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
