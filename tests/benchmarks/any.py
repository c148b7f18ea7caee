"""any.*: models of any kind."""

import ast
import functools
import itertools
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from aiinfra_lab.deploy import client
from aiinfra_lab.features.contract import CATEGORY, NUMBER, Column, Columns
from tests import prepared

from . import _elsewhere as elsewhere
from . import _first_output as first_output
from .rows import Figure, at_least, at_most, exactly, ratio_at_least, row

ROWS = 1_000_000
NUMBERS, VALUES = 12, 200
ROUNDS = 3
TOLERANCE = 1e-5
# Of any.1, for each model, and of any.2.
CELLS = (
    "%load_ext aiinfra_lab",
    "rows = %data add {name} $given\nmodel = %models add {name} --from {path} {flags}",
    "%models check $model",
    "%deploy start {name} --model $model",
    "%deploy run {name} --rows $later --rate 50 --for 2s",
    "%drift check {name} --against $rows --rows $later --report",
)
FIRST_CELLS = (
    "%load_ext aiinfra_lab\nfrom aiinfra_lab import deploy",
    "model = %models add churn --from {path} --rows customers.csv",
    "%models check $model",
    "%deploy start churn --model $model",
    "deploy.show('churn').predict({rows})",
)


@row(
    "any.1",
    "12 models that were trained elsewhere, of 7 libraries",
    "each added, checked, served, asked and watched in <= 6 cells; off by <= 1e-5",
    ("xgboost-cpu", "lightgbm", "scikit-learn", "torch", "transformers", "mlflow", "onnxruntime"),
)
def trained_elsewhere(full: bool) -> Iterator[Figure]:
    """What an endpoint answers, against what the model's own library does, to rows that nobody gave as an example."""
    with first_output.workspace() as folder, prepared.notebook() as shell:
        models = [*elsewhere.all_of(folder)]
        for at, model in enumerate(models):
            began = time.perf_counter()
            try:
                off, note = _brought(shell, f"m{at}", model)
            except AssertionError as why:
                yield Figure(model.what, math.inf, "", at_most(TOLERANCE), note=str(why)[:300])
                continue
            note = f"{note}; {time.perf_counter() - began:.1f} s"
            yield Figure(model.what, off, "", at_most(TOLERANCE), note=note)
    yield Figure("cells of each", len(CELLS), "cells", at_most(6))
    yield Figure("models", len(models), "models", exactly(12))


def _brought(shell: InteractiveShell, name: str, model: elsewhere.ForeignModel) -> tuple[float, str]:
    """By how much its answers are off at most, and what else is to be said. AssertionError where a cell raised, a
    check is not good, or a request was not answered.
    """
    shell.user_ns |= {"given": model.rows, "later": model.later}
    results = []
    for cell in CELLS:
        with capture_output():
            done = shell.run_cell(cell.format(name=name, path=model.path, flags=model.flags))
        assert done.success, f"{cell.partition(' --')[0]}: {done.error_in_exec or done.error_before_exec}"
        results.append(done.result)
    _, _, check, endpoint, load, drift = results
    assert check.state == "good", check
    assert (load.errors, load.refused) == (0, 0), load
    rows = json.loads(model.later[: elsewhere.ASKED].to_json(orient="records"))
    off = elsewhere.off(model, client.predict(endpoint.url, rows))
    with capture_output():
        shell.run_cell(f"%deploy stop {name}")
    return off, f"{load.ok} of {load.sent} answered; {drift.state}"


def _executed(folder: Path, model: elsewhere.ForeignModel) -> tuple[float, list[Any]]:
    """Seconds until a notebook of these cells has run, and what its last one shows."""
    rows = json.loads(model.later[:5].to_json(orient="records"))
    cells = [nbformat.v4.new_code_cell(cell.format(path=model.path, rows=rows)) for cell in FIRST_CELLS]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=prepared.KERNEL), folder / "first.ipynb")
    began = time.perf_counter()
    command = [sys.executable, "-m", "papermill", "first.ipynb", "done.ipynb", "--no-progress-bar"]
    done = subprocess.run(command, cwd=folder, text=True, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    took_s = time.perf_counter() - began
    *_, shown = nbformat.read(folder / "done.ipynb", 4).cells[-1].outputs
    return took_s, ast.literal_eval(shown["data"]["text/plain"])


@row("any.2", "from a foreign model's file to an answered request", "<= 60 s; <= 5 cells", ("xgboost-cpu", "papermill"))
def first_answer(full: bool) -> Iterator[Figure]:
    """In a new workspace, by a notebook that papermill runs, with the start of its kernel: the README's commands."""
    with first_output.workspace() as folder:
        model = next(elsewhere.all_of(folder))
        model.rows.to_csv(folder / "customers.csv", index=False)
        took_s, answers = _executed(folder, model)
    labels = ", ".join(answer["prediction"] for answer in answers)
    yield Figure("until the answer", took_s, "s", at_most(60), note=f"{len(answers)} rows were answered: {labels}")
    yield Figure("cells", len(FIRST_CELLS), "cells", at_most(5))
    yield Figure("off", elsewhere.off(model, answers), "", at_most(TOLERANCE))


@row("any.3", "`models run` of 1M rows", "rows a second >= 0.8 of a bare ONNX Runtime loop", ("onnxruntime", "polars"))
def batch_prediction(full: bool) -> Iterator[Figure]:
    """A table of 12 numbers and 3 categories, and a network of 256-256-128-1; the bare loop has its arrays already."""
    import pandas as pd

    from aiinfra_lab.models import batch
    from aiinfra_lab.train.saved_model import SavedModel

    generator = np.random.default_rng(0)
    columns = Columns(
        "",
        "late",
        (
            *(Column(f"x{at}", NUMBER, required=True) for at in range(NUMBERS)),
            *(Column(f"c{at}", CATEGORY, True, tuple(f"v{n}" for n in range(VALUES))) for at in range(3)),
        ),
    )
    names = np.array(columns.categories[0].categories, dtype=object)
    frame = pd.DataFrame(
        {
            **{f"x{at}": generator.normal(size=ROWS) for at in range(NUMBERS)},
            **{f"c{at}": names[generator.integers(0, VALUES, ROWS)] for at in range(3)},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        _save(Path(folder), columns)
        saved = SavedModel(Path(folder), threads=0)
        inputs = saved.inputs(frame)
        taken: dict[str, list[float]] = {"ours": [], "bare": []}
        for _ in range(ROUNDS):
            taken["bare"].append(_timed(functools.partial(_bare, saved, inputs)))
            taken["ours"].append(_timed(functools.partial(batch.answered, saved, frame, lambda _: None)))
    ours, bare = (ROWS / min(taken[who]) for who in ("ours", "bare"))
    yield Figure("rows a second", ours, "rows/s", ratio_at_least(0.8), peer=bare, peer_name="bare ONNX Runtime loop")


def _bare(saved, inputs) -> None:
    for start in range(0, ROWS, 65_536):
        saved.session.run(["score"], {name: values[start : start + 65_536] for name, values in inputs.items()})


def _timed(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _network(columns: Columns):
    """A network with an embedding for each category."""
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embeddings = torch.nn.ModuleList(torch.nn.Embedding(size, 8) for size in columns.sizes)
            widths = (NUMBERS + 8 * 3, 256, 256, 128)
            pairs = [(torch.nn.Linear(a, b), torch.nn.ReLU()) for a, b in itertools.pairwise(widths)]
            self.layers = torch.nn.Sequential(*(layer for pair in pairs for layer in pair), torch.nn.Linear(128, 1))

        def forward(self, numbers: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
            parts = [embed(codes[:, at]) for at, embed in enumerate(self.embeddings)]
            return self.layers(torch.cat([numbers, *parts], 1)).squeeze(1)

    return Network().eval()


def _save(folder: Path, columns: Columns) -> None:
    """That network, exported as `run.save` does."""
    import torch

    rows = torch.export.Dim("rows", min=1)
    example = (torch.zeros(2, NUMBERS), torch.zeros(2, 3, dtype=torch.int64))
    program = torch.export.export(_network(columns), example, dynamic_shapes=({0: rows}, {0: rows}))
    made = torch.onnx.export(program, (), input_names=["numbers", "codes"], output_names=["score"], dynamo=True)
    assert made is not None
    made.save(folder / "model.onnx", external_data=False)
    (folder / "columns.json").write_text(columns.to_json())


@row("any.4", "a load test's client", ">= 10,000 requests a second of one core; says when it is the limit", ("uvloop",))
def load_client(full: bool) -> Iterator[Figure]:
    """Against an endpoint that answers at once; then one that is slow, and one whose answers take long to read."""
    from aiinfra_lab.deploy import load_generator
    from tests.fakes import instant_endpoint

    bodies = [json.dumps({"rows": [{f"x{at}": 0.5 for at in range(15)}], "key": key}).encode() for key in range(1000)]

    def sent(rate: float, for_s: float, **kind: float) -> load_generator.LoadCounts:
        with instant_endpoint.running(**kind) as url:
            return load_generator.send(url, bodies, rate, for_s, lambda _: None)

    fast = max(
        (sent(12_000, 20.0 if full else 3.0) for _ in range(ROUNDS)), key=lambda counts: counts.ok / counts.took_s
    )
    note = (
        f"asked for 12,000; busy {fast.busy_share:.0%}, of which waiting for a core {fast.waited_s / fast.took_s:.0%}; "
        f"p50 {fast.quantile_ms(0.5):.2f} ms, p99 {fast.quantile_ms(0.99):.2f} ms"
    )
    yield Figure("requests a second of its CPU time", fast.ceiling_per_s, "requests/s", at_least(10_000))
    yield Figure("answered well a second", fast.ok / fast.took_s, "requests/s", at_least(10_000), note=note)
    slow, heavy = sent(2000, 1.0, delay_s=0.5), sent(10_000, 0.2, predictions=2000)
    right = (not slow.is_own_limit) + heavy.is_own_limit
    yield Figure("told who was the limit: a slow endpoint, its own reading", right, "of 2", exactly(2))
