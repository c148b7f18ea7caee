"""A tracking server and a registry as another package would bring them.

Everything is in the memory of one HTTP server: no file that both sides see, no process that anybody could watch, ids
that are counted, and a registry that knows nothing of runs.
"""

from __future__ import annotations

import hashlib
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiinfra_lab.config import Settings
from aiinfra_lab.errors import NotFound, Unavailable
from aiinfra_lab.models.base import Entry
from aiinfra_lab.train.base import Ending, Intent, Tracked
from aiinfra_lab.train.history import Point


@dataclass
class Book:
    """What the server keeps."""

    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    models: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    pointers: dict[str, dict[str, str]] = field(default_factory=dict)

    def begin(self, intent: dict[str, Any]) -> str:
        known = next((key for key, run in self.runs.items() if run["intent"]["uri"] == intent["uri"]), None)
        key = known or f"run-{len(self.runs) + 1}"
        self.runs.setdefault(key, {"intent": intent, "state": "running", "points": {}})
        return key

    def log(self, key: str, points: list[Any]) -> None:
        kept = self.runs[key]["points"]
        for at, name, step, value in points:
            kept[f"{name} {step} {at}"] = (name, value)

    def end(self, key: str, ending: str, at: float | None) -> None:
        self.runs[key] |= {"state": ending, "ended_at": at}

    def read(self, key: str) -> dict[str, Any] | None:
        if (run := self.runs.get(key)) is None:
            return None
        metrics = dict(run["points"].values())
        given = {name: run["intent"][name] for name in ("params", "tags")}
        return {"state": run["state"], "metrics": metrics, "points": len(run["points"]), **given}

    def known(self, keys: list[str]) -> list[str]:
        return [key for key in keys if key in self.runs]

    def register(self, uri: str, name: str, files: dict[str, str]) -> str:
        self.models.setdefault(name, {})[uri] = files
        return f"entry of {uri}"

    def alias(self, name: str, alias: str, uri: str | None) -> None:
        held = self.pointers.setdefault(name, {})
        if uri is None:
            held.pop(alias, None)
            return
        self.models[name][uri]  # KeyError: it was never registered
        held[alias] = uri

    def aliases(self, name: str) -> dict[str, str]:
        return self.pointers.get(name, {})

    def versions(self, name: str) -> list[str]:
        return list(self.models.get(name, {}))

    def remove(self, uri: str) -> None:
        for versions in self.models.values():
            versions.pop(uri, None)


@contextmanager
def serving() -> Iterator[str]:
    """The URL of a server with an empty book, while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name that http.server calls
            given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                status, answer = 200, getattr(book, self.path[1:])(*given)
            except KeyError as problem:
                status, answer = 404, str(problem)
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    book = Book()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Client:
    """Asks the server whose URL is the setting `train.ledger_url`."""

    def __init__(self, where: Settings) -> None:
        self.url = where.get("train.ledger_url", "")

    def ask(self, method: str, *given: Any) -> Any:
        request = urllib.request.Request(f"{self.url}/{method}", json.dumps(given).encode())
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as problem:
            raise NotFound(f"the ledger does not have {json.load(problem)}", "`%lab start` sends it") from None
        except (urllib.error.URLError, ValueError) as problem:
            raise Unavailable(f"the ledger {self.url!r} does not answer: {problem}", "set train.ledger_url") from None


class Ledger(Client):
    """Runs. See `Tracker` for the contract."""

    def begin(self, intent: Intent) -> str:
        return str(self.ask("begin", asdict(intent)))

    def log(self, run_id: str, points: Sequence[Point]) -> None:
        self.ask("log", run_id, [list(point) for point in points])

    def end(self, run_id: str, ending: Ending, at: float | None = None) -> None:
        self.ask("end", run_id, ending, at)

    def read(self, run_id: str) -> Tracked | None:
        found = self.ask("read", run_id)
        return Tracked(**found) if found else None

    def known(self, run_ids: Sequence[str]) -> set[str]:
        return set(self.ask("known", list(run_ids)))

    def look(self) -> str:
        return f"open {self.url}"


class Shelf(Client):
    """Model versions. See `ModelRegistry` for the contract."""

    def register(self, entry: Entry) -> str:
        files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in entry.folder.iterdir()}
        return str(self.ask("register", entry.uri, entry.uri.split(":")[1].split("@")[0], files))

    def alias(self, name: str, alias: str, uri: str | None) -> None:
        self.ask("alias", name, alias, uri)

    def aliases(self, name: str) -> Mapping[str, str]:
        return dict(self.ask("aliases", name))

    def versions(self, name: str) -> set[str]:
        return set(self.ask("versions", name))

    def remove(self, uri: str) -> None:
        self.ask("remove", uri)
