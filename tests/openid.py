"""A small OpenID provider over real HTTP: it signs whoever it is told to, well or not."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from joserfc import jwt
from joserfc.jwk import RSAKey
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

CLIENT_ID, CLIENT_SECRET = "clearmeter", "a secret of the client's"


@dataclass
class OpenIdProvider:
    """Whom it vouches for and how; what it was asked."""

    clock: Callable[[], datetime]
    issuer: str = ""
    email: str = "ana@acme.example"
    verified: object = True
    #: Claims that replace the right ones.
    claims: dict[str, Any] = field(default_factory=dict)
    in_userinfo: bool = False
    fails: bool = False
    #: What signs an ID token, and what it says signs it.
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "first"}))
    signs_with: RSAKey | None = None
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    verifiers: list[str] = field(default_factory=list)

    def __call__(self, environ: Any, start: Any) -> Any:
        """Answer as a WSGI application."""
        request = Request(environ)
        self.asked.append(request.path)
        pages = {
            "/.well-known/openid-configuration": self._metadata,
            "/keys": self._keys,
            "/authorize": self._authorize,
            "/token": self._token,
            "/userinfo": self._userinfo,
        }
        if self.fails:
            return Response("down", 503)(environ, start)
        return pages[request.path](request)(environ, start)

    def _metadata(self, _request: Request) -> Response:
        return _json(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    def _keys(self, _request: Request) -> Response:
        return _json({"keys": [self.key.as_dict(private=False, use="sig", alg="RS256")]})

    def _authorize(self, request: Request) -> Response:
        code = secrets.token_urlsafe(8)
        self.codes[code] = dict(request.args)
        back = urlencode({"code": code, "state": request.args["state"]})
        return Response(status=302, headers={"Location": f"{request.args['redirect_uri']}?{back}"})

    def _token(self, request: Request) -> Response:
        asked = self.codes.pop(request.form["code"], None)
        verifier = request.form["code_verifier"]
        self.verifiers.append(verifier)
        digest = hashlib.sha256(verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        known = request.authorization
        if (
            asked is None
            or asked["code_challenge"] != challenge
            or asked["code_challenge_method"] != "S256"
            or asked["redirect_uri"] != request.form["redirect_uri"]
            or known is None
            or (known.username, known.password) != (CLIENT_ID, CLIENT_SECRET)
        ):
            return _json({"error": "invalid_grant"}, 400)
        return _json(
            {"access_token": "access", "token_type": "Bearer", "id_token": self._signed(asked)}
        )

    def _signed(self, asked: dict[str, str]) -> str:
        now = int(self.clock().timestamp())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "sub": "248289",
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
        }
        if not self.in_userinfo:
            claims |= {"email": self.email, "email_verified": self.verified}
        key = self.signs_with or self.key
        return jwt.encode({"alg": "RS256", "kid": key.kid}, claims | self.claims, key)

    def _userinfo(self, request: Request) -> Response:
        if request.headers["Authorization"] != "Bearer access":
            return Response(status=401)
        return _json({"sub": "248289", "email": self.email, "email_verified": self.verified})


def _json(document: object, status: int = 200) -> Response:
    return Response(json.dumps(document), status, content_type="application/json")


class _Quiet(WSGIRequestHandler):
    def log(self, type_: str, message: str, *args: Any) -> None:
        pass


@contextmanager
def open_id(clock: Callable[[], datetime]) -> Iterator[OpenIdProvider]:
    """Serve a provider on a free port."""
    provider = OpenIdProvider(clock)
    server = make_server("127.0.0.1", 0, provider, threaded=True, request_handler=_Quiet)
    provider.issuer = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
