"""A mail server that keeps what it is given, spoken to over real SMTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from tests.postgresql import free_port

USER, PASSWORD = "mailer", "p@ss word"
PATIENCE_SECONDS = 5


class PostOffice:
    """What came, in its order; ``refusing`` makes it take nothing."""

    def __init__(self) -> None:
        self.url = ""
        self.came: list[EmailMessage] = []
        self.refusing = False

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 # aiosmtpd's
        if self.refusing:
            return "451 not now"
        self.came.append(BytesParser(EmailMessage, policy=default).parsebytes(envelope.content))  # type: ignore[arg-type]
        return "250 taken"

    def one(self, number: int = 1) -> EmailMessage:
        """Return the mail with this number, once it has come."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(self.came) < number and time.monotonic() < deadline:
            time.sleep(0.005)
        assert len(self.came) == number, [one["Subject"] for one in self.came]
        return self.came[-1]


def text_of(mail: EmailMessage, kind: str = "plain") -> str:
    """Return the words of a mail, as ``plain`` text or ``html``."""
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content())


def _knows(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
    known = isinstance(data, LoginPassword) and data == LoginPassword(
        USER.encode(), PASSWORD.encode()
    )
    # Who is not known is told so, by the server.
    return AuthResult(success=known, handled=False)


@contextmanager
def post_office() -> Iterator[PostOffice]:
    """Open a mail server on a free port."""
    office, port = PostOffice(), free_port()
    server = Controller(
        office,
        hostname="127.0.0.1",
        port=port,
        authenticator=_knows,
        auth_require_tls=False,
    )
    server.start()
    office.url = f"smtp://127.0.0.1:{port}"
    try:
        yield office
    finally:
        server.stop()
