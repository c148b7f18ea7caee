"""Serves a folder to the near side: one answer to each request."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import sys
import time
from typing import Any

from . import environments
from .entries import Rules, digest_of
from .handles import FILE
from .stream import Cut, flush, receive, send
from .tree import Full, Tree

VERSION = 1
ROWS = 500
LOCK_S = 10.0


class _Host:
    """What the near side asks for; `put` alone has no answer."""

    def __init__(self, root: str, reader: Any, writer: Any) -> None:
        self.reader, self.writer = reader, writer
        umask = os.umask(0o077)
        os.umask(umask)
        self.tree = Tree(root, umask, {})
        self.saved: dict[str, Any] = {}
        self.area = self.tree.area()
        self.lock = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self.area)

    def run(self) -> None:
        """Serve until the stream ends."""
        try:
            while True:
                head, body = receive(self.reader)
                try:
                    answer = getattr(self, "do_" + str(head.pop("do", "")))(body=body, **head)
                except Full:
                    answer = {"problem": "no space is left", "is_full": True}
                except (OSError, AttributeError, TypeError, ValueError, KeyError) as problem:
                    answer = {"problem": f"{type(problem).__name__}: {problem}"[:500]}
                if answer is not None:
                    send(self.writer, answer)
                    flush(self.writer)
        except Cut:
            pass
        finally:
            self.tree.close()
            os.close(self.lock)

    def _load(self, name: str) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError, RecursionError):  # damaged, or nested too deep
            file = os.open(name, FILE, dir_fd=self.area)
            with os.fdopen(file, "rb") as stream:
                found = json.load(stream)
            if isinstance(found, dict):
                return found
        return {}

    def _save(self, name: str, value: object) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(name + ".new", flags, 0o600, dir_fd=self.area), "w") as stream:
            json.dump(value, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(name + ".new", name, src_dir_fd=self.area, dst_dir_fd=self.area)

    def do_scan(self, version: int, pair: str, rules: Any, largest: int, known: str, body: bytes) -> dict[str, Any]:
        """Find what is here; all of it follows in frames of its own, unless its digest is the one that is known."""
        if version != VERSION:
            return {"problem": f"this side speaks version {VERSION} and not {version}"}
        if not self._is_alone():
            return {"problem": "another sync of this folder is running"}
        tree = self.tree
        tree.cache = self.saved = self._load("cache.json")
        tree.scan(Rules(rules), largest)
        self._save_cache()
        found = {
            "name": platform.node(),
            "token": str(self._load("pairs.json").get(pair, "")),
            "digest": digest_of(tree.entries, tree.left_out),
            "rows": len(tree.entries),
        }
        if found["digest"] == known:
            return {**found, "is_known": True}
        send(self.writer, {**found, "is_known": False})
        rows = [[path, *entry] for path, entry in tree.entries.items()]
        for at in range(0, len(rows), ROWS):
            send(self.writer, {"rows": rows[at : at + ROWS]})
        return {"left_out": tree.left_out}

    def _is_alone(self) -> bool:
        """Whether no other process serves this folder; one whose stream was cut needs a moment to notice."""
        until = time.monotonic() + LOCK_S
        while not self._has_locked():
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True

    def _has_locked(self) -> bool:
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def do_adopt(self, pair: str, token: str, body: bytes) -> dict[str, Any]:
        """Keep the token by which the near side knows that this is the folder whose state it has."""
        self._save("pairs.json", {**self._load("pairs.json"), pair: token})
        return {}

    def do_rename(self, source: str, target: str, body: bytes) -> dict[str, Any]:
        """Give what lost a conflict another name."""
        return {"why": self.tree.rename(source, target)}

    def do_held(self, files: Any, body: bytes) -> dict[str, Any]:
        """How much of what is to come is here already."""
        return {"offsets": self.tree.held(files)}

    def do_put(self, digest: str, at: int, body: bytes) -> None:
        """Take the next bytes of a file."""
        self.tree.receive(digest, at, body)

    def do_commit(self, steps: Any, body: bytes) -> dict[str, Any]:
        """Change the folder."""
        return {"refused": self.tree.commit(steps)}

    def do_get(self, files: Any, body: bytes) -> dict[str, Any]:
        """Send what is in these."""
        for digest, at, data in self.tree.chunks(files):
            send(self.writer, {"digest": digest, "at": at}, data)
        return {"end": True}

    def do_end(self, body: bytes) -> dict[str, Any]:
        """All is done: what is kept for the next sync is written down, and nothing is to be resumed."""
        self._save_cache()
        self.tree.clear()
        return {}

    def _save_cache(self) -> None:
        if self.tree.cache != self.saved:
            self._save("cache.json", self.tree.cache)
            self.saved = dict(self.tree.cache)


def serve(root: str, reader: Any, writer: Any) -> None:
    """Serve a folder, which is made if need be, to the near side at the other end of the stream."""
    try:
        os.makedirs(root, exist_ok=True)
        host = _Host(root, reader, writer)
    except OSError as problem:
        with contextlib.suppress(Cut):
            receive(reader)
            send(writer, {"problem": f"{root} cannot be served: {problem.strerror}"})
            flush(writer)
        return
    host.run()


def main(words: list[str]) -> int:
    """Run `sync FOLDER` or `environment FOLDER` by standard input and output; the exit code."""
    # Whatever else prints must not get into the stream.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    what, folder = words
    run = environments.serve if what == "environment" else serve
    run(os.path.expanduser(folder), sys.stdin.buffer, out)
    return 0
