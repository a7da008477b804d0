"""What stands: balance, usage, events, forecast, catalogue. Costs for service keys alone."""

from __future__ import annotations

from portal.web.api.reading import balance, catalog, events, forecast, usage
from portal.web.api.reading.asked import calendar_day

__all__ = ["balance", "calendar_day", "catalog", "events", "forecast", "usage"]
