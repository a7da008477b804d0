"""What a clock is: something that says what time it is, in UTC."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

Clock = Callable[[], datetime]
