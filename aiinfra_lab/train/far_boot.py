"""In the kernel that trains for another machine: what is there, and our package beside whatever is installed there.

Its text is run there as it is, as the module `aiinfra_train`, so it needs nothing but Python.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import zipfile
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

NAME = "aiinfra_lab"
_WHOLE = "whole"  # the file that says that all of it is there
# By the digest of a package that was loaded: a run after the first one need not load it again.
_loaded: dict[str, dict[str, Any]] = {}


def look(digest: str, names: Sequence[str]) -> str:
    """In JSON: whether the package of that digest `is_there`, and the version of each of these and of `python`."""
    packages = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in names:
        with contextlib.suppress(PackageNotFoundError):
            packages[name] = version(name)
    return json.dumps({"is_there": (_place(digest) / _WHOLE).exists(), "packages": packages})


def unpack(digest: str, archive: str) -> None:
    """Put the package there, for its owner only. Another kernel may do the same meanwhile, with the same bytes."""
    place = _place(digest)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.mkdir(mode=0o700, exist_ok=True)
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(place)
    (place / _WHOLE).touch()
    Path(archive).unlink()


def train(digest: str, inputs: str, outputs: str, name: str) -> None:
    """Run what came at `inputs`. outputs: where its files go, with `{part}` in the path; name: what they begin with."""
    with _ours(digest):
        from aiinfra_lab.train.far_kernel import execute

        execute(inputs, outputs, name)


def _place(digest: str) -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "aiinfra-lab" / "packages" / digest


@contextlib.contextmanager
def _ours(digest: str) -> Iterator[None]:
    """While this lasts, the package is that one, whichever else is installed or was imported."""
    others = _taken_out()
    place = str(_place(digest))
    sys.modules.update(_loaded.get(digest, {}))
    sys.path.insert(0, place)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the user's code may have changed the path
            sys.path.remove(place)
        _loaded.clear()  # an earlier one is not needed again
        _loaded[digest] = _taken_out()
        sys.modules.update(others)


def _taken_out() -> dict[str, Any]:
    names = [name for name in sys.modules if name == NAME or name.startswith(NAME + ".")]
    return {name: sys.modules.pop(name) for name in names}
