"""Many clients who act at the very same moment: threads with open connections, and a barrier."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class Crowd:
    """Clients on open connections, spread over servers, who send when all are ready."""

    def __init__(self, ports: Sequence[int], *, size: int, key: str) -> None:
        self.size, self.key = size, key
        self._connections = [
            socket.create_connection(("127.0.0.1", ports[number % len(ports)]), timeout=60)
            for number in range(size)
        ]
        for connection in self._connections:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._barrier = threading.Barrier(size)
        self._threads = ThreadPoolExecutor(size)

    def post(self, path: str, body: Any) -> list[tuple[int, Any]]:
        """Send one request from everybody at once; return the statuses and bodies."""
        content = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        request = head.encode() + content

        def send(connection: socket.socket) -> tuple[int, Any]:
            self._barrier.wait(60)
            connection.sendall(request)
            return _answer(connection)

        return list(self._threads.map(send, self._connections))

    def close(self) -> None:
        """Go home."""
        self._threads.shutdown()
        for connection in self._connections:
            connection.close()


def _answer(connection: socket.socket) -> tuple[int, Any]:
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    while len(body) < int(headers["content-length"]):
        body += _more(connection)
    return int(lines[0].split()[1]), json.loads(body)


def _more(connection: socket.socket) -> bytes:
    chunk = connection.recv(65536)
    if not chunk:
        raise ConnectionError("the server closed the connection")
    return chunk
