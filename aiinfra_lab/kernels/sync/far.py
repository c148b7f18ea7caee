"""The host's side of a sync, as the near side asks it. Nothing that it answers is trusted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeGuard

from ...errors import Denied, Failed, LabError, Unavailable
from ...host.sync.entries import NEVER, Rules, TreeEntry, digest_of, moved, problem_of_path, stays_inside
from ...host.sync.serving import VERSION
from ...host.sync.stream import Cut, flush, receive, send

MOST_ENTRIES = 2_000_000
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST_REASON = 300


class Far:
    """entries, left_out: what the host has, as of the last `scan` and the steps since. name: what it calls itself."""

    def __init__(self, reader: Any, writer: Any, name: str = "") -> None:
        self.reader, self.writer, self.name = reader, writer, _cleaned(name) if name else ""
        self.entries: dict[str, TreeEntry] = {}
        self.left_out: list[list[str]] = []
        self.token = ""

    @property
    def _called(self) -> str:
        return self.name or "the host"

    def scan(
        self,
        pair: str,
        rules: Rules,
        by_folder: Mapping[str, Any],
        largest: int,
        known: tuple[dict[str, TreeEntry], Any],
    ) -> None:
        """Learn what the host has; what is known goes for it where it has not changed."""
        given = {"version": VERSION, "pair": pair, "rules": by_folder, "largest": largest}
        head = self._ask("scan", **given, known=digest_of(*known))
        self.name = self.name or _cleaned(head.get("name"))
        self.token = str(head.get("token", ""))[:100]
        if head.get("is_known") is True:
            self.entries, self.left_out = dict(known[0]), list(known[1])
            return
        rows = head.get("rows")
        if not isinstance(rows, int) or not _is_count(rows, MOST_ENTRIES):
            self._refuse("an impossible number of files")
        self._read_rows(rows, rules, largest)

    def _read_rows(self, count: int, rules: Rules, largest: int) -> None:
        self.entries = {}
        levels = {"": rules.below("")}
        while True:
            head = self._receive()
            if "rows" not in head:
                break
            if not isinstance(head["rows"], list) or not head["rows"] or len(self.entries) >= count:
                self._refuse("more than it announced")
            for row in head["rows"]:
                self._take(row, rules, levels, largest)
        self.left_out = self._reasons(head.get("left_out"), MOST_ENTRIES)

    def _take(self, row: Any, rules: Rules, levels: dict[str, Any], largest: int) -> None:
        """Take one row, or refuse all that the host sends: no honest one sends such."""
        if not _is_row(row):
            self._refuse("something that is no entry of a folder")
        path, entry = row[0], TreeEntry(*row[1:])
        if why := problem_of_path(path):
            self._refuse(f"{path[:_MOST_REASON]!r}: {why}")
        folder = path[: path.rfind("/") + 1]
        if folder not in levels or path in self.entries:
            self._refuse(f"{path!r}, whose folder it did not send, or twice")
        name = path[len(folder) :]
        if name.casefold() in NEVER or rules.ignores(path + "/" if entry.kind == "d" else path, levels[folder]):
            self._refuse(f"{path!r}, which is left out")
        if entry.kind == "l" and not stays_inside(path, entry.value):
            self._refuse(f"{path!r}, a link that leads out of the folder")
        if entry.kind == "f" and entry.size > largest:
            self._refuse(f"{path!r}, which is too large")
        if entry.kind == "d":
            levels[path + "/"] = rules.below(path + "/", levels[folder])
        self.entries[path] = entry

    def adopt(self, pair: str, token: str) -> None:
        """Have the host keep the token by which its folder is known again."""
        self._ask("adopt", pair=pair, token=token)

    def rename(self, source: str, target: str) -> str:
        """Give something of the host's another name; why that was not done, or nothing."""
        why = str(self._ask("rename", source=source, target=target).get("why", ""))[:_MOST_REASON]
        if not why:
            moved(self.entries, source, target)
        return why

    def held(self, files: Sequence[Sequence[Any]]) -> list[int]:
        """How much of each the host has already."""
        found = self._ask("held", files=files).get("offsets")
        if not isinstance(found, list) or len(found) != len(files):
            self._refuse("something else than what was asked for")
        if not all(_is_count(have, size) for have, (_, size, _) in zip(found, files, strict=True)):
            self._refuse("impossible sizes")
        return found

    def receive(self, digest: str, at: int, data: bytes) -> None:
        """Send the next bytes of a file."""
        self._send({"do": "put", "digest": digest, "at": at}, data)

    def chunks(self, files: Sequence[Sequence[Any]]) -> Iterator[tuple[str, int, bytes]]:
        """What is in these files of the host."""
        self._send({"do": "get", "files": [list(each) for each in files]})
        self._flush()
        left = sum(self.entries[path].size - at for path, _, at in files)
        while True:
            head, body = self._receive_both()
            if head.get("end") is True:
                return
            left -= len(body)
            if not body or left < 0 or not isinstance(head.get("digest"), str) or not isinstance(head.get("at"), int):
                self._refuse("something else than what was asked for")
            yield head["digest"], head["at"], body

    def commit(self, steps: Sequence[Sequence[Any]]) -> list[list[str]]:
        """Change the host's folder; what was not done, and why."""
        refused = self._reasons(self._ask("commit", steps=steps).get("refused"), 2 * len(steps))
        not_done = {path for path, _ in refused}
        for what, path, value, mode, mtime_ns, size, *_ in steps:
            if path in not_done:
                continue
            if what == "x":
                self.entries.pop(path, None)
            elif what == "m":
                self.entries[path] = self.entries[path].executable(bool(mode & 0o100))
            else:
                self.entries[path] = TreeEntry(what, value, mode, size, mtime_ns)
        return refused

    def end(self) -> None:
        """All is done."""
        self._ask("end")

    # ---- frames ----

    def _ask(self, what: str, **given: Any) -> dict[str, Any]:
        self._send({"do": what, **given})
        self._flush()
        return self._receive()

    def _send(self, head: Mapping[str, Any], body: bytes = b"") -> None:
        try:
            send(self.writer, head, body)
        except Cut:
            raise self._cut() from None

    def _flush(self) -> None:
        try:
            flush(self.writer)
        except Cut:
            raise self._cut() from None

    def _receive(self) -> dict[str, Any]:
        return self._receive_both()[0]

    def _receive_both(self) -> tuple[dict[str, Any], bytes]:
        try:
            head, body = receive(self.reader)
        except Cut:
            raise self._cut() from None
        if problem := head.get("problem"):
            raise self._problem(str(problem)[:_MOST_REASON], is_full=head.get("is_full") is True)
        return head, body

    def _cut(self) -> LabError:
        fix = "sync again: it goes on where it stopped, and sends nothing twice"
        return Unavailable(f"the connection to {self._called} ended in the middle of the sync", fix)

    def _problem(self, why: str, *, is_full: bool) -> LabError:
        if is_full:
            return Unavailable(f"no space is left on {self._called}", "free some space there, and sync again")
        return Failed(f"{self._called} cannot go on: {why}", "see to that there, and sync again")

    def _refuse(self, what: str) -> NoReturn:
        raise Denied(
            f"{self._called} sends {what}: nothing of it was written here",
            "no host of ours does: end that session, and start another one",
        )

    def _reasons(self, found: Any, most: int) -> list[list[str]]:
        if not isinstance(found, list) or len(found) > most:
            self._refuse("something else than what was asked for")
        if not all(isinstance(each, list) and len(each) == 2 and _are_texts(each) for each in found):
            self._refuse("something else than what was asked for")
        return [[path, why[:_MOST_REASON]] for path, why in found]


def _is_row(row: Any) -> TypeGuard[list[Any]]:
    if not isinstance(row, list) or len(row) != 6 or not _are_texts(row[:3]):
        return False
    _, kind, value, *numbers = row
    if not all(_is_count(number, 1 << 63) for number in numbers[:2]):
        return False
    if type(numbers[2]) is not int or abs(numbers[2]) >= 1 << 63:
        return False
    return (kind == "d" and not value) or kind == "l" or (kind == "f" and bool(_DIGEST.fullmatch(value)))


def _are_texts(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _is_count(value: Any, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _cleaned(name: Any) -> str:
    """A name as part of a file's."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", str(name))[:40].strip(".-") or "host"
