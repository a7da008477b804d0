"""Signatures and real objects of payments, of several versions of the API, are read alike."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from portal.billing.gateway import BadSignature, verify
from portal.billing.gateway.checkout import read_session
from portal.billing.gateway.intents import read_intent
from portal.billing.gateway.payments import read_dispute, read_payment, read_refund
from sandbox.webhooks import signature

READERS: dict[str, Callable[[Any], Any]] = {
    "charge": read_payment,
    "checkout.session": read_session,
    "dispute": read_dispute,
    "payment_intent": read_intent,
    "refund": read_refund,
}


@pytest.fixture(scope="module")
def samples(data: Path) -> Path:
    """The folder of Stripe's samples."""
    return data / "stripe"


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def objects(samples: Path) -> Iterator[tuple[str, Any]]:
    """Return every object that a reader of the gateway reads, as today and as in older events."""
    for path in sorted((samples / "objects").glob("*.json")):
        yield path.name, load(path)
    for path in sorted((samples / "events").glob("*.json")):
        yield path.name, load(path)["data"]["object"]


def test_every_sample_that_the_gateway_reads_is_read(samples: Path) -> None:
    read = {
        name: READERS[about["object"]](about)
        for name, about in objects(samples)
        if about["object"] in READERS
    }
    assert len(read) >= 18
    assert {len(repr(record)) > 20 for record in read.values()} == {True}


def test_an_older_charge_with_its_refunds_and_one_with_only_their_sum_are_the_same(
    samples: Path,
) -> None:
    charge = load(samples / "events" / "charge.refunded.json")["data"]["object"]
    assert charge["refunds"]["data"]
    bare = {key: value for key, value in charge.items() if key != "refunds"}
    assert read_payment(charge) == read_payment(bare)
    assert read_payment(charge).refunded.amount_minor == read_payment(charge).amount_minor == 100


def test_a_dispute_of_an_older_version_tells_what_was_withdrawn_of_it(samples: Path) -> None:
    told = load(samples / "events" / "charge.dispute.funds_withdrawn.json")["data"]["object"]
    old = {key: value for key, value in told.items() if key != "balance_transactions"}
    assert read_dispute(told) == read_dispute(old)
    assert (read_dispute(told).standing, read_dispute(told).taken_minor) == ("withdrawn", 25_000)
    booked = [*told["balance_transactions"], {"amount": 25_000}]
    back = read_dispute(told | {"balance_transactions": booked})
    assert (back.standing, back.taken_minor) == ("won", 0)


@pytest.mark.parametrize(
    ("code", "decline_code", "asked"),
    [
        ("authentication_required", "authentication_required", True),
        # By Stripe's guide to payments without authentication: what is refused for want of it.
        ("authentication_required", "authentication_not_handled", True),
        ("authentication_required", "generic_decline", True),
        ("card_declined", "authentication_required", True),
        ("payment_intent_action_required", None, True),
        ("card_declined", "insufficient_funds", False),
        ("payment_intent_authentication_failure", None, False),
    ],
)
def test_a_bank_that_asks_for_the_payer_is_told_from_one_that_declines(
    samples: Path, code: str, decline_code: str | None, asked: bool
) -> None:
    told = load(samples / "events" / "payment_intent.requires_action.json")["data"]["object"]
    error = {"type": "card_error", "code": code, "decline_code": decline_code}
    told |= {"status": "requires_payment_method", "last_payment_error": error}
    assert read_intent(told).needs_authentication is asked


def test_every_event_is_taken_also_where_its_object_has_no_id(samples: Path) -> None:
    for path in sorted((samples / "events").glob("*.json")):
        body, told = path.read_bytes(), load(path)
        event = verify(body, signature(body, "whsec", timestamp=int(time.time())), ("whsec",))
        about = told["data"]["object"]
        assert (event.event_id, event.type) == (told["id"], told["type"])
        assert event.object_id == (about.get("id") or about.get("charge") or ""), path.name


def test_each_signature_is_good_or_bad_as_stripes_library_says(
    samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = load(samples / "signature_vectors.json")
    assert len(vectors) == 12
    for one in vectors:
        payload = (samples / one["file"]).read_bytes()
        monkeypatch.setattr("time.time", lambda at=one["timestamp"]: float(at))
        if one["valid"]:
            assert verify(payload, one["header"], (one["secret"],)).event_id
        else:
            with pytest.raises(BadSignature):
                verify(payload, one["header"], (one["secret"],))
