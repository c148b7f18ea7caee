"""Endpoints and their peers side by side: processor time of a request, latencies, and what a fault costs others."""

import contextlib
import json
import math
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from aiinfra_lab.deploy import load_generator
from aiinfra_lab.features.contract import CATEGORY, NUMBER, Column, Columns

from .rows import Cannot, Figure, at_most, exactly, ratio_at_least, ratio_at_most

BEFORE = "afe2a7e"  # the last commit in which an endpoint was one process
ROOT = Path(__file__).parents[2]
WITHIN_S = 120.0


@dataclass
class Server:
    """A process, and those that it made."""

    name: str
    port: int
    process: subprocess.Popen[bytes] | psutil.Process
    bodies: str = "rows"

    @property
    def cpu_s(self) -> float:
        """Processor time of the whole tree until now, also of its threads that have ended."""
        # The clock of another process: clock_getcpuclockid(3). The files of its threads go with them.
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in _tree(self.process.pid))

    def ask(self, clients: int, seconds: float, bodies: Path) -> dict[str, Any]:
        """What so many clients saw, who ask again once they are answered; with `cpu_us` of each request."""
        before = self.cpu_s
        command = [sys.executable, "-m", "tests.benchmarks._closed_loop", str(self.port), str(clients), str(seconds)]
        done = subprocess.run([*command, str(bodies)], check=True, stdout=subprocess.PIPE, cwd=ROOT)
        found: dict[str, Any] = json.loads(done.stdout)
        return {**found, "cpu_us": (self.cpu_s - before) / found["requests"] * 1e6}


def _tree(pid: int) -> list[int]:
    children = [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in _words(path)]
    return [pid, *(below for child in children for below in _tree(child))]


def _words(path: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return path.read_text().split()
    return []


@contextlib.contextmanager
def serving(kinds: Mapping[str, str], folder: Path) -> Iterator[dict[str, Server]]:
    """Name → its server, all of them ready. kinds: name → a kind of `_endpoint`, or `before` or `mlflow`."""
    found: dict[str, Server] = {}
    with contextlib.ExitStack() as stack:
        for name, kind in kinds.items():
            port = _free_port()
            found[name] = Server(name, port, stack.enter_context(_started(kind, port, folder)))
        for server in found.values():
            _wait_for(server.port)
        yield found


@contextlib.contextmanager
def _started(kind: str, port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with contextlib.ExitStack() as stack:
        where = ROOT
        command = [sys.executable, "-m", "tests.benchmarks._endpoint", kind, str(port), str(folder)]
        if kind == "before":
            where = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            _check_out(BEFORE, where)
            command = [sys.executable, str(Path(__file__).parent / "_endpoint.py"), "ours", str(port), str(folder)]
        if kind == "mlflow":
            command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(_of_mlflow(folder))]
            command += ["-p", str(port), "--env-manager", "local"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        environment = {**os.environ, "PYTHONPATH": str(where), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, cwd=where, env=environment, start_new_session=True, **quiet)
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _check_out(commit: str, folder: Path) -> None:
    packed = subprocess.run(["git", "archive", commit, "aiinfra_lab"], cwd=ROOT, stdout=subprocess.PIPE, check=False)
    if packed.returncode:
        raise Cannot(f"this checkout has no commit {commit} to compare with")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)


def _of_mlflow(folder: Path) -> Path:
    import mlflow
    import onnx

    made = folder / "mlflow-model"
    if not made.exists():
        mlflow.onnx.save_model(onnx.load(folder / "model.onnx"), made)
    return made


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_for(port: int) -> None:
    ends = time.monotonic() + WITHIN_S
    while time.monotonic() < ends:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise Cannot(f"a server did not begin to listen within {WITHIN_S:g} s")


NUMBERS = 12


def columns() -> Columns:
    """A table of 12 numbers and 3 categories."""
    values = tuple(f"v{at}" for at in range(200))
    numbers = (Column(f"x{at}", NUMBER, required=True) for at in range(NUMBERS))
    return Columns("", "late", (*numbers, *(Column(f"c{at}", CATEGORY, True, values) for at in range(3))))


def row(at: int) -> dict[str, Any]:
    """One row of it."""
    numbers = {f"x{place}": ((at * 7 + place * 13) % 200) / 50 - 2 for place in range(NUMBERS)}
    return {**numbers, **{f"c{place}": f"v{(at + place) % 200}" for place in range(3)}}


def write_bodies(folder: Path) -> dict[str, Path]:
    """Files of bodies: one row, 1,000 rows, the same as columns and as Arrow, and one row as MLflow takes it."""
    rows = [row(at) for at in range(1000)]
    encoded = columns().encode(rows[:1])
    bodies = {
        "one": {"rows": rows[:1]},
        "rows": {"rows": rows},
        "columns": {"columns": {name: [one[name] for one in rows] for name in rows[0]}},
        "mlflow": {"inputs": {name: part.tolist() for name, part in zip(("numbers", "codes"), encoded, strict=True)}},
    }
    for name, body in bodies.items():
        (folder / name).write_text(json.dumps(body) + "\n")
    (folder / "Arrow columns").write_bytes(_stream(rows))
    return {name: folder / name for name in (*bodies, "Arrow columns")}


def _stream(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa

    table, sink = pa.Table.from_pylist(rows), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def cost_figures(rounds: int, seconds: float) -> Iterator[Figure]:
    """deploy.1 and deploy.2: interleaved rounds; each figure is the median of the rounds' ratios."""
    from .any import _save

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _save(folder, columns())
        bodies = write_bodies(folder)
        kinds = {"ours": "ours", "naive FastAPI": "naive", "before": "before", "mlflow serve": "mlflow"}
        with serving(kinds, folder) as servers:
            yield from _costs(servers, bodies, rounds, seconds)


def _costs(servers: dict[str, Server], bodies: dict[str, Path], rounds: int, seconds: float) -> Iterator[Figure]:
    def median(what: str, clients: int, peers: tuple[str, ...], kinds: tuple[str, ...]) -> dict[str, dict[str, float]]:
        seen: dict[str, list[dict[str, Any]]] = {}
        for _ in range(rounds):
            for name in ("ours", *peers):
                for kind in kinds if name == "ours" else kinds[:1]:
                    body = bodies["mlflow" if name == "mlflow serve" else kind]
                    seen.setdefault(f"{name} {kind}", []).append(servers[name].ask(clients, seconds, body))
        keys = ("cpu_us", "p50_ms", "p99_ms", "failed", "requests")
        return {name: {key: statistics.median(one[key] for one in all_) for key in keys} for name, all_ in seen.items()}

    one = median("one", 64, ("naive FastAPI", "before", "mlflow serve"), ("one",))
    ours = one["ours one"]
    for peer, reach in (("naive FastAPI", 20), ("mlflow serve", 40)):
        other = one[f"{peer} one"]
        yield Figure("64 clients, one row: CPU", 1 / ours["cpu_us"], "requests/µs", ratio_at_least(reach),
                     peer=1 / other["cpu_us"], peer_name=peer,
                     note=f"{ours['cpu_us']:.1f} against {other['cpu_us']:.0f} µs a request")  # fmt: skip
    yield Figure("64 clients, one row: CPU", ours["cpu_us"], "µs", ratio_at_most(0.85),
                 peer=one["before one"]["cpu_us"], peer_name="before")  # fmt: skip
    yield Figure("64 clients: p99", ours["p99_ms"], "ms", ratio_at_most(0.1),
                 peer=one["naive FastAPI one"]["p99_ms"], peer_name="naive FastAPI")  # fmt: skip
    yield Figure("requests that failed", ours["failed"], "", exactly(0))
    many = median("rows", 8, ("naive FastAPI",), ("rows", "columns", "Arrow columns"))
    for kind, reach in (("rows", 4), ("columns", 12), ("Arrow columns", 12)):
        mine, other = many[f"ours {kind}"], many["naive FastAPI rows"]
        yield Figure(f"1,000 {kind}: CPU", 1 / mine["cpu_us"], "requests/µs", ratio_at_least(reach),
                     peer=1 / other["cpu_us"], peer_name="naive FastAPI",
                     note=f"{mine['cpu_us'] / 1000:.2f} against {other['cpu_us'] / 1000:.1f} ms")  # fmt: skip
    alone = median("one", 1, ("naive FastAPI",), ("one",))
    yield Figure("one client: p50", alone["ours one"]["p50_ms"], "ms", ratio_at_most(0.5),
                 peer=alone["naive FastAPI one"]["p50_ms"], peer_name="naive FastAPI")  # fmt: skip


def open_loop_figures(seconds: float) -> Iterator[Figure]:
    """deploy.3: a steady rate on one core, whether the endpoint keeps up or not: half of what it can, and 1,160."""
    with _one("ours") as (server, bodies):
        os.sched_setaffinity(server.process.pid, {0})
        for pid in _tree(server.process.pid):
            os.sched_setaffinity(pid, {0})
        most = server.ask(64, 3.0, bodies["one"])
        url, body = f"http://127.0.0.1:{server.port}", bodies["one"].read_bytes().strip()
        half = most["requests"] / 3.0 / 2
        for what, rate in (("half of its most", half), ("1,160 a second", 1160.0)):
            counts = load_generator.send(url, [body], rate, seconds, lambda _: None)
            limit = "the client was the limit" if counts.is_own_limit else "the client was not the limit"
            note = f"{rate:,.0f} a second for {seconds:g} s; {limit}"
            yield Figure(f"{what}: p99", counts.quantile_ms(0.99) or math.inf, "ms", at_most(10), note=note)
            yield Figure(f"{what}: failed", counts.errors + counts.refused, "", exactly(0))


def swap_figures(rounds: int, seconds: float) -> Iterator[Figure]:
    """deploy.4: another version twice a second under load, beside the same load without."""
    with _one("ours", "swapping") as (servers, bodies):
        seen = {name: [] for name in servers}
        for _ in range(rounds):
            for name, server in servers.items():
                seen[name].append(server.ask(16, seconds, bodies["one"]))
    median = {
        name: {key: statistics.median(one[key] for one in all_) for key in ("requests", "p99_ms", "failed")}
        for name, all_ in seen.items()
    }
    calm, swapping = median["ours"], median["swapping"]
    yield Figure("requests that failed", max(one["failed"] for one in seen["swapping"]), "", exactly(0))
    yield Figure("requests a second", swapping["requests"] / seconds, "requests/s", ratio_at_least(0.85),
                 peer=calm["requests"] / seconds, peer_name="without swaps")  # fmt: skip
    yield Figure("p99", swapping["p99_ms"], "ms", ratio_at_most(2), peer=calm["p99_ms"], peer_name="without swaps")


@contextlib.contextmanager
def _one(*kinds: str) -> Iterator[tuple[Any, dict[str, Path]]]:
    """The server of a kind, or name → server of several, and the files of bodies."""
    from .any import _save

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _save(folder, columns())
        with serving({kind: kind for kind in kinds}, folder) as servers:
            yield servers if len(kinds) > 1 else servers[kinds[0]], write_bodies(folder)
