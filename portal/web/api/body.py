"""JSON bodies, read strictly: what a lenient parser lets through is refused here, with its place.

Refused: NaN and infinities, duplicate keys, nesting beyond 32, numbers beyond 40 digits, lone
surrogates, NUL, anything that is not UTF-8, anything over the size limit also after unpacking.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
from flask import request

from portal.core.errors import FieldError, InvalidRequest, PayloadTooLarge
from portal.web.api.shapes import FORMS, take_as_sent

LARGEST_BODY_BYTES = 5 * 1024 * 1024
DEEPEST = 32
LONGEST_NUMBER = 40

#: A string, or what is left of the body where one has no end: so no place is looked at twice.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_LONG_NUMBER = re.compile(rb"[0-9.eE+-]{%d}" % (LONGEST_NUMBER + 1))

T = TypeVar("T")
_PATH = re.compile(r" - at `\$?(.*)`$")


@dataclass(frozen=True)
class Refused:
    """What stands in a parsed body where something was that JSON, or we, do not take."""

    why: str
    #: The key within it that is wrong, where it is one.
    key: str = ""

    @property
    def pointer(self) -> str:
        """Where it is, from the place of what is refused."""
        return f"/{self.key[:128]}" if self.key else ""

    def __str__(self) -> str:
        return f"(refused: {self.why})"


def raw_body() -> bytes:
    """Return the body, unpacked where it is gzip. Raises PayloadTooLarge, InvalidRequest."""
    too_large = PayloadTooLarge("The body is larger than 5 MiB. Send smaller batches.")
    if (request.content_length or 0) > LARGEST_BODY_BYTES:
        raise too_large
    body = request.get_data(cache=False)
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding == "gzip":
        body = _unpacked(body)
    elif encoding != "identity":
        raise InvalidRequest(f"Content-Encoding {encoding!r} is not taken. Send gzip or none.")
    if len(body) > LARGEST_BODY_BYTES:
        raise too_large
    return body


def _unpacked(body: bytes) -> bytes:
    """Return what was packed, one byte more than is taken at most. Raises InvalidRequest."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(body, LARGEST_BODY_BYTES + 1)
    except zlib.error as error:
        raise InvalidRequest("The body says it is gzip and is not.") from error
    # Its checksum stands at its end: what was cut off may be other than what was sent.
    if len(unpacked) <= LARGEST_BODY_BYTES and (not unpacker.eof or unpacker.unused_data):
        raise InvalidRequest("The body is not one whole gzip: it was cut off or goes on after it.")
    return unpacked


def read_json() -> Any:
    """Return the body as plain values, numbers with a point as Decimal. Raises InvalidRequest."""
    parsed = parse_json(raw_body())
    wrong = None if parsed.clean else find_refused(parsed.value)
    if wrong is not None:
        raise InvalidRequest(f"{wrong.pointer or 'The body'} {wrong.detail}.", [wrong])
    return parsed.value


@dataclass(frozen=True)
class Parsed:
    """A parsed body; ``clean`` where nothing in it can be refused, so that nobody need look."""

    value: Any
    clean: bool


def parse_json(body: bytes, *, deepest: int = DEEPEST) -> Parsed:
    """Parse JSON; what is refused within it stands there as Refused. Raises InvalidRequest."""
    _refuse_depth(body, deepest)
    reader, long = _Reader(), _LONG_NUMBER.search(body)
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=reader.pairs,
            parse_constant=reader.constant,
            # Where no number can be too long, nobody need look at each.
            parse_int=reader.integer if long else int,
            parse_float=reader.decimal if long else Decimal,
        )
    except UnicodeDecodeError as error:
        raise InvalidRequest("The body is not UTF-8.") from error
    except RecursionError as error:
        raise InvalidRequest(f"The body is nested deeper than {deepest}.") from error
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from error
    return Parsed(value, not reader.refused and b"\\u" not in body)


def find_refused(value: Any, pointer: str = "") -> FieldError | None:
    """Return the first place in a parsed value that is refused, and why."""
    if isinstance(value, Refused):
        return FieldError(pointer + value.pointer, value.why)
    if isinstance(value, str):
        return _wrong_text(value, pointer)
    if isinstance(value, list):
        found = (find_refused(inner, f"{pointer}/{place}") for place, inner in enumerate(value))
    elif isinstance(value, dict):
        found = (
            _wrong_text(key, pointer) or find_refused(inner, f"{pointer}/{key[:128]}")
            for key, inner in value.items()
        )
    else:
        return None
    return next((one for one in found if one is not None), None)


def _wrong_text(text: str, pointer: str) -> FieldError | None:
    if text.isprintable():
        return None
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        return FieldError(pointer, "contains NUL or half of a surrogate pair")
    return None


def _refuse_depth(body: bytes, deepest: int) -> None:
    """Count brackets outside strings only where there are enough of them to matter."""
    if body.count(b"[") + body.count(b"{") <= deepest:
        return
    depth = 0
    for character in _STRING.sub(b"", body).translate(None, _NO_BRACKETS):
        depth += 1 if character in b"[{" else -1
        if depth > deepest:
            raise InvalidRequest(f"The body is nested deeper than {deepest}.")


class _Reader:
    """What json.loads asks about each part of one body."""

    def __init__(self) -> None:
        self.refused = False

    def refuse(self, why: str, key: str = "") -> Refused:
        self.refused = True
        return Refused(why, key)

    def pairs(self, pairs: list[tuple[str, Any]]) -> Any:
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                break
            seen.add(key)
        return self.refuse("is given twice", key)

    def constant(self, name: str) -> Refused:
        return self.refuse(f"is {name}, which is not a number JSON has")

    def integer(self, text: str) -> int | Refused:
        return self._too_long(text) if len(text) > LONGEST_NUMBER else int(text)

    def decimal(self, text: str) -> Decimal | Refused:
        return self._too_long(text) if len(text) > LONGEST_NUMBER else Decimal(text)

    def _too_long(self, text: str) -> Refused:
        return self.refuse(
            f"is a number of {len(text)} characters; at most {LONGEST_NUMBER} are taken"
        )


def convert(value: Any, shape: Any, *, at: str = "") -> Any:
    """Return plain values as a typed shape. Raises InvalidRequest that names the field."""
    try:
        return msgspec.convert(value, shape, strict=True, dec_hook=take_as_sent)
    except msgspec.ValidationError as error:
        wrong = field_error(error, shape, at=at)
        raise InvalidRequest(f"{wrong.pointer or 'The body'} {wrong.detail}.", [wrong]) from error


#: msgspec's names of JSON's kinds, in the reader's words.
_KINDS = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "an object",
    "array": "an array",
    "null": "nothing",
}


def field_error(error: msgspec.ValidationError, shape: Any, *, at: str = "") -> FieldError:
    """Return msgspec's words about a shape as a pointer and an expectation."""
    text = str(error)
    found = _PATH.search(text)
    path = found[1] if found else ""
    pointer = at + re.sub(r"\[(\d+|\.\.\.)\]", r"/\1", path).replace(".", "/").replace("/.../", "/")
    words = _PATH.sub("", text).replace("`", "")
    missing = re.match(r"Object missing required field (\w+)", words)
    if missing:
        return FieldError(f"{pointer}/{missing[1]}", "is missing")
    unknown = re.match(r"Object contains unknown field (\w+)", words)
    if unknown:
        return FieldError(f"{pointer}/{unknown[1]}", "is not a field of this object")
    if words.startswith("Invalid enum value "):
        given = words.removeprefix("Invalid enum value ")
        return FieldError(pointer, f"is {given}, which is not one of {_taken(shape, path)}")
    return FieldError(pointer, _plainly(words))


def _taken(shape: Any, path: str) -> str:
    """Return what a field of a shape may say, by msgspec's path to it."""
    kinds = [msgspec.inspect.type_info(shape)]
    for step in re.findall(r"[a-z_]+|\[", path):
        kinds = [inner for kind in kinds for inner in _within(kind, step)]
    literals = [kind for kind in kinds if isinstance(kind, msgspec.inspect.LiteralType)]
    return ", ".join(str(value) for kind in literals for value in kind.values)


def _within(kind: msgspec.inspect.Type, step: str) -> list[msgspec.inspect.Type]:
    """Return what may stand in a field, or for ``[`` in an array, of a kind of value."""
    found: list[msgspec.inspect.Type] = []
    if isinstance(kind, msgspec.inspect.StructType):
        found = [field.type for field in kind.fields if field.encode_name == step]
    elif isinstance(kind, msgspec.inspect.ListType) and step == "[":
        found = [kind.item_type]
    return [one for kind in found for one in _apart(kind)]


def _apart(kind: msgspec.inspect.Type) -> list[msgspec.inspect.Type]:
    """Return the kinds that a union is made of, without what only describes them."""
    if isinstance(kind, msgspec.inspect.Metadata):
        return _apart(kind.type)
    if isinstance(kind, msgspec.inspect.UnionType):
        return [one for part in kind.types for one in _apart(part)]
    return [kind]


def _plainly(words: str) -> str:
    """Say what msgspec says without its types and patterns."""
    if "matching regex" in words:
        said = (say for pattern, say in FORMS.items() if words.endswith(repr(pattern)))
        return next(said, "does not have the form that is expected here")
    kinds = re.fullmatch(r"Expected ([\w | ]+), got (\w+)", words)
    if kinds:
        expected = [_KINDS.get(kind, kind) for kind in kinds[1].split(" | ") if kind != "null"]
        got = _KINDS.get(kinds[2], kinds[2])
        return f"must be {' or '.join(expected)}, not {got}"
    length = re.fullmatch(r"Expected (str|array) of length (<=|>=) (\d+)", words)
    if length:
        unit = "character" if length[1] == "str" else "value"
        plural = "" if length[3] == "1" else "s"
        return f"must have at {'most' if length[2] == '<=' else 'least'} {length[3]} {unit}{plural}"
    return words[0].lower() + words[1:]


def read(shape: type[T]) -> T:
    """Return the body as a typed shape. Raises InvalidRequest."""
    found: T = convert(read_json(), shape)
    return found


def read_optional(shape: type[T]) -> T:
    """Return the body as a typed shape, an empty body as an empty object. Raises InvalidRequest."""
    found: T = convert(read_json() if request.content_length else {}, shape)
    return found
