"""The modules of the project that code imports, directly or through one another; nothing is imported to find them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...config import settings
from ..at_once import once
from ..opened import PASSED_OVER
from .code import Import, NormalCode, module_code, module_digest

_MOST_MODULES = 2000
# In a shell's line or a list of arguments, in the normal form of code.
_RUN = re.compile(r"\s?-m(?:\s+|'\), Constant\(value=')([A-Za-z_][\w.]*)")
_TOOLKIT = __name__.partition(".")[0]


def project_modules(code: NormalCode, folder: Path) -> dict[str, str]:
    """Each file of the project that the code of a notebook in that folder imports → the digest of its normal form; of
    what it runs by `python -m` too.

    A module that is imported by a name that is only known when the code runs is not found. What is installed counts
    with its environment.
    """
    project = _project()
    roots = [folder.resolve(), *_import_roots(project)]
    found: dict[Path, None] = {}
    run = [Import(name, names=("__main__",)) for name in _RUN.findall(code.text)]
    left = list(_files_of([*code.imports, *run], roots, None))
    while left and len(found) < _MOST_MODULES:
        path = left.pop()
        if path in found or not _is_ours(path, project):
            continue
        found[path] = None
        left.extend(_files_of(module_code(path).imports, roots, path))
    return {path.relative_to(project).as_posix(): module_digest(path) for path in sorted(found)}


def program_modules(path: Path) -> dict[str, str]:
    """The same of a Python file that a notebook may run as a program: what stands beside it comes first."""
    return project_modules(module_code(path), path.parent)


def is_of_project(module: str, folder: Path) -> bool:
    """Whether a notebook in that folder that imports a module of that name gets one of the project."""
    roots = [folder.resolve(), *_import_roots(_project())]
    return any(_is_there(root / module.partition(".")[0]) for root in roots)


@once
def _project() -> Path:
    return settings().project.resolve()


@once
def _import_roots(project: Path) -> list[Path]:
    """The folders of the project that this interpreter imports from: where it is installed to be edited."""
    places = [Path(place).resolve() for place in sys.path if place]
    return [place for place in places if place.is_relative_to(project) and _is_ours(place / "module.py", project)]


def _is_ours(path: Path, project: Path) -> bool:
    if not path.is_relative_to(project) or path.is_relative_to(Path(sys.prefix)):
        return False
    return not any(part.startswith(".") or part in PASSED_OVER for part in path.relative_to(project).parts)


def _files_of(imports: Sequence[Import], roots: Sequence[Path], importer: Path | None) -> Iterator[Path]:
    """The files that these statements may load, those of the packages on their way too. importer: the module's own."""
    for one in imports:
        parts = one.module.split(".") if one.module else []
        if one.level:
            starts = [importer.parents[one.level - 1]] if importer and one.level <= len(importer.parents) else []
        elif parts[:1] == [_TOOLKIT]:
            continue  # its version counts
        else:
            starts = [root for root in roots if parts and _is_there(root / parts[0])][:1]
        for start in starts:
            yield from _along(start, parts, one.names)


def _along(start: Path, parts: Sequence[str], names: Sequence[str]) -> Iterator[Path]:
    place = start
    for part in parts:
        place = place / part
        yield from _module(place)
    for name in names:
        yield from _module(place / name)
    if not parts:
        yield from _module(start)  # `from . import name`: the package itself


def _module(place: Path) -> Iterator[Path]:
    """The file of the module that is called so, without an ending; none where there is no such module."""
    for path in (place / "__init__.py", place.with_name(f"{place.name}.py")):
        if path.is_file():
            yield path.resolve()
            return


def _is_there(place: Path) -> bool:
    return place.with_name(f"{place.name}.py").is_file() or place.is_dir()
