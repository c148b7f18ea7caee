"""What counts of a display: its richest form, and besides that whatever only some front ends can show."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_SHOWN = ("text/html", "text/markdown", "text/latex", "application/json")
_PICTURES = ("image/png", "image/jpeg", "image/svg+xml")
_PLAIN = "text/plain"
# A widget's view has but the id of its model, which is drawn by chance.
_KNOWN = {*_SHOWN, *_PICTURES, _PLAIN, "application/vnd.jupyter.widget-view+json"}
_CHUNKS_OF_MEANING = (b"IHDR", b"PLTE", b"IDAT", b"tRNS")
_PNG = b"\x89PNG\r\n\x1a\n"
_SVG_DATE = re.compile(r"<dc:date>[^<]*</dc:date>")
_SVG_ID = re.compile(r"\b[A-Za-z][0-9a-f]{10}\b")  # as matplotlib draws them


def display_contents(data: Mapping[str, Any], normal: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """Each MIME type that counts, and what stands for its content. normal: takes out of a text what varies."""
    richest = next((kind for kind in (*_PICTURES, *_SHOWN) if kind in data), "")
    kinds = [*filter(None, [richest]), *sorted(data.keys() - _KNOWN)] or [_PLAIN]
    yield from ((kind, _content(kind, data[kind], normal)) for kind in kinds if kind in data)


def _content(kind: str, content: Any, normal: Callable[[str], str]) -> str:
    is_json = kind.endswith("json")
    if isinstance(content, list) and not is_json:
        content = "".join(map(str, content))
    if not isinstance(content, str):
        return normal(json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False))
    if kind == "image/svg+xml":
        return hashlib.sha256(normal(_of_svg(content)).encode()).hexdigest()
    if is_json or kind.startswith("text/") or kind.endswith(("javascript", "+xml")):
        return normal(content)
    return _of_binary(content)


def _of_svg(content: str) -> str:
    """Without its date, and with its ids by their order."""
    ids: dict[str, str] = {}
    return _SVG_ID.sub(lambda found: ids.setdefault(found[0], f"id-{len(ids)}"), _SVG_DATE.sub("", content))


def _of_binary(content: str) -> str:
    """Its digest: of a PNG without the chunks that name the time and the program."""
    try:
        whole = b64decode(content)
    except ValueError:
        return content
    return hashlib.sha256(b"".join(_chunks(whole)) if whole.startswith(_PNG) else whole).hexdigest()


def _chunks(image: bytes) -> Iterator[bytes]:
    at = len(_PNG)
    while at + 8 <= len(image):
        (length,) = struct.unpack_from(">I", image, at)
        name = image[at + 4 : at + 8]
        if name in _CHUNKS_OF_MEANING:
            yield name + image[at + 8 : at + 8 + length]
        at += length + 12
