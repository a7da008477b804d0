"""The operator's dress of the pages: their accent as a small style sheet, and their logo.

Open to anybody, since the door wears it too. Invariant: whatever accent is set, text in it and on
it can be read in both themes.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from flask import Blueprint, Response, abort

from portal.config import Brand
from portal.core.colour import BLACK, WHITE, Colour, colour, mixed, on, readable
from portal.web.services import services

blueprint = Blueprint("brand", __name__)

#: What the accent stands on in each theme, as the style sheet has it: panel, page, well.
LIGHT = tuple(map(colour, ("#ffffff", "#f6f7f9", "#f6f7f9")))
DARK = tuple(map(colour, ("#16191f", "#0e1014", "#111419")))
#: How much of the accent is in the wash that tags and badges stand on.
_WASH_LIGHT, _WASH_DARK = 0.08, 0.18
#: Its address names its content, so that it may be kept for good.
_KEPT = "public, max-age=31536000, immutable"
#: What a logo may be, by the end of its file's name.
TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".webp": "image/webp"}


def theme(accent: Colour, surfaces: tuple[Colour, ...], *, away: Colour) -> dict[str, Colour]:
    """Return the accent, what is written on it, and its wash, for one theme."""
    wash = mixed(surfaces[0], accent, _WASH_LIGHT if away == BLACK else _WASH_DARK)
    shown = readable(accent, (*surfaces, wash), away=away)
    return {"accent": shown, "on-accent": on(shown), "wash": wash}


@lru_cache(maxsize=8)
def sheet_of(accent: str) -> str:
    """Return the style sheet that puts an accent in the place of the usual one."""
    light = theme(colour(accent), LIGHT, away=BLACK)
    dark = theme(colour(accent), DARK, away=WHITE)
    written = [
        "".join(f"--{name}:{value};" for name, value in one.items()) for one in (light, dark)
    ]
    mark = ".mark{background:var(--accent)}"
    return (
        f":root{{{written[0]}}}{mark}"
        f"@media(prefers-color-scheme:dark){{:root{{{written[1]}}}}}"
        f"@media print{{:root{{{written[0]}}}}}\n"
    )


@lru_cache(maxsize=8)
def version(brand: Brand) -> str:
    """Return what changes whenever the accent or the logo does, for their addresses."""
    logo = Path(brand.logo_file).read_bytes() if brand.logo_file else b""
    return hashlib.sha256(brand.accent.encode() + logo).hexdigest()[:12]


@blueprint.get("/brand.css")
def sheet() -> Response:
    """Send the accent."""
    accent = services().settings.brand.accent
    if not accent:
        abort(404)
    return _kept(Response(sheet_of(accent), content_type="text/css; charset=utf-8"))


@blueprint.get("/brand/logo")
def logo() -> Response:
    """Send the logo."""
    name = services().settings.brand.logo_file
    if not name:
        abort(404)
    path = Path(name)
    return _kept(Response(path.read_bytes(), content_type=TYPES[path.suffix.lower()]))


def _kept(response: Response) -> Response:
    response.headers["Cache-Control"] = _KEPT
    return response
