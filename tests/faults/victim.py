"""A process that does as ordered, in children of its own that a tracer may kill at any call.

``python -m tests.faults.victim GATE TOLD`` loads the product once. For each line of orders it forks
a child that waits for a byte on the descriptor GATE, performs the act through the product and
writes the answer to the descriptor TOLD: that is the acknowledgement. Forking spares each act the
second it takes to load the product.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from typing import Any

from flask import Flask

from app import create_app
from portal import jobs
from portal.billing.gateway import Gateway
from portal.jobs import Workshop
from tests.cast import Api
from tests.clock import Clock
from tests.conftest import settings_for


class Victim:
    """The product on whatever store an order names, at the instant it names."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._applications: dict[str, Flask] = {}

    def application(self, url: str) -> Flask:
        if url not in self._applications:
            self._applications[url] = create_app(settings_for(url), clock=self.clock)
        return self._applications[url]

    def rehearse(self, order: dict[str, Any]) -> None:
        """Perform an order here, which fills the caches that every child then has."""
        self.perform(order)
        self.application(order["url"]).extensions["clearmeter"].database.close()

    def perform(self, order: dict[str, Any]) -> tuple[int, str]:
        """Do what is ordered; return the status and body it was answered with."""
        self.clock.set(datetime.fromisoformat(order["now"]))
        application = self.application(order["url"])
        if "job" in order:
            database = application.extensions["clearmeter"].database
            shop = Workshop(database, Gateway(""), self.clock)
            return 200, str(getattr(jobs, order["job"])(shop))
        api = Api(application, order["secret"])
        reply = api.post(order["path"], order["body"], key=order["key"])
        return reply.status_code, reply.get_data(as_text=True)

    def serve(self, gate: int, told: int) -> None:
        """Take orders, one a line: say the child's id when there is one, and how it ended."""
        for line in sys.stdin:
            order = json.loads(line)
            if order["rehearse"]:
                self.rehearse(order)
                print(0, flush=True)
                continue
            child = os.fork()
            if child == 0:
                os.read(gate, 1)
                answer = self.perform(order)
                os.write(told, json.dumps(answer).encode())
                os._exit(0)
            print(child, flush=True)
            _, status = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    Victim().serve(int(sys.argv[1]), int(sys.argv[2]))
