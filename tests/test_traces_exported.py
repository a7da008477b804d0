"""OpenTelemetry's own exporter against the product as it is served."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import requests
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanKind

from portal import catalog, keys, onboarding
from portal.db import Database
from portal.onboarding import OrganizationRequest
from tests.servers import serving


@pytest.fixture
def key(sqlite_store: str) -> str:
    """A service key in a store with Acme, at the real time: what is exported happens now."""
    database, now = Database(sqlite_store), datetime.now(UTC)
    with database.transaction() as tx:
        catalog.load(tx, catalog.DEFAULT_FILE.read_text(encoding="utf-8"), now=now)
        made = keys.create(tx, name="tests", organization_id=None, scopes=(), now=now)
    onboarding.put_organization(database, "acme", OrganizationRequest(name="Acme"), now=now)
    database.close()
    return made


def _document() -> list[ReadableSpan]:
    """Return the spans of one document: an agent and the call it made, and a request around."""
    resource = Resource.create({"service.name": "writer", "clearmeter.organization": "acme"})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracer = provider.get_tracer("writer.agents")
    with tracer.start_as_current_span("POST /documents") as request:
        agent = {"gen_ai.operation.name": "invoke_agent", "clearmeter.action": "document"}
        with tracer.start_as_current_span("invoke_agent writer", attributes=agent) as around:
            call = {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4o",
                "gen_ai.usage.input_tokens": 1_000_000,
                "gen_ai.usage.output_tokens": 100_000,
                "gen_ai.response.finish_reasons": ["stop"],
                "clearmeter.run": "run-42",
            }
            with tracer.start_as_current_span("chat", kind=SpanKind.CLIENT, attributes=call) as one:
                pass
    found = [one, around, request]
    return [span for span in found if isinstance(span, ReadableSpan)]


def test_what_the_exporter_sends_is_taken_once_however_often_it_is_sent(
    sqlite_store: str, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    spans = _document()
    with serving(sqlite_store) as port:
        api = f"http://127.0.0.1:{port}/v1"
        for compression in (Compression.NoCompression, Compression.Gzip):
            exporter = OTLPSpanExporter(
                endpoint=f"{api}/otlp/v1/traces", headers=headers, compression=compression
            )
            assert exporter.export(spans) is SpanExportResult.SUCCESS
            exporter.shutdown()
        usage = requests.get(
            f"{api}/organizations/acme/usage?include=cost", headers=headers, timeout=10
        ).json()
        events = requests.get(
            f"{api}/organizations/acme/events", headers=headers, timeout=10
        ).json()["data"]
    assert usage["totals"]["cost_usd"] == "3.5"
    assert {(one["type"], one["run"], one["uncollected"]) for one in events} == {
        ("document", None, "5"),
        ("cost.inference", "run-42", "0"),
    }
    assert {one["source"] for one in events} == {"writer"}
