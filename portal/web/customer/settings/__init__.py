"""Settings: what people hear and how, and the endpoints that are told."""

from __future__ import annotations

from portal.web.customer.settings import notifications, webhooks

__all__ = ["notifications", "webhooks"]
