"""The folder of a FastAPI service of one model version, which needs nothing of ours."""

from __future__ import annotations

import json
import re
import shutil
from importlib.metadata import version as installed
from pathlib import Path

from ... import files
from ...config import Settings
from ...errors import Conflict, UsageProblem
from ...train import environments
from ...train.saved_model import ONNX, SavedModel
from ...train.signature import EXAMPLE, FILE
from ...uris import Uri
from ..server.model import examples as examples_of
from ..server.rows import MAX_ROWS
from . import schema

PINS = {"fastapi": "0.165.0", "prometheus-client": "0.24.1", "pydantic": "2.14.4", "uvicorn": "0.54.0"}
"""What the service stands on besides the network's runtime; `constraints/fastapi.txt` has all that comes with it."""
HTTPX = "0.28.1"
_FORMS = {"columns": ("columns",), "arrays": ("arrays",), "texts": ("arrays", "texts")}


class FastapiProject:
    """See `Exporter` for the contract."""

    def __init__(self, where: Settings) -> None:
        pass

    def write(self, name: str, uri: str, folder: Path, into: Path) -> None:
        write(name, uri, folder, into)


def write(name: str, uri: str, folder: Path, into: Path) -> None:
    """Write the project of a version into a new folder, or an empty one. Conflict when something is there."""
    if into.is_dir() and not any(into.iterdir()):
        into.rmdir()
    if into.exists() or into.is_symlink():
        raise Conflict(f"{into} is there and not empty", "name another folder with --into, or take it away first")
    saved = SavedModel(folder)
    with files.building(into) as aside:
        _write_model(saved, aside / "model")
        for place, content in _written(name, uri, saved).items():
            (aside / place).parent.mkdir(exist_ok=True)
            (aside / place).write_text(content, "utf-8")
        files.publish(aside, into)


def _write_model(saved: SavedModel, into: Path) -> None:
    """The files of the version that the service reads: the network, with weights beside it, and what rows are."""
    into.mkdir()
    kept = {EXAMPLE, FILE, *saved.row_files}
    weights = {path.name for path in saved.folder.iterdir() if path.name.startswith(ONNX)}
    for found in kept & {path.name for path in saved.folder.iterdir()} | weights:
        shutil.copyfile(saved.folder / found, into / found)
    (into / FILE).write_text(saved.signature.to_json(), "utf-8")
    rows = examples_of(saved)
    # Of a version that came without answers those that it gives here, so that its tests have something to compare.
    answers = saved.example.answers or saved.answers(rows)
    body = {"rows": rows[: len(answers)], "answers": answers}
    (into / EXAMPLE).write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _written(name: str, uri: str, saved: SavedModel) -> dict[str, str]:
    """Path → text of every other file."""
    form = saved.signature.rows
    runtime = ("numpy", "onnxruntime", *(["tokenizers"] if form == "texts" else []))
    needs = environments.required(saved.folder)
    if operators := environments.operators(needs):
        what = f"{uri} needs the operators of {', '.join(operators)}, which the service does not load"
        raise UsageProblem(what, "serve it by an endpoint: `%deploy start`")
    # Beside another runtime than ours NumPy and the like are those that it was compared with.
    beside = environments.pins((saved.folder / environments.PACKAGES).read_text("utf-8")) if needs else {}
    used = (
        {each: beside[each] for each in runtime if each in beside}
        if needs
        else {each: installed(each) for each in runtime}
    )
    pins = sorted({**PINS, **used, **needs}.items())
    meant = Uri.parse(uri)
    values = {
        "NAME": name,
        "PACKAGE": re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "service",
        "VERSION": str(meant.version),
        "URI": uri,
        "FORM": form,
        "SUMMARY": f"It takes {_listed(saved.rows.names)} and answers {_listed(saved.signature.answered)}.",
        "PINS": "\n".join(f'    "{package}=={number}",' for package, number in pins),
        "HTTPX": HTTPX,
        "ROWS": str(MAX_ROWS),
    }
    modules = ("main", "guard", "model", "refusal", *_FORMS[form])
    places = {f"app/{module}.py": f"{module}.py" for module in modules}
    places |= {each: each for each in ("Dockerfile", "README.md", "pyproject.toml")} | {
        "tests/test_app.py": "test_app.py"
    }
    body = json.dumps({"rows": examples_of(saved)[:1]}, ensure_ascii=False)
    return {
        "app/__init__.py": f'"""The service of {uri}."""\n',
        "app/schema.py": schema.text(saved),
        "body.json": body + "\n",
        ".dockerignore": "*\n!app\n!model\n!pyproject.toml\n**/__pycache__\n",
        **{place: _filled(template, values) for place, template in places.items()},
    }


def _filled(template: str, values: dict[str, str]) -> str:
    text = Path(__file__).with_name(f"{template}.txt").read_text("utf-8")
    return re.sub(r"@([A-Z]+)@", lambda match: values[match[1]], text)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)
