"""Another package's providers for data: an object store that knows no folder of ours, and a source that computes.

Unlike DVC it keeps nothing in the workspace, links no file, and shows no working copy; `Copying` shows one, of which it
keeps no note. It lives as long as the process.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from aiinfra_lab.config import Settings
from aiinfra_lab.errors import NotFound, UsageProblem

BUCKETS: dict[str, dict[str, bytes]] = {}


class Objects:
    """Content in objects, each under the digest of its bytes."""

    def __init__(self, where: Settings) -> None:
        self.objects = BUCKETS.setdefault(str(where.home), {})

    def ingest(self, folder: Path) -> str:
        files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        listed = {name: self._put(content) for name, content in sorted(files.items())}
        return "list-" + self._put(json.dumps(listed).encode())

    def repair(self, folder: Path) -> str:
        return self.ingest(folder)  # which writes every object anew

    def checkout(self, key: str, into: Path) -> None:
        files = self._listed(key)
        if files is None:
            raise NotFound(f"the bucket has no {key}", "`%data add` it again")
        for name, digest in files.items():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            (into / name).write_bytes(self.objects[digest])

    def forget(self, key: str, keep: Sequence[str]) -> None:
        kept = {digest for other in keep for digest in self._all(other)}
        for digest in self._all(key) - kept:
            self.objects.pop(digest, None)

    def _put(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        self.objects[digest] = content
        return digest

    def _listed(self, key: str) -> dict[str, str] | None:
        found = self.objects.get(key.removeprefix("list-"))
        return None if found is None else json.loads(found)

    def _all(self, key: str) -> set[str]:
        return {key.removeprefix("list-"), *(self._listed(key) or {}).values()}


class Copying(Objects):
    """See `WorkingCopies`."""

    def __init__(self, where: Settings) -> None:
        super().__init__(where)
        self.folder = where.workspace / "data"

    def publish(self, name: str, key: str) -> None:
        if self._listed(key) is None:
            raise NotFound(f"the bucket has no {key}", "`%data add` it again")
        self.withdraw(name)
        self.checkout(key, self.folder / name)

    def withdraw(self, name: str) -> None:
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def is_modified(self, name: str) -> bool:
        files = sorted(path for path in (self.folder / name).rglob("*") if path.is_file())
        listed = {
            str(path.relative_to(self.folder / name)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
        }
        return bool(listed) and hashlib.sha256(json.dumps(listed).encode()).hexdigest() not in self.objects


class Numbers:
    """`numbers:3` is a table of the numbers below 3."""

    def __init__(self, where: Settings) -> None:
        pass

    def read(self, location: str, into: Path) -> str:
        if not location.strip().isdigit():
            raise UsageProblem(f"{location!r} is not how many numbers", "write numbers:3")
        rows = "".join(f"{number}\n" for number in range(int(location)))
        (into / "numbers.csv").write_text("n\n" + rows)
        return str(int(location))
