"""``python -m sandbox``: run the sandbox on this machine until told to stop."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

from werkzeug.serving import make_server

from sandbox.app import DEFAULT_SECRET, create_sandbox


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted."""
    options = _parser().parse_args(arguments)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    app = create_sandbox(
        webhook_url=options.webhook_url,
        webhook_secret=options.webhook_secret,
        base_url=options.base_url,
        clock=_clock(options.begins),
    )
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    try:
        server = make_server(options.host, options.port, app, threaded=True)
    except (OSError, SystemExit):  # Werkzeug exits where the port is taken
        app.extensions["sandbox"].close()
        print(f"sandbox: cannot listen on port {options.port}.", file=sys.stderr)
        return 1
    try:
        print(f"Sandbox for payments (no money moves): http://{options.host}:{server.port}/")
        sys.stdout.flush()
        server.serve_forever(poll_interval=0.1)
    except KeyboardInterrupt:
        return 0
    finally:
        server.server_close()
        app.extensions["sandbox"].close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sandbox", description="A stand-in for Stripe.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--base-url", help="where browsers find it, if not at host and port")
    parser.add_argument("--webhook-url", help="where events are sent; nowhere, if not given")
    parser.add_argument("--webhook-secret", default=DEFAULT_SECRET)
    parser.add_argument("--begins", type=int, help="when it is there, in seconds since 1970; now")
    return parser


def _clock(begins: int | None) -> Callable[[], float]:
    """Return the time from an instant on; it can be moved forward while the sandbox runs."""
    behind = 0.0 if begins is None else time.time() - begins
    return lambda: time.time() - behind


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
