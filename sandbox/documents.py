"""A PDF of plain lines, by hand: enough for an invoice that opens in any reader."""

from __future__ import annotations

from collections.abc import Iterable

_TOP, _LEFT, _LEADING = 790, 56, 16
_LINES_MAX = 46


def pdf(lines: Iterable[str]) -> bytes:
    """Set lines of text on A4 pages, in one face and size."""
    every = list(lines) or [""]
    pages = [every[start : start + _LINES_MAX] for start in range(0, len(every), _LINES_MAX)]
    kids = " ".join(f"{4 + 2 * index} 0 R" for index in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for index, page in enumerate(pages):
        stream = _stream(page)
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] "
            b"/Resources << /Font << /F1 3 0 R >> >> "
            + f"/Contents {5 + 2 * index} 0 R >>".encode()
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n".encode() + stream + b"\nendstream")
    return _file(objects)


def _stream(lines: list[str]) -> bytes:
    shown = b"".join(b"(" + _text(line) + b") Tj T*\n" for line in lines)
    return f"BT /F1 11 Tf {_LEADING} TL {_LEFT} {_TOP} Td\n".encode() + shown + b"ET"


def _text(line: str) -> bytes:
    raw = line.encode("cp1252", "replace")
    return raw.replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")


def _file(objects: list[bytes]) -> bytes:
    body, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n".encode() + content + b"\nendobj\n"
    table = b"".join(f"{offset:010} 00000 n \n".encode() for offset in offsets)
    size = len(objects) + 1
    return (
        body
        + f"xref\n0 {size}\n0000000000 65535 f \n".encode()
        + table
        + f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n".encode()
    )
