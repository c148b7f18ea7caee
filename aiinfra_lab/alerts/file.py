"""`file:PATH`: one line of JSON for each alert, behind the others, in a file for its owner only.

A relative PATH lies in the workspace. Past 10 MiB (`[alerts] file_mib`) it becomes PATH.1, in place of the one before.
"""

from __future__ import annotations

import os
from pathlib import Path

from .. import files, modes
from ..config import Settings
from ..errors import Denied, Unavailable, UsageProblem
from . import texts
from .base import Alert
from .connecting import timeout_s

_FIX = "name another file in alerts.to of aiinfra.toml, as file:PATH"


class FileSink:
    """Appends lines."""

    def __init__(self, where: Settings) -> None:
        self._workspace = where.workspace
        self._timeout_s = timeout_s(where)
        self._most_bytes = int(where.get("alerts.file_mib", 10.0) * 2**20)

    def check(self, address: str) -> None:
        """It has to name a file."""
        if not address or address.endswith("/") or "\0" in address or address.startswith("~"):
            raise UsageProblem("alerts.to names no file behind file:", "write one, e.g. file:alerts.jsonl")

    def send(self, alert: Alert, address: str) -> None:
        """Append it whole or not at all; it is on the disk when this returns."""
        self.check(address)
        path = self._workspace / address
        try:
            with files.lab_errors(path, _FIX):
                self._write(path, texts.as_json(alert))
        except OSError as problem:
            raise Unavailable(f"{path} cannot be written: {problem.strerror}", _FIX) from None

    def _write(self, path: Path, line: str) -> None:
        if path.exists() and not path.is_file():  # to open a pipe would wait for whoever reads it
            raise Denied(f"{path} is no file", _FIX)
        files.make_folder(path.parent)
        # Beside it, since the file itself may get another name.
        held = files.take_lock(path.with_name(f".{path.name}.lock"), self._timeout_s)
        if held is None:
            raise Unavailable(f"another process keeps {path}", "it is written with the next alert")
        with held:
            self._rotate(path)
            _append(path, line)

    def _rotate(self, path: Path) -> None:
        if path.is_file() and path.stat().st_size >= self._most_bytes:
            files.publish(path, path.with_name(f"{path.name}.1"), replace=True)


def _append(path: Path, line: str) -> None:
    with open(path, "ab+", buffering=0, opener=modes.opener) as file:
        size = file.seek(0, os.SEEK_END)
        # The line of one that was killed while it wrote is ended first, so that this one is whole.
        start = b"\n" if size and os.pread(file.fileno(), 1, size - 1) != b"\n" else b""
        content = start + line.encode() + b"\n"
        try:
            written = file.write(content)
        except OSError:
            file.truncate(size)
            raise
        if written != len(content):  # the disk is full
            file.truncate(size)
            raise Unavailable(f"no space is left for {path}", "free some space; it is written with the next alert")
    files.flush_tree(path)
