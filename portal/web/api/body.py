"""JSON bodies, read strictly: what a lenient parser lets through is refused here, with its place.

Refused: NaN and infinities, duplicate keys, nesting beyond 32, numbers beyond 40 digits, lone
surrogates, NUL, anything that is not UTF-8, anything over the size limit also after unpacking.
"""

from __future__ import annotations

import json
import re
import zlib
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
from flask import request

from portal.core.errors import FieldError, InvalidRequest, PayloadTooLarge
from portal.web.api.shapes import take_number

LARGEST_BODY_BYTES = 5 * 1024 * 1024
DEEPEST = 32
LONGEST_NUMBER = 40

T = TypeVar("T")
_PATH = re.compile(r" - at `\$?(.*)`$")


class _Refused(ValueError):
    """Something JSON allows, or a parser lets through, and we do not."""


def raw_body() -> bytes:
    """Return the body, unpacked where it is gzip. Raises PayloadTooLarge, InvalidRequest."""
    too_large = PayloadTooLarge("The body is larger than 5 MiB. Send smaller batches.")
    if (request.content_length or 0) > LARGEST_BODY_BYTES:
        raise too_large
    body = request.get_data(cache=False)
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding == "gzip":
        unpacker = zlib.decompressobj(wbits=31)
        try:
            body = unpacker.decompress(body, LARGEST_BODY_BYTES + 1)
        except zlib.error as error:
            raise InvalidRequest("The body says it is gzip and is not.") from error
    elif encoding != "identity":
        raise InvalidRequest(f"Content-Encoding {encoding!r} is not taken. Send gzip or none.")
    if len(body) > LARGEST_BODY_BYTES:
        raise too_large
    return body


def read_json() -> Any:
    """Return the body as plain values, numbers with a point as Decimal. Raises InvalidRequest."""
    return parse_json(raw_body())


def parse_json(body: bytes) -> Any:
    """Parse JSON strictly. Raises InvalidRequest."""
    _refuse_depth(body)
    try:
        text = body.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_pairs,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_decimal,
        )
    except UnicodeDecodeError as error:
        raise InvalidRequest("The body is not UTF-8.") from error
    except _Refused as error:
        raise InvalidRequest(f"The body {error}.", [FieldError("", str(error))]) from error
    except RecursionError as error:
        raise InvalidRequest(f"The body is nested deeper than {DEEPEST}.") from error
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from error
    if b"\\u" in body or b"\x00" in body:
        _refuse_characters(value)
    return value


def _refuse_depth(body: bytes) -> None:
    """Count brackets outside strings only where there are enough of them to matter."""
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return
    depth, in_string, escaped = 0, False, -1
    for match in re.finditer(rb'[\[\]{}"\\]', body):
        character = match[0]
        if in_string:
            if escaped == match.start():
                continue
            if character == b"\\":
                escaped = match.end()
            elif character == b'"':
                in_string = False
        elif character == b'"':
            in_string = True
        elif character in b"[{":
            depth += 1
            if depth > DEEPEST:
                raise InvalidRequest(f"The body is nested deeper than {DEEPEST}.")
        elif character in b"]}":
            depth -= 1


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value] # the idiom of a first repeat
        raise _Refused(f"has the key {twice[:60]!r} twice in one object")
    return found


def _constant(name: str) -> Any:
    raise _Refused(f"contains {name}, which is not a number JSON has")


def _integer(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise _Refused(f"contains a number of {len(text)} digits")
    return int(text)


def _decimal(text: str) -> Decimal:
    if len(text) > LONGEST_NUMBER:
        raise _Refused(f"contains a number of {len(text)} characters")
    return Decimal(text)


def _refuse_characters(value: Any) -> None:
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise InvalidRequest("A text contains NUL or half of a surrogate pair.")
    elif isinstance(value, dict):
        for key, inner in value.items():
            _refuse_characters(key)
            _refuse_characters(inner)
    elif isinstance(value, list):
        for inner in value:
            _refuse_characters(inner)


def convert(value: Any, shape: Any, *, at: str = "") -> Any:
    """Return plain values as a typed shape. Raises InvalidRequest that names the field."""
    try:
        return msgspec.convert(value, shape, strict=True, dec_hook=take_number)
    except msgspec.ValidationError as error:
        wrong = field_error(error, at)
        raise InvalidRequest(f"{wrong.pointer or 'The body'} {wrong.detail}.", [wrong]) from error


def field_error(error: msgspec.ValidationError, at: str = "") -> FieldError:
    """Return msgspec's words as a pointer and an expectation."""
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
    return FieldError(pointer, words[0].lower() + words[1:])


def read(shape: type[T]) -> T:
    """Return the body as a typed shape. Raises InvalidRequest."""
    found: T = convert(read_json(), shape)
    return found
