"""The one door to Stripe: the only importer of ``stripe``.

Invariant: no call is made while a database transaction is open, every call that would do harm twice
carries an idempotency key of ours that is never sent with other parameters, and what comes back is
a plain record. There is no branch for a stand-in: ``STRIPE_API_BASE`` is merely another address.
"""

from __future__ import annotations

from portal.billing.gateway.caller import CallRefused
from portal.billing.gateway.catalog import CatalogCalls
from portal.billing.gateway.checkout import CheckoutCalls, CheckoutSession
from portal.billing.gateway.customer_portal import CustomerPortalCalls, SavedMethod
from portal.billing.gateway.intents import IntentCalls, OffSession, TopUpIntent
from portal.billing.gateway.invoices import InvoiceCalls, InvoiceLine, InvoiceState
from portal.billing.gateway.overage import OverageCalls, OverageInvoice, OverageItem
from portal.billing.gateway.payments import PaymentCalls, PaymentState, RefundRefused, RefundState
from portal.billing.gateway.subscriptions import (
    Change,
    SubscriptionCalls,
    SubscriptionState,
    tier_of_product,
)
from portal.billing.gateway.webhooks import LARGEST_EVENT_BYTES, BadSignature, StripeEvent, verify

__all__ = [
    "LARGEST_EVENT_BYTES",
    "BadSignature",
    "CallRefused",
    "Change",
    "CheckoutSession",
    "Gateway",
    "InvoiceLine",
    "InvoiceState",
    "OffSession",
    "OverageInvoice",
    "OverageItem",
    "PaymentState",
    "RefundRefused",
    "RefundState",
    "SavedMethod",
    "StripeEvent",
    "SubscriptionState",
    "TopUpIntent",
    "tier_of_product",
    "verify",
]

_HOSTED_CHECKOUT = "https://checkout.stripe.com"
_HOSTED_PORTAL = "https://billing.stripe.com"


class Gateway(
    CatalogCalls,
    CheckoutCalls,
    CustomerPortalCalls,
    IntentCalls,
    InvoiceCalls,
    OverageCalls,
    PaymentCalls,
    SubscriptionCalls,
):
    """Stripe, as one application uses it."""

    def __init__(self, secret_key: str, api_base: str = "", *, automatic_tax: bool = False) -> None:
        super().__init__(secret_key, api_base)
        self.automatic_tax = automatic_tax
        self.checkout_origin = api_base or _HOSTED_CHECKOUT
        self.portal_origin = api_base or _HOSTED_PORTAL
