"""Signing in and out: a password, a link from the mail or the product, a passkey, a provider."""

from __future__ import annotations

from portal.web.auth import by_mail, choosing, passkeys, provider
from portal.web.auth.door import blueprint

__all__ = ["blueprint", "by_mail", "choosing", "passkeys", "provider"]
