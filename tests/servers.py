"""The product as it is served: real processes of the production server, on free ports."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.postgresql import free_port

ROOT = Path(__file__).resolve().parent.parent
SECRET_KEY = "0123456789abcdefghijklmnopqrstuvwxyz"


def environment(database_url: str, port: int, **more: str) -> dict[str, str]:
    """Return the settings of a server, and nothing else of this process's own settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {
        "DATABASE_URL": database_url,
        "SECRET_KEY": SECRET_KEY,
        "PORTAL_BASE_URL": f"http://127.0.0.1:{port}",
        **more,
    }


@contextmanager
def started(command: list[str], url: str, env: dict[str, str]) -> Iterator[None]:
    """Run a program until ``url`` answers, and stop it at the end."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 60
            while not _answers(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"{command} did not start:\n{log.read().decode()}")
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


@contextmanager
def serving(database_url: str, *, threads: int = 8, **settings: str) -> Iterator[int]:
    """Serve the product from one process on a free port; gives the port."""
    port = free_port()
    command = [
        sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1",
        "--port", str(port), "--workers", "1", "--blocking-threads", str(threads),
        "--no-ws", "--log-level", "warning", "app:app",
    ]  # fmt: skip
    env = environment(database_url, port, **settings)
    with started(command, f"http://127.0.0.1:{port}/readyz", env):
        yield port
