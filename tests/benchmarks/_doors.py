"""What row true.6 counts: files that others can read, and names that lead out of the folder that they are for."""

import contextlib
import json
import os
import random
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from aiinfra_lab.errors import LabError
from aiinfra_lab.jupyter import calls
from aiinfra_lab.words import understand

STORY = (
    ("lab", "start", "--from", "example:flights"),
    ("recipe", "run", "flight-delays", "-p", "months=2013-01", "-p", "epochs=2", "-p", "require=auc > 0.6"),
    ("deploy", "stop", "delay"),
)
# Made by a person, or asked for by one: these have the modes of the umask.
_OF_PEOPLE = ("aiinfra.toml", ".dvcignore", "notebooks", "recipes", "data", ".dvc/config", ".dvc/.gitignore")
# By the test itself, and by what lives on or is brought up by looking.
_WRITTEN = ("hostile.toml", "lock", "swept", "store.sqlite", "audit.head", "supervisor", "mlflow.db", "log", "exit")
_PARTS = ("..", "x", "aiinfra.toml", ".aiinfra", "notebooks", "etc", "victim", "jobs", ".")
_WHOLE = (
    "", ".", "..", "/", "~", "~root", "-x", "--force", "a b", "a\nb", "a\0b", "a\\..\\b", "%2e%2e%2fx", "..%2f..%2fx",
    "x" * 64, "x" * 300, "../" * 40 + "etc/x", "\uff0e\uff0e\uff0fx", "x\u2215y", "\u202e..", "x\u0301", "é", "\ud800",
    "file:///etc/x", "//host/x", "C:\\x", "$HOME", "`id`", "$(id)", "x;id", "x|id", "*", "?", "[a]", "x:y", "x@../y",
    "x#../y", "x@1#../../y", ".hidden", "_x", "x/", "./x", "x/../../y", "\t", "con/../..",
)  # fmt: skip


def names(many: int = 200) -> list[str]:
    """Texts that are no name, most of which would lead somewhere else if they were taken for a part of a path."""
    rng, found = random.Random(6), dict.fromkeys(_WHOLE)
    while len(found) < many:
        parts = [rng.choice(_PARTS) for _ in range(rng.randrange(2, 7))]
        found[rng.choice(("", "/", "./", "x/")) + "/".join(parts)] = None
    return list(found)[:many]


def _verb(*words: str) -> Callable[[str], object]:
    """A verb whose words hold the name, where `{}` stands."""

    def call(name: str) -> object:
        noun, *rest = (word.replace("{}", name) for word in words)
        call = understand(noun, rest)
        return call.run() if hasattr(call, "run") else _refused()

    return call


def _rest(noun: str, verb: str, body: str) -> Callable[[str], object]:
    """A call over REST, as far as the words that a job would run."""

    def call(name: str) -> object:
        filled = json.loads(body.replace('"{}"', json.dumps(name)))
        if verb == "stop":
            return calls.stop(noun.replace("{}", name), filled)
        found = calls.words(noun.replace("{}", name), verb.replace("{}", name), filled)
        call = understand(found[0], [word for word in found[1:] if word != "--json"])
        return call.run() if hasattr(call, "run") else _refused()

    return call


def _recipe(text: str) -> Callable[[str], object]:
    """A recipe that holds the name."""

    def call(name: str) -> object:
        from aiinfra_lab.recipe import declaration

        (declaration.folder() / "hostile.toml").write_text(text.replace("{}", _toml(name)), "utf-8", "surrogatepass")
        return declaration.read("hostile")

    return call


def _recipe_in(name: str) -> None:
    """A step that takes files of that name; refused, too, is what means files within the project."""
    from aiinfra_lab.recipe.taken import files_of

    recipe: Any = _recipe('[steps.a]\nnotebook = "a.ipynb"\nin = { n = {} }\n')(name)
    taken = [file for step in recipe.steps for source in step.files.values() for file in files_of(source)]
    if all(file.resolve().is_relative_to(Path.cwd().resolve()) for file in taken):
        raise LabError("it stays in the project", "")


def _recipe_out(name: str) -> None:
    """A step that makes a file of that name; refused, too, is what lies in the project."""
    from aiinfra_lab.recipe.taken import place_of

    recipe: Any = _recipe('[steps.a]\nnotebook = "a.ipynb"\nout = { n = {} }\n')(name)
    made = [place_of(path) for step in recipe.steps for path in step.made_files.values()]
    if all(file.resolve().is_relative_to(Path.cwd().resolve()) and file != Path.cwd() for file in made):
        raise LabError("it stays in the project", "")


def _toml(name: str) -> str:
    return json.dumps(name, ensure_ascii=True)


def _refused() -> None:
    raise LabError("it was read as the help", "")


ENTRIES: dict[str, Callable[[str], object]] = {
    "data add": _verb("data", "add", "{}", "kept.csv"),
    "data get": _verb("data", "get", "{}"),
    "data rm": _verb("data", "rm", "{}"),
    "data diff": _verb("data", "diff", "data:{}", "flights"),
    "data add --from": _verb("data", "add", "new", "--from={}"),
    "features rm": _verb("features", "rm", "{}"),
    "features get part": _verb("features", "get", "delay@1#{}"),
    "train get": _verb("train", "get", "{}", "--into=out"),
    "models rm": _verb("models", "rm", "{}"),
    "models get version": _verb("models", "get", "delay@{}", "--into=out"),
    "models promote alias": _verb("models", "promote", "delay@1", "--to={}"),
    "deploy start": _verb("deploy", "start", "{}", "--model=delay@1"),
    "deploy log": _verb("deploy", "log", "{}"),
    "drift get": _verb("drift", "get", "{}", "--into=out.json"),
    "drift get --as": _verb("drift", "get", "delay", "--as={}", "--into=out.html"),
    "gpu start": _verb("gpu", "start", "{}"),
    "recipe run": _verb("recipe", "run", "{}"),
    "recipe show": _verb("recipe", "show", "recipe:{}"),
    "lab start --from": _verb("lab", "start", "--from={}"),
    "lab rm": _verb("lab", "rm", "{}"),
    "recipe step": _recipe('[steps.{}]\nnotebook = "a.ipynb"\n'),
    "recipe notebook": _recipe("[steps.a]\nnotebook = {}\n"),
    "recipe out": _recipe_out,
    "recipe in": _recipe_in,
    "REST noun": _rest("{}", "ls", "{}"),
    "REST verb": _rest("data", "{}", "{}"),
    "REST name": _rest("data", "rm", '{"args": ["{}"]}'),
    "REST flag": _rest("data", "get", '{"args": ["flights"], "flags": {"{}": "out"}}'),
    "REST stop": _rest("gpu", "stop", '{"args": ["{}"]}'),
}  # fmt: skip


def left(workspace: Path, door: str, name: str) -> str:
    """What went wrong when that name came in by that door; "" for a refusal that changed nothing around.

    The workspace is the current one, and its own folder the only one below its parent that may change.
    """
    before = _around(workspace)
    try:
        ENTRIES[door](name)
        answer = "was taken"
    except LabError:
        answer = ""
    except Exception as problem:  # noqa: BLE001  # what is no refusal of ours is what is looked for
        answer = f"raised {type(problem).__name__}: {problem}"
    if (after := _around(workspace)) != before:
        answer = f"changed {sorted(map(str, {*after.items()} ^ {*before.items()}))}"
    return answer and f"{door} {name[:60]!r} {answer}"


def prepare(workspace: Path) -> None:
    """What names may lead to, and what must stay: files of the project and beside it."""
    (workspace / "recipes").mkdir(exist_ok=True)
    (workspace / "notebooks").mkdir(exist_ok=True)
    (workspace.parent / "x").write_text("beside the workspace")
    (workspace / "kept.csv").write_text("x\n1\n")
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": "n: str = ''", "outputs": []}
    notebook = {"cells": [{**cell, "execution_count": None}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    for path in (workspace / "notebooks" / "a.ipynb", workspace.parent / "victim.ipynb"):
        path.write_text(json.dumps(notebook))


def _around(workspace: Path) -> dict[str, Any]:
    """Every file below the workspace's parent, except what the toolkit and this test themselves write."""
    found: dict[str, Any] = {}
    for root, folders, files in os.walk(workspace.parent):
        folders[:] = [name for name in folders if not _is_written(Path(root, name), workspace)]
        for name in files:
            path = Path(root, name)
            if not name.startswith(_WRITTEN):
                found[str(path)] = path.lstat().st_size, path.lstat().st_ino
    return found


def _is_written(folder: Path, workspace: Path) -> bool:
    # Elsewhere below them nothing may change either: folders of things are looked at.
    return folder in (workspace / ".aiinfra" / "backups", workspace / ".aiinfra" / "features" / "feast")


def tell(workspace: Path, umask: int = 0o022) -> None:
    """Live through a whole story in a workspace, in commands with that umask."""
    environment = {**os.environ, "AIINFRA_WORKSPACE": str(workspace)}
    for words in STORY:
        command = [sys.executable, "-m", "aiinfra_lab.cli", *words]
        subprocess.run(command, env=environment, cwd=workspace, umask=umask, check=True, capture_output=True)


def open_to_others(workspace: Path, *more: Path) -> list[str]:
    """The files of a workspace, and of other folders of ours, that another user may read by their own mode.

    Whatever modes the folders have above them; without what people made, or asked for.
    """
    return [str(path) for folder in (workspace, *more) for path in _files(folder, workspace) if _is_open(path)]


def _files(folder: Path, workspace: Path) -> Iterator[Path]:
    people = [workspace / name for name in _OF_PEOPLE]
    for path in folder.rglob("*"):
        if not any(path.is_relative_to(one) for one in people):
            yield path


def _is_open(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        state = path.lstat()
        return stat.S_ISREG(state.st_mode) and bool(state.st_mode & 0o077)
    return False
