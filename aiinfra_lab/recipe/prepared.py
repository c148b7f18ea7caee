"""A step on the point of running: what its notebook is given, its cache key by parts, and the files it will read."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from ..config import settings
from ..errors import Failed
from ..providers import chosen
from ..secrets import redactor
from ..store import canonical, canonical_digest
from ..uris import Uri
from . import made_things
from .at_once import once
from .base import Gathered, RecipeStep, Value, is_file
from .cache_key import (
    NormalCode,
    Parts,
    StepEnvironment,
    digest_of,
    environment_of,
    module_digest,
    notebook_code,
    notebook_digest,
    program_modules,
    project_modules,
    shown_value,
)
from .filling import resolve
from .notebook import Notebook, read_notebook
from .record import NO_FILE, OpenedFile
from .taken import Taken, file_digest, files_of, in_project, values_of
from .watching import Opened, is_changed

MOST_OPENED = 200
_MADE = "made by the step"
# As it stands in a string or behind a magic: it has an ending, and no blanks.
_FILE_NAME = re.compile(r"[\w./~+@-]*\w\.\w+")


@dataclass(frozen=True)
class Sources:
    """What the steps before have made, as far as that is known.

    uris: `step.output` and `data:NAME` → the URI that it means in this run, or the path of a file in the project.
    states: step → what stands for the state of what it made, where that has no digest of its own.
    """

    uris: Mapping[str, str]
    states: Mapping[str, str]

    def digest(self, source: str) -> str:
        """What stands for the content of that source: by meaning, wherever its noun can tell that."""
        return self._digest(self.uris[source], source)

    def digest_of_all(self, gathered: Gathered, files: Mapping[str, Taken]) -> str:
        """The same of what several steps made. files: path → those of it"""
        made = zip(gathered.all, gathered.made(self.uris), strict=True)
        found = [
            f"{each} {files[each].digest}" if is_file(each) else self._digest(each, source) for source, each in made
        ]
        return canonical_digest(found)

    def _digest(self, uri: str, source: str) -> str:
        return made_things.digest(uri) or self.states.get(source.partition(".")[0], uri)


@dataclass(frozen=True)
class Prepared:
    """notebook: what is executed. values: what it is given, by its parameters and by `recipe.inputs`. given: those of
    them that are its parameters. sources: all that stands in `in` → a URI, or a path or glob of the project, or a list
    of what several steps made. parts: of the cache key. environment: what it runs with.

    files: what `in` says → its files. mentioned: files, there or not, that the code names. named: each of them that is
    there in the project, by its name in it. modules: a file of the project that the code imports → its digest.
    """

    notebook: Path
    values: Mapping[str, Value]
    given: Mapping[str, Value]
    sources: Mapping[str, str | list[str]]
    parts: Parts
    environment: StepEnvironment
    files: Mapping[str, Taken]
    mentioned: frozenset[Path]
    named: Mapping[str, Taken]
    modules: Mapping[str, str]

    @classmethod
    def of(cls, step: RecipeStep, sources: Sources) -> Prepared:
        """Read all that decides whether the step runs. LabError when a file is not there any more."""
        notebook = read_notebook(step.notebook)
        code = notebook_code(notebook)
        schema = notebook.schema()
        taken = {**{name: sources.uris[source] for name, source in {**step.inputs, **step.data}.items()}, **step.files}
        files = {source: Taken.of(files_of(source)) for source in step.files.values()}
        several = {name: each.made(sources.uris) for name, each in step.gathered.items()}
        made = [path for name, path in taken.items() if name in step.inputs] + list(chain(*several.values()))
        files |= {path: Taken.made(path) for path in made if is_file(path) and path not in files}
        paths = {name: source for name, source in taken.items() if source in files}
        kinds = {name: schema.of(name).kind for name in paths}
        values = {
            **resolve(step, sources.uris),
            **values_of(step.notebook.parent, paths, files, kinds),
            **{name: [_as_given(step, each) for each in found] for name, found in several.items()},
        }
        given = {name: value for name, value in values.items() if name in schema}
        modules = project_modules(code, step.notebook.parent)
        mentioned = _mentioned(step, notebook, code, values)
        for path in sorted(mentioned):
            if path.suffix == ".py" and _is_ours(path):
                modules.update(program_modules(path))
        named = _named(mentioned, files.values(), modules)
        environment = environment_of(notebook)
        # As Python, for that is what the code gets: `2026-01-02` as a text is not what it is as a date.
        parameters = {**{name: schema.of(name).default for name in schema}, **schema.read(given)}
        own = [name for name in step.taken if name in parameters]
        types = {name: schema.of(name).kind.name for name in own if not isinstance(parameters[name], str)}
        things = {name: source for name, source in {**step.inputs, **step.data}.items() if name not in paths}
        parts = {
            "code": code.digest,
            **{f"parameter {name}": shown_value(one) for name, one in parameters.items() if name not in step.taken},
            **{f"type {name}": kind for name, kind in types.items()},
            **{f"in {name}": f"{source} {files[source].digest}" for name, source in paths.items()},
            **{f"in {name}": sources.digest(source) for name, source in things.items()},
            **{f"in {name}": sources.digest_of_all(each, files) for name, each in step.gathered.items()},
            **{f"after {name}": sources.states[name] for name in step.after},
            **{f"module {name}": digest for name, digest in modules.items()},
            **{f"file {name}": content_digest(taken.files[0]) for name, taken in named.items()},
            "outputs": canonical(step.makes),
            "python": environment.python,
            "packages": environment.digest,
            "accelerator": _accelerator(step.on) or environment.accelerator,
            **{f"variable {name}": digest for name, digest in environment.variables.items()},
            "engine": _engine(step.on),
        }
        # As the records have them, with which they are compared.
        parts = once(redactor)().clean_value(parts)
        return cls(
            step.notebook, values, given, {**taken, **several}, parts, environment, files, mentioned, named, modules
        )

    @property
    def key(self) -> str:
        """The digest of all that decides what the step makes, as far as it is known before it runs."""
        return digest_of(self.parts)

    def after(self, found: Opened) -> Prepared:
        """The same when it has run, with a mark instead of the content of each file that it has made itself."""
        made = [path for path in self.mentioned if _is_ours(path) and path.resolve() in found.made]
        return self._with({f"file {in_project(path)}": _MADE for path in made})

    def again(self, before: Parts) -> Prepared:
        """The same, where it makes what it made then: what such a file held before does not count."""
        return self._with({label: _MADE for label in self.parts if before.get(label) == _MADE})

    def _with(self, parts: Parts) -> Prepared:
        return replace(self, parts={**self.parts, **parts}) if parts else self

    def changed(self, found: Opened) -> tuple[str, ...]:
        """The files that are others now, but those that the code names since it writes them."""
        own = found.written | found.made
        others = {name: taken for name, taken in self.named.items() if taken.files[0].resolve() not in own}
        files = [name for name, taken in {**others, **self.files}.items() if not taken.is_unchanged()]
        return (*files, *(name for name, digest in self.modules.items() if _digest_now(name) != digest))

    def opened(self, found: Opened, began_at: float, own: Sequence[Path]) -> tuple[tuple[OpenedFile, ...], int]:
        """What was opened besides, with its state now; and how many more there were. own: files that the step makes"""
        files = [file for taken in (*self.files.values(), *self.named.values()) for file in taken.files]
        # A link counts besides the file to which it leads now.
        root = settings().project.resolve()
        known = {path for file in files for path in (file.resolve(), Path(os.path.normpath(root / in_project(file))))}
        code = {self.notebook.resolve(), *((settings().project / name).resolve() for name in self.modules)}
        paths = sorted(
            path
            for path in found.by_step | found.meanwhile
            if path not in known and path.resolve() not in code and not any(map(path.is_relative_to, own))
        )
        digests = {path: "" if path in found.moved else _digest(path, began_at) for path in paths}
        opened = [OpenedFile(in_project(path), digest, path in found.by_step) for path, digest in digests.items()]
        return tuple(opened[:MOST_OPENED]), max(0, len(opened) - MOST_OPENED)


def written_besides(found: Opened, own: Sequence[Path]) -> tuple[str, ...]:
    """The files that a step's process wrote, are there and lie in none of its own; what Python compiles is none."""
    paths = [path for path in found.written if _is_ours(path) and "__pycache__" not in path.parts]
    return tuple(sorted(in_project(path) for path in paths if not any(map(path.is_relative_to, own)))[:MOST_OPENED])


def content_digest(path: Path) -> str:
    """Of a file: of code by its meaning, of everything else by its bytes."""
    if path.suffix == ".ipynb":
        with contextlib.suppress(Failed):  # no notebook
            return notebook_digest(read_notebook(path))
    return module_digest(path) if path.suffix == ".py" else file_digest(path)


def _accelerator(on: str) -> str:
    """That of where the step is executed; empty for this machine's."""
    if not on:
        return ""
    from .session import accelerator_on  # here, since few steps run elsewhere

    return accelerator_on(on)


def _engine(on: str) -> str:
    """Whichever session it is counts by its accelerator alone."""
    return "session" if Uri.is_one(on, "gpu") else on or once(chosen)("recipe.executor")


def _as_given(step: RecipeStep, made: str) -> str:
    """A URI, or a path as the notebook opens it."""
    return os.path.relpath(settings().project / made, step.notebook.parent) if is_file(made) else made


def _mentioned(step: RecipeStep, notebook: Notebook, code: NormalCode, values: Mapping[str, Value]) -> frozenset[Path]:
    """What may be a file, there or not, in the texts of parameters and code, as the notebook opens it."""
    schema = notebook.schema()
    defaults = [schema.of(name).stored_default for name in schema if name not in values]
    texts = {value for value in (*values.values(), *defaults) if isinstance(value, str)}
    names = texts.union(_FILE_NAME.findall(code.text))
    return frozenset(step.notebook.parent / name for name in names)


def _named(mentioned: Iterable[Path], given: Iterable[Taken], modules: Mapping[str, str]) -> dict[str, Taken]:
    """Those that are there, but for what is given in `in`, and the modules."""
    known = {file.resolve() for taken in given for file in taken.files}
    known.update((settings().project / name).resolve() for name in modules)
    there = {path for path in mentioned if _is_ours(path)}
    return {in_project(path): Taken.of([path]) for path in sorted(there) if path.resolve() not in known}


def _is_ours(path: Path) -> bool:
    where = settings()
    try:
        real, project = path.resolve(), where.project
        # A file outside may be the project's by a link in it.
        is_inside = real.is_relative_to(project) or Path(os.path.normpath(path)).is_relative_to(project)
        return is_inside and not real.is_relative_to(where.home) and real.is_file()
    except (OSError, ValueError):  # a text that cannot be a path
        return False


def _digest_now(name: str) -> str:
    try:
        return module_digest(settings().project / name)
    except OSError:
        return ""


def _digest(path: Path, began_at: float) -> str:
    """Of the file as it is; "" where it may have been another one when the step read it, by its own doing too."""
    if not path.exists():
        return NO_FILE
    try:
        return "" if is_changed(path, began_at) else content_digest(path)
    except OSError:  # gone, or not ours to read
        return ""
