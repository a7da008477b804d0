"""A provider's own usage block is taken as it is, and every token in it is counted once."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from portal.core.costs import ModelUsage
from portal.costs import model_cost_nano_usd
from portal.provider_usage import UnknownShape, read_usage
from tests.cast import Api, Customer, ok, refused

AT = datetime(2026, 11, 1, tzinfo=UTC)
OPENAI_CHAT = {
    "prompt_tokens": 1000, "completion_tokens": 300, "total_tokens": 1300,
    "prompt_tokens_details": {"cached_tokens": 600, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 200, "audio_tokens": 0},
}  # fmt: skip
OPENAI_RESPONSES = {
    "input_tokens": 1000, "output_tokens": 300, "total_tokens": 1300,
    "input_tokens_details": {"cached_tokens": 600},
    "output_tokens_details": {"reasoning_tokens": 200},
}  # fmt: skip
ANTHROPIC = {
    "input_tokens": 300, "output_tokens": 300, "cache_read_input_tokens": 600,
    "cache_creation_input_tokens": 100, "service_tier": "standard",
    "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40},
}  # fmt: skip
GEMINI = {
    "promptTokenCount": 1000, "candidatesTokenCount": 100, "thoughtsTokenCount": 200,
    "cachedContentTokenCount": 600, "totalTokenCount": 1300,
}  # fmt: skip
BEDROCK = {
    "inputTokens": 300, "outputTokens": 300, "totalTokens": 1300, "cacheReadInputTokens": 600,
    "cacheWriteInputTokens": 100, "cacheDetails": [{"ttl": "5m", "inputTokens": 100}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (OPENAI_CHAT, (1000, 300, 600, 0, 200, ())),
        (OPENAI_RESPONSES, (1000, 300, 600, 0, 200, ())),
        (
            ANTHROPIC,
            (1000, 300, 600, 100, 0,
             (("cache_write_1h_tokens", 40), ("cache_write_5m_tokens", 60))),
        ),
        (GEMINI, (1000, 300, 600, 0, 200, ())),
        (BEDROCK, (1000, 300, 600, 100, 0, (("cache_write_5m_tokens", 100),))),
        ({"billed_units": {"input_tokens": 40, "output_tokens": 2}}, (40, 2, 0, 0, 0, ())),
    ],
    ids=["chat", "responses", "anthropic", "gemini", "bedrock", "cohere"],
)  # fmt: skip
def test_every_provider_comes_out_alike(block: dict[str, Any], expected: tuple[Any, ...]) -> None:
    used = read_usage(block, "")
    assert used == ModelUsage(*expected[:5], input_counts_cached=True, further=expected[5])


def test_reasoning_that_a_provider_leaves_out_of_the_output_is_put_back() -> None:
    # Gemini behind OpenAI's form: the total is the only place where its thinking stands.
    used = read_usage({"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109}, "")
    assert (used.output_tokens, used.reasoning_tokens) == (74, 62)
    block = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 35,
             "completion_tokens_details": {"reasoning_tokens": 20}}  # fmt: skip
    used = read_usage(block, "x-ai")
    assert (used.output_tokens, used.reasoning_tokens) == (25, 20)


def test_passes_that_compacted_the_context_are_paid_for_too() -> None:
    passes = [
        {"type": "compaction", "input_tokens": 100, "output_tokens": 83,
         "cache_read_input_tokens": 55_096, "cache_creation_input_tokens": 0},
        {"type": "message", "input_tokens": 181, "output_tokens": 8},
    ]  # fmt: skip
    used = read_usage({"input_tokens": 181, "output_tokens": 8, "iterations": passes}, "anthropic")
    assert (used.input_tokens, used.output_tokens) == (181 + 100 + 55_096, 91)
    assert used.cached_input_tokens == 55_096


@pytest.mark.parametrize(
    "block",
    [
        {"trafficType": "ON_DEMAND"},
        {"prompt_tokens": 10},
        {"prompt_tokens": 10, "completion_tokens": -1},
        {"prompt_tokens": 10, "completion_tokens": True},
        {"prompt_tokens": 10, "completion_tokens": "5"},
        {"prompt_tokens": 10, "completion_tokens": Decimal("0.5")},
        {"prompt_tokens": 10, "completion_tokens": Decimal("NaN")},
        {"prompt_tokens": 10, "completion_tokens": 10**13},
        {"prompt_tokens": [10], "completion_tokens": 1},
        {"inputTokens": {}, "outputTokens": 1},
        {"totalTokenCount": 5},
        {"billed_units": 3},
        {"service_tier": "standard"},
        {},
    ],
    ids=repr,
)
def test_what_cannot_be_read_is_refused(block: dict[str, Any]) -> None:
    with pytest.raises(UnknownShape):
        read_usage(block, "")


def usage_line(acme: Customer, **data: Any) -> dict[str, Any]:
    """Send an event and return what its receipt says of its first cost."""
    sent = acme.event("document", quantity=0, **data)
    ok(acme.send(sent))
    found: dict[str, Any] = ok(acme.api.get(f"{acme.path}/events/{sent['id']}"))["costs"][0]
    return found


def test_a_block_is_taken_at_the_top_in_a_cost_and_in_a_capture(acme: Customer) -> None:
    call = {"provider": "openai", "model": "gpt-4o", "usage": OPENAI_CHAT}
    top = usage_line(acme, **call)
    own = {"input_tokens": 1000, "output_tokens": 300, "cached_input_tokens": 600,
           "reasoning_tokens": 200}  # fmt: skip
    assert top["amount_usd"] == "0.00475"
    assert (top["input_tokens"], top["output_tokens"], top["quality"]) == (1000, 300, "priced")
    assert usage_line(acme, **call | {"usage": own}) == top
    assert usage_line(acme, costs=[call | {"layer": "inference"}]) == top
    captured = ok(acme.capture(acme.hold("document"), **call))
    receipt = ok(acme.api.get(f"{acme.path}/events/{captured['event']}"))
    assert receipt["costs"] == [top]


def test_anthropics_cached_tokens_cost_what_they_cost_in_either_form(acme: Customer) -> None:
    block = {"input_tokens": 300, "output_tokens": 300, "cache_read_input_tokens": 600,
             "cache_creation_input_tokens": 100}  # fmt: skip
    own = {"input_tokens": 300, "output_tokens": 300, "cached_input_tokens": 600,
           "cache_write_tokens": 100}  # fmt: skip
    call = {"provider": "anthropic", "model": "claude-sonnet-4-5"}
    line = usage_line(acme, **call, usage=block)
    assert line == usage_line(acme, **call, usage=own)
    # 300 at $3, 600 read at $0.30, 100 written at $3.75, 300 out at $15 a million.
    assert line["amount_usd"] == "0.005955"
    assert line["input_tokens"] == 1000


def test_a_misspelt_field_of_our_own_form_is_still_an_error(acme: Customer) -> None:
    for usage, field in (
        ({"input_tokens": 5, "ouput_tokens": 2}, "ouput_tokens"),
        ({"input_token": 5}, "input_token"),
        ({"input_tokens": 5, "total_tokens": 5, "cached_input_tokens": 1}, "total_tokens"),
        (
            {"prompt_tokens": 5, "completion_tokens": 2, "cache_write_tokens": 1},
            "completion_tokens",
        ),
        ({"trafficType": "ON_DEMAND"}, "trafficType"),
        ({"input_tokens": -1}, "input_tokens"),
        ({"input_tokens": True}, "input_tokens"),
        ({"input_tokens": 10**13}, "input_tokens"),
        ({"input_tokens": "5"}, "input_tokens"),
    ):
        sent = acme.event("document", model="gpt-4o", usage=usage)
        problem = refused(acme.send(sent), 422, "invalid-event")
        assert problem["errors"][0]["pointer"] == f"/0/data/usage/{field}"
        cost = {"layer": "inference", "model": "gpt-4o", "usage": usage}
        problem = refused(acme.capture(acme.hold("image"), costs=[cost]), 422, "invalid-request")
        assert problem["errors"][0]["pointer"] == f"/costs/0/usage/{field}"
    for usage in (5, "many", [1], True):
        problem = refused(acme.send(acme.event("document", usage=usage)), 422, "invalid-event")
        assert problem["errors"][0]["pointer"] == "/0/data/usage"
    assert acme.standing[0] == "82"


def test_the_specification_shows_both_forms(api: Api) -> None:
    schemas = ok(api.get("/openapi.json"))["components"]["schemas"]
    forms = schemas["CostBody"]["properties"]["usage"]["anyOf"][0]["anyOf"]
    assert {"$ref": "#/components/schemas/UsageBody"} in forms
    assert "input_tokens" in schemas["UsageBody"]["properties"]


def _responses(data: Path) -> Iterator[dict[str, Any]]:
    path = data / "payloads" / "provider_responses.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line, parse_float=Decimal)


#: What usage of our own form is made of: such blocks need no reading.
OWN = {"input_tokens", "output_tokens"}


def test_recorded_responses_are_read_to_their_own_total(data: Path) -> None:
    read = 0
    for response in _responses(data):
        block = response["usage"]
        if block.keys() <= OWN or block == {"trafficType": "ON_DEMAND"}:
            continue
        used = read_usage(block, "")
        totals = [block[name] for name in ("total_tokens", "totalTokenCount", "totalTokens")
                  if name in block]  # fmt: skip
        assert used.reasoning_tokens <= used.output_tokens
        assert used.cached <= used.input_tokens
        assert totals in ([], [used.input_tokens + used.output_tokens])
        read += 1
    assert read == 69


def test_recorded_responses_cost_what_was_charged_for_them(data: Path) -> None:
    """Where a response says what it cost, the dated prices say the same to the last digit."""
    charged = {}
    for response in _responses(data):
        block = response["usage"]
        said = block.get("cost") or block.get("pydantic_ai_gateway", {}).get("cost_estimate")
        if said is None or response["model"] not in CHARGED:
            continue
        used = read_usage(block, CHARGED[response["model"]])
        cost = model_cost_nano_usd(CHARGED[response["model"]], response["model"], used, at=AT)
        charged[response["model"]] = (cost, round(said * 10**9))
    assert set(charged) == set(CHARGED)
    assert all(ours == theirs for ours, theirs in charged.values()), charged


#: Who charged for a recorded response that says what it cost, by model; the others were charged for
#: calls of other models inside them, or at prices that are no longer listed.
CHARGED = {
    "anthropic/claude-4.6-sonnet-20260217": "openrouter",
    "anthropic/claude-sonnet-4.5": "openrouter",
    "google/gemini-2.5-flash": "openrouter",
    "openai/gpt-4.1-mini": "openrouter",
    "gpt-5-2025-08-07": "openai",
}


def test_a_gateways_record_of_a_call_costs_what_the_gateway_says(data: Path) -> None:
    path = data / "payloads" / "litellm_standard_logging_payload.json"
    record = json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)[0]
    used = read_usage(record["metadata"]["usage_object"], record["custom_llm_provider"])
    cost = model_cost_nano_usd(record["custom_llm_provider"], record["model"], used, at=AT)
    assert cost == round(record["response_cost"] * 10**9)
