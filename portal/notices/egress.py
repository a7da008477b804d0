"""The way out to addresses that customers name: nowhere but to public hosts, by https.

Invariant: a name is resolved once, every address it has is checked, and the connection goes to an
address that was checked, under the name that was asked for. No redirect is followed, and all of it
takes a few seconds at most. Nothing is sent while a transaction is open.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from portal.core.errors import InvalidRequest
from portal.db import in_transaction

SECONDS = 5.0
LARGEST_ANSWER_BYTES = 64 * 1024
LONGEST_URL = 2000
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
#: A name of at least two labels, whose last is no number: 0x7f.1 and 127.1 are addresses.
_NAME = re.compile(rf"({_LABEL}\.)+(?!0x)(?!\d+$){_LABEL}")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
#: What looks public but leads elsewhere: translated, tunnelled, documented, or reserved.
_NOT_PUBLIC = tuple(
    IPv6Network(one)
    for one in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "2620:4f:8000::/48")
)
_PUBLIC = IPv6Network("2000::/3")
Resolve = Callable[[str, int], Sequence[str]]


class Refused(Exception):
    """An address that is not public, or an answer that is none; says which in words."""


@dataclass(frozen=True)
class Target:
    """An address that may be connected to, once it is resolved and checked."""

    scheme: str
    host: str
    port: int
    path: str


def resolve(host: str, port: int) -> list[str]:
    """Return every address of a host, as the system finds them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return sorted({str(one[4][0]) for one in found})


def target_of(url: str, *, loopback: bool) -> Target:
    """Read an address that somebody names. Raises InvalidRequest that says what is wrong with it.

    With ``loopback`` this machine may be told too, also by http: for the demo and for tests.
    """
    if len(url) > LONGEST_URL or not url.isascii() or re.search(r"[\s\\\x00-\x20\x7f]", url):
        raise InvalidRequest.at("/url", "is not an address such as https://example.com/hooks")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidRequest.at("/url", "has a host or port that is none") from error
    host = (parts.hostname or "").lower()
    if "@" in parts.netloc:
        raise InvalidRequest.at("/url", "must not carry a name or a password")
    if parts.fragment:
        raise InvalidRequest.at("/url", "must not have a part after #")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    bracketed = f"[{host}]" if ":" in host else host
    if loopback and bracketed in _LOOPBACK and parts.scheme in {"http", "https"}:
        default = 443 if parts.scheme == "https" else 80
        return Target(parts.scheme, host, port or default, path)
    if parts.scheme != "https":
        raise InvalidRequest.at("/url", "must begin with https://")
    if port not in {None, 443}:
        raise InvalidRequest.at("/url", "must use port 443")
    if not _NAME.fullmatch(host) and not _literal(host):
        raise InvalidRequest.at("/url", "must name a public host such as example.com")
    return Target("https", host, 443, path)


def _literal(host: str) -> bool:
    """Tell whether a host is an address, written in the one way that an address is, and public."""
    try:
        found = ip_address(host)
    except ValueError:
        return False
    return is_public(found)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Tell whether an address is one of the public internet's and leads nowhere else."""
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast
    return address in _PUBLIC and not any(address in one for one in _NOT_PUBLIC)


def _checked(target: Target, find: Resolve, loopback: bool) -> str:
    """Resolve once and return an address to connect to. Raises Refused where one is not public."""
    found: list[str] = []
    failed: list[BaseException] = []

    def look() -> None:
        try:
            found.extend(find(target.host, target.port))
        except (OSError, UnicodeError) as error:
            failed.append(error)

    # The system's resolver knows no time limit: it is left behind when it takes too long.
    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    looking.join(SECONDS)
    if failed or not found:
        raise Refused("The host was not found.")
    for one in found:
        address = ip_address(one.partition("%")[0])
        if not is_public(address) and not (loopback and address.is_loopback):
            raise Refused(f"The host leads to {one}, which is not public.")
    return found[0]


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    loopback: bool,
    monotonic: Callable[[], float] = time.monotonic,
    find: Resolve = resolve,
) -> int:
    """Post a body and return the status of the answer, which is read no further.

    Raises InvalidRequest or Refused for an address that may not be told, or that does not answer.
    """
    if in_transaction():
        raise AssertionError("nothing must be sent while a transaction is open")
    target = target_of(url, loopback=loopback)
    ends = monotonic() + SECONDS
    address = _checked(target, find, loopback)

    def left() -> float:
        rest = ends - monotonic()
        if rest <= 0:
            raise Refused(f"It did not answer within {SECONDS:g} seconds.")
        return rest

    try:
        with socket.create_connection((address, target.port), timeout=left()) as plain:
            if target.scheme == "http":
                return _exchange(plain, target, body, headers, left)
            context = ssl.create_default_context()
            with context.wrap_socket(plain, server_hostname=target.host) as secured:
                return _exchange(secured, target, body, headers, left)
    except TimeoutError as error:
        raise Refused(f"It did not answer within {SECONDS:g} seconds.") from error
    except ssl.SSLError as error:
        raise Refused("Its certificate was not accepted.") from error
    except OSError as error:
        raise Refused("It could not be connected to.") from error


def _exchange(
    connection: socket.socket,
    target: Target,
    body: bytes,
    headers: Mapping[str, str],
    left: Callable[[], float],
) -> int:
    default = 443 if target.scheme == "https" else 80
    name = f"[{target.host}]" if ":" in target.host else target.host
    host = name if target.port == default else f"{name}:{target.port}"
    given = {"Host": host, **headers, "Content-Length": str(len(body)), "Connection": "close"}
    lines = [f"POST {target.path} HTTP/1.1", *(f"{key}: {value}" for key, value in given.items())]
    connection.settimeout(left())
    connection.sendall("\r\n".join([*lines, "", ""]).encode("ascii") + body)
    answer = b""
    while b"\r\n" not in answer:
        connection.settimeout(left())
        part = connection.recv(4096)
        if not part or len(answer) > LARGEST_ANSWER_BYTES:
            raise Refused("It did not answer in HTTP.")
        answer += part
    status = re.match(rb"HTTP/1\.[01] (\d{3})[ \r]", answer)
    if status is None:
        raise Refused("It did not answer in HTTP.")
    return int(status[1])
