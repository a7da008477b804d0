"""Mail: one message to one person, by the operator's mail server, or to the log without one.

Invariant: nothing is sent while a transaction is open. Without a server a mail's text is written to
the log only where the portal is on this machine or a demo: it holds links that sign people in.
"""

from __future__ import annotations

import smtplib
import ssl
from dataclasses import dataclass
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, formataddr
from urllib.parse import unquote, urlsplit

import structlog

from portal.clock import Clock
from portal.config import Settings
from portal.core.errors import Unavailable
from portal.db import in_transaction
from portal.ids import new_id

log = structlog.get_logger()

#: How long the mail server may take for each of its answers.
TIMEOUT_SECONDS = 10
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Mail:
    """A message to one person: the same words as text and as HTML."""

    to: str
    subject: str
    text: str
    html: str
    #: What more its head says: by which link to hear no more, and which message it is.
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Mailer:
    """Where mail goes: a server by its URL, whose it is, and whether its text may be logged."""

    url: str
    sender: str
    name: str = ""
    readable: bool = False
    #: Dates what is sent; without it that is left to the server.
    clock: Clock | None = None

    @classmethod
    def of(cls, settings: Settings, clock: Clock | None = None) -> Mailer:
        """Return the mailer of an application."""
        return cls(
            settings.mail_url,
            settings.mail_from,
            settings.brand.name,
            readable=settings.demo or not settings.secure_cookies,
            clock=clock,
        )

    @property
    def reaches(self) -> bool:
        """Whether somebody can read what is sent, so that a page may promise a mail."""
        return bool(self.url) or self.readable

    def send(self, mail: Mail) -> None:
        """Send a message. Raises Unavailable where it was not taken."""
        if in_transaction():
            raise AssertionError("mail must not be sent while a transaction is open")
        if not self.url:
            text = {"text": mail.text} if self.readable else {}
            log.warning("mail not sent: MAIL_URL is missing", subject=mail.subject, **text)
            return
        message = self._message(mail)
        try:
            with self._connected() as server:
                server.send_message(message)
        except (OSError, smtplib.SMTPException, UnicodeError) as error:
            raise Unavailable("The mail was not sent: the mail server did not take it.") from error

    def _message(self, mail: Mail) -> EmailMessage:
        message = EmailMessage()
        try:
            message["From"] = formataddr((self.name, self.sender))
            # One address: a comma in it must not make two of it.
            message["To"] = Address(addr_spec=mail.to)
            message["Subject"] = mail.subject
            if self.clock is not None:
                message["Date"] = format_datetime(self.clock())
            message["Message-ID"] = f"<{new_id('mail')}@{self.sender.rpartition('@')[2]}>"
            message["Auto-Submitted"] = "auto-generated"
            for name, value in mail.headers:
                # A letter that may be sent again has its own id, by which it is known as the same.
                del message[name]
                message[name] = value
        except (ValueError, IndexError, MessageError) as error:
            raise Unavailable("The mail was not sent: its address is no address.") from error
        message.set_content(mail.text)
        message.add_alternative(mail.html, subtype="html")
        return message

    def _connected(self) -> smtplib.SMTP:
        """Open the server, encrypted where it can be; a password never goes in the clear."""
        parts = urlsplit(self.url)
        host, secured = parts.hostname or "", ssl.create_default_context()
        if parts.scheme == "smtps":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                host, parts.port or 465, timeout=TIMEOUT_SECONDS, context=secured
            )
        else:
            server = smtplib.SMTP(host, parts.port or 587, timeout=TIMEOUT_SECONDS)
        try:
            encrypted = parts.scheme == "smtps"
            server.ehlo_or_helo_if_needed()
            if not encrypted and server.has_extn("starttls"):
                server.starttls(context=secured)
                encrypted = True
            if parts.username:
                if not encrypted and host not in _HERE:
                    raise smtplib.SMTPException("no encryption, so no password is sent")
                server.login(unquote(parts.username), unquote(parts.password or ""))
        except Exception:
            server.close()
            raise
        return server
