"""The specification of the API, made from the types and views it describes."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from flask import Flask

from portal.provider_usage import KNOWN
from portal.web.api import margin_shapes, shapes
from portal.web.api.queries import QUERIES

#: Which body each view takes. Views that take none are found by their rule alone.
BODIES: dict[str, type[msgspec.Struct]] = {
    "api.put_organization": shapes.OrganizationBody,
    "api.put_member": shapes.MemberBody,
    "api.put_team": shapes.NameBody,
    "api.put_project": shapes.NameBody,
    "api.post_grant": shapes.GrantBody,
    "api.post_authorization": shapes.AuthorizationBody,
    "api.post_capture": shapes.CaptureBody,
    "api.post_increment": shapes.IncrementBody,
    "api.post_release": shapes.ReleaseBody,
    "api.post_cap": shapes.CapBody,
    "api.patch_cap": shapes.CapChangeBody,
    "api.post_portal_session": shapes.PortalSessionBody,
    "api.post_raise_request": shapes.RaiseBody,
    "api.answer_raise_request": shapes.RaiseAnswerBody,
    "api.post_webhook_endpoint": shapes.EndpointBody,
    "api.patch_webhook_endpoint": shapes.EndpointChangeBody,
    "api.post_events": shapes.EventBody,
    "api.void_grant": shapes.VoidBody,
    "api.patch_spending": shapes.SpendingBody,
    "api.replay_rejected_events": shapes.ReplayBody,
    "api.post_simulation": margin_shapes.SimulationBody,
}
IDEMPOTENT = frozenset(
    {
        "api.post_grant",
        "api.post_authorization",
        "api.post_capture",
        "api.post_increment",
        "api.post_release",
    }
)
#: Calls whose bodies and answers another specification describes: its content types.
ELSEWHERE = {
    "api.post_traces": {
        "application/json": {
            "schema": {
                "type": "object",
                "description": "OTLP's ExportTraceServiceRequest, answered with an "
                "ExportTraceServiceResponse: ids in hexadecimal, names in camelCase",
            }
        },
        "application/x-protobuf": {"schema": {"type": "string", "format": "binary"}},
    }
}
#: Calls that make something answer 201; the others 200.
CREATED = {
    "api.post_grant": "201",
    "api.post_authorization": "201",
    "api.post_cap": "201",
    "api.post_raise_request": "201",
    "api.post_webhook_endpoint": "201",
    "api.post_portal_session": "201",
}
#: Calls whose work is done at once, or taken on to be done.
TAKEN_ON = frozenset({"api.post_simulation"})
#: Calls that make what is not there, and change what is.
MADE_OR_CHANGED = frozenset(
    {"api.put_organization", "api.put_member", "api.put_team", "api.put_project"}
)
#: Calls that answer a sheet too, by Accept: text/csv.
SHEETS = frozenset(
    {"api.get_usage", "api.get_events", "api.get_statement", "api.get_simulated_customers"}
)
REFERENCE = "#/components/schemas/{name}"


def _as_sent(kind: type) -> dict[str, Any]:
    """Return the schema of what is taken as it was sent and read later."""
    if kind is shapes.Number:
        return {
            "oneOf": [
                {"type": "string", "pattern": r"^-?\d{1,13}(\.\d{1,9})?$"},
                {"type": "number"},
            ]
        }
    if kind is shapes.SentUsage:
        return {
            "anyOf": [
                {"$ref": REFERENCE.format(name="UsageBody")},
                {
                    "type": "object",
                    "description": "The usage block as the model's provider returned it: "
                    f"{KNOWN}, or one of the same form",
                },
            ]
        }
    raise NotImplementedError  # msgspec's own word for: this type is none of ours


def specification(app: Flask) -> dict[str, Any]:
    """Return the OpenAPI document of every route under /v1."""
    bodies = list(dict.fromkeys(BODIES.values()))
    references, components = msgspec.json.schema_components(
        [*bodies, shapes.UsageBody], schema_hook=_as_sent, ref_template=REFERENCE
    )
    schema_of = dict(zip(bodies, references[:-1], strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        if not rule.endpoint.startswith("api."):
            continue
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            view = app.view_functions[rule.endpoint]
            paths.setdefault(path, {})[method.lower()] = _operation(
                rule.endpoint, view.__doc__ or "", sorted(rule.arguments), schema_of
            )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Clearmeter", "version": "1"},
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": _PROBLEM},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}


def _operation(
    endpoint: str,
    words: str,
    arguments: list[str],
    schema_of: dict[type[msgspec.Struct], dict[str, Any]],
) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in arguments
    ]
    parameters += [
        {"name": name, "in": "query", "description": what, "schema": {"type": "string"}}
        for name, what in QUERIES.get(endpoint, {}).items()
    ]
    if endpoint in IDEMPOTENT:
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "schema": {"type": "string", "maxLength": 128},
            }
        )
    problem = {
        "description": "A problem: what is wrong and what to do",
        "content": {
            "application/problem+json": {"schema": {"$ref": REFERENCE.format(name="Problem")}}
        },
    }
    operation: dict[str, Any] = {
        "operationId": endpoint.removeprefix("api."),
        "summary": words.strip().split("\n")[0],
        "parameters": parameters,
        "responses": {**_done(endpoint), "default": problem},
    }
    if endpoint in BODIES:
        operation["requestBody"] = {"required": True, "content": _content(endpoint, schema_of)}
    if endpoint in ELSEWHERE:
        operation["requestBody"] = {"required": True, "content": ELSEWHERE[endpoint]}
    return operation


def _done(endpoint: str) -> dict[str, Any]:
    """Return the good answers of a call, by status."""
    content = dict(ELSEWHERE.get(endpoint, {"application/json": {"schema": {"type": "object"}}}))
    if endpoint in SHEETS:
        content["text/csv"] = {"schema": {"type": "string"}}
    if endpoint in MADE_OR_CHANGED:
        return {
            "200": {"description": "Changed", "content": content},
            "201": {"description": "Made", "content": content},
        }
    if endpoint in TAKEN_ON:
        return {
            "201": {"description": "Done", "content": content},
            "202": {"description": "Taken on: ask again by its id", "content": content},
        }
    return {CREATED.get(endpoint, "200"): {"description": "Done", "content": content}}


def _content(
    endpoint: str, schema_of: dict[type[msgspec.Struct], dict[str, Any]]
) -> dict[str, Any]:
    schema = schema_of[BODIES[endpoint]]
    if endpoint != "api.post_events":
        return {"application/json": {"schema": schema}}
    batch = {"type": "array", "items": schema, "maxItems": 1000}
    return {
        "application/cloudevents+json": {"schema": schema},
        "application/cloudevents-batch+json": {"schema": batch},
        "application/json": {"schema": {"oneOf": [schema, batch]}},
    }
