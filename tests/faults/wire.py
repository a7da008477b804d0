"""HTTP as bytes on a kept-open connection, so that a test decides when each byte leaves.

Nothing but the standard library: programs of many processes start with it in no time.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any

#: Long enough for any machine: who waits this long has found a server that hangs.
PATIENCE_SECONDS = 120


@dataclass(frozen=True)
class Reply:
    """A status and the very bytes of a body."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request(
    method: str, path: str, secret: str, body: Any = None, *, key: str | None = None
) -> bytes:
    """Return a request's bytes; ``key`` is its Idempotency-Key."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {secret}",
        f"Content-Length: {len(content)}",
    ]
    if body is not None:
        lines.append("Content-Type: application/json")
    if key is not None:
        lines.append(f"Idempotency-Key: {key}")
    return "\r\n".join([*lines, "", ""]).encode() + content


class Line:
    """An open connection to a server."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, content: bytes) -> None:
        self._socket.sendall(content)

    def receive(self) -> Reply:
        """Return the next answer. Raises OSError where the server went away."""
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._more()
        head, _, body = received.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        while len(body) < int(headers["content-length"]):
            body += self._more()
        return Reply(int(lines[0].split()[1]), body)

    def exchange(self, content: bytes) -> Reply:
        self.send(content)
        return self.receive()

    def _more(self) -> bytes:
        chunk = self._socket.recv(65536)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        return chunk

    def close(self) -> None:
        self._socket.close()
