"""Settings: a page of sections, one module for each with its routes (see ``page``)."""

from __future__ import annotations

from portal.web.customer.settings import activity, keys, notifications, organization, page, webhooks

__all__ = ["activity", "keys", "notifications", "organization", "page", "webhooks"]
