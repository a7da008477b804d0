"""Webhooks out: signed, tried again, never to anywhere that is not public."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, text
from standardwebhooks import Webhook

from portal import jobs
from portal.billing.gateway import Gateway
from portal.core.errors import InvalidRequest
from portal.db import Database
from portal.jobs import Workshop
from portal.notices import delivered, egress, endpoints, outbox
from portal.notices.delivering import Post
from portal.notices.egress import Refused, target_of
from portal.notices.endpoints import Endpoint
from portal.notices.mail import Mailer
from portal.tables import deliveries
from tests.cast import Customer, ok
from tests.clock import Clock

DAY = timedelta(days=1)


class Receiver:
    """A receiver on this machine that keeps what it is sent, and answers as it is told to."""

    def __init__(self) -> None:
        self.came: list[tuple[Mapping[str, str], bytes]] = []
        self.status = 204
        self.headers: dict[str, str] = {}
        self.url = ""

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(body) for _, body in self.came]


@pytest.fixture(scope="module")
def opened() -> Iterator[Receiver]:
    receiver = Receiver()

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.came.append((dict(self.headers), body))
            self.send_response(receiver.status)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answering)
    receiver.url = f"http://127.0.0.1:{server.server_port}/hooks"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield receiver
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def receiver(opened: Receiver) -> Receiver:
    opened.came.clear()
    opened.status, opened.headers = 204, {}
    return opened


@pytest.fixture
def portal_key(application: Flask) -> str:
    return str(application.extensions["clearmeter"].settings.secret_key)


@pytest.fixture
def shop(database: Database, clock: Clock, portal_key: str) -> Workshop:
    mailer = Mailer("", "billing@portal.example", "Portal")
    post = Post(mailer, "http://127.0.0.1:8000", portal_key, "Portal", loopback=True)
    return Workshop(database, Gateway(""), clock, post)


def listen(
    database: Database, clock: Clock, url: str, *types: str, of: str | None = "acme"
) -> Endpoint:
    with database.transaction() as tx:
        return endpoints.create(tx, of, url, types, actor="ana", now=clock())


def reach_a_cap(acme: Customer) -> str:
    cap = acme.cap(10)
    ok(acme.capture(acme.hold("analysis")))
    return cap


def statuses(database: Database) -> list[str]:
    with database.reading() as tx:
        query = select(deliveries.c.status).where(deliveries.c.channel == "webhook")
        return list(tx.execute(query.order_by(deliveries.c.sequence)).scalars())


def test_what_happened_is_told_signed_with_its_figures_and_its_number(
    acme: Customer,
    bystander: Customer,
    database: Database,
    shop: Workshop,
    clock: Clock,
    receiver: Receiver,
    portal_key: str,
) -> None:
    endpoint = listen(database, clock, receiver.url)
    cap = reach_a_cap(acme)
    jobs.tell(shop)
    ((headers, body),) = receiver.came
    secret = endpoints.secret(portal_key, endpoint.endpoint_id, 1)
    told = json.loads(body)
    assert told["type"] == "cap.reached"
    assert told["timestamp"] == clock().isoformat()
    data = told["data"]
    assert (data["organization"], data["sequence"], data["state"]) == ("acme", 1, "begun")
    assert (data["cap"], data["limit"], data["spent"]) == (cap, "10", "10")
    hook = Webhook(secret)
    expected = hook.sign(headers["webhook-id"], clock(), body.decode())
    assert headers["webhook-signature"] == expected
    jobs.tell(shop)
    assert len(receiver.came) == 1
    assert statuses(database) == ["done"]


def test_no_secret_is_in_the_store(
    acme: Customer, database: Database, clock: Clock, portal_key: str, receiver: Receiver
) -> None:
    endpoint = listen(database, clock, receiver.url)
    secret = endpoints.secret(portal_key, endpoint.endpoint_id, 1)
    with database.reading() as tx:
        rows = tx.execute(text("SELECT * FROM webhook_endpoints")).all()
    assert rows
    assert secret.removeprefix("whsec_") not in repr(rows)


def test_both_secrets_sign_for_a_day_after_a_rotation(
    acme: Customer,
    database: Database,
    shop: Workshop,
    clock: Clock,
    receiver: Receiver,
    portal_key: str,
) -> None:
    endpoint = listen(database, clock, receiver.url)
    with database.transaction() as tx:
        endpoints.rotate(tx, "acme", endpoint.endpoint_id, now=clock())

    def signed_by() -> list[int]:
        headers, body = receiver.came[-1]
        given = headers["webhook-signature"].split()
        return [
            generation
            for generation in (1, 2)
            if Webhook(endpoints.secret(portal_key, endpoint.endpoint_id, generation)).sign(
                headers["webhook-id"], clock(), body.decode()
            )
            in given
        ]

    reach_a_cap(acme)
    jobs.tell(shop)
    assert signed_by() == [1, 2]
    clock.forward(DAY)
    acme.cap(5, mode="soft")
    jobs.tell(shop)
    assert signed_by() == [2]


def test_an_endpoint_hears_what_it_asked_for_and_the_operators_of_everybody(
    acme: Customer, database: Database, shop: Workshop, clock: Clock, receiver: Receiver
) -> None:
    listen(database, clock, receiver.url, "top-up.made")
    listen(database, clock, receiver.url, "cap.reached", of=None)
    reach_a_cap(acme)
    jobs.tell(shop)
    assert len(receiver.came) == 1


def test_a_receiver_that_was_down_for_a_day_gets_everything_after(
    acme: Customer, database: Database, shop: Workshop, clock: Clock, receiver: Receiver
) -> None:
    listen(database, clock, receiver.url)
    receiver.status = 503
    reach_a_cap(acme)
    acme.cap(5, mode="soft")
    for _ in range(48):
        jobs.tell(shop)
        clock.forward(timedelta(minutes=30))
    assert statuses(database) == ["due", "due"]
    ids = {headers["webhook-id"] for headers, _ in receiver.came}
    assert len(ids) == 2
    receiver.status = 200
    receiver.came.clear()
    for _ in range(48):
        jobs.tell(shop)
        clock.forward(timedelta(minutes=30))
    assert sorted(body["data"]["sequence"] for body in receiver.bodies) == [1, 2]
    assert {headers["webhook-id"] for headers, _ in receiver.came} == ids
    assert statuses(database) == ["done", "done"]


def test_after_three_days_it_is_given_up_visibly_and_can_be_sent_again(
    acme: Customer, database: Database, shop: Workshop, clock: Clock, receiver: Receiver
) -> None:
    endpoint = listen(database, clock, receiver.url)
    receiver.status = 500
    reach_a_cap(acme)
    for _ in range(80):
        jobs.tell(shop)
        clock.forward(timedelta(hours=1))
    assert statuses(database) == ["dead"]
    tries = len(receiver.came)
    assert 5 <= tries <= 12
    with database.reading() as tx:
        (found,) = delivered.to_endpoint(tx, endpoint.endpoint_id, limit=10)
    assert (found.status, found.detail) == ("dead", "It answered 500.")
    receiver.status = 200
    with database.transaction() as tx:
        delivered.replay(tx, endpoint.endpoint_id, found.delivery_id, now=clock())
    jobs.tell(shop)
    assert len(receiver.came) == tries + 1
    assert receiver.came[-1][0]["webhook-id"] == found.message.message_id
    assert statuses(database) == ["done"]


def test_what_may_have_left_when_a_worker_died_is_sent_again_under_its_id(
    acme: Customer,
    database: Database,
    shop: Workshop,
    clock: Clock,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listen(database, clock, receiver.url)
    reach_a_cap(acme)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("portal.notices.delivering._end", die)
        with pytest.raises(KeyboardInterrupt):
            jobs.tell(shop)
    jobs.tell(shop)
    assert len(receiver.came) == 1
    clock.forward(timedelta(minutes=5))
    jobs.tell(shop)
    assert len({headers["webhook-id"] for headers, _ in receiver.came}) == 1
    assert len(receiver.came) == 2


def test_many_workers_at_once_send_it_once(
    acme: Customer, database: Database, shop: Workshop, clock: Clock, receiver: Receiver
) -> None:
    listen(database, clock, receiver.url)
    reach_a_cap(acme)
    together = threading.Barrier(6)

    def work() -> None:
        together.wait(10)
        jobs.tell(shop)

    workers = [threading.Thread(target=work) for _ in range(6)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert len(receiver.came) == 1
    assert statuses(database) == ["done"]


def test_a_redirect_is_not_followed_and_gone_switches_it_off(
    acme: Customer, database: Database, shop: Workshop, clock: Clock, receiver: Receiver
) -> None:
    endpoint = listen(database, clock, receiver.url)
    receiver.status, receiver.headers = 302, {"Location": receiver.url}
    reach_a_cap(acme)
    jobs.tell(shop)
    assert len(receiver.came) == 1
    receiver.status = 410
    clock.forward(timedelta(seconds=5))
    jobs.tell(shop)
    with database.reading() as tx:
        found = endpoints.find(tx, "acme", endpoint.endpoint_id)
    assert found.disabled_at == clock()
    clock.forward(timedelta(minutes=5))
    jobs.tell(shop)
    assert statuses(database) == ["dropped"]


def test_nothing_is_sent_while_a_transaction_is_open(database: Database) -> None:
    with pytest.raises(AssertionError, match="transaction"), database.reading():
        egress.post("https://example.com/", b"", {}, loopback=False)


HOSTILE = (
    "http://example.com/", "ftp://example.com/", "https://", "https:///x", "//example.com",
    "https://127.0.0.1/", "https://localhost/", "https://localhost./", "https://LOCALHOST/",
    "https://0.0.0.0/", "https://10.0.0.1/", "https://172.16.0.1/", "https://192.168.1.1/",
    "https://169.254.169.254/latest/meta-data/", "https://100.64.0.1/", "https://224.0.0.1/",
    "https://2130706433/", "https://0x7f000001/", "https://0x7f.0.0.1/", "https://0177.0.0.1/",
    "https://127.1/", "https://127.0.1/", "https://8.8.8.010/", "https://134744072/",
    "https://[::1]/", "https://[::]/", "https://[::ffff:127.0.0.1]/", "https://[::ffff:8.8.8.8]/",
    "https://[64:ff9b::7f00:1]/", "https://[64:ff9b:1::1]/", "https://[2002:7f00:1::]/",
    "https://[fc00::1]/", "https://[fe80::1]/", "https://[fe80::1%25eth0]/", "https://[ff02::1]/",
    "https://[2001:0:1::1]/", "https://[2001:db8::1]/",
    "https://example.com@127.0.0.1/", "https://user:pw@example.com/", "https://@example.com/",
    "https://example.com:22/", "https://example.com:8443/", "https://example.com:0/",
    "https://example.com:99999/", "https://example.com/#x", "https://exam ple.com/",
    "https://example.com\\@127.0.0.1/", "https://example.com/\r\nX: y", "https://example.com/\x00",
    "https://１２７.0.0.1/", "https://ⓛocalhost/", "https://example/", "https://internal/",
    "https://.example.com/", "https://example..com/", "https://-example.com/",
    "https://example.com.0x7f/", "https://" + "a" * 2000 + ".com/",
)  # fmt: skip


@pytest.mark.parametrize("url", HOSTILE)
def test_an_address_that_leads_elsewhere_is_refused_as_it_is_written(url: str) -> None:
    with pytest.raises(InvalidRequest):
        target_of(url, loopback=False)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "10.1.2.3", "192.168.0.9", "169.254.169.254", "100.64.1.1",
        "0.0.0.0",  # noqa: S104 # nobody binds to it here
        "198.18.0.1", "203.0.113.5", "240.0.0.1", "255.255.255.255", "224.0.0.251",
        "::1", "::", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "64:ff9b::a00:1", "2002:a00:1::1",
        "2001::1", "fd00::1", "fe80::1%eth0", "ff02::1", "2001:db8::7", "100::1",
    ],
)  # fmt: skip
def test_a_name_is_refused_where_any_of_its_addresses_is_not_public(address: str) -> None:
    def find(_host: str, _port: int) -> list[str]:
        return ["93.184.216.34", address]

    with pytest.raises(Refused, match="not public"):
        egress.post("https://example.com/", b"", {}, loopback=False, find=find)


def test_a_name_is_resolved_once_and_connected_to_where_it_was_checked(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that leads elsewhere the second time it is asked for leads nowhere."""
    asked: list[str] = []
    connected: list[Any] = []

    def find(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["93.184.216.34"] if len(asked) == 1 else ["127.0.0.1"]

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        connected.append(address)
        raise OSError

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(Refused, match="could not be connected"):
        egress.post("https://example.com/hooks", b"", {}, loopback=False, find=find)
    assert (asked, connected) == (["example.com"], [("93.184.216.34", 443)])


def _answering(*parts: bytes, hold: threading.Event | None = None) -> tuple[str, threading.Thread]:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(65536)
            for part in parts:
                try:
                    connection.sendall(part)
                except OSError:
                    return
            if hold is not None:
                hold.wait(5)

    thread = threading.Thread(target=serve)
    thread.start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/", thread


@pytest.mark.parametrize("said", [b"SSH-2.0-x\r\n", b"HTTP/1.1 abc\r\n", b"x" * 100_000, b""])
def test_what_does_not_speak_http_is_left(said: bytes) -> None:
    url, thread = _answering(said)
    with pytest.raises(Refused):
        egress.post(url, b"{}", {}, loopback=True)
    thread.join(5)


def test_what_answers_drop_by_drop_is_left_when_its_time_is_over() -> None:
    done = threading.Event()
    url, thread = _answering(b"HTTP/1.1 ", hold=done)
    times = iter([0.0, 0.1, 0.2, 4.0, 5.1, 5.2, 5.3])
    with pytest.raises(Refused, match="within 5 seconds"):
        egress.post(url, b"{}", {}, loopback=True, monotonic=lambda: next(times))
    done.set()
    thread.join(5)


def test_an_endpoint_that_became_hostile_is_tried_again_and_told_why(
    acme: Customer, database: Database, shop: Workshop, clock: Clock
) -> None:
    """An address was public when it was given, and leads to this machine when it is told."""
    endpoint = listen(database, clock, "https://example.com/hooks")
    reach_a_cap(acme)
    assert shop.post is not None
    strict = replace(shop.post, loopback=False, resolve=lambda _host, _port: ["127.0.0.1"])
    jobs.tell(replace(shop, post=strict))
    with database.reading() as tx:
        (found,) = delivered.to_endpoint(tx, endpoint.endpoint_id, limit=10)
    assert (found.status, found.attempts) == ("due", 1)
    assert "not public" in found.detail


def test_what_is_told_is_counted_without_a_gap(
    acme: Customer, database: Database, clock: Clock
) -> None:
    def tell(_: int) -> None:
        with database.transaction() as tx:
            outbox.tell(tx, "acme", "overrun", now=clock())

    threads = [threading.Thread(target=tell, args=(one,)) for one in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    with database.reading() as tx:
        told = outbox.latest(tx, "acme", limit=20)
    assert [one.sequence for one in told] == [8, 7, 6, 5, 4, 3, 2, 1]
