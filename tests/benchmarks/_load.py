"""`python -m tests.benchmarks._load RUNS`: so many runs through the workspace of its environment, eight at a time, in
the ways in which users begin them: by commands, as jobs of the supervisor, and in threads of one kernel.

Prints as JSON what was lost, what is left, and what it took. Whatever it starts is known by its temporary directory,
which nobody else may have.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil
from jupyter_client.manager import start_new_kernel
from nbformat.v4 import new_code_cell, new_notebook

from aiinfra_lab import jobs
from aiinfra_lab.config import settings
from aiinfra_lab.pool import asking
from aiinfra_lab.recipe import history
from aiinfra_lab.recipe.archives import digest_of
from aiinfra_lab.recipe.record import RunRecord, StepRecord
from aiinfra_lab.recipe.recorded import RecordedRun
from aiinfra_lab.store import Record, first_break, open_store
from aiinfra_lab.store.sqlite import SqliteStore

from .measure import command

AT_ONCE, FEW = 8, 10
STEPS = ("first", "second")
COMMANDED, SUPERVISED = 0.4, 0.2  # of all runs; the others are the kernel's
LATEST_S, SETTLED_S = 300.0, 15.0
ENTRY = "import sys; from aiinfra_lab.pool.entry import main; sys.exit(main())"
# As somebody writes it in a cell. What was freed goes back to the system, lest it be taken for a leak; and ipykernel
# closes what threads had that have ended every ten seconds.
SETUP = f"""
import ctypes, gc, time, traceback
from concurrent.futures import ThreadPoolExecutor
from aiinfra_lab import recipe

def go(at, numbers):
    for number in numbers:
        if number % {AT_ONCE} == at:
            try:
                recipe.run(f"load{{at}}", param={{"number": number}})
            except Exception:
                traceback.print_exc()

def go_all(numbers):
    with ThreadPoolExecutor({AT_ONCE}) as threads:
        list(threads.map(lambda at: go(at, numbers), range({AT_ONCE})))
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    time.sleep(12)
"""

Work = Callable[[list[int]], object]
Pids = Callable[[], dict[str, int]]


@dataclass(frozen=True)
class Seen:
    """A process that lives through many runs. children: those of them too that nobody has collected"""

    pid: int
    rss_mb: float
    private_mb: float
    files: int
    threads: int
    children: int

    @classmethod
    def of(cls, pid: int) -> Seen:
        """As it is now."""
        process = psutil.Process(pid)
        memory, children = process.memory_full_info(), process.children(recursive=True)
        return cls(pid, memory.rss / 1e6, memory.uss / 1e6, process.num_fds(), process.num_threads(), len(children))


class Load:
    """The runs by their numbers, each way in turn. spans: what was seen before and after how many of them."""

    def __init__(self, runs: int) -> None:
        self.numbers = itertools.count()
        self.spans: list[dict[str, Any]] = []
        self.runs = runs

    def go(self) -> dict[str, Any]:
        """All of them, and what is left then."""
        commanded, supervised = int(self.runs * COMMANDED), int(self.runs * SUPERVISED)
        _eight(_by_command, self._take(FEW))
        few = _costs()
        self._watch(_pool, lambda numbers: _eight(_by_command, numbers), commanded - FEW)
        self._watch(_supervisor, lambda numbers: _eight(_by_supervisor, numbers), supervised)
        with _kernel() as (pid, execute):
            execute(SETUP)
            rest = self.runs - commanded - supervised
            self._watch(lambda: {"kernel": pid, **_pool()}, lambda numbers: execute(f"go_all({numbers})"), rest)
        left = _left()
        return {"spans": self.spans, "few": few, "many": _costs(), "left": left, "lost": lost(self.runs)}

    def _take(self, count: int) -> list[int]:
        return list(itertools.islice(self.numbers, count))

    def _watch(self, pids: Pids, work: Work, count: int) -> None:
        """The first quarter is what a process needs to have seen everything once."""
        first = max(AT_ONCE, count // 4)
        work(self._take(first))
        before = {who: Seen.of(pid) for who, pid in _settled(pids).items()}
        work(self._take(count - first))
        for who, pid in _settled(pids).items():
            span = {"who": who, "runs": count - first, "before": asdict(before[who]), "after": asdict(Seen.of(pid))}
            self.spans.append(span)
            print(span, file=sys.stderr, flush=True)


def write_recipes(folder: Path) -> None:
    """As many as run at once: of one recipe one run goes on at a time."""
    cells = [new_code_cell("number: int = 0", metadata={"tags": ["parameters"]}), new_code_cell("print(f'<{number}>')")]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for name in ("notebooks", "recipes"):
        (folder / name).mkdir()
    for step in STEPS:
        nbformat.write(
            new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "notebooks" / f"{step}.ipynb"
        )
    steps = "".join(
        f'[steps.{step}]\nnotebook = "{step}.ipynb"\nparameters = {{number = "$number"}}\n' for step in STEPS
    )
    for at in range(AT_ONCE):
        text = f'[parameters]\nnumber = 0\n{steps}after = ["{STEPS[0]}"]\n'
        (folder / "recipes" / f"load{at}.toml").write_text(text)


def _eight(run: Callable[[str, int], object], numbers: list[int]) -> None:
    def go(at: int) -> None:
        for number in numbers:
            if number % AT_ONCE == at:
                run(f"load{at}", number)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(go, range(AT_ONCE)))


def _by_command(name: str, number: int, *options: str) -> None:
    argv = [sys.executable, "-c", ENTRY, "recipe", "run", name, "-p", f"number={number}", *options]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:  # what it lacks is found among what is lost
        print(f"{name}, {number}: {done.stderr}", file=sys.stderr)


def _by_supervisor(name: str, number: int) -> None:
    _by_command(name, number, "--no-wait")
    until = time.monotonic() + LATEST_S
    while _newest(name).body.is_open and time.monotonic() < until:
        time.sleep(0.1)


def _newest(name: str) -> Record[RunRecord]:
    return open_store().list(RunRecord, name=name, limit=1)[0]


@contextmanager
def _kernel() -> Iterator[tuple[int, Callable[[str], None]]]:
    """A kernel as JupyterLab has one: its pid, and what executes a cell in it."""
    manager, client = start_new_kernel(kernel_name="python3")

    def show(message: dict[str, Any]) -> None:
        if message["content"].get("name") == "stderr":
            print(message["content"]["text"], file=sys.stderr)

    def execute(cell: str) -> None:
        answer = client.execute_interactive(cell, output_hook=show, timeout=None)["content"]
        if answer["status"] != "ok":
            raise RuntimeError("\n".join(answer["traceback"]))

    try:
        yield manager.provisioner.pid, execute
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


def _pool() -> dict[str, int]:
    return {"pool": int(asking.order("show")["running"])}


def _supervisor() -> dict[str, int]:
    pids = [pid for pid, command in _ours().items() if "aiinfra_lab.jobs.supervisor" in command]
    return dict(zip(["supervisor"], pids, strict=True))


def _settled(pids: Pids) -> dict[str, int]:
    """These, once what has ended is gone, or after some seconds."""
    until = time.monotonic() + SETTLED_S
    while time.monotonic() < until and any(psutil.Process(pid).children() for pid in pids().values()):
        time.sleep(0.1)
    return pids()


def _ours() -> dict[int, str]:
    """Whatever lives of what was started here, with its command."""
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get("TMPDIR") == os.environ["TMPDIR"]:
                found[process.pid] = " ".join(process.cmdline())
    return found


def _left() -> dict[str, list[str]]:
    """The processes but for the pool, and the files in the temporary directory but for the pool's."""
    until = time.monotonic() + SETTLED_S
    pool = _pool()["pool"]
    while (living := [command for pid, command in _ours().items() if pid != pool]) and time.monotonic() < until:
        time.sleep(0.1)
    files = [path.name for path in Path(os.environ["TMPDIR"]).iterdir() if not path.name.startswith("aiinfra-pool-")]
    return {"processes": living, "files": files}


def _costs() -> dict[str, float]:
    """What the workspace takes on disk, and its list."""
    ls = command([sys.executable, "-m", "aiinfra_lab.cli", "recipe", "ls"], runs=3)
    sizes = {path: size for path in settings().home.rglob("*") if (size := _size(path))}
    store = sum(size for path, size in sizes.items() if path.name.startswith("store.sqlite"))
    return {"ls_s": ls.wall_s, "ls_cpu_s": ls.cpu_s, "store_mb": store / 1e6, "home_mb": sum(sizes.values()) / 1e6}


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):  # SQLite's own files come and go
        return path.stat().st_size if path.is_file() else 0
    return 0


def lost(runs: int) -> dict[str, list[str]]:
    """What there should be of so many runs, and is not."""
    store = open_store()
    records = [record for at in range(AT_ONCE) for record in history.runs(f"load{at}")]
    numbers = Counter(record.body.parameters["number"] for record in records)
    logged = list(store.events())
    events = Counter((each.event.verb, each.event.subject) for each in logged)
    wanted = {"recipe start": 1, "recipe run": len(STEPS), "recipe end": 1}
    break_at = first_break(logged)
    integrity = store.integrity() if isinstance(store, SqliteStore) else "ok"
    return {
        "runs": [str(number) for number in range(runs) if numbers[number] != 1],
        "ends": [record.uri for record in records if not _is_whole(record)],
        "executed notebooks": [
            f"{record.uri}/{step.name}" for record in records for step in record.steps if not _is_kept(step)
        ],
        "events": [
            f"{verb} {record.uri}" for record in records for verb in wanted if events[verb, record.uri] != wanted[verb]
        ],
        "ends of jobs": [job.id for job in jobs.ls() if job.live or job.state != "done"],
        "store": [*([integrity] if integrity != "ok" else []), *([f"event {break_at}"] if break_at else [])],
    }


def _is_whole(record: RecordedRun) -> bool:
    return record.body.state == "done" and [(step.name, step.state) for step in record.steps] == [
        (each, "done") for each in STEPS
    ]


def _is_kept(step: StepRecord) -> bool:
    path, text = Path(step.archive), f"<{step.values['number']}>"
    return bool(digest := digest_of(path)) and digest == step.archive_sha256 and text in path.read_text()


if __name__ == "__main__":
    write_recipes(Path.cwd())
    print(json.dumps(Load(int(sys.argv[1])).go()))
