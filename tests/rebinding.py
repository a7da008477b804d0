"""A world of its own for the way out: names that lead elsewhere the next time they are asked for.

Run by ``unshare`` in a network with nothing in it but a loopback, where the system's own resolver
is sent to a name server of the test's: ``python -m tests.rebinding TRIES`` tries the product's way
out so often and prints what became of it. Who listens at port 443 of this machine is the canary.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from portal.core.errors import InvalidRequest
from portal.notices import egress
from portal.notices.egress import Refused

PUBLIC = "93.184.216.34"
HERE, HERE_6 = "127.0.0.1", "::1"
A, AAAA = 1, 28


@dataclass(frozen=True)
class Trick:
    """What a name is said to lead to when it is asked for once, and every time after that."""

    first: tuple[str, ...]
    then: tuple[str, ...]


#: By the first label of the name. Only the first of them may be connected to, and where it said.
TRICKS = {
    "flips": Trick((PUBLIC,), (HERE, HERE_6)),
    "flips-six": Trick((PUBLIC,), (HERE_6,)),
    "flips-back": Trick((HERE,), (PUBLIC,)),
    "both": Trick((PUBLIC, HERE), (HERE, PUBLIC)),
    "six": Trick((PUBLIC, HERE_6), (HERE_6,)),
    "mapped": Trick((PUBLIC, f"::ffff:{HERE}"), (HERE,)),
    "inside": Trick((PUBLIC, "10.0.0.1"), (HERE,)),
}
HARMLESS_AT_FIRST = ("flips", "flips-six")


class Names:
    """A name server on the loopback, which counts how often each name was asked for."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, int]] = Counter()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HERE, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            query, sender = self._socket.recvfrom(4096)
            self._socket.sendto(self._answer(query), sender)

    def _answer(self, query: bytes) -> bytes:
        labels, at = [], 12
        while length := query[at]:
            labels.append(query[at + 1 : at + 1 + length].decode().lower())
            at += 1 + length
        (kind,) = struct.unpack("!H", query[at + 1 : at + 3])
        trick, name = TRICKS.get(labels[0], Trick((), ())), ".".join(labels)
        told = trick.then if self.asked[name, kind] else trick.first
        self.asked[name, kind] += 1
        size = {A: 4, AAAA: 16}.get(kind)
        found = [one for one in (ip_address(text).packed for text in told) if len(one) == size]
        # Nobody is to remember it: it is good for no second.
        records = [struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(one)) + one for one in found]
        head = query[:2] + struct.pack("!HHHHH", 0x8180, 1, len(records), 0, 0)
        return head + query[12 : at + 5] + b"".join(records)


class Canary:
    """Somebody at port 443 of some addresses, who counts who comes."""

    def __init__(self, *addresses: str) -> None:
        self.visits = 0
        for address in addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            listener = socket.create_server((address, 443), family=family)
            threading.Thread(target=self._welcome, args=(listener,), daemon=True).start()

    def _welcome(self, listener: socket.socket) -> None:
        while True:
            visitor, _ = listener.accept()
            self.visits += 1
            visitor.close()


def _set_up() -> None:
    """Bring the loopback up, with a public address on it, and send the resolver to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        up = struct.pack("16sH14x", b"lo", 0x1 | 0x8 | 0x40)
        fcntl.ioctl(control, 0x8914, up)  # SIOCSIFFLAGS: up, loopback, running
        address = struct.pack("!4s8x", socket.inet_aton(PUBLIC))
        named = struct.pack("16sHH", b"lo:1", socket.AF_INET, 0) + address
        fcntl.ioctl(control, 0x8916, named)  # SIOCSIFADDR
    folder = Path(tempfile.mkdtemp())
    files = {
        "resolv.conf": f"nameserver {HERE}\noptions timeout:1 attempts:2\n",
        "nsswitch.conf": "hosts: files dns\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
        if (there := Path("/etc") / name).exists():
            subprocess.run(["mount", "--bind", folder / name, there], check=True)
    # What is mounted stays for this process; its names may go.
    shutil.rmtree(folder)


def careless(host: str) -> None:
    """Check where a name leads, and connect to the name: what must not be done."""
    assert egress.resolve(host, 443) == [PUBLIC]
    with socket.create_connection((host, 443), timeout=2) as connected:
        connected.recv(1)


def tried(tries: int) -> dict[str, object]:
    """Send to each kind of name in turn; return who was asked for and who was visited."""
    _set_up()
    names, here, public = Names(), Canary(HERE, HERE_6), Canary(PUBLIC)
    careless("flips.careless.example.com")
    caught, here.visits = here.visits, 0
    said: Counter[str] = Counter()
    expected = 0
    for number in range(tries):
        trick = list(TRICKS)[number % len(TRICKS)]
        host = f"{trick}.n{number}.example.com"
        expected += trick in HARMLESS_AT_FIRST
        try:
            egress.post(f"https://{host}/hooks", b"{}", {}, loopback=False)
            said["delivered"] += 1
        except (Refused, InvalidRequest) as error:
            said["not public" if "not public" in str(error) else "not answered"] += 1
        assert names.asked[host, A] == 1, f"{host} was asked for {names.asked[host, A]} times"
    return {
        "caught": caught, "here": here.visits, "public": public.visits, "harmless": expected,
        "said": said,
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(tried(int(sys.argv[1]))))
