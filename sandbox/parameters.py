"""What a request may carry: Stripe's nested form encoding, decoded and checked.

An endpoint declares its parameters as a tree of kinds. A kind takes the raw value and its name
and returns the typed value, or refuses it as Stripe does. Nothing undeclared gets through.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit

from sandbox.errors import parameter_invalid, parameter_missing, parameter_unknown

Raw = Any  # a text, or a dict of more raw values
Kind = Callable[[Raw, str], Any]

TEXT_LENGTH_MAX = 5000
METADATA_KEYS_MAX, METADATA_KEY_LENGTH_MAX, METADATA_VALUE_LENGTH_MAX = 50, 40, 500
INTEGER_MAX = 2**53
DEPTH_MAX = 8
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")


def decode(pairs: Iterable[tuple[str, str]]) -> dict[str, Raw]:
    """Turn ``a[b][0]=x`` pairs into nested dicts; ``a[]`` counts up from nought."""
    tree: dict[str, Raw] = {}
    for name, value in pairs:
        match = _NAME.fullmatch(name)
        if match is None:
            raise parameter_unknown(name)
        steps = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        if len(steps) > DEPTH_MAX:
            raise parameter_unknown(name)
        _plant(tree, steps, value, name)
    return tree


def _plant(tree: dict[str, Raw], steps: list[str], value: str, name: str) -> None:
    branch = tree
    for step in steps[:-1]:
        branch = branch.setdefault(step or str(len(branch)), {})
        if not isinstance(branch, dict):
            raise parameter_invalid(name, f"Invalid object: {name}")
    last = steps[-1] or str(len(branch))
    if isinstance(branch.get(last), dict):
        raise parameter_invalid(name, f"Invalid object: {name}")
    branch[last] = value


def record(fields: Mapping[str, Kind], required: Iterable[str] = ()) -> Kind:
    """Take an object with these fields and no others."""
    needed = tuple(required)

    def read(raw: Raw, name: str) -> dict[str, Any]:
        if not isinstance(raw, dict):
            raise parameter_invalid(name, f"Invalid object: {name}")
        for field in raw:
            if field not in fields:
                raise parameter_unknown(_inside(name, field))
        for field in needed:
            if field not in raw:
                raise parameter_missing(_inside(name, field))
        return {field: fields[field](value, _inside(name, field)) for field, value in raw.items()}

    return read


def _inside(name: str, field: str) -> str:
    return f"{name}[{field}]" if name else field


def each(kind: Kind, at_most: int = 100) -> Kind:
    """Take an array of one kind, in the order of its indices."""

    def read(raw: Raw, name: str) -> list[Any]:
        if raw == "":
            return []
        if not isinstance(raw, dict) or not all(key.isdecimal() for key in raw):
            raise parameter_invalid(name, "Invalid array")
        if len(raw) > at_most:
            raise parameter_invalid(name, f"Array '{name}' exceeded maximum of {at_most} elements.")
        return [kind(raw[key], f"{name}[{key}]") for key in sorted(raw, key=int)]

    return read


def text(raw: Raw, name: str) -> str:
    """Take a text that is not empty."""
    if not isinstance(raw, str):
        raise parameter_invalid(name, f"Invalid string: {name}")
    if raw == "":
        raise parameter_invalid(
            name,
            f"You passed an empty string for '{name}'. Leave the parameter out, or give a value.",
            "parameter_invalid_empty",
        )
    if len(raw) > TEXT_LENGTH_MAX:
        raise parameter_invalid(
            name, f"Invalid string: {name}; must be at most {TEXT_LENGTH_MAX} characters"
        )
    return raw


def clearable(kind: Kind) -> Kind:
    """Take the kind, or an empty text that unsets the field."""
    return lambda raw, name: None if raw == "" else kind(raw, name)


def integer(at_least: int = 0, at_most: int = INTEGER_MAX) -> Kind:
    """Take a whole number within bounds."""

    def read(raw: Raw, name: str) -> int:
        if not isinstance(raw, str) or not re.fullmatch(r"-?[0-9]{1,18}", raw):
            raise parameter_invalid(name, f"Invalid integer: {raw}", "parameter_invalid_integer")
        number = int(raw)
        if not at_least <= number <= at_most:
            bound, side = (at_least, "greater") if number < at_least else (at_most, "less")
            message = f"This value must be {side} than or equal to {bound}."
            raise parameter_invalid(name, message, "parameter_invalid_integer")
        return number

    return read


def decimal_text(raw: Raw, name: str) -> str:
    """Take a decimal of at most twelve places that is not negative, and keep it as text."""
    try:
        number = Decimal(text(raw, name)) if re.fullmatch(r"[0-9.]{1,30}", str(raw)) else None
    except InvalidOperation:
        number = None
    if number is None or -int(number.as_tuple().exponent) > 12:
        raise parameter_invalid(name, f"Invalid decimal: {raw}")
    return str(raw)


def boolean(raw: Raw, name: str) -> bool:
    """Take true or false."""
    if raw not in ("true", "false"):
        raise parameter_invalid(name, f"Invalid boolean: {raw}")
    return bool(raw == "true")


def choice(*allowed: str) -> Kind:
    """Take one of the words."""

    def read(raw: Raw, name: str) -> str:
        if raw not in allowed:
            raise parameter_invalid(name, f"Invalid {name}: must be one of {', '.join(allowed)}")
        return str(raw)

    return read


def web_address(raw: Raw, name: str) -> str:
    """Take an absolute http or https address."""
    try:
        parts = urlsplit(text(raw, name))
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        valid = False
    if not valid:
        raise parameter_invalid(name, "Not a valid URL", "url_invalid")
    return str(raw)


def email(raw: Raw, name: str) -> str:
    """Take an e-mail address, roughly."""
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", text(raw, name)) or len(raw) > 512:
        raise parameter_invalid(name, f"Invalid email address: {raw}", "email_invalid")
    return str(raw)


def currency(raw: Raw, name: str) -> str:
    """Take a currency's three letters, in either case."""
    code = text(raw, name).lower()
    if not re.fullmatch(r"[a-z]{3}", code):
        raise parameter_invalid(name, f"Invalid currency: {raw}")
    return code


def metadata(raw: Raw, name: str) -> dict[str, str]:
    """Take metadata within Stripe's limits; an empty value is for ``merged`` to unset."""
    if raw == "":
        return {}
    if not isinstance(raw, dict) or not all(isinstance(value, str) for value in raw.values()):
        raise parameter_invalid(name, "Metadata must be one flat object of texts.")
    for key, value in raw.items():
        if len(key) > METADATA_KEY_LENGTH_MAX or len(value) > METADATA_VALUE_LENGTH_MAX:
            message = (
                f"Metadata keys have at most {METADATA_KEY_LENGTH_MAX} characters, "
                f"values at most {METADATA_VALUE_LENGTH_MAX}."
            )
            raise parameter_invalid(f"{name}[{key}]", message)
    if len(raw) > METADATA_KEYS_MAX:
        raise parameter_invalid(name, f"Metadata has at most {METADATA_KEYS_MAX} keys.")
    return dict(raw)


def merged(kept: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Lay given metadata over what is kept: an empty value unsets its key, no keys unset all."""
    if not given:
        return {}
    return {key: value for key, value in {**kept, **given}.items() if value}


EXPAND: Mapping[str, Kind] = {"expand": each(text)}
CREATED = record({"gt": integer(), "gte": integer(), "lt": integer(), "lte": integer()})


def created(raw: Raw, name: str) -> dict[str, int]:
    """Take an instant, or an interval of instants; an instant becomes an interval of its own."""
    if isinstance(raw, str):
        instant = integer()(raw, name)
        return {"gte": instant, "lte": instant}
    interval: dict[str, int] = CREATED(raw, name)
    return interval


def asked(fields: Mapping[str, Kind], required: Iterable[str] = ()) -> Kind:
    """Declare a request's parameters; every request may expand."""
    return record({**fields, **EXPAND}, required)


def listed(fields: Mapping[str, Kind] | None = None) -> Kind:
    """Declare a list's parameters: its filters, beside the cursor and the page's length."""
    cursor: Mapping[str, Kind] = {
        "limit": integer(1, 100),
        "starting_after": text,
        "ending_before": text,
        "created": created,
    }
    return asked({**cursor, **(fields or {})})
