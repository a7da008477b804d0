"""Signing in by an OpenID provider: the code flow with PKCE, a state and a nonce.

Invariant: an address counts only where the provider signed it for this portal, for this one visit,
and says that it checked it. The provider is never called while a transaction is open.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast
from urllib.parse import urlsplit

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from portal.access import tokens
from portal.config import Settings
from portal.core.errors import Unauthenticated, Unavailable
from portal.db import Database, in_transaction
from portal.ids import new_secret

#: How long a connection to the provider may take, and then its answer.
TIMEOUT_SECONDS = (4, 10)
#: How long somebody may take at the provider.
PATIENCE = timedelta(minutes=10)
#: How far the provider's clock may be off.
LEEWAY_SECONDS = 60
#: How long its addresses and keys are kept; a key that is not among them is asked for at once.
KEPT_SECONDS = 3600
#: Only keys that a provider keeps to itself: the client's secret signs nobody in.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
_REFUSED = "The sign-in did not go through: what came back does not fit. Begin again."
_DOWN = "The sign-in service does not answer. Try again in a minute, or sign in another way."
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Departure:
    """Where to send somebody, and what must come back with them."""

    url: str
    state: str
    nonce: str
    verifier: str
    expires_at: datetime


class Provider:
    """The OpenID provider of an application, where one is set."""

    def __init__(self, settings: Settings) -> None:
        self.issuer = settings.oidc_issuer
        self.configured = bool(self.issuer)
        self._client = (settings.oidc_client_id, settings.oidc_client_secret)
        self._return_to = f"{settings.portal_base_url}/sign-in/provider/back"
        self._known: tuple[float, dict[str, Any], KeySet] | None = None

    def depart(self, *, now: datetime) -> Departure:
        """Return the way to the provider. Raises Unavailable."""
        state, nonce, verifier = new_secret(), new_secret(), new_secret()
        with self._calling():
            metadata, _ = self._provider()
            url, _ = self._session(metadata).create_authorization_url(
                metadata["authorization_endpoint"],
                state=state,
                nonce=nonce,
                code_verifier=verifier,
            )
        return Departure(url, state, nonce, verifier, now + PATIENCE)

    def arrive(
        self, database: Database, departure: Departure, *, state: str, code: str, now: datetime
    ) -> str:
        """Return the address the provider vouches for.

        Raises Unauthenticated where anything does not fit or came before, Unavailable where the
        provider does not answer.
        """
        if not hmac.compare_digest(state.encode(), departure.state.encode()) or not code:
            raise Unauthenticated(_REFUSED)
        with database.transaction() as tx:
            tokens.spend(
                tx,
                state,
                purpose=tokens.PROVIDER_STATE,
                expires_at=departure.expires_at,
                now=now,
            )
        with self._calling():
            metadata, _ = self._provider()
            with self._session(metadata) as session:
                answer = session.fetch_token(
                    metadata["token_endpoint"],
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=departure.verifier,
                )
                claims = self._claims(str(answer["id_token"]), departure.nonce, answer, now=now)
                if "email" not in claims and "userinfo_endpoint" in metadata:
                    claims = _joined(claims, session.get(metadata["userinfo_endpoint"]).json())
        return _address(claims)

    def _claims(
        self, id_token: str, nonce: str, answer: dict[str, Any], *, now: datetime
    ) -> dict[str, Any]:
        """Return what the provider signed. Raises JoseError where it does not fit."""
        try:
            decoded = jwt.decode(id_token, self._provider()[1], algorithms=list(ALGORITHMS))
        except InvalidKeyIdError:
            decoded = jwt.decode(
                id_token, self._provider(anew=True)[1], algorithms=list(ALGORITHMS)
            )
        claims = CodeIDToken(
            decoded.claims,
            decoded.header,
            {
                "iss": {"essential": True, "value": self.issuer},
                "aud": {"essential": True, "value": self._client[0]},
                "nonce": {"essential": True},
            },
            {
                "nonce": nonce,
                "client_id": self._client[0],
                "access_token": answer.get("access_token"),
            },
        )
        claims.validate(now=int(now.timestamp()), leeway=LEEWAY_SECONDS)
        return cast(dict[str, Any], claims)

    def _session(self, metadata: dict[str, Any]) -> OAuth2Session:
        methods = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        return OAuth2Session(
            *self._client,
            scope="openid email",
            redirect_uri=self._return_to,
            code_challenge_method="S256",
            token_endpoint_auth_method="client_secret_basic"
            if "client_secret_basic" in methods
            else "client_secret_post",
            default_timeout=TIMEOUT_SECONDS,
        )

    def _provider(self, *, anew: bool = False) -> tuple[dict[str, Any], KeySet]:
        """Return the provider's addresses and keys."""
        known = self._known
        if known is not None and not anew and time.monotonic() < known[0]:
            return known[1], known[2]
        metadata = _fetched(f"{self.issuer}/.well-known/openid-configuration")
        if str(metadata["issuer"]).rstrip("/") != self.issuer.rstrip("/"):
            raise Unavailable(_DOWN)
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            _check_secure(metadata[name])
        keys = KeySet.import_key_set(cast(Any, _fetched(metadata["jwks_uri"])))
        self._known = (time.monotonic() + KEPT_SECONDS, metadata, keys)
        return metadata, keys

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """Turn the provider's failures into ours: it is down, or what it says does not fit."""
        if in_transaction():
            raise AssertionError("the provider must not be called while a transaction is open")
        if not self.configured:
            raise Unavailable("Single sign-on is not set up here.")
        try:
            yield
        except (requests.RequestException, requests.exceptions.JSONDecodeError) as error:
            raise Unavailable(_DOWN) from error
        except (JoseError, AuthlibBaseError, KeyError, ValueError, TypeError) as error:
            raise Unauthenticated(_REFUSED) from error


def _fetched(url: str) -> dict[str, Any]:
    answer = requests.get(url, timeout=TIMEOUT_SECONDS, allow_redirects=False)
    if not answer.ok or answer.is_redirect:
        raise Unavailable(_DOWN)
    found = answer.json()
    if not isinstance(found, dict):
        raise Unavailable(_DOWN)
    return found


def _check_secure(url: object) -> None:
    parts = urlsplit(str(url))
    if parts.scheme != "https" and parts.hostname not in _HERE:
        raise Unavailable(_DOWN)


def _joined(claims: dict[str, Any], more: object) -> dict[str, Any]:
    """Return claims with what the provider tells of the same person besides."""
    if not isinstance(more, dict) or more.get("sub") != claims["sub"]:
        raise Unauthenticated(_REFUSED)
    return {**claims, **more}


def _address(claims: dict[str, Any]) -> str:
    email = claims.get("email")
    verified = claims.get("email_verified")
    # Some providers write it as text. Nothing else that is like true will do.
    if not isinstance(email, str) or (verified is not True and verified != "true"):
        raise Unauthenticated(
            "Your sign-in service has not checked your mail address, so it cannot be taken for "
            "yours. Have it checked there, or sign in another way."
        )
    return email.strip().lower()
