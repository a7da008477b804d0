"""A span of a trace as a usage event: what OpenTelemetry's GenAI conventions say, in our words.

Knows the conventions' names, older and newer, and nothing of how a span was sent. Invariant: what a
span does not say is left out, never guessed; whoever takes the event checks it as any other.

Sources: OpenTelemetry's GenAI semantic conventions, registry and "GenAI spans"; before 1.37
``gen_ai.system`` named the provider, before 1.27 the counts were those of prompt and completion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from portal.core.events import COST_PREFIX

#: What the attributes begin with that make a span one of a model's, and those of our own.
GEN_AI = "gen_ai."
OWN = "clearmeter."

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: Our counts, and what each is called: the conventions' name first, then what it was called before
#: and what widely used instrumentations call it.
_COUNTS = {
    "input_tokens": ("input_tokens", "prompt_tokens"),
    "output_tokens": ("output_tokens", "completion_tokens"),
    "cached_input_tokens": (
        "cache_read.input_tokens",
        "cache_read_input_tokens",
        "cached_input_tokens",
    ),
    "cache_write_tokens": (
        "cache_creation.input_tokens",
        "cache_creation_input_tokens",
        "cache_write.input_tokens",
        "cache_write_input_tokens",
    ),
    "reasoning_tokens": (
        "reasoning.output_tokens",
        "reasoning_output_tokens",
        "reasoning_tokens",
    ),
}
#: The conventions' names of providers, as the price books have them.
_PROVIDERS = {
    "aws.bedrock": "aws",
    "az.ai.inference": "azure",
    "az.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "gemini": "google",
    "mistral_ai": "mistral",
    "vertex_ai": "google",
    "x_ai": "x-ai",
    "xai": "x-ai",
}
#: Steps that hold together the calls within them, which have spans of their own: what they count
#: is the sum of those, and counting it again would double it.
_AROUND_CALLS = frozenset({"create_agent", "execute_tool", "invoke_agent", "invoke_workflow"})
_LAYERS = {"retrieval": "retrieval"}
#: Attributes of our own that are fields of an event's data.
_FIELDS = ("quantity", "member", "team", "project", "run", "request_type", "authorization")


@dataclass(frozen=True)
class Span:
    """One span as it was sent. An attribute that is a list or a map is None here.

    The ids are in hexadecimal, "" where there is none; the end is in nanoseconds since 1970.
    ``calls_out`` where it is a call to somebody else's service.
    """

    trace_id: str
    span_id: str
    ended_nano: int
    calls_out: bool
    failed: bool
    scope: str
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]

    @property
    def tells_of_a_model(self) -> bool:
        """Whether the span is one of the GenAI conventions' at all."""
        return any(name.startswith(GEN_AI) for name in self.attributes)

    def said(self, name: str) -> Any:
        """Return an attribute, the span's own before its resource's; None where it says nothing."""
        value = self.attributes.get(name)
        if value in {None, ""}:
            value = self.resource.get(name)
        return None if value == "" else value


def event_of(span: Span) -> dict[str, Any]:
    """Return a span as an event in CloudEvents form, unchecked: what is missing is left out.

    Its identity is the service (or the instrumentation) and the two ids, so that a span that is
    sent again is the same event.
    """
    operation = span.attributes.get(f"{GEN_AI}operation.name")
    layer = _layer(span, operation)
    action = span.said(f"{OWN}action")
    event = {
        "specversion": "1.0",
        "id": f"{span.trace_id}-{span.span_id}" if span.trace_id and span.span_id else None,
        "source": _text(span.resource.get("service.name")) or span.scope or "opentelemetry",
        "subject": _text(span.said(f"{OWN}organization")),
        # What failed made nothing that could be charged; what it used has its cost all the same.
        "type": _text(action) if action and not span.failed else f"{COST_PREFIX}{layer}",
        "time": _instant(span.ended_nano),
        "data": _data(span) | ({} if layer == "orchestration" else _model_call(span)),
    }
    return {name: value for name, value in event.items() if value is not None}


def _layer(span: Span, operation: Any) -> str:
    remote = operation == "invoke_agent" and span.calls_out and bool(_usage(span))
    if operation in _AROUND_CALLS and not remote:
        return "orchestration"
    return _LAYERS.get(operation, "inference") if isinstance(operation, str) else "inference"


def _data(span: Span) -> dict[str, Any]:
    found = {name: span.said(f"{OWN}{name}") for name in _FIELDS}
    return {
        name: value if name == "quantity" else _text(value)
        for name, value in found.items()
        if value is not None
    }


def _model_call(span: Span) -> dict[str, Any]:
    """Return provider, model and counts. A call that names neither has a cost nobody knows."""
    of = span.attributes.get
    provider = of(f"{GEN_AI}provider.name") or of(f"{GEN_AI}system")
    model = of(f"{GEN_AI}response.model") or of(f"{GEN_AI}request.model")
    found: dict[str, Any] = {}
    if provider:
        name = _text(provider)
        found["provider"] = _PROVIDERS.get(name.lower(), name) if isinstance(name, str) else name
    if model:
        found["model"] = _text(model)
    usage = _usage(span)
    if usage or not model:
        found["usage"] = usage
    return found


def _usage(span: Span) -> dict[str, Any]:
    """Return the counts, in which by the conventions the input includes what is cached.

    Where it is less than that it cannot: then the provider's own habit decides.
    """
    found = {}
    for ours, names in _COUNTS.items():
        values = (span.attributes.get(f"{GEN_AI}usage.{name}") for name in names)
        value = next((one for one in values if one is not None), None)
        if value is not None:
            found[ours] = value
    cached = [found.get(name, 0) for name in ("cached_input_tokens", "cache_write_tokens")]
    counts = [found.get("input_tokens", 0), *cached]
    if any(cached) and all(isinstance(one, int) for one in counts) and sum(cached) <= counts[0]:
        found["input_includes_cached"] = True
    return found


def _text(value: Any) -> Any:
    """Return a number as the text an id is; anything else as it is."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _instant(nano: int) -> str | None:
    if not nano:
        return None
    return (_EPOCH + timedelta(microseconds=nano // 1000)).isoformat()
