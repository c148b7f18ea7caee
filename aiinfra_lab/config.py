"""Settings: `aiinfra.toml` (or `[tool.aiinfra]` of a pyproject.toml) and AIINFRA_* variables, as they are at each call.

A setting knows where its value came from. Nothing here writes a file.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from .errors import NotFound, UsageProblem, did_you_mean
from .setting_keys import check, known, sections

# A library's log is for those who ask for it. Said where every part of the package comes by, and not in the package
# itself: to import `logging` takes as long as to ask the pool for a process.
logging.getLogger(__package__).addHandler(logging.NullHandler())

HOME = ".aiinfra"
FILE = "aiinfra.toml"
_SETTLED_NS = 1_000_000_000
# These name the place itself, or what a child process is; they are no settings.
_PLACES = ("AIINFRA_WORKSPACE", "AIINFRA_PROJECT", "AIINFRA_JOB", "AIINFRA_JOB_DIR", "AIINFRA_CONTEXT")

# Every switch that keeps a library below us from phoning home. MLflow honours DO_NOT_TRACK only as the word `true`.
OPT_OUTS = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
    "ITERATIVE_DO_NOT_TRACK": "1",
    "EVIDENTLY_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "FEAST_USAGE": "False",
}

_BOOLS = {"1": 1, "true": 1, "yes": 1, "on": 1, "0": 0, "false": 0, "no": 0, "off": 0}

T = TypeVar("T", str, int, float, bool)

_inside: ContextVar[Path | None] = ContextVar("inside", default=None)


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and the file or variable it came from."""

    value: object
    source: str


@dataclass(frozen=True)
class Settings:
    """Where we are and what was set.

    `project` holds the notebooks and recipes, `workspace` everything that is made; they are one folder unless
    the settings file says `workspace = "…"`.
    """

    project: Path
    workspace: Path
    values: Mapping[str, Setting]

    @property
    def home(self) -> Path:
        """The toolkit's own folder inside the workspace; `files.make_folder` makes it, for its owner only."""
        return self.workspace / HOME

    def get(self, key: str, default: T) -> T:
        """The setting `section.key`, of the default's type.

        UsageProblem when the value cannot be read as that type.
        """
        found = self.values.get(key)
        return default if found is None else _as(key, found, default)

    def explain(self) -> Iterator[tuple[str, object, str]]:
        """(key, value, where it came from) of everything that was set, by key."""
        for key in sorted(self.values):
            yield key, self.values[key].value, self.values[key].source


def settings(start: Path | None = None) -> Settings:
    """The settings that hold here: those of AIINFRA_WORKSPACE, or found by looking upward from the current folder.

    `start` looks upward from there instead. NotFound when there is no workspace there or above: `lab start` alone makes
    one.
    """
    start = start or _inside.get()
    if start is None and (where := named_place()) is not None:
        # A mistyped variable must not begin an empty workspace somewhere.
        if not (is_marked(where.project) or where.home.is_dir()):
            raise NotFound(
                f"AIINFRA_WORKSPACE names {where.workspace}, and there is no workspace there",
                "correct the variable; or `%lab start` makes one there",
            )
        return where
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        # An aiinfra.toml without a setting marks a workspace too.
        if (values := _read(folder)) or (folder / FILE).is_file():
            workspace = folder / str(values.pop("workspace", Setting(".", "")).value)
            return Settings(folder, Path(os.path.normpath(workspace)), {**values, **_environment()})
    raise NotFound(
        f"there is no workspace in {here} or above it",
        "make one with `%lab start` (in a shell: `aiinfra lab start DIR`), or set AIINFRA_WORKSPACE",
    )


def named_place() -> Settings | None:
    """The settings of the folder that AIINFRA_WORKSPACE names, whether it is a workspace or not; None without it."""
    named = os.environ.get("AIINFRA_WORKSPACE")
    if not named:
        return None
    workspace = Path(named).absolute()
    project = Path(os.environ.get("AIINFRA_PROJECT", workspace)).absolute()
    return Settings(project, workspace, {**_read(project), **_environment()})


def is_marked(folder: Path) -> bool:
    """Whether the folder is a project: an aiinfra.toml, also an empty one, or our section of a pyproject.toml."""
    return (folder / FILE).is_file() or bool(_read(folder))


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """While the block runs, `settings()` of this thread or task are those that hold in that folder."""
    token = _inside.set(folder)
    try:
        yield
    finally:
        _inside.reset(token)


def context() -> str:
    """What this process was started for, e.g. `recipe:nightly@3/train`; empty when a person started it."""
    return os.environ.get("AIINFRA_CONTEXT", "")


def opt_out() -> None:
    """Switch off the telemetry of every library below us, unless the user has set the switch himself."""
    for name, value in OPT_OUTS.items():
        os.environ.setdefault(name, value)


def _read(folder: Path) -> dict[str, Setting]:
    if (folder / FILE).is_file():
        return dict(_flat(_parse(folder / FILE), FILE))
    if (folder / "pyproject.toml").is_file():
        tools = _parse(folder / "pyproject.toml").get("tool")
        section = tools.get("aiinfra") if isinstance(tools, dict) else None
        return dict(_flat(section, "pyproject.toml [tool.aiinfra]")) if isinstance(section, dict) else {}
    return {}


def _parse(path: Path) -> Mapping[str, object]:
    """What the file holds, parsed again only when it was written again: one verb asks for settings a dozen times."""
    state = path.stat()
    # A file system counts time in steps of some milliseconds: two writes within one step look the same.
    if time.time_ns() - state.st_mtime_ns < _SETTLED_NS:
        return _parsed(path)
    return _cached(path, state.st_mtime_ns, state.st_size, state.st_ino)


@lru_cache(maxsize=32)
def _cached(path: Path, _mtime_ns: int, _size: int, _inode: int) -> Mapping[str, object]:
    return _parsed(path)


def _parsed(path: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise UsageProblem(f"{path} is not valid TOML: {problem}", _quoted(path, str(problem))) from None


def _quoted(path: Path, problem: str) -> str:
    """How to correct a line that cannot be read: most often a text lacks its quotes."""
    fix = "correct that line; texts need quotes"
    where = re.search(r"at line (\d+)", problem)
    lines = path.read_bytes().decode("utf-8", "replace").splitlines()
    line = lines[int(where[1]) - 1] if where and int(where[1]) <= len(lines) else ""
    bare = re.fullmatch(r"""\s*([\w.-]+)\s*=\s*([^\s"'\[{#][^"'#]*?)\s*(?:#.*)?""", line)
    return f'did you mean {bare[1]} = "{bare[2]}"? If not, {fix}' if bare else fix


def _flat(table: Mapping[str, object], source: str) -> Iterator[tuple[str, Setting]]:
    for section, value in table.items():
        if section == "workspace":
            yield section, Setting(value, source)
        elif section not in sections() or not isinstance(value, dict):
            raise _no_section(section, value, source)
        else:
            for key, inner in value.items():
                check(f"{section}.{key}", source)
                yield f"{section}.{key}", Setting(inner, source)


def _no_section(name: str, value: object, source: str) -> UsageProblem:
    if isinstance(value, dict):
        return UsageProblem(f"{source} has an unknown section {name!r}", did_you_mean(name, sections()))
    where = next((section for section in sections() if name in known(section)), "")
    fix = f"write [{where}] above it" if where else "write the name of a section in [] above it, e.g. [gpu]"
    return UsageProblem(f"{source} sets {name!r} in no section", fix)


def _environment() -> dict[str, Setting]:
    found = {}
    for name in [name for name in os.environ if name.startswith("AIINFRA_") and name not in _PLACES]:
        section, _, key = name.removeprefix("AIINFRA_").lower().partition("_")
        if section in sections() and key:
            check(f"{section}.{key}", name)
            found[f"{section}.{key}"] = Setting(os.environ[name], name)
    return found


def _as(key: str, setting: Setting, default: T) -> T:
    kind = type(default)
    value: Any = setting.value
    if kind.__name__ == "bool":
        value = _BOOLS.get(str(value).lower())
    if kind is str and isinstance(value, list):
        value = ", ".join(map(str, value))  # several names, as TOML writes them
    # To Python `true` is the number 1, and a number that was set to it is a mistake.
    if value is not None and not (isinstance(setting.value, bool) and kind.__name__ != "bool"):
        with contextlib.suppress(ValueError, TypeError):
            return kind(value)
    name, usual = key.partition(".")[2], str(default).lower() if kind.__name__ == "bool" else repr(default)
    raise UsageProblem(
        f"{key} = {setting.value!r} ({setting.source}) is no {kind.__name__}",
        f"give it a {kind.__name__}, e.g. {name} = {usual}",
    )
