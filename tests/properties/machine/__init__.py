"""Whatever is done to an organization, in whatever order: the product agrees with the model.

The machine of rules; test_ledger_on_sqlite.py and test_ledger_on_postgresql.py run it.
"""

from __future__ import annotations

from tests.properties.machine.whole import open_store, run

__all__ = ["open_store", "run"]
