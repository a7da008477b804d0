"""`make bench`: every benchmark in one run, each a ratio to what was measured in turns with it.

`python -m bench NAME ...` runs some of them. PostgreSQL is a server of the run's own, on loopback,
that waits for the disk. These figures compare, they do not promise.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import (
    authorizations,
    events,
    exports,
    forecast,
    history,
    margin,
    memory,
    report,
    served,
    simulation,
)
from bench.machine import Machine
from bench.report import Found
from tests import postgresql

BENCHMARKS: dict[str, Callable[[Machine], Iterator[Found]]] = {
    "hot": authorizations.hot,
    "spread": authorizations.spread,
    "http-authorize": served.authorizations,
    "events": events.in_process,
    "http-events": served.events,
    "history": history.rows,
    "csv": exports.rows,
    "margin": margin.rows,
    "memory": memory.rows,
    "forecast": forecast.rows,
    "simulation": simulation.rows,
}


def main() -> int:
    """Run the benchmarks asked for and print the table."""
    given = _arguments()
    logging.disable(logging.WARNING)
    binaries = postgresql.programs()
    if binaries is None:
        print(postgresql.MISSING, file=sys.stderr)
        return 1
    # Long histories are written before anything is measured: not in steps of a gigabyte.
    server_on_disk = postgresql.running(binaries, on_disk=True, max_wal_size="16GB")
    with tempfile.TemporaryDirectory() as folder, server_on_disk as server:
        machine = Machine(Path(folder), server, given.pgledger, given.full)
        report.show(row for name in given.names or BENCHMARKS for row in BENCHMARKS[name](machine))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--pgledger", type=Path, help="a checkout of pgledger to stand against")
    parser.add_argument("--full", action="store_true", help="the sizes that the goals name")
    given = parser.parse_args()
    if unknown := set(given.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    return given


if __name__ == "__main__":
    sys.exit(main())
