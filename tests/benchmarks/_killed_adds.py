"""`python -m tests.benchmarks._killed_adds SOURCE STEP`: `data add` that is killed at a step, 0 for never; and a judge.

A step is what Python tells an audit hook of: a file that is opened, renamed, linked or deleted, and the like. They are
counted from the first file of the source that is opened.
"""

import contextlib
import io
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from aiinfra_lab import data
from aiinfra_lab.config import inside
from aiinfra_lab.store import open_store
from aiinfra_lab.uris import Uri

NAME = "pets"
_NEXT: tuple[tuple[str, Callable[[Path], object]], ...] = (
    ("ls", lambda _: data.ls()),
    ("get", lambda _: data.get(NAME)),
    ("add of another", lambda home: data.add("other", home / "aiinfra.toml")),
    ("check", lambda _: data.check(NAME, report=True)),
)


def rounds(folder: Path, many: int, rng: random.Random) -> Iterator[tuple[str, list[str]]]:
    """When each of many adds was killed, and what is wrong after the next verb.

    Half are killed at a step, the others after a time, so that a long read or write is hit too; both are spread evenly.
    """
    contents = [_content(folder / str(number), rng) for number in (1, 2)]
    whole = _workspace(folder / "whole", contents[0])
    steps, took_s = _unkilled(_copied(whole, folder / "unkilled"), contents[1])
    for number in range(many):
        home, was_killed = folder / "round", False
        while not was_killed:  # one that ended before its time is none
            shutil.rmtree(home, ignore_errors=True)
            _copied(whole, home)
            share = (number + rng.random()) / many
            step, after_s = (1 + int(share * steps), None) if number % 2 else (0, share * took_s)
            was_killed, _, until_end_s = _add(home, contents[1], step, after_s)
            took_s = took_s if was_killed else min(took_s, 0.95 * until_end_s)
        moment = f"at step {step} of {steps}" if step else f"after {after_s:.3f} of {took_s:.3f} s"
        verb, call = _NEXT[number % len(_NEXT)]
        yield f"{moment}, then {verb}", _judge(home, call, [_bytes(content) for content in contents])


def _content(at: Path, rng: random.Random) -> Path:
    """A table and files: some are the same in both, some differ, some are there once only."""
    same, number = random.Random(0), int(at.name)
    (at / "deep").mkdir(parents=True)
    for name in ("a", "b", "deep/c"):
        (at / f"{name}.bin").write_bytes(same.randbytes(1_000_000))
    for name in ("d", "deep/e", f"only-{number}"):
        (at / f"{name}.bin").write_bytes(rng.randbytes(3_000_000))
    rows = (f"{row},{rng.random()}" for row in range(100_000))
    (at / f"{NAME}.csv").write_text("\n".join(["id,x", *rows]) + "\n")
    return at


def _workspace(at: Path, first: Path) -> Path:
    at.mkdir()
    (at / "aiinfra.toml").touch()
    with inside(at):
        data.add(NAME, first)
        open_store().close()
    return at


def _copied(whole: Path, at: Path) -> Path:
    shutil.copytree(whole, at, symlinks=True)
    return at


def _unkilled(home: Path, source: Path) -> tuple[int, float]:
    """How many steps an add takes, and how long."""
    _, steps, took_s = _add(home, source, 0, None)
    shutil.rmtree(home)
    return steps, 0.95 * took_s  # the last part is the end of the process


def _add(home: Path, source: Path, step: int, after_s: float | None) -> tuple[bool, int, float]:
    """Whether it was killed, and else in how many steps and how long it ended, from the first byte on."""
    command = [sys.executable, "-m", __name__, str(source), str(step)]
    environment = os.environ | {"AIINFRA_WORKSPACE": str(home)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as adding:
        assert adding.stdout is not None
        adding.stdout.readline()
        began = time.perf_counter()
        if after_s is not None and not select.select([adding.stdout], [], [], after_s)[0]:
            adding.kill()
        steps = adding.stdout.read()
        took_s = time.perf_counter() - began
    return adding.returncode == -signal.SIGKILL, int(steps or 0), took_s


def _judge(home: Path, next_verb: Callable[[Path], object], contents: list[dict[str, bytes]]) -> list[str]:
    """What is wrong with the workspace after that verb; the same content is added once more at the end."""
    with inside(home), contextlib.redirect_stderr(io.StringIO()):
        next_verb(home)
        found = list(data.ls(NAME))[::-1]
        wrong = [f"{item.uri} has other bytes" for item, content in zip(found, contents, strict=False)
                 if _bytes(data.get(item.uri).path) != content]  # fmt: skip
        wrong += [f"{len(found)} versions"] * (len(found) not in (1, 2))
        if _bytes(home / "data" / NAME) != contents[len(found) - 1]:
            wrong.append(f"data/{NAME} is not the newest version")
        wrong += [f"left: {path}" for path in _left(home)]
        if (again := data.add(NAME)).uri != found[-1].uri:
            wrong.append(f"{again.uri} was made of data/{NAME}")
        open_store().close()
    return wrong


def _left(home: Path) -> Iterator[Path]:
    """What lies about that is of no version."""
    ours = home / ".aiinfra" / "data"
    labels = {Uri.parse(item.uri).label for item in data.ls()}
    yield from (path for path in (ours / "versions").iterdir() if path.name not in labels)
    yield from (
        path for part in ("incoming", "unfinished") for path in (ours / part).rglob("*") if path.name != "copies"
    )
    yield from home.rglob("*.part")
    digests = {item.digest for item in data.ls()}
    yield from (path for path in (ours / "manifests").iterdir() if path.stem not in digests)
    cache = home / ".dvc" / "cache" / "files" / "md5"
    keys = {data.show(item.uri).key for item in data.ls()}
    trees = [json.loads((cache / key[:2] / key[2:]).read_bytes()) for key in keys]
    used = keys | {entry["md5"] for tree in trees for entry in tree}
    yield from (path for path in cache.rglob("*") if path.is_file() and path.parent.name + path.name not in used)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def main(source: str, step: int) -> None:
    """Add, and end by SIGKILL at that step; else write down how many there were."""
    import dvc.repo  # noqa: F401  # no step of the add
    import polars as pl

    pl.DataFrame({"x": [1]}).lazy().collect()
    taken = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal taken
        if not taken and not (event == "open" and str(arguments[0]).startswith(source)):
            return
        if event == "open" or event.startswith(("os.", "shutil.", "fcntl.", "sqlite3.")):
            taken += 1
            if taken == 1:
                print("began", flush=True)
            if taken == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    data.add(NAME, source)
    print(taken, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
