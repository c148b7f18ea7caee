"""A step on the point of running: what its notebook is given, the key of that, and the files that it will read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .base import Recipe, RecipeStep, Value
from .declaration import notebook_parameters, resolve
from .inputs import Taken, file_digest, files_of, in_project, values_of
from .plan import named_files, step_key
from .record import OpenedFile
from .watching import Opened, is_changed

MOST_OPENED = 200


@dataclass(frozen=True)
class Prepared:
    """files: what `in` says → its files. named: a file of the project that the code names → itself."""

    values: Mapping[str, Value]
    key: str
    files: Mapping[str, Taken]
    named: Mapping[str, Taken]
    data: Mapping[str, str]

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        step: RecipeStep,
        given: Mapping[str, Value],
        sources: Mapping[str, str],
        states: Mapping[str, str],
    ) -> Prepared:
        """Read all that decides whether the step runs. LabError when a file is not there any more.

        sources: `step.output` and `data:NAME` → URI. states: what stands for the state of what each step made.
        """
        files = {source: Taken.of(files_of(source)) for source in step.files.values()}
        kinds = {name: kind for name, (kind, _) in notebook_parameters(step.notebook).items()}
        values = {**resolve(recipe, step, given, sources), **values_of(step, files, kinds)}
        named = named_files(step, values, files.values())
        key = step_key(step, values, states, files, named)
        by_name = {in_project(taken.files[0]): taken for taken in named.values()}
        return cls(values, key, files, by_name, {source: sources[source] for source in step.data.values()})

    @property
    def inputs(self) -> dict[str, str]:
        """What comes from outside of the recipe → its digest, or the version of data."""
        return {**{name: taken.digest for name, taken in {**self.named, **self.files}.items()}, **self.data}

    def changed(self, found: Opened) -> tuple[str, ...]:
        """The files that are others now, but those that the code names since it writes them."""
        others = {name: taken for name, taken in self.named.items() if taken.files[0].resolve() not in found.written}
        return tuple(name for name, taken in {**others, **self.files}.items() if not taken.is_unchanged())

    def opened(self, found: Opened, began_at: float) -> tuple[tuple[OpenedFile, ...], int]:
        """What was opened besides, with its state now; and how many more there were."""
        known = {file.resolve() for taken in (*self.files.values(), *self.named.values()) for file in taken.files}
        paths = sorted((found.by_step | found.meanwhile) - known)
        opened = [OpenedFile(in_project(path), _digest(path, began_at), path in found.by_step) for path in paths]
        return tuple(opened[:MOST_OPENED]), max(0, len(opened) - MOST_OPENED)


def _digest(path: Path, began_at: float) -> str:
    """Of the file as it is; "" where it may have been another one when the step read it, by its own doing too."""
    try:
        return "" if is_changed(path, began_at) else file_digest(path)
    except OSError:  # gone, or not ours to read
        return ""
