"""What stands before a request's body: once read, and known again where a client sends the same before the next one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_LENGTH = b"\r\ncontent-length:"
_END = b"\r\n\r\n"
_DIGITS = 20


@dataclass(slots=True, eq=False)
class RequestHead:
    """What a request says before its body. All requests with the same head may share one.

    host: whom the client means to ask, by name or address; empty when it names none, which HTTP/1.0 allows.
    from_page: whether a browser sent it on behalf of a page of another origin. names_keep: whether the answer has to
    name that the connection stays open, as clients of HTTP/1.0 need it.
    json_bytes: how much of the body is JSON, where the Open Inference Protocol has bytes of tensors behind it.
    model: the version that it names in X-Aiinfra-Model. key: what it says in X-Aiinfra-Key. is_judged: False when it
    says `X-Aiinfra-Judged: no`. kind, accept: its Content-Type and Accept.
    route: what answers such a request, where that is decided by the head alone; for the server's handler to keep.
    """

    method: bytes = b""
    path: bytes = b""
    host: bytes = b""
    from_page: bool = False
    names_keep: bool = False
    json_bytes: int | None = None
    model: bytes = b""
    key: bytes = b""
    is_judged: bool = True
    kind: bytes = b""
    accept: bytes = b""
    route: Callable[[Any], None] | None = None


@dataclass(frozen=True, slots=True)
class RepeatedHead:
    """A head that was read, and its bytes before and behind the number of the body's bytes.

    A client sends the same head with every request, often but for that number. What the parser made of these bytes it
    would make of them again.
    """

    head: RequestHead
    before: bytes
    behind: bytes

    @classmethod
    def of(cls, head: RequestHead, data: bytes, body_bytes: int) -> RepeatedHead | None:
        """That of a whole request; None where its length is not announced, or there is more than one request."""
        sent = data[: len(data) - body_bytes]
        at = sent.lower().find(_LENGTH)
        if at < 0 or sent.find(_END) + len(_END) != len(sent):
            return None
        value = sent[at + len(_LENGTH) :]
        digits = value.partition(b"\r")[0].strip()
        start = at + len(_LENGTH) + value.find(digits)
        if not digits.isdigit() or int(digits) != body_bytes:
            return None
        return cls(head, sent[:start], sent[start + len(digits) :])

    def body_of(self, data: bytes, most: int) -> bytes | None:
        """The body of a request that has this head, whole and alone; None for any other, and for a longer body."""
        start = len(self.before)
        if not data.startswith(self.before):
            return None
        end = data.find(self.behind, start, start + _DIGITS + len(self.behind))
        digits = data[start : max(start, end)]
        if not digits.isdigit():
            return None
        length, at = int(digits), end + len(self.behind)
        return data[at:] if length <= most and len(data) == at + length else None
