"""``python -m sandbox`` starts, answers and stops when told to."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
import requests
from conftest import REPO_ROOT, client


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_program_serves_until_it_is_told_to_stop(how: signal.Signals) -> None:
    command = [sys.executable, "-m", "sandbox", "--port", "0", "--base-url", "https://pay.example/"]
    with subprocess.Popen(
        command, cwd=REPO_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        url = program.stdout.readline().split()[-1].rstrip("/")
        assert "no money moves" in requests.get(url, timeout=5).text
        data = {"currency": "usd", "product_data": {"name": "Pack"}, "unit_amount": 900}
        session = client(url).v1.checkout.sessions.create(
            {
                "mode": "payment",
                "line_items": [{"price_data": data, "quantity": 1}],
                "success_url": "http://shop.example/",
            }
        )
        assert str(session.url).startswith("https://pay.example/c/pay/cs_test_")
        program.send_signal(how)
        assert program.wait(timeout=5) == 0
        assert program.stderr.read() == ""
