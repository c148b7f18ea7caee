"""Where a model that was trained somewhere else lies, of which format it is, and what is refused as it runs code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .. import files
from ..errors import LabError, NotFound, UsageProblem, nearest
from ..providers import TABLE, foreign, make, names
from ..store import canonical_digest
from ..train import environments
from ..train.environments import Environment
from ..train.saved_model import opened_in
from .base import BuiltByCode, Importer, Original, RunsAsItIs, TakesTexts
from .record import ModelCode, ModelSource

CONTRACT = "models.importer"
_PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".bin", ".sav", ".dill")
_READ = 1 << 20  # enough of a pickle to see which packages it is of


class Found(NamedTuple):
    """A model's file or folder, and who reads it. notes: who could not be asked whether it is his."""

    path: Path
    name: str
    importer: Importer
    notes: tuple[str, ...] = ()


def find(path: Path) -> Found:
    """Who reads that file or folder. NotFound where there is none; UsageProblem for a pickle, and for what nobody
    reads; Missing when the package that reads it is not installed.
    """
    if not path.exists():
        raise NotFound(f"there is no file or folder {path.absolute()}", _meant(path))
    if path.is_file() and path.stat().st_size == 0:
        raise UsageProblem(f"{path} is empty", "save the model again; the disk may have been full")
    passed_over: list[str] = []
    # Ours first: what another package takes for its own does not take a format of ours away.
    for name in sorted(names(CONTRACT), key=lambda each: (each not in TABLE[CONTRACT], each)):
        try:
            is_its_own = make(CONTRACT, name, is_to_work=False).suits(path)
        except LabError as problem:
            if name in TABLE[CONTRACT]:
                raise
            passed_over.append(f"{name} was passed over: {problem.what}")
            continue
        if is_its_own:
            return Found(path.absolute(), name, make(CONTRACT, name), tuple(passed_over))
    if line := _way_out_of_pickle(path):
        raise UsageProblem(f"{path} is a pickle, which can run any code when it is read", line)
    raise UsageProblem(
        "; ".join([f"{path} is of no format that is known here", *passed_over]), f"give one of these: {_formats()}"
    )


def _formats() -> str:
    """What is read here, other packages' formats included."""
    ours = [each.what for each in TABLE[CONTRACT].values()]
    others = [each for each in foreign() if each.contract == CONTRACT and each.name in names(CONTRACT)]
    return "; ".join([*ours, *(f"{each.name}, which {each.package} reads" for each in others)])


def read(found: Found, code: str, asked: str = "") -> tuple[Original, ModelCode | None, Needs]:
    """The model as its own library reads it, and the packages that it is to run by.

    code: the function that builds its network, for weights alone. asked: lines of pinned packages, where it is not to
    run by those that are installed here.
    """
    if code:
        if not isinstance(found.importer, BuiltByCode):
            raise UsageProblem(f"--code is for weights alone, and {found.path} is a whole model", "leave it out")
        original, built_by = found.importer.read_with(found.path, code)
        return original, built_by, Needs.of(asked, original)
    if not (asked and isinstance(found.importer, RunsAsItIs)):
        original = found.importer.read(found.path)
        return original, None, Needs.of(asked, original)
    needs = Needs.of(asked)
    return found.importer.read_by(found.path, needs.runtime), None, needs


@dataclass(frozen=True)
class Needs:
    """The packages that a version is to run by. asked: empty for those that are installed here."""

    asked: str
    environment: Environment | None = None

    @classmethod
    def of(cls, asked: str, original: Original | None = None) -> Needs:
        """With an environment that is there, where it needs one. Failed when that cannot be built."""
        with_texts = isinstance(original, TakesTexts)
        return cls(asked, Environment.made(asked, with_texts=with_texts) if asked else None)

    def runtime(self, path: Path) -> Any:
        """The runtime with the network of an ONNX file in it."""
        return opened_in(self.environment, path, operators=environments.operators(environments.pins(self.asked)))

    def write(self, folder: Path) -> None:
        """Put it into the folder of a version."""
        packages = self.environment.packages if self.environment else environments.installed()
        (folder / environments.PACKAGES).write_text(packages, "utf-8")
        if self.asked:
            (folder / environments.REQUIREMENTS).write_text(self.asked, "utf-8")


def source(found: Found, given: str, code: ModelCode | None) -> ModelSource:
    """What is recorded of it. given: the URI that it was got from, if any."""
    return ModelSource(given or str(found.path), sha256(found.path), found.name, code)


def sha256(path: Path) -> str:
    """Of a file; of a folder that of the digests of all files in it."""
    if path.is_file():
        return files.digest(path)
    each = {str(file.relative_to(path)): files.digest(file) for file in sorted(path.rglob("*")) if file.is_file()}
    return canonical_digest(each)


def _meant(path: Path) -> str:
    there = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    near = nearest(path.name, there)
    hint = "look at the path: it is read from the current folder"
    return f"did you mean {path.with_name(near)}? If not, {hint}" if near else hint


def _way_out_of_pickle(path: Path) -> str:
    """The line that makes a safe file of a pickle, run where the model was trained; empty when it is no pickle."""
    if not path.is_file():
        return ""
    with path.open("rb") as stream:
        content = stream.read(_READ)
    # A pickle of protocol 2 and later begins with \x80; those of torch lie in a zip file.
    if not content.startswith(b"\x80") and path.suffix not in _PICKLES:
        return ""
    is_of_torch = content.startswith(b"PK") or b"torch" in content or path.suffix in (".pt", ".pth", ".ckpt", ".bin")
    package = next((each for each in _LINES if each.encode() in content), "torch" if is_of_torch else "sklearn")
    suffix, line = _LINES[package]
    read = (
        f'from joblib import load; m = load("{path}")'
        if path.suffix == ".joblib"
        else (f'from pandas import read_pickle; m = read_pickle("{path}")')
    )
    made = path.with_suffix(suffix)
    return f"where you trust it, run `{line.format(read=read, path=path, made=made)}`, then add {made}"


# By the package in it, a wrapper before what it wraps: what writes a file of which nothing is run.
_LINES = {
    "xgboost": (".ubj", '{read}; m.save_model("{made}")'),
    "lightgbm": (".txt", '{read}; getattr(m, "booster_", m).save_model("{made}")'),
    "catboost": (".cbm", '{read}; m.save_model("{made}")'),
    "sklearn": (".skops", 'import skops.io; {read}; skops.io.dump(m, "{made}")'),
    "torch": (
        ".pt2",
        (
            'import torch; rows = {{0: torch.export.Dim("rows")}}; torch.export.save(torch.export.export('
            'model.eval(), (example,), dynamic_shapes=(rows,)), "{made}")'
        ),
    ),
}
