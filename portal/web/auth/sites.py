"""The portal as a device with passkeys knows it: a host by name, never by number."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import request

from portal.access.passkeys import Site
from portal.web.security import HERE
from portal.web.services import services

#: What a machine calls itself: the one name that browsers take passkeys for without https.
THIS_MACHINE = "localhost"


def here() -> Site | None:
    """Return the site of this request, or None where it has no name that passkeys can be for."""
    settings = services().settings
    base = urlsplit(settings.portal_base_url)
    host, port = base.hostname or "", f":{base.port}" if base.port else ""
    if host in HERE:
        asked = urlsplit(f"//{request.host}").hostname
        return (
            Site(THIS_MACHINE, settings.brand.name, f"{base.scheme}://{THIS_MACHINE}{port}")
            if asked == THIS_MACHINE
            else None
        )
    try:
        ip_address(host)
    except ValueError:
        return Site(host, settings.brand.name, f"{base.scheme}://{host}{port}")
    return None
