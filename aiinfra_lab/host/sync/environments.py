"""Environments on the host, each made once by uv in a folder of its own, which is named by what is in it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from .stream import Cut, flush, receive, send

BUILD_S = 1800.0
MOST_PRINTED = 2000
_PLACES_OF_UV = ("~/.local/bin/uv", "~/.uv/bin/uv", "~/.cargo/bin/uv", "/usr/local/bin/uv")
# uv takes packages from where pip does.
_OF_UV = {
    "UV_FIND_LINKS": "PIP_FIND_LINKS",
    "UV_DEFAULT_INDEX": "PIP_INDEX_URL",
    "UV_INDEX": "PIP_EXTRA_INDEX_URL",
}
_NOT_HANDED_ON = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX")
_LIST = """
import importlib.metadata, json
found = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions() if each.metadata["Name"]}
print(json.dumps(found))
"""


class NotMade(Exception):
    """kind: uv, or failed; and what was printed."""

    def __init__(self, kind: str, printed: str = "") -> None:
        super().__init__(kind, printed)
        self.kind, self.printed = kind, printed


def make(top: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Make an environment below `top` unless it is there: its interpreter, its packages, and whether it is new.

    request: digest, file and text (what uv is to install), commands, in which {uv}, {place} and {file} stand for paths.
    """
    os.makedirs(top, exist_ok=True)
    place = os.path.join(top, str(request["digest"]))
    with open(place + ".lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two at once make it once
        _clear_left(top, os.path.basename(place))
        is_new = not _is_whole(place)
        if is_new:
            _build(place, request)
    return {"python": _python(place), "is_new": is_new, "packages": _packages(place)}


def _python(place: str) -> str:
    return os.path.join(place, "bin", "python")


def _is_whole(place: str) -> bool:
    """Whether it is there and its interpreter, which may be the machine's, still is."""
    return os.access(_python(place), os.X_OK)


def _clear_left(top: str, name: str) -> None:
    # Nobody else makes it now: what lies there is of one that was killed.
    for each in os.listdir(top):
        if each.startswith("." + name + "."):
            shutil.rmtree(os.path.join(top, each), ignore_errors=True)


def _build(place: str, request: Mapping[str, Any]) -> None:
    top, name = os.path.split(place)
    aside = os.path.join(top, f".{name}.{os.getpid()}")
    os.mkdir(aside)
    try:
        file = os.path.join(aside, str(request["file"]))
        with open(file, "w", encoding="utf-8") as stream:
            stream.write(request["text"])
        inner = os.path.join(aside, "made")
        names = {"uv": _uv(), "place": inner, "file": file}
        for command in request["commands"]:
            _run([word.format_map(names) for word in command])
        os.replace(file, os.path.join(inner, str(request["file"])))
        if os.path.isdir(place):  # its interpreter went
            os.rename(place, os.path.join(aside, "old"))
        os.rename(inner, place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _uv() -> str:
    beside = os.path.join(os.path.dirname(sys.executable), "uv")
    for place in (shutil.which("uv"), beside, *_PLACES_OF_UV):
        if place and os.access(os.path.expanduser(place), os.X_OK):
            return os.path.expanduser(place)
    raise NotMade("uv")


def _run(command: Sequence[str]) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_HANDED_ON}
    environment = {**{uv: kept[pip] for uv, pip in _OF_UV.items() if pip in kept}, **kept}
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=BUILD_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise NotMade("failed", f"it takes longer than {BUILD_S:g} s") from None
    if done.returncode:
        raise NotMade("failed", done.stdout.decode(errors="replace").strip()[-MOST_PRINTED:])


def _packages(place: str) -> dict[str, str]:
    done = subprocess.run([_python(place), "-I", "-c", _LIST], stdout=subprocess.PIPE, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def serve(top: str, reader: Any, writer: Any) -> None:
    """Answer one request, by a frame."""
    try:
        answer = make(top, receive(reader)[0])
    except Cut:
        return
    except NotMade as problem:
        answer = {"problem": problem.kind, "printed": problem.printed}
    except (OSError, ValueError, KeyError, subprocess.SubprocessError) as problem:
        answer = {"problem": "failed", "printed": f"{type(problem).__name__}: {problem}"}
    with contextlib.suppress(Cut):
        send(writer, answer)
        flush(writer)
