"""What is asked of the meter before and after work; quantities in millionths."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from portal.core.events import StatedCost
from portal.core.units import MICRO


@dataclass(frozen=True)
class AuthorizeRequest:
    """Work somebody wants to start; the quantity in millionths."""

    organization_id: str
    action: str
    quantity_micro: int = MICRO
    member: str = ""
    team: str = ""
    project: str = ""
    run: str = ""
    expires_in_seconds: int = 900


@dataclass(frozen=True)
class CaptureRequest:
    """What the work took: None for all that was authorized."""

    quantity_micro: int | None = None
    time: datetime | None = None
    costs: tuple[StatedCost, ...] = ()
    properties: dict[str, Any] | None = None
