"""What a host must have to run the user's kernel: read from the project's own lock, and made there once by uv."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import Failed, LabError, Missing, NotFound, Unavailable, UsageProblem
from ..host.sync.stream import Cut, flush, receive, send
from ..leftovers import temporary
from .reach import Reach

# What says most exactly what the project needs comes first.
SOURCES = ("uv.lock", "pylock.toml", "requirements.txt", "pyproject.toml", "constraints.txt")
FOLDER = "~/.cache/aiinfra-lab/environments"
_KERNEL = "ipykernel"
_LOCK, _REQUIREMENTS = "pylock.toml", "requirements.txt"
_PINNED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*\])?\s*==\s*([^\s;\\]+)")
_LOCAL = re.compile(r"^(?:-e\s|--editable\s|\.{1,2}(?:/|$)|/)|@\s*file:|^file:", re.MULTILINE)
_COMMENT = re.compile(r"(?:^|\s+)#.*")
_MOST_PRINTED, _MOST_LINES = 900, 8


class Skew(NamedTuple):
    """A package that is not the same here and there; a version is empty where it is not installed."""

    package: str
    ours: str
    theirs: str


@dataclass(frozen=True, slots=True)
class HostEnvironment:
    """An environment as it is on the host: the path of its interpreter there, and what is installed in it."""

    python: str
    packages: Mapping[str, str]
    is_new: bool


@dataclass(frozen=True, slots=True)
class KernelEnvironment:
    """The packages of a project, each in one version, for one Python. file: how uv is to read the text."""

    file: str
    text: str
    python: str

    @classmethod
    def of_project(cls, folder: Path, *, python: str = "", platform: str = "") -> KernelEnvironment:
        """That of a project's first file among `SOURCES`, with ipykernel, which every kernel needs.

        python: its version on the host, the one of here when none is given; platform: the host's as uv calls it, where
        that is not the one of here. NotFound when there is no such file; Failed when it cannot be resolved.
        """
        python = python or f"{sys.version_info.major}.{sys.version_info.minor}"
        source = next((folder / name for name in SOURCES if (folder / name).is_file()), None)
        if source is None:
            fix = f"make one there, e.g. by `uv lock` or `uv pip freeze > {_REQUIREMENTS}`"
            raise NotFound(f"{folder} has none of {', '.join(SOURCES)}", fix)
        if source.name == _LOCK and _KERNEL in packages_of(text := _read(source), _LOCK):
            return cls(_LOCK, text, python)
        text = _exported(folder, source)
        _refuse_local(text, source)
        if source.name != "uv.lock" or _KERNEL not in packages_of(text):
            text = _compiled(folder, source, text, python, platform)
            _refuse_local(text, source)
        return cls(_REQUIREMENTS, _without_comments(text), python)

    @property
    def digest(self) -> str:
        """By which it is found again on a host: of what is installed, and how."""
        content = json.dumps([self.python, self.file, self.text.splitlines(), self.commands])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def packages(self) -> dict[str, str]:
        """Package → version, as asked for; some may be for other platforms."""
        return packages_of(self.text, self.file)

    @property
    def commands(self) -> list[list[str]]:
        """What makes it on the host, where {uv}, {place} and {file} stand for paths."""
        return [
            # It is renamed once it is whole.
            ["{uv}", "venv", "--quiet", "--relocatable", "--python", self.python, "{place}"],
            # Copied: what a kernel changes in its packages must not change what others have from the same cache.
            ["{uv}", "pip", "sync", "--quiet", "--link-mode", "copy", "--python", "{place}/bin/python", "{file}"],
        ]

    def make(self, reach: Reach, *, top: str = FOLDER, host: str = "the host") -> HostEnvironment:
        """Make it on a host, below that folder there, unless it is there.

        Missing when uv or that Python is not there; Failed when uv cannot make it, and nothing of it is left then;
        Unavailable when the host is not reached.
        """
        request = {"digest": self.digest, "file": self.file, "text": self.text, "commands": self.commands}
        stream = reach.serve("environment", top)
        try:
            with stream.as_files() as (reader, writer):
                send(writer, request)
                flush(writer)
                answer, _ = receive(reader)
            if "problem" not in answer:
                return HostEnvironment(str(answer["python"]), dict(answer["packages"]), bool(answer["is_new"]))
        except (Cut, ValueError, TypeError, KeyError) as problem:
            what = f"{host} did not answer: {stream.problem() or problem}"
            raise Unavailable(what, "look at the host, and repeat") from None
        raise self._problem(str(answer["problem"]), str(answer.get("printed", "")), host)

    def _problem(self, kind: str, printed: str, host: str) -> LabError:
        if kind == "uv":
            return Missing(f"{host} has no uv", "install it there: `python3 -m venv ~/.uv && ~/.uv/bin/pip install uv`")
        if "No interpreter found" in printed or "No Python" in printed:
            return Missing(
                f"{host} has no Python {self.python}", f"install it there: `uv python install {self.python}`"
            )
        return Failed(f"the environment cannot be made on {host}: {_last_lines(printed)}", _fix(printed))


def skew(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[Skew]:
    """The packages whose versions are not the same, by name; what only one side has is among them."""
    here, there = ({_normalized(name): number for name, number in side.items()} for side in (ours, theirs))
    return [
        Skew(name, here.get(name, ""), there.get(name, ""))
        for name in sorted(here.keys() | there.keys())
        if _release(here.get(name, "")) != _release(there.get(name, ""))
    ]


def installed() -> dict[str, str]:
    """Package → version of what is installed here."""
    # Each `metadata`, and each `version`, reads the file of a package anew.
    return {about["Name"]: about["Version"] for about in (each.metadata for each in distributions()) if about["Name"]}


def packages_of(text: str, file: str = _REQUIREMENTS) -> dict[str, str]:
    """Package → version of what such a text pins."""
    if file == _LOCK:
        try:
            found = tomllib.loads(text).get("packages", [])
            return {_normalized(each["name"]): str(each.get("version", "")) for each in found}
        except (tomllib.TOMLDecodeError, TypeError, KeyError) as problem:
            fix = "write it again: `uv export -o pylock.toml`"
            raise UsageProblem(f"{_LOCK} cannot be read: {problem}", fix) from None
    lines = (_PINNED.match(line.strip()) for line in text.splitlines())
    return {_normalized(line[1]): line[2] for line in lines if line}


def _refuse_local(text: str, source: Path) -> None:
    if found := _LOCAL.search(text):
        start = text.rfind("\n", 0, found.start()) + 1
        line = text[start:].partition("\n")[0].strip()
        fix = "leave it out: the files of the project go to the host by themselves; give a package of yours as a wheel"
        raise UsageProblem(f"{source} names what lies on this machine alone, {line!r}", fix)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise NotFound(f"{path} cannot be read: {problem}", "see to it that it is a text that you may read") from None


def _exported(folder: Path, source: Path) -> str:
    """What the source pins or asks for, as requirements."""
    if source.name == "uv.lock":
        words = ["export", "--quiet", "--frozen", "--no-header", "--no-annotate", "--no-emit-project"]
        return _uv(words, folder, source)
    if source.name == _LOCK:
        return "".join(f"{name}=={number}\n" for name, number in packages_of(_read(source), _LOCK).items() if number)
    return "" if source.name == "pyproject.toml" else _read(source)


def _compiled(folder: Path, source: Path, text: str, python: str, platform: str) -> str:
    """Everything that the requirements need besides, in one version each; what is pinned stays as it is."""
    words = ["pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python-version", python]
    words += ["--python-platform", platform] if platform else []
    words += ["--generate-hashes"] if "--hash=" in text else []
    bounds = folder / "constraints.txt"
    with temporary() as aside:
        given = aside / _REQUIREMENTS
        if source.name in (_REQUIREMENTS, "pyproject.toml"):  # read where it lies: it may name others beside it
            given.write_text(f"{_KERNEL}\n", "utf-8")
            words += [str(source), *(["-c", str(bounds)] if bounds.is_file() else [])]
        else:
            given.write_text(f"{text}\n{_KERNEL}\n", "utf-8")
        return _uv([*words, str(given)], folder, source)


def _uv(words: Sequence[str], folder: Path, source: Path) -> str:
    beside = Path(sys.executable).with_name("uv")
    uv = shutil.which("uv") or (str(beside) if beside.is_file() else "")
    if not uv:
        raise Missing(f"{source.name} is read by uv, which is not installed here", "install it: `pip install uv`")
    command = [uv, *words]
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        raise Failed(f"{source} cannot be resolved: {_last_lines(done.stderr)}", _fix(done.stderr))
    return done.stdout


def _without_comments(text: str) -> str:
    lines = (_COMMENT.sub("", line).rstrip() for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines if line.strip())


def _normalized(name: Any) -> str:
    return re.sub(r"[-_.]+", "-", str(name)).lower()


def _release(number: str) -> str:
    """1.20 and 1.20.0 are the same."""
    release, plus, local = number.lower().partition("+")
    return re.sub(r"(\.0+)+$", "", release) + plus + local


def _last_lines(printed: str) -> str:
    lines = [re.sub(r"[╰─▶×│├]+", "", line).strip() for line in printed.splitlines()]
    return " ".join([line for line in lines if line][-_MOST_LINES:])[-_MOST_PRINTED:]


def _fix(printed: str) -> str:
    if "No space left" in printed or "os error 28" in printed:
        return "free some space on that disk, and repeat: nothing of it was left"
    if any(word in printed for word in ("dns error", "error sending request", "Connection refused", "network")):
        return "look at the network, or at where packages come from (UV_DEFAULT_INDEX, UV_FIND_LINKS), and repeat"
    return "pin versions that there are for that Python and that platform, and repeat"
