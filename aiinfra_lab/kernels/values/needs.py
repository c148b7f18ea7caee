"""What packed values need where they go: packages by version, and whether these are there."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import re
import sys
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Which of these this Python has, with their versions; "" for what can be imported and has none."""
    found = {}
    for package in packages:
        version = python_version() if package == "python" else _version(package)
        if version is not None:
            found[package] = version
    return found


def mismatches(theirs: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    """What of `ours`, the requirements, is not among `theirs`, what is installed where they go; a sentence each.

    A pickle holds the inside of an object, which libraries change from one minor version to the next without saying
    so, and a patch should not: major.minor must be the same, in both directions, since values come back. A version
    before a release promises nothing and must be the same. A build (+cpu, +cu128) changes no class. Python's own
    minor version decides what the code of a function is.
    """
    lines = []
    for package, version in sorted(ours.items()):
        wanted = f"{package} {_series(version)}".strip()
        if package not in theirs:
            lines.append(f"{wanted} is needed and not installed")
        elif version and _series(version) != _series(theirs[package]):
            there = theirs[package] or "one without a version"
            lines.append(f"{wanted} is needed, since a value comes from {version}, and {there} is installed")
    return lines


def _series(version: str) -> str:
    """The versions between which a pickle may go.

    >>> _series("2.13.0+cpu"), _series("3.11.2"), _series("2.0.0rc1")
    ('2.13', '3.11', '2.0.0rc1')
    """
    public = version.partition("+")[0]
    release = re.fullmatch(r"((?:\d+!)?\d+)(?:\.(\d+))?[\d.]*(?:\.post\d+)?", public)
    return f"{release[1]}.{release[2] or 0}" if release else public


def _version(package: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, ValueError):
        return importlib.metadata.version(package)
    if not package.isidentifier():  # to look for a part of a package would import it
        return None
    with contextlib.suppress(ImportError, ValueError):
        return "" if importlib.util.find_spec(package) else None
    return None


class PackageNeeds:
    """What the other side needs, as the packing finds out."""

    def __init__(self) -> None:
        self.packages: dict[str, str] = {}
        self.modules: set[str] = set()

    def form(self, package: str) -> None:
        """A library, in any version."""
        self.packages.setdefault(package, "")

    def same(self, package: str) -> None:
        """A library whose own form differs between its versions."""
        self.packages[package] = _version(package) or ""

    def pickled(self, found: object) -> None:
        """What a class, a function or a module in a pickle comes from."""
        name: Any
        if isinstance(found, types.ModuleType):
            name = found.__name__
        elif isinstance(found, type | types.FunctionType | types.BuiltinFunctionType):
            name = found.__module__
        else:
            return
        if not isinstance(name, str) or name not in sys.modules:  # as that of a namedtuple: it goes by its content
            return
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in ("__main__", "__mp_main__"):
            self.modules.add(name)

    def all(self) -> dict[str, str]:
        tops = {name.partition(".")[0] for name in self.modules}
        owners = _owners(tuple((each, _changed_at(each)) for each in sys.path)) if tops else {}
        for name in sorted(self.modules):
            package = _owner(name, owners.get(name.partition(".")[0], []))
            self.packages[package] = _version(package) or ""
        return self.packages


@functools.lru_cache(1)
def _owners(_: tuple[tuple[str, float], ...]) -> Mapping[str, list[str]]:
    """Module -> packages, for as long as these folders stay as they are: reading it takes a quarter of a second."""
    return importlib.metadata.packages_distributions()


def _changed_at(folder: str) -> float:
    with contextlib.suppress(OSError):
        return Path(folder or ".").stat().st_mtime
    return 0.0


def _owner(module: str, packages: list[str]) -> str:
    """The package that a module is of; of a namespace that several share, the one that has the file."""
    if len(set(packages)) < 2:
        return packages[0] if packages else module.partition(".")[0]
    path = "/".join(module.split("."))
    for package in packages:
        files = importlib.metadata.files(package) or []
        if any(file.as_posix().startswith((f"{path}/", f"{path}.")) for file in files):
            return package
    return packages[0]


def python_version() -> str:
    return ".".join(map(str, sys.version_info[:3]))
