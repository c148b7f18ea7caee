"""What code runs with: the interpreter of a notebook's kernel, what is installed beside it, and the accelerator."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import platform
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ... import __version__
from ...config import settings
from ...errors import LabError
from ...files import write
from ..at_once import once
from ..notebook import Notebook

_OWN = "python3"
_INSTALLED = re.compile(r"([A-Za-z0-9][\w.]*)-([\w.!+]+)(?:-py[\d.]+)?\.(?:dist|egg)-info")
_VERSION = re.compile(r"^version(?:_info)?\s*=\s*(\S+)", re.MULTILINE)
_SETTLED_NS = 2_000_000_000
_MODEL = re.compile(r"^Model:\s*(.+?)\s*$", re.MULTILINE)
# A driver's device file → what it is called here; of each there may be several.
_DEVICES = {"kfd": "AMD", "neuron0": "Neuron", "accel0": "TPU"}


@dataclass(frozen=True, slots=True)
class StepEnvironment:
    """python: the interpreter's version, or the command of a kernel of another language. packages: a line each, `NAME
    VERSION`. accelerator: the models that this machine has, or cpu. variables: of the kernel's own environment, each
    with a digest of its value, which may be a secret."""

    python: str
    packages: tuple[str, ...]
    accelerator: str
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Of the packages."""
        return hashlib.sha256("\n".join(self.packages).encode()).hexdigest()

    def keep(self) -> None:
        """Write the packages down by their digest, so that a later run can name those that changed; where it may."""
        path = _kept(self.digest)
        if not path.exists():
            with contextlib.suppress(LabError, OSError):
                write(path, "\n".join(self.packages))


def environment_of(notebook: Notebook) -> StepEnvironment:
    """That in which this notebook's kernel will run; the kernel's name alone does not count."""
    command, variables = _spec(notebook.kernel or _OWN)
    if _is_ours(command[0]):
        return StepEnvironment(platform.python_version(), own_packages(), accelerators(), variables)
    prefix = Path(command[0]).parent.parent
    packages = _listed([*map(str, prefix.glob("lib/python3*/site-packages"))])
    return StepEnvironment(_version(prefix) or " ".join(command), packages, accelerators(), variables)


def is_our_kernel(notebook: Notebook) -> bool:
    """Whether this notebook's kernel runs with what is installed here."""
    return _is_ours(_spec(notebook.kernel or _OWN)[0][0])


@once
def own_packages() -> tuple[str, ...]:
    """What is installed where this process runs, the toolkit included, however that was installed."""
    return tuple(sorted({*_listed(sys.path), f"aiinfra_lab {__version__}"}))


def changed_packages(old: str, new: Sequence[str]) -> list[str]:
    """What differs from the packages of that digest, in words; nothing where those were never written down."""
    try:
        before = _by_name(_kept(old).read_text("utf-8").splitlines())
    except OSError:
        return []
    after = _by_name(new)
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return [f"{name} {before.get(name, 'new')} → {after.get(name, 'gone')}" for name in names]


@functools.lru_cache(maxsize=1)
def accelerators() -> str:
    """The class of this machine's accelerators, by its drivers' files: no library is asked, and none is initialized."""
    models = {
        found[1]
        for path in Path("/proc/driver/nvidia/gpus").glob("*/information")
        if (found := _MODEL.search(path.read_text("utf-8", "replace")))
    }
    others = {name for device, name in _DEVICES.items() if Path("/dev", device).exists()}
    return ", ".join(sorted(models | others)) or "cpu"


@once
def _spec(kernel: str) -> tuple[list[str], dict[str, str]]:
    """The command line of an installed kernel, as Jupyter finds it here, and its variables with digests of their
    values; of one that is not, its name."""
    from jupyter_core.paths import jupyter_path

    own = str(Path(sys.prefix, "share", "jupyter"))  # first, as when a step is run
    for place in dict.fromkeys([own, *jupyter_path()]):
        try:
            found = json.loads(Path(place, "kernels", kernel, "kernel.json").read_text("utf-8"))
            argv, variables = found["argv"], dict(found.get("env") or {})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if isinstance(argv, list) and argv:
            return list(map(str, argv)), {name: _short_digest(str(value)) for name, value in variables.items()}
    return [sys.executable] if kernel == _OWN else [kernel], {}


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_ours(program: str) -> bool:
    return (Path(program).name == program and program.startswith("python")) or _is_same(program, sys.executable)


def _is_same(program: str, other: str) -> bool:
    # By their folders and names: in a virtual environment the interpreter itself is a link to that of all others.
    return os.path.realpath(Path(program).parent) == os.path.realpath(Path(other).parent)


def _listed(places: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({name for place in places for name in _installed_in(place)}))


def _installed_in(place: str) -> Sequence[str]:
    try:
        changed_at = Path(place or ".").stat().st_mtime_ns
    except OSError:
        return ()
    # What is installed adds a folder to it; two changes within a moment may have one time.
    if time.time_ns() - changed_at < _SETTLED_NS:
        return _read_installed(place, 0)
    return _read_once(place, changed_at)


def _read_installed(place: str, _changed_at: int) -> Sequence[str]:
    try:
        with os.scandir(place or ".") as entries:
            names = [entry.name for entry in entries]
    except OSError:  # an archive
        return ()
    return [f"{found[1]} {found[2]}" for name in names if (found := _INSTALLED.fullmatch(name))]


_read_once = functools.lru_cache(maxsize=64)(_read_installed)


def _version(prefix: Path) -> str:
    try:
        found = _VERSION.search((prefix / "pyvenv.cfg").read_text("utf-8"))
    except OSError:
        found = None
    return found[1] if found else ""


def _by_name(lines: Sequence[str]) -> dict[str, str]:
    return {name: version for name, _, version in (line.partition(" ") for line in lines)}


def _kept(digest: str) -> Path:
    return settings().home / "recipe" / "packages" / f"{digest}.txt"
