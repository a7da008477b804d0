"""Traces in: OTLP over HTTP, protobuf or JSON, answered as OTLP says, span by span where it must.

Reads what an exporter sends into spans; what they mean is the core's to say, and an event made of
one goes the way of every other. Problems are problem documents, as everywhere in this API.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from flask import Response, request
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from portal import metering
from portal.core.errors import InvalidRequest, PayloadTooLarge, Undecodable, UnsupportedMediaType
from portal.core.spans import GEN_AI, OWN, Span, event_of
from portal.metering import Rejection
from portal.web.api import answers, blueprint
from portal.web.api.access import caller, need
from portal.web.api.body import Refused, parse_json, raw_body
from portal.web.api.events import LARGEST_BATCH, received
from portal.web.services import services

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
#: What a message of a chat kept as an attribute nests to, each level of it four of JSON's.
DEEPEST = 100
MOST_REASONS = 5
_SERVICE = "service.name"
_INTEGER = re.compile(r"-?\d{1,20}", re.ASCII)
#: SpanKind and StatusCode as OTLP numbers them, and as some exporters name them in JSON.
_CLIENT, _FAILED = (3, "SPAN_KIND_CLIENT"), (2, "STATUS_CODE_ERROR")
#: Where in the event a reason lies, as the attribute of the span it came from.
_ATTRIBUTES = {
    "/subject": f"{OWN}organization",
    "/type": f"{OWN}action",
    "/id": "the trace's or the span's id",
    "/source": _SERVICE,
    "/time": "the span's end",
    "/data/model": f"{GEN_AI}response.model",
    "/data/provider": f"{GEN_AI}provider.name",
}


@blueprint.post("/otlp/v1/traces")
def post_traces() -> tuple[Response, int]:
    """Take the spans of an OTLP exporter: those with gen_ai attributes become events."""
    need("meter")
    spans = _read()
    telling = [span for span in spans if span.tells_of_a_model]
    if len(telling) > LARGEST_BATCH:
        raise PayloadTooLarge(
            f"At most {LARGEST_BATCH:,} spans with gen_ai attributes are taken at once, here are "
            f"{len(telling):,}. Export smaller batches."
        )
    parts = services()
    taken = metering.ingest(
        parts.database,
        [received(index, event_of(span), clean=False) for index, span in enumerate(telling)],
        now=parts.clock(),
        backfill="backfill" in caller().scopes,
        only=caller().organization_id,
    )
    others = len(spans) - len(telling)
    return _answer(others + len(taken.rejected), _told(taken.rejected, others, len(spans)))


def _read() -> list[Span]:
    """Return the spans of a request. Raises Undecodable, UnsupportedMediaType, PayloadTooLarge."""
    if request.mimetype not in {PROTOBUF, JSON}:
        raise UnsupportedMediaType(
            f"Content-Type {request.mimetype or 'none'} is not taken. Send {PROTOBUF} or {JSON}."
        )
    try:
        body = raw_body()
        return list(_of_message(body) if request.mimetype == PROTOBUF else _of_json(body))
    except DecodeError as error:
        raise Undecodable("The body is not an ExportTraceServiceRequest.") from error
    except InvalidRequest as error:
        raise Undecodable(error.detail, **error.fields) from error


def _answer(rejected: int, told: str) -> tuple[Response, int]:
    """Answer in the form of the request: nothing but how many spans were not taken, and why."""
    if request.mimetype == JSON:
        partial = {"rejectedSpans": str(rejected), "errorMessage": told}
        return answers.answer({"partialSuccess": partial} if rejected else {})
    message = ExportTraceServiceResponse()
    if rejected:
        message.partial_success.rejected_spans = rejected
        message.partial_success.error_message = told
    return Response(message.SerializeToString(), content_type=PROTOBUF), 200


def _told(rejected: list[Rejection], others: int, whole: int) -> str:
    """Say in one line what was not taken: each reason once, how often, and the first span of it."""
    if not others and not rejected:
        return ""
    reasons = Counter(_reason(one) for one in rejected)
    first = {_reason(one): one.event_id for one in reversed(rejected)}
    told = [f"{count} because {why} (first: {first[why]})" for why, count in reasons.most_common()]
    if others:
        told.insert(0, f"{others} without gen_ai attributes")
    more = len(told) - MOST_REASONS
    told = told[:MOST_REASONS] + ([f"{more} more reasons"] if more > 0 else [])
    return f"{others + len(rejected)} of {whole} spans were not taken: {'; '.join(told)}."


def _reason(one: Rejection) -> str:
    if not one.fields:
        return one.detail.rstrip(".")
    return " and ".join(f"{_attribute(at.pointer)} {at.detail}" for at in one.fields)


def _attribute(pointer: str) -> str:
    own = pointer.replace("/data/usage/", f"{GEN_AI}usage.").replace("/data/", OWN)
    return _ATTRIBUTES.get(pointer, own)


# ---- protobuf


def _of_message(body: bytes) -> Iterator[Span]:
    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _attributes(group.resource.attributes)
        for part in group.scope_spans:
            for span in part.spans:
                yield Span(
                    trace_id=_id(span.trace_id.hex(), 32),
                    span_id=_id(span.span_id.hex(), 16),
                    ended_nano=span.end_time_unix_nano or span.start_time_unix_nano,
                    calls_out=span.kind in _CLIENT,
                    failed=span.status.code in _FAILED,
                    scope=part.scope.name,
                    attributes=_attributes(span.attributes),
                    resource=resource,
                )


def _attributes(sent: Any) -> dict[str, Any]:
    return {one.key: _scalar(one.value) for one in sent if _is_read(one.key)}


def _scalar(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "double_value":
        return _number(Decimal(value.double_value))
    return getattr(value, kind) if kind in {"string_value", "bool_value", "int_value"} else None


def _number(value: Decimal) -> int | str:
    """Return a whole number as one, any other as the text it has."""
    whole = value.is_finite() and value.adjusted() < 40 and value == value.to_integral_value()
    return int(value) if whole else str(value)


def _is_read(name: str) -> bool:
    """Tell the few attributes we read from the many there are, which may be long."""
    return name.startswith((GEN_AI, OWN)) or name == _SERVICE


def _id(text: str, length: int) -> str:
    """Return an id in small letters, "" where it is none: of another length, or all zeros."""
    return text.lower() if len(text) == length and text.strip("0") else ""


# ---- JSON: protobuf's form, with ids in hexadecimal and 64-bit integers also as texts


def _of_json(body: bytes) -> Iterator[Span]:
    whole = _Place("", parse_json(body, deepest=DEEPEST).value)
    for group in whole.each("resourceSpans"):
        resource = _json_attributes(group.inner("resource"))
        for part in group.each("scopeSpans"):
            scope = part.inner("scope").text("name")
            for span in part.each("spans"):
                ended, began = span.whole("endTimeUnixNano"), span.whole("startTimeUnixNano")
                yield Span(
                    trace_id=_id(span.hexadecimal("traceId"), 32),
                    span_id=_id(span.hexadecimal("spanId"), 16),
                    ended_nano=ended or began,
                    calls_out=span.is_one_of("kind", _CLIENT),
                    failed=span.inner("status").is_one_of("code", _FAILED),
                    scope=scope,
                    attributes=_json_attributes(span),
                    resource=resource,
                )


def _json_attributes(place: _Place) -> dict[str, Any]:
    return {
        name: one.inner("value").scalar()
        for one in place.each("attributes")
        if _is_read(name := one.text("key"))
    }


class _Place:
    """An object within the body, and where it is. Raises InvalidRequest where it is none.

    What is absent or null is what protobuf takes for it: empty, "" or 0. What is not asked for is
    not looked at.
    """

    def __init__(self, pointer: str, value: Any) -> None:
        if isinstance(value, Refused):
            raise InvalidRequest.at(pointer + value.pointer, value.why)
        if not isinstance(value, Mapping):
            raise InvalidRequest.at(pointer, "must be an object")
        self._pointer, self._value = pointer, value

    def _wrong(self, name: str, expected: str) -> InvalidRequest:
        return InvalidRequest.at(f"{self._pointer}/{name}", f"must be {expected}")

    def inner(self, name: str) -> _Place:
        return _Place(f"{self._pointer}/{name}", self._value.get(name) or {})

    def each(self, name: str) -> Iterator[_Place]:
        found = self._value.get(name) or []
        if not isinstance(found, list):
            raise self._wrong(name, "an array")
        for index, one in enumerate(found):
            yield _Place(f"{self._pointer}/{name}/{index}", one)

    def text(self, name: str) -> str:
        found = self._value.get(name) or ""
        if not isinstance(found, str):
            raise self._wrong(name, "a text")
        return found

    def hexadecimal(self, name: str) -> str:
        found = self.text(name)
        if any(character not in "0123456789abcdefABCDEF" for character in found):
            raise self._wrong(name, "hexadecimal")
        return found

    def is_one_of(self, name: str, these: tuple[int, str]) -> bool:
        found = self._value.get(name)
        return isinstance(found, int | str) and found in these

    def whole(self, name: str, *, least: int = 0, below: int = 2**64) -> int:
        found = self._value.get(name) or 0
        if isinstance(found, str) and _INTEGER.fullmatch(found):
            found = int(found)
        if isinstance(found, bool) or not isinstance(found, int) or not least <= found < below:
            raise self._wrong(name, "a whole number of 64 bits, or a text that holds one")
        return found

    def scalar(self) -> Any:
        """Return an AnyValue: a text, a truth, a number; None for every other kind."""
        of = self._value
        if "stringValue" in of:
            return self.text("stringValue")
        if "intValue" in of:
            return self.whole("intValue", least=-(2**63), below=2**63)
        if isinstance(of.get("boolValue"), bool):
            return of["boolValue"]
        value = of.get("doubleValue")
        if isinstance(value, Decimal):
            return _number(value)
        return value if isinstance(value, int | str) else None
