"""Settings: a page of sections, one module for each with its routes (see ``page``)."""

from __future__ import annotations

from portal.web.customer.settings import activity, keys, organization, page

__all__ = ["activity", "keys", "organization", "page"]
