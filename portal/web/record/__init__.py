"""The record of acts as people read it: who did what, to whom, and from what to what.

Words are made when an act is read; what was written down stays as it is. Customers and the operator
read the same words. Only the operator reads reasons, and which of the operator's people it was.
"""

from __future__ import annotations

from portal.web.record.called import ABOUT, CALLED, OPERATORS_OWN
from portal.web.record.lines import Line, line, target_of
from portal.web.record.names import Names, names_among, names_of
from portal.web.record.said import PARTS, SILENT, said

__all__ = [
    "ABOUT",
    "CALLED",
    "OPERATORS_OWN",
    "PARTS",
    "SILENT",
    "Line",
    "Names",
    "line",
    "names_among",
    "names_of",
    "said",
    "target_of",
]
