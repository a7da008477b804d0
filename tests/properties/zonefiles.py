"""Which of the IANA names follow the same rules, so that each set of rules is tried once."""

from __future__ import annotations

import re
import struct
import zoneinfo
from collections import defaultdict
from datetime import datetime
from importlib import resources
from pathlib import Path

#: RFC 9636: magic, version, six counts of what follows.
_HEADER = struct.Struct(">4sc15x6L")
_TYPE = struct.Struct(">lBB")
#: What a rule calls its times (CET, <+0545>) says nothing about them.
_NAMES = re.compile(rb"<[^>]*>|[A-Za-z]{3,}")


def _content(name: str) -> bytes:
    """Return a zone's file as ``zoneinfo`` finds it: the machine's, else the package's."""
    for folder in zoneinfo.TZPATH:
        path = Path(folder, name)
        if path.is_file():
            return path.read_bytes()
    return resources.files("tzdata.zoneinfo").joinpath(*name.split("/")).read_bytes()


def rules(name: str, since: datetime) -> tuple[object, ...]:
    """Return a zone's offset at an instant, its changes after it, and the rule that goes on."""
    content, after = _content(name), int(since.timestamp())
    _, _, utc, std, leap, times, types, chars = _HEADER.unpack_from(content)
    # The first block has the same in 32 bits.
    place = _HEADER.size + times * 5 + types * 6 + chars + leap * 8 + std + utc
    magic, _, utc, std, leap, times, types, chars = _HEADER.unpack_from(content, place)
    assert magic == b"TZif", name
    place += _HEADER.size
    instants = struct.unpack_from(f">{times}q", content, place)
    kinds = content[place + times * 8 : place + times * 9]
    place += times * 9
    offsets = [_TYPE.unpack_from(content, place + kind * 6)[0] for kind in range(types)]
    place += types * 6 + chars + leap * 12 + std + utc
    offset, changes = offsets[0], []
    for instant, kind in zip(instants, kinds, strict=True):
        if instant <= after:
            offset = offsets[kind]
        else:
            changes.append((instant, offsets[kind]))
    return offset, tuple(changes), _NAMES.sub(b"", content[place:])


def distinct(names: frozenset[str], since: datetime) -> dict[str, list[str]]:
    """Return one name for each set of rules after an instant, with all that share them."""
    groups: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for name in sorted(names):
        groups[rules(name, since)].append(name)
    return {group[0]: group for group in groups.values()}
