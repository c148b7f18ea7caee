"""The one place where what a kernel sends comes in: without secrets, those included that its cells resolve or set."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from ...host.sent import sent_as_text
from ...secrets import RedactedStream, Redactor, in_kernel, is_secret, known_secrets
from ...secrets.known import REPORT, named_secrets
from ...secrets.names import URL_PASSWORD, VARIABLE

_CHUNK = 65536
_SHOWN = ("display_data", "execute_result", "update_display_data")
# What stands behind the streams so far. Widgets and what they show may change in the middle of a secret.
_BEHIND = ("display_data", "execute_result", "error", "clear_output", "status")
_PICTURES = ("image/", "audio/", "video/", "application/pdf", "application/octet-stream")


class KnownSecrets(Protocol):
    """Which secrets are taken out."""

    @property
    def redactor(self) -> Redactor:
        """Takes them out."""

    def learn(self) -> bool:
        """Take what has come to be known; whether there is something new in it."""


class Secrets:
    """Those of one notebook's run. place: where the pipe is made, by which its kernel reports those of its own. kept:
    a file in memory to which the kernel adds them as well, for whoever comes after a run that is killed."""

    def __init__(self, environment: Mapping[str, str], place: Path, kept: Path | None = None) -> None:
        self._known = dict.fromkeys(known_secrets(environment))
        self.redactor = Redactor(self._known)
        self.pipe, self._kept = place, kept
        if kept is not None:
            Path(f"{place}.kept").symlink_to(kept)
        self._keep(self._known)
        os.mkfifo(place, 0o600)
        self._reader = os.open(place, os.O_RDONLY | os.O_NONBLOCK)
        self._writer = os.open(place, os.O_WRONLY | os.O_NONBLOCK)  # else the end of each writer would be one of all
        self._left = b""

    def close(self) -> None:
        """The kernel has ended."""
        os.close(self._reader)
        os.close(self._writer)

    def learn(self) -> bool:
        """Take what the kernel has reported; whether there is something new in it."""
        content = self._left
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._reader, _CHUNK):
                content += chunk
        *lines, self._left = content.split(b"\n")
        new = {(name, value): None for name, value in _parsed(lines) if is_secret(value)}
        if new.keys() <= self._known.keys():
            return False
        self._keep(new)  # a kernel with another version of us may not have
        self._known.update(new)
        self.redactor = Redactor(self._known)
        return True

    @property
    def known(self) -> list[tuple[str, str]]:
        """(name, value) of each."""
        return list(self._known)

    def _keep(self, secrets: Iterable[tuple[str, str]]) -> None:
        if self._kept is not None:
            for each in secrets:
                in_kernel.keep(str(self._kept), json.dumps(each).encode() + b"\n")

    def watching(self) -> str:
        """The code by which a Python kernel reports variables that are set in it."""
        names, public, _ = named_secrets()
        patterns = f"{VARIABLE.pattern!r}, {URL_PASSWORD.pattern!r}"
        call = f"watch({str(self.pipe)!r}, {patterns}, {sorted(names)!r}, {sorted(public)!r})"
        return sent_as_text(in_kernel, call)


@contextlib.contextmanager
def secrets_of(
    environment: Mapping[str, str], folder: Path, kept: Path | None = None
) -> Iterator[tuple[dict[str, str], Secrets]]:
    """Those of a run with that environment, and the environment for its kernel; the pipe is made in that folder. kept:
    see `Secrets`"""
    secrets = Secrets(environment, folder / "resolved", kept)
    try:
        yield {**environment, REPORT: str(secrets.pipe)}, secrets
    finally:
        secrets.close()


class CleanMessages:
    """Makes the messages of one cell after the other clean. Of a stream, an end in which a secret may have begun waits
    for what comes behind it."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._streams: dict[str, tuple[RedactedStream, dict[str, Any]]] = {}

    def use(self, redactor: Redactor) -> None:
        """From now on; also for what is held back."""
        self._redactor = redactor
        for stream, _ in self._streams.values():
            stream.redactor = redactor

    def clean(self, message: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """What is to be processed in its place: before another output, what was held back."""
        kind = message["msg_type"]
        if kind == "stream":
            yield from self._of_stream(message)
            return
        if kind in _BEHIND:
            yield from self.flush()
        content = message["content"]
        if kind in _SHOWN:
            content["data"] = clean_bundle(self._redactor, content["data"])
            content["metadata"] = self._redactor.clean_value(content.get("metadata", {}))
        elif kind == "error":
            content.update(self._redactor.clean_value(dict(content)))
        elif kind.startswith("comm") and "data" in content:
            content["data"] = self._redactor.clean_value(content["data"])
        yield message

    def flush(self) -> Iterator[dict[str, Any]]:
        """What was held back: nothing comes behind it."""
        for name, (stream, message) in self._streams.items():
            if rest := stream.flush():
                yield {**message, "content": {"name": name, "text": rest}}
        self._streams.clear()

    def _of_stream(self, message: dict[str, Any]) -> Iterator[dict[str, Any]]:
        content = message["content"]
        # Each for itself: another thread may write to the other stream in the middle of a secret.
        stream, _ = self._streams.get(content["name"], (RedactedStream(self._redactor), None))
        self._streams[content["name"]] = stream, message
        if text := stream.feed(content["text"]):
            yield {**message, "content": {**content, "text": text}}


def clean_bundle(redactor: Redactor, data: Mapping[str, Any]) -> dict[str, Any]:
    """A display's forms by type. Pictures in base64 are left: none of their bytes is a text."""
    return {kind: one if _is_picture(kind) else redactor.clean_value(one) for kind, one in data.items()}


def clean_output(redactor: Redactor, output: Any) -> None:
    """One that is in the notebook already."""
    if output.output_type == "stream":
        output.text = redactor.clean(output.text)
    elif output.output_type == "error":
        output.update(redactor.clean_value({key: output[key] for key in ("ename", "evalue", "traceback")}))
    else:
        output.data.update(clean_bundle(redactor, output.data))


def _is_picture(kind: str) -> bool:
    return kind.startswith(_PICTURES) and kind != "image/svg+xml"


def _parsed(lines: list[bytes]) -> Iterator[tuple[str, str]]:
    for line in lines:
        with contextlib.suppress(TypeError, ValueError):
            name, value = json.loads(line)
            yield str(name), str(value)
