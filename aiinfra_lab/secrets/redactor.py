"""Takes secrets out of texts, and says which it was in their place: `[secret HF_TOKEN]`.

A value is found as it is and in the forms that programs put it into: base64 (also in the middle of a longer one, as in
a header of HTTP), hexadecimal, URL-encoded, and as JSON, HTML and Python write it; of a value of several lines each
long word too. The password in `scheme://user:password@host` goes whosoever it is.

The cost is that of looking for a few hundred texts in one, which Python does faster than one pattern of them all.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus

from .names import PLACEHOLDER, SHORTEST, URL_PASSWORD

IN_A_URL = "in a URL"
_LONG_WORD = 20
_ALPHABETS = (
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
)
# As much of the end of a text as an address with a password may begin in.
_URL_REACH = 700
_OPEN_URL = re.compile(r":/?\Z|://[^\s/@'\"{}$<]*\Z")


@dataclass(frozen=True, slots=True)
class _Form:
    """text: what is looked for. pattern: the same with what may hold a part of the secret beside it."""

    text: str
    pattern: re.Pattern[str]
    name: str


@dataclass(slots=True)
class _Span:
    start: int
    end: int
    name: str


class Redactor:
    """Knows some secrets, each a name and a value. It never changes."""

    def __init__(self, secrets: Iterable[tuple[str, str]]) -> None:
        named: dict[str, _Form] = {}
        for name, value in secrets:
            for text, pattern in _forms(value):
                named.setdefault(text, _Form(text, re.compile(pattern), name))
        self._forms = tuple(named.values())
        self._longest = max((len(form.text) for form in self._forms), default=0)

    def finds(self, text: str) -> bool:
        """Whether a secret stands in it."""
        return bool(self._spans(text))

    def clean(self, text: str) -> str:
        """The text without secrets; the same object when there is none in it."""
        return _replaced(text, self._spans(text))

    def clean_value(self, value: Any) -> Any:
        """The same for all texts in what JSON holds, keys too. Other values stay as they are."""
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, dict):
            return {self.clean_value(key): self.clean_value(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return (list if isinstance(value, list) else tuple)(self.clean_value(one) for one in value)
        return value

    def split(self, text: str) -> tuple[str, str]:
        """A text that goes on: the part that can be shown, cleaned, and the end, in which a secret may have begun."""
        spans = self._spans(text)
        cut = len(text) - self._begun(text)
        for span in spans:
            if span.start < cut < span.end:
                # What begins within a secret ends behind it; but texts made of secrets alone are not kept for ever.
                cut = span.start if len(text) - span.start < 4 * self._longest + _URL_REACH else span.end
        return _replaced(text[:cut], [span for span in spans if span.end <= cut]), text[cut:]

    def _spans(self, text: str) -> list[_Span]:
        if len(text) < SHORTEST:
            return []
        found = [
            _Span(*match.span(), form.name)
            for form in self._forms
            if form.text in text
            for match in form.pattern.finditer(text)
        ]
        if "://" in text and "@" in text:
            found += (_Span(*match.span(1), IN_A_URL) for match in _in_urls(text))
        return _merged(found)

    def _begun(self, text: str) -> int:
        """How many characters at the end of the text are the beginning of a secret."""
        longest = 0
        for form in self._forms:
            at = text.find(form.text[0], max(0, len(text) - len(form.text) + 1))
            while at >= 0 and len(text) - at > longest:
                if form.text.startswith(text[at:]):
                    longest = len(text) - at
                    break
                at = text.find(form.text[0], at + 1)
        url = _OPEN_URL.search(text, max(0, len(text) - _URL_REACH))
        return max(longest, len(text) - url.start() if url else 0)


class RedactedStream:
    """A text that comes in pieces: a secret that two of them share is found. redactor: may be replaced by another."""

    def __init__(self, redactor: Redactor) -> None:
        self.redactor, self._held = redactor, ""

    def feed(self, text: str) -> str:
        """What can be shown now: all but an end in which a secret may have begun."""
        shown, self._held = self.redactor.split(self._held + text)
        return shown

    def flush(self) -> str:
        """The rest, since nothing comes behind it."""
        rest, self._held = self._held, ""
        return self.redactor.clean(rest)


def _replaced(text: str, spans: list[_Span]) -> str:
    if not spans:
        return text
    parts, at = [], 0
    for span in spans:
        parts += [text[at : span.start], f"[secret {span.name}]"]
        at = span.end
    return "".join([*parts, text[at:]])


def _merged(found: list[_Span]) -> list[_Span]:
    """In their order, and those that overlap as one: of neither a part may be left."""
    merged: list[_Span] = []
    for span in sorted(found, key=lambda one: (one.start, one.name == IN_A_URL, -one.end)):
        if merged and span.start < merged[-1].end:
            last = merged[-1]
            last.end = max(last.end, span.end)
            last.name = span.name if last.name == IN_A_URL else last.name
        else:
            merged.append(span)
    return merged


def _in_urls(text: str) -> Iterator[re.Match[str]]:
    return (match for match in URL_PASSWORD.finditer(text) if not PLACEHOLDER.fullmatch(match[1]))


def _forms(value: str) -> Iterator[tuple[str, str]]:
    """(what is looked for, the pattern of what goes) of one value."""
    content = _bytes_of(value)
    for text in (value, *_written(value, content), *_long_words(value)):
        if len(text) >= SHORTEST:
            yield text, re.escape(text)
    for alphabet in _ALPHABETS:
        yield from _in_base64(content, alphabet)


def _bytes_of(value: str) -> bytes:
    """As the environment has it, where a variable may hold any bytes; else as well as it can be written."""
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")


def _written(value: str, content: bytes) -> Iterator[str]:
    yield from (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], html.escape(value))
    yield from (
        html.escape(value, quote=False),
        html.escape(value).replace("&#x27;", "&#39;"),
    )
    yield from (repr(value)[1:-1], repr(content)[2:-1], content.hex(), content.hex().upper())
    for encoded in (quote(content), quote(content, safe=""), quote_plus(content)):
        yield from (encoded, re.sub("%..", lambda match: match[0].lower(), encoded))


def _long_words(value: str) -> Iterator[str]:
    """Of a key or a file of credentials: lines that something else may stand between."""
    if "\n" in value:
        yield from (word for word in value.split() if len(word) >= _LONG_WORD and "://" not in word)


def _in_base64(content: bytes, alphabet: str) -> Iterator[tuple[str, str]]:
    """The three ways in which it can stand in the base64 of something longer.

    A character at its edge holds bits of the secret and of what is beside it, so it is one of several.
    """
    usual = _ALPHABETS[0]
    for before in range(3):
        bits = 8 * (before + len(content))
        text = base64.b64encode(bytes(before) + content).decode().rstrip("=")
        first, last = -(-8 * before // 6), bits // 6  # those that hold nothing else
        lead = _edge(usual.index(text[first - 1]), 6 * first - 8 * before, is_low=True) if before else ""
        trail = _edge(usual.index(text[last]), bits - 6 * last, is_low=False) if bits % 6 else ""
        inner = text[first:last].translate(str.maketrans(usual, alphabet))
        yield inner, f"{lead}{re.escape(inner)}{trail}=*"


def _edge(known: int, bits: int, *, is_low: bool) -> str:
    """The characters that share so many low or high bits with the one of that number, of which one may be there."""
    mask = (1 << bits) - 1 if is_low else 63 & ~((1 << (6 - bits)) - 1)
    same = {one for letters in _ALPHABETS for at, one in enumerate(letters) if at & mask == known & mask}
    return f"[{''.join(map(re.escape, sorted(same)))}]?"
