"""Settings, read once from the environment. A missing or malformed one stops the start by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from portal.core.errors import ConfigError

#: Refused outside the demo, however it got there.
DEMO_SECRET_KEY = "demo-only-not-a-secret-demo-only"  # noqa: S105  # named so that it can be refused


@dataclass(frozen=True)
class Brand:
    """The operator's name and support address, as their customers see them."""

    name: str = "Clearmeter"
    support_url: str = ""


@dataclass(frozen=True)
class Settings:
    """What a process needs to know before it serves."""

    database_url: str
    secret_key: str
    portal_base_url: str
    stripe_secret_key: str = ""
    stripe_webhook_secrets: tuple[str, ...] = ()
    stripe_api_base: str = ""
    stripe_automatic_tax: bool = False
    catalog_file: str = ""
    demo: bool = False
    trusted_proxies: int = 0
    brand: Brand = Brand()
    mail_url: str = ""
    mail_from: str = "no-reply@localhost"
    oidc_issuer: str = ""
    oidc_client_id: str = ""
    oidc_client_secret: str = ""

    @property
    def secure_cookies(self) -> bool:
        """Whether the portal is reached by https, so that cookies may demand it."""
        return self.portal_base_url.startswith("https://")

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Read the environment. Raises ConfigError with one line that names the setting."""
        demo = env.get("CLEARMETER_DEMO") == "1"
        return cls(
            database_url=_database_url(env),
            secret_key=_secret_key(env, demo),
            portal_base_url=_base_url(env, demo),
            stripe_secret_key=_stripe_key(env),
            stripe_webhook_secrets=tuple(
                env.get("STRIPE_WEBHOOK_SECRET", "").replace(",", " ").split()
            ),
            stripe_api_base=_optional_url(env, "STRIPE_API_BASE"),
            stripe_automatic_tax=_switch(env, "STRIPE_AUTOMATIC_TAX"),
            catalog_file=env.get("CATALOG_FILE", ""),
            demo=demo,
            trusted_proxies=_hops(env),
            brand=Brand(
                env.get("BRAND_NAME", "Clearmeter"), _optional_url(env, "BRAND_SUPPORT_URL")
            ),
            mail_url=_mail_url(env),
            mail_from=_mail_from(env),
            **_oidc(env),
        )


def _database_url(env: Mapping[str, str]) -> str:
    url = env.get("DATABASE_URL", "")
    if not url:
        raise ConfigError(
            "DATABASE_URL is missing: set it to sqlite:////path/to/file.db "
            "or postgresql+psycopg://user:password@host/database"
        )
    if not re.match(r"(sqlite:///|postgresql\+psycopg://)", url):
        raise ConfigError(
            "DATABASE_URL is malformed: it must begin with sqlite:/// or postgresql+psycopg://"
        )
    if url.startswith("sqlite:///"):
        folder = Path(url.removeprefix("sqlite:///")).parent
        if not folder.is_dir():
            raise ConfigError(f"DATABASE_URL names a file in {folder}, which is no folder: make it")
    return url


def _secret_key(env: Mapping[str, str], demo: bool) -> str:
    key = env.get("SECRET_KEY", "")
    if demo:
        return key or DEMO_SECRET_KEY
    if not key:
        raise ConfigError(
            "SECRET_KEY is missing: set it to at least 32 random characters, for example from "
            "python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
        )
    if key == DEMO_SECRET_KEY or len(key) < 32 or len(set(key)) < 8:
        raise ConfigError(
            "SECRET_KEY is refused: it is the demo's, too short or too plain; "
            "use at least 32 random characters"
        )
    return key


def _base_url(env: Mapping[str, str], demo: bool) -> str:
    url = env.get("PORTAL_BASE_URL", "")
    if not url:
        raise ConfigError(
            "PORTAL_BASE_URL is missing: set it to the address customers use, "
            "such as https://billing.example.com"
        )
    parts = urlsplit(url)
    local = parts.hostname in {"localhost", "127.0.0.1", "::1"}
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path not in {"", "/"}:
        raise ConfigError("PORTAL_BASE_URL is malformed: expected https://host without a path")
    if parts.scheme == "http" and not local and not demo:
        raise ConfigError("PORTAL_BASE_URL must begin with https:// except on this machine")
    return url.rstrip("/")


def _hops(env: Mapping[str, str]) -> int:
    hops = env.get("TRUSTED_PROXIES", "0")
    if not re.fullmatch(r"\d", hops, re.ASCII):
        raise ConfigError(
            "TRUSTED_PROXIES is malformed: expected how many proxies of yours stand in front, "
            "0 to 9"
        )
    return int(hops)


def _stripe_key(env: Mapping[str, str]) -> str:
    key = env.get("STRIPE_SECRET_KEY", "")
    if key and not re.match(r"(sk|rk)_(test|live)_\w+", key):
        raise ConfigError("STRIPE_SECRET_KEY is malformed: expected sk_test_… or sk_live_…")
    return key


def _mail_url(env: Mapping[str, str]) -> str:
    url = env.get("MAIL_URL", "")
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"smtp", "smtps"} and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if url and (not good or parts.path not in {"", "/"} or parts.query or parts.fragment):
        raise ConfigError(
            "MAIL_URL is malformed: expected smtp://user:password@host:port or smtps://…, "
            "with special characters of the password written as %40"
        )
    return url


def _mail_from(env: Mapping[str, str]) -> str:
    host = urlsplit(env.get("PORTAL_BASE_URL", "")).hostname
    sender = env.get("MAIL_FROM", "") or f"no-reply@{host}"
    if not re.fullmatch(r"[^@\s<>,;:\"]+@[^@\s<>,;\"]+", sender):
        raise ConfigError("MAIL_FROM is malformed: expected an address such as billing@example.com")
    return sender


def _oidc(env: Mapping[str, str]) -> dict[str, str]:
    names = ("OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET")
    missing = [name for name in names if not env.get(name)]
    if len(missing) == len(names):
        return {}
    if missing:
        raise ConfigError(f"{missing[0]} is missing: set all of {', '.join(names)}, or none")
    parts = urlsplit(env["OIDC_ISSUER"])
    local = parts.hostname in {"localhost", "127.0.0.1", "::1"}
    if not parts.hostname or (parts.scheme != "https" and not (parts.scheme == "http" and local)):
        raise ConfigError("OIDC_ISSUER is malformed: expected https://… as the provider writes it")
    return {name.lower(): env[name] for name in names}


def _switch(env: Mapping[str, str], name: str) -> bool:
    value = env.get(name, "") or "off"
    if value not in {"on", "off"}:
        raise ConfigError(f"{name} is malformed: expected on or off")
    return value == "on"


def _optional_url(env: Mapping[str, str], name: str) -> str:
    url = env.get(name, "")
    if url and not re.match(r"https?://[^/\s]+", url):
        raise ConfigError(f"{name} is malformed: expected a URL such as https://example.com")
    return url.rstrip("/")
