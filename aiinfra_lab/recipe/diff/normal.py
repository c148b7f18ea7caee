"""A cell's outputs without what differs at each execution, so that two that mean the same are equal.

nbval compares texts as they are, and reports progress bars, warnings (whose path holds the kernel's pid),
`clear_output` and updates of displays as differences each time.
"""

from __future__ import annotations

import hashlib
import re
import struct
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

NormalOutput = tuple[str, str]
"""What it is (stdout, stderr, error, or a MIME type), and its content."""

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TIME = r"\d+(?:\.\d+)? ?(?:ns|µs|μs|us|ms|s|min|h)\b"
# In this order: a later one sees what an earlier one has left. Each is what no two executions have in common.
_VARYING: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), stands)
    for pattern, stands in (
        # The rest of a bar of tqdm: the time so far, what is left, and the rate.
        (r"\[\d+:\d+(?::\d+)?<[^\]\n]*\]", "[time]"),
        (r"\|[ #█▏▎▍▌▋▊▉\u2800-\u28ff]{4,}\|", "|bar|"),
        (r"(?<![\w])[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "(id)"),
        (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?", "(time)"),
        (r"\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b", "(time)"),
        (r"0x[0-9a-fA-F]{6,}", "0x…"),
        (r"\bipykernel_\d+[/\\]\d+\.py", "ipykernel.py"),
        (r"(?i)\b(pid|process)(\W{1,3})\d+", r"\1\2(pid)"),
        (r"(?<=/)tmp/[\w.-]+", "tmp/…"),
        # Styler of pandas names its table by chance.
        (r"\bT_[0-9a-f]{5}(?=[_\" ])", "T_…"),
        # Unlike a count, a duration is never the same. Not `5 s` in the middle of an identifier.
        (rf"(?<![\w.]){_TIME}(?:[ ,]?{_TIME})*", "(duration)"),
        (r"(?<=[(\s])\d+(?:\.\d+)? ?(?:it|iter|row|rows|B|KB|MB|KiB|MiB)/s", "(rate)"),
    )
)
_SHOWN = ("text/html", "text/markdown", "text/latex", "application/json", "text/plain")
_PICTURES = ("image/png", "image/jpeg", "image/svg+xml")
_CHUNKS_OF_MEANING = (b"IHDR", b"PLTE", b"IDAT", b"tRNS")
_PNG = b"\x89PNG\r\n\x1a\n"


def normal_text(text: str, own: Mapping[str, str] | None = None) -> str:
    """A text without colours, with what `\\r` has left of each line, and without what differs each time.

    own: names of the run itself → what stands for them, e.g. `recipe:late@41` → `recipe:late@run`
    """
    for name, stands in (own or {}).items():
        text = text.replace(name, stands)
    text = "\n".join(_last_state(line) for line in _COLOUR.sub("", text).split("\n"))
    for pattern, stands in _VARYING:
        text = pattern.sub(stands, text)
    return "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")


def normal_outputs(outputs: Iterable[Mapping[str, Any]], own: Mapping[str, str] | None = None) -> list[NormalOutput]:
    """The outputs of a cell: each stream in one piece, whatever pieces it came in; of a display its richest form."""
    streams: dict[str, str] = {}
    others: list[NormalOutput] = []
    for output in outputs:
        if output["output_type"] == "stream":
            streams[output["name"]] = streams.get(output["name"], "") + _joined(output["text"])
        elif output["output_type"] == "error":
            # Not its traceback, whose lines move with every edit above.
            others.append(("error", normal_text(f"{output['ename']}: {output['evalue']}", own)))
        else:
            others += _of_display(output.get("data", {}), own)
    found = [(name, normal_text(text, own)) for name, text in sorted(streams.items(), reverse=True)]
    return [each for each in (*found, *others) if each[1]]


def _of_display(data: Mapping[str, Any], own: Mapping[str, str] | None) -> Iterator[NormalOutput]:
    for kind in _PICTURES:
        if kind in data:
            yield kind, _of_picture(kind, _joined(data[kind]), own)
            return
    for kind in _SHOWN:
        if kind in data:
            content = data[kind]
            yield kind, normal_text(content if isinstance(content, str) else _joined_any(content), own)
            return


def _of_picture(kind: str, content: str, own: Mapping[str, str] | None) -> str:
    """Its digest: of a PNG without the chunks that name the time and the program; SVG is a text."""
    if kind == "image/svg+xml":
        return hashlib.sha256(normal_text(content, own).encode()).hexdigest()
    try:
        image = b64decode(content)
    except ValueError:
        return content
    kept = b"".join(_chunks(image)) if image.startswith(_PNG) else image
    return hashlib.sha256(kept).hexdigest()


def _chunks(image: bytes) -> Iterator[bytes]:
    at = len(_PNG)
    while at + 8 <= len(image):
        (length,) = struct.unpack_from(">I", image, at)
        name = image[at + 4 : at + 8]
        if name in _CHUNKS_OF_MEANING:
            yield name + image[at + 8 : at + 8 + length]
        at += length + 12


def _last_state(line: str) -> str:
    """What a terminal shows of a line in which the cursor went back to its begin."""
    shown = ""
    for part in line.rstrip("\r").split("\r"):
        shown = part + shown[len(part) :]
    return shown


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def _joined_any(content: Any) -> str:
    if isinstance(content, list) and all(isinstance(each, str) for each in content):
        return "".join(content)
    import json

    return json.dumps(content, sort_keys=True)
