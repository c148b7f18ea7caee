"""A model that was trained somewhere else becomes a version: read, converted, compared with itself, and recorded."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from .. import files
from ..errors import Failed, LabError, UsageProblem
from ..features.opening import rows_of
from ..leftovers import temporary
from ..show import working
from ..store import Event, Record, log_same
from ..train import environments, signature
from ..train.saved_model import ONNX, SavedModel
from ..train.signature import CUSTOM, Signature, Task, Tensor
from ..units import counted
from . import artifact, card, checks, examples, graph, record, sources
from .base import Original
from .examples import ExampleRows
from .record import ModelSource, ModelVersion

if TYPE_CHECKING:
    from ..train.inputs import Arrays

_OF_MLFLOW = re.compile(r"(models|runs):/")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST_LABELS = 100_000
# What the same model may have otherwise when it is added again.
_OF_THE_DAY = {"card.md", environments.PACKAGES, ONNX}


def add(
    name: str,
    given: Path,
    example: object,
    rows: object,
    task: str | None,
    labels: Sequence[str],
    note: str,
    code: str = "",
    environment: Path | None = None,
) -> tuple[Record[ModelVersion], str, bool]:
    """Record a model's file, folder or URI as the next version; the version, what is to be said of it, and whether
    it is a new one.

    The same once more, with the same example and for the same use, is the version that there is.
    """
    with working("Model version", f"models:{name}", f"reads {given}") as step, _located(given) as (path, uri):
        asked = environments.read(environment) if environment else ""
        found = sources.find(path)
        with _explained(path, "cannot be read", "save it again, or copy it again whole"):
            if asked:
                step(f"builds the environment with {environments.shown(environments.pins(asked))}")
            original, built_by, needs = sources.read(found, code, asked)
        origin = sources.source(found, uri, built_by)
        compared_on = examples.read(original, example, rows, rows_of(name))
        step("compares what will serve with the original")
        with files.building(record.folder(name)) as aside:
            needs.write(aside)  # first of all: what is compared is what will serve
            notes = _build(original, compared_on, aside, path, task, labels)
            del original
            if known := _same(name, origin, aside, note):
                log_same("models add", known.uri)
                return known, f"{origin.path} was added before", False
            notes = [*found.notes, *compared_on.notes, *notes]
            saved = SavedModel(aside)
            (aside / "card.md").write_text(card.of_source(name, saved, origin, compared_on.uri, note, notes), "utf-8")
            del saved
            return _recorded(name, aside, origin, compared_on, note), "; ".join(notes), True


@contextlib.contextmanager
def _located(given: Path) -> Iterator[tuple[Path, str]]:
    """The path of a model, and the URI that it was got from where it had to be got."""
    if not _OF_MLFLOW.match(str(given)):
        yield given.expanduser(), ""
        return
    from .mlflow import fetched

    with temporary() as folder:
        yield fetched(str(given), folder), str(given)


def _build(
    original: Original, example: ExampleRows, folder: Path, path: Path, task: str | None, labels: Sequence[str]
) -> list[str]:
    """Fill a version's folder with all but its card; what is to be said of it. Failed when the two differ."""
    meaning = _task(original.task, task, labels)
    with _explained(path, "cannot predict the example", "give an example like the rows that it was trained on"):
        expected = _answer(original, example.given, len(example))
        again = _answer(original, example.given, len(example))
        _refuse_random(path, expected, again, original.tolerance, _sizes(expected))
        alone = _answer(original, example.last()[0], 1)
    meaning = _labelled(meaning, expected)
    _refuse_taken([*expected], example.asked)
    tolerance = original.tolerance
    with _explained(path, "cannot be converted to ONNX", "export it as ONNX where it was trained, and add that file"):
        original.convert(folder / ONNX)
    logits = [name for name, values in expected.items() if _are_logits(values, meaning.labels_of(name))]
    if logits:
        model = graph.load(folder / ONNX)
        graph.soften(model, logits)
        graph.save(model, folder / ONNX)
        expected, alone = (_softened(each, logits) for each in (expected, alone))
    is_free = any(size < 0 for item in example.tensors for size in item.row_shape)
    given = (_output(name, values, is_free) for name, values in expected.items())
    outputs = tuple(signature.as_answered(item, meaning, example.form) for item in given)
    made = Signature(example.tensors, outputs, meaning, example.form)
    (folder / signature.FILE).write_text(made.to_json(), "utf-8")
    example.write(folder)
    saved = SavedModel(folder)
    _refuse_other(path, saved, example, expected, alone, tolerance)
    answers = saved.answers(example.rows)
    files.write_json(folder / signature.EXAMPLE, {"rows": example.rows, "answers": answers})
    return [f"{name} is made probabilities by softmax" for name in logits]


def _answer(original: Original, given: Any, rows: int) -> Arrays:
    found = original.predict(given)
    for name, values in found.items():
        shape = getattr(values, "shape", None)
        if not shape or shape[0] != rows:
            raise UsageProblem(
                f"its output {name} is {type(values).__name__ if shape is None else shape} for {counted(rows, 'row')}",
                "export it with outputs that are arrays whose first dimension is the rows",
            )
        examples.refuse_unfinished(name, values)
    return found


def _task(known: Task, name: str | None, labels: Sequence[str]) -> Task:
    """What the outputs mean, by the model and by whoever adds it. UsageProblem where the two differ."""
    texts = _spelled_out(labels)
    if name and known.name not in ("custom", name):
        raise UsageProblem(f"it is a {known.name} model, and --task says {name}", f"leave it out, or say {known.name}")
    chosen = name or ("classification" if texts and known is CUSTOM else known.name)
    if chosen == "classification" and not texts:
        return Task("classification", known.labels)
    if texts and known.labels and len(known.labels) != len(texts):
        raise UsageProblem(
            f"it has {len(known.labels)} classes, and {counted(len(texts), 'label')} are given",
            f"name {len(known.labels)}, in the order of {', '.join(known.labels[:10])}; or leave them out",
        )
    return signature.task_of(chosen, texts)


def _spelled_out(labels: Sequence[str]) -> list[str]:
    """`0..9` is 0, 1, … 9."""
    found: list[str] = []
    for label in labels:
        between = _RANGE.fullmatch(label)
        first, last = (int(between[1]), int(between[2])) if between else (0, -1)
        if between and not 0 <= last - first < _MOST_LABELS:
            raise UsageProblem(f"--labels {label} is no range of labels", "write the smaller number first, e.g. 0..9")
        found += map(str, range(first, last + 1)) if between else [label]
    return found


def _labelled(task: Task, expected: Arrays) -> Task:
    """The task, once the outputs are known: a number for each label, or one a row."""
    if task.name != "classification":
        return task
    widths = {name: values.shape[1] for name, values in expected.items() if values.ndim == 2 and values.shape[1] > 1}
    count = len(task.labels)
    if not count:
        name, width = next(iter(widths.items()), ("", 2))
        raise UsageProblem(
            f"nothing says what the {width} classes {f'of {name} ' if name else ''}are called",
            f"name them in order, e.g. --labels 0..{width - 1}",
        )
    is_one_a_row = any(values.ndim == 1 or values.shape[1:] == (1,) for values in expected.values())
    if count not in widths.values() and not is_one_a_row:
        name, values = next(iter(expected.items()))
        sizes = " x ".join(map(str, values.shape[1:]))
        raise UsageProblem(
            f"{name} has {sizes} numbers a row, and there are {counted(count, 'label')}",
            f"name a label for each number, in order, e.g. --labels 0..{values.shape[-1] - 1}",
        )
    return task


def _are_logits(values: Any, labels: Sequence[str]) -> bool:
    if not labels or values.shape[1:] != (len(labels),) or values.dtype.kind != "f":
        return False
    sums = values.astype(np.float64).sum(axis=1)
    return bool((values < 0).any() or (values > 1).any() or (np.abs(sums - 1) > 1e-3).any())


def _softened(expected: Arrays, names: Sequence[str]) -> dict[str, Any]:
    found = dict(expected)
    for name in names:
        shifted = np.exp(found[name].astype(np.float64) - found[name].max(axis=1, keepdims=True))
        found[name] = (shifted / shifted.sum(axis=1, keepdims=True)).astype(expected[name].dtype)
    return found


def _output(name: str, values: Any, is_free: bool) -> Tensor:
    # What varies with the length of a row does so in the outputs too, where they have a dimension for it.
    return Tensor.of(name, values, range(1, values.ndim) if is_free and values.ndim > 2 else ())


def _refuse_taken(outputs: Sequence[str], asked: Sequence[str]) -> None:
    made = [each for name in outputs for each in (name, signature.probabilities(name))]
    if taken := next((name for name in made if name in asked or name in signature.RESERVED), ""):
        raise UsageProblem(
            f"its output {taken!r} has the name of what a row has already", "export it with another name for the output"
        )


def _refuse_random(path: Path, one: Arrays, other: Arrays, tolerance: float, sizes: Mapping[str, float]) -> None:
    for name, values in one.items():
        if not _off(values, other[name], sizes.get(name, 0.0)) <= tolerance:
            raise Failed(
                f"{path} is not deterministic: {name} differs when the same rows are predicted twice",
                "export it for inference: without dropout, and without operators that draw random numbers",
            )


def _refuse_other(
    path: Path, saved: SavedModel, example: ExampleRows, expected: Arrays, alone: Arrays, tolerance: float
) -> None:
    """Failed unless what will serve gives what the original does, for all rows and for one, and twice the same."""
    sizes = _sizes(expected)
    for wanted, given in ((expected, example.inputs), (alone, example.last()[1])):
        rows = len(next(iter(given.values())))
        try:
            found, again = saved.run_network(given), saved.run_network(given)
        except Exception as problem:  # noqa: BLE001  # the runtime's exceptions share no base class
            reason = str(problem).partition("\n")[0][:300]
            raise Failed(
                f"what is made of {path} to serve does not run for {counted(rows, 'row')}: {reason}",
                "export it so that it takes any number of rows: its first dimension is one that varies",
            ) from None
        for name, values in wanted.items():
            if name not in found:
                raise Failed(f"what is made of {path} to serve lacks the output {name}", "export it as ONNX yourself")
            off = _off(values, found[name], sizes.get(name, 0.0))
            if not off <= tolerance:
                raise Failed(
                    f"what would serve answers otherwise than {path}: {name} by {off:.2g} for {counted(rows, 'row')}, "
                    f"and {tolerance:g} is allowed",
                    "export it as ONNX where it was trained, and add that file",
                )
        _refuse_random(path, found, again, tolerance, sizes)
    for name, values in expected.items():
        if not _off(values[-1:], alone[name], sizes.get(name, 0.0)) <= tolerance:
            raise Failed(
                f"what {path} answers to a row depends on the rows beside it: {name}",
                "export it for inference, with the rows as the first dimension of each input and output",
            )


def _sizes(expected: Arrays) -> dict[str, float]:
    """What a difference of each output is relative to: its largest number for the example, of whatever size that is."""
    numbers = {name: values.astype(np.float64) for name, values in expected.items() if values.dtype.kind not in "OUS"}
    return {name: float(np.abs(values).max(initial=0.0)) for name, values in numbers.items()}


def _off(wanted: Any, found: Any, size: float) -> float:
    """By how much two arrays differ at most, relative to that size; infinity for another shape or text."""
    if wanted.shape != found.shape:
        return float("inf")
    if wanted.dtype.kind in "OUS":
        return 0.0 if (wanted.astype(str) == found.astype(str)).all() else float("inf")
    one, other = wanted.astype(np.float64), found.astype(np.float64)
    off = float(np.abs(one - other).max(initial=0.0))
    return off / size if size else off


@contextlib.contextmanager
def _explained(path: Path, what: str, fix: str) -> Iterator[None]:
    """What a library raises about a model, as ours."""
    try:
        yield
    except (LabError, OSError, MemoryError):
        raise
    except Exception as problem:  # each library has errors of its own
        reason = str(problem).strip().partition("\n")[0][:300] or type(problem).__name__
        raise Failed(f"{path} {what}: {reason}", fix) from problem


def _same(name: str, origin: ModelSource, aside: Path, note: str) -> Record[ModelVersion] | None:
    """The version that this very model already is: of the same content, for the same use, and whole."""
    made = _lasting(files.digests(aside))
    for known in record.versions(name):
        body = known.body
        is_same = body.source is not None and _parts(body.source) == _parts(origin) and body.note == note
        if is_same and _lasting(body.files) == made and not artifact.differences(record.folder(known.name), body.files):
            return known
    return None


def _parts(source: ModelSource) -> tuple[str, str]:
    return source.sha256, source.code.sha256 if source.code else ""


def _lasting(digests: Mapping[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in digests.items() if name not in _OF_THE_DAY}


def _recorded(name: str, aside: Path, origin: ModelSource, example: ExampleRows, note: str) -> Record[ModelVersion]:
    """Publish the folder under the next number, and commit its record and its event at once."""
    version = ModelVersion(
        source=origin,
        rows=example.uri,
        rows_digest=example.digest,
        data=tuple(checks.data_behind(example.uri)) if example.uri else (),
        files=files.digests(aside),
        note=note,
        created_at=time.time(),
        size_bytes=artifact.size(aside),
    )
    detail = {"files": version.files, "note": note, "source": msgspec.to_builtins(origin)}
    used = (origin.uri, *([example.uri] if example.uri else []))
    return artifact.commit_next(aside, name, version, lambda uri: Event("models add", uri, used, (uri,), detail))
