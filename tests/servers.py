"""The product as it is served: real processes of the production server, on free ports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import requests

from tests.postgresql import free_port
from tests.processes import children

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


class Server:
    """The product served from processes of its own, which can be killed and started again."""

    def __init__(self, database_url: str, *, threads: int = 8, **settings: str) -> None:
        self.port = free_port()
        self._command = [
            sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1",
            "--port", str(self.port), "--workers", "1", "--blocking-threads", str(threads),
            "--no-ws", "--log-level", "warning", "app:app",
        ]  # fmt: skip
        self._env = environment(database_url, self.port, **settings)

    def start(self) -> None:
        """Run until ready. Raises RuntimeError with what it said where it does not start."""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 # closed when the server is killed
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._env,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + 60
        while not _answers(f"http://127.0.0.1:{self.port}/readyz"):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._log.seek(0)
                said = self._log.read().decode()
                self.kill()
                raise RuntimeError(f"{self._command} did not start:\n{said}")
            time.sleep(0.05)

    @property
    def pids(self) -> list[int]:
        """The processes it runs in."""
        if self._process.poll() is not None:
            return []
        return [self._process.pid, *children(self._process.pid)]

    def stop(self) -> None:
        """Ask it to go, and see that it does."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        self.kill()

    def kill(self) -> None:
        """Kill every process of it at once, whatever they are doing."""
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


@contextmanager
def serving(database_url: str, *, threads: int = 8, **settings: str) -> Iterator[int]:
    """Serve the product from one process on a free port; gives the port."""
    server = Server(database_url, threads=threads, **settings)
    server.start()
    try:
        yield server.port
    finally:
        server.stop()
