"""The examples that a new workspace can start from: notebooks and recipes, in the wheel or in the checkout."""

from __future__ import annotations

import filecmp
import shutil
from pathlib import Path

from ..errors import NotFound, did_you_mean
from ..files import writing

_PACKAGE = Path(__file__).parent.parent


def names() -> list[str]:
    """What `lab start --from` takes."""
    return ["example:flights"]


def check(source: str) -> None:
    """NotFound when there is no such example."""
    if source not in names():
        raise NotFound(f"there is no example {source!r}", did_you_mean(source, names()))


def write(source: str, into: Path) -> tuple[list[str], list[str]]:
    """Copy an example's notebooks and recipes; files that exist already are left alone.

    Returns the new ones, and of those that were there the ones that differ from the example's.
    """
    check(source)
    written, other = [], []
    for folder, pattern in (("notebooks", "*.ipynb"), ("recipes", "*.toml")):
        for file in sorted(_source(folder).glob(pattern)):
            target = into / folder / file.name
            if not target.exists():
                # Not flushed: after a crash it can be copied again.
                with writing(target, flush=False) as aside:
                    shutil.copyfile(file, aside)
                written.append(f"{folder}/{file.name}")
            elif not filecmp.cmp(file, target, shallow=False):
                other.append(f"{folder}/{file.name}")
    return written, other


def _source(folder: str) -> Path:
    shipped = _PACKAGE / "examples" / "flights" / folder
    return shipped if shipped.is_dir() else _PACKAGE.parent / folder
