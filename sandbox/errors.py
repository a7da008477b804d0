"""Refusals, in the envelope and with the status codes that Stripe uses.

Every refusal of the API is an ``ApiError``; whatever else is raised is a fault of the sandbox.
"""

from __future__ import annotations

from typing import Any

DOCUMENTATION = "https://stripe.com/docs/error-codes/"


class ApiError(Exception):
    """A request refused: a status, a type, a code and a sentence that says what to do."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        decline_code: str | None = None,
        about: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.code = code
        self.param = param
        self.decline_code = decline_code
        self.about = about or {}  # the objects that the refusal shows beside its words

    def body(self) -> dict[str, Any]:
        """Return what stands under ``error`` in the answer."""
        told: dict[str, Any] = {"message": self.message, "type": self.kind}
        if self.code:
            told["code"] = self.code
            told["doc_url"] = DOCUMENTATION + self.code.replace("_", "-")
        if self.param:
            told["param"] = self.param
        if self.decline_code:
            told["decline_code"] = self.decline_code
        return {**told, **self.about}


def parameter_missing(param: str) -> ApiError:
    """Refuse a request that lacks a parameter it needs."""
    return ApiError(f"Missing required param: {param}.", code="parameter_missing", param=param)


def parameter_unknown(param: str) -> ApiError:
    """Refuse a parameter that this request does not take."""
    return ApiError(f"Received unknown parameter: {param}", code="parameter_unknown", param=param)


def parameter_invalid(param: str, message: str, code: str | None = None) -> ApiError:
    """Refuse a parameter whose value does not fit."""
    return ApiError(message, code=code, param=param)


def resource_missing(noun: str, identifier: str, param: str | None) -> ApiError:
    """Refuse an id nobody has: 404 where it stood in the path, 400 where it was a parameter."""
    return ApiError(
        f"No such {noun}: '{identifier}'",
        status=400 if param else 404,
        code="resource_missing",
        param=param or "id",
    )


def url_unrecognized(method: str, path: str) -> ApiError:
    """Refuse a path that Stripe has not, or that the sandbox does not play."""
    return ApiError(
        f"Unrecognized request URL ({method}: {path}). The sandbox plays only a part of the API.",
        status=404,
    )


def key_refused(message: str) -> ApiError:
    """Refuse the key that came with a request."""
    return ApiError(message, status=401)


def card_declined(message: str, decline_code: str) -> ApiError:
    """Say that the card's issuer would not pay; the wish to authenticate has a code of its own."""
    own = decline_code == "authentication_required"
    code = decline_code if own else "card_declined"
    return ApiError(message, status=402, kind="card_error", code=code, decline_code=decline_code)


def intent_unexpected(noun: str, status: str, verb: str, allowed: str) -> ApiError:
    """Refuse what an intent in this status does not take."""
    return ApiError(
        f"You cannot {verb} this {noun} because it has a status of {status}. "
        f"Only a {noun} with one of the following statuses may be {verb}ed: {allowed}.",
        code=_unexpected(noun),
    )


def lacks_method(noun: str) -> ApiError:
    """Refuse to confirm an intent that has nothing to pay or set up with."""
    return ApiError(
        f"You cannot confirm this {noun} because it's missing a payment method. Update the {noun} "
        "with a payment method and then confirm it again.",
        code=_unexpected(noun),
    )


def _unexpected(noun: str) -> str:
    return f"{'payment' if noun == 'PaymentIntent' else 'setup'}_intent_unexpected_state"


def idempotency_conflict(message: str, *, status: int, code: str | None = None) -> ApiError:
    """Refuse an idempotency key that is in use, or was used for something else."""
    return ApiError(message, status=status, kind="idempotency_error", code=code)
