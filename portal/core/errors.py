"""The small tree of errors a caller can meet.

Each has a stable code, an HTTP status and a sentence that says what to do. ``fields`` are the
members an API answer carries beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class ClearmeterError(Exception):
    """The root: anything a caller is told about."""

    code = "invalid-request"
    status = 422
    title = "The request cannot be taken"

    def __init__(self, detail: str, **fields: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fields = fields


@dataclass(frozen=True)
class FieldError:
    """One field that is wrong: a JSON pointer and what is expected there."""

    pointer: str
    detail: str


class InvalidRequest(ClearmeterError):
    """A body or a parameter that does not fit; ``errors`` names each field."""

    def __init__(self, detail: str, errors: list[FieldError] | None = None) -> None:
        listed = [{"pointer": e.pointer, "detail": e.detail} for e in errors or []]
        super().__init__(detail, **({"errors": listed} if listed else {}))

    @classmethod
    def at(cls, pointer: str, detail: str) -> InvalidRequest:
        """Return the error of a single field."""
        return cls(f"{pointer or 'The body'} {detail}.", [FieldError(pointer, detail)])


class CapExists(InvalidRequest):
    """A cap that would count the same in the same way as ``cap``, which is in force."""

    def __init__(self, cap_id: str, mode: str) -> None:
        super().__init__(
            f"There is already a {mode} cap for the same scope, action and window. Change that one."
        )
        self.fields["cap"] = cap_id


class Undecodable(ClearmeterError):
    """A body that is not what OTLP sends, which OTLP answers with 400: never to be sent again."""

    status = 400


class UnsupportedMediaType(ClearmeterError):
    """A body of a kind that is not taken."""

    code = "unsupported-media-type"
    status = 415
    title = "This kind of body is not taken"


class InvalidEvent(InvalidRequest):
    """An event that cannot be taken."""

    code = "invalid-event"
    title = "The event cannot be taken"


class UnknownAction(ClearmeterError):
    """The price book in force has no such action, so there is no price."""

    code = "unknown-action"
    title = "No price for this action"


class NotFound(ClearmeterError):
    """An object that does not exist, or is another organization's: the caller cannot tell which."""

    code = "unknown-object"
    status = 404
    title = "Not found"

    def __init__(self, noun: str, identifier: str) -> None:
        super().__init__(f"There is no {noun} {identifier!r} here. Check the id and the key.")
        self.code = f"unknown-{noun.replace(' ', '-')}"


class InsufficientCredits(ClearmeterError):
    """The balance does not cover the work."""

    code = "insufficient-credits"
    status = 402
    title = "Not enough credits"


class InDebt(ClearmeterError):
    """Credits were taken back after they were spent; paying in settles it first."""

    code = "debt"
    status = 402
    title = "Credits are owed"


class CapReached(ClearmeterError):
    """A hard cap has no room for the work."""

    code = "cap-reached"
    status = 402
    title = "A cap is reached"


class PaymentOverdue(ClearmeterError):
    """A payment for the plan is overdue beyond its grace; new work waits until it is paid."""

    code = "payment-overdue"
    status = 402
    title = "A payment is overdue"


class IdempotencyConflict(ClearmeterError):
    """The same key came with another body."""

    code = "idempotency-conflict"
    status = 409
    title = "This key was used for another request"


class EventConflict(ClearmeterError):
    """The same (source, id) came with other content; the first stands."""

    code = "event-conflict"
    status = 409
    title = "Another event has this identity"


class AuthorizationSettled(ClearmeterError):
    """The authorization ended by another call; ``original`` is how."""

    code = "authorization-settled"
    status = 409
    title = "This authorization has ended"


class Unauthenticated(ClearmeterError):
    """No key, or not one that is in force."""

    code = "unauthenticated"
    status = 401
    title = "Sign-in needed"


class NotAllowed(ClearmeterError):
    """The caller is known but may not do this."""

    code = "not-allowed"
    status = 403
    title = "Not allowed"


class PayloadTooLarge(ClearmeterError):
    """A body or a batch over the limit."""

    code = "payload-too-large"
    status = 413
    title = "Too large"


class RateLimited(ClearmeterError):
    """Too many requests in a short time."""

    code = "rate-limited"
    status = 429
    title = "Too many requests"


class Unavailable(ClearmeterError):
    """The store, or Stripe, does not answer; nothing was done."""

    code = "unavailable"
    status = 503
    title = "Unavailable for a moment"


class CatalogError(ClearmeterError):
    """A price book that cannot be loaded; names the line, the key and what is expected."""

    code = "invalid-catalog"
    title = "The price book cannot be loaded"


class ConfigError(Exception):
    """A setting that is missing or malformed; the message is one line that names it."""
