"""Twelve models as somebody else leaves them: a file or folder of their own library, rows, and what that answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.models.importers.tables import NAMES, churned, customers
from tests.models.importers.test_hugging_face import make as hugging_face_folder

ROWS, ASKED = 400, 40
LABELS = ("goes", "stays", "waits")
WORDS = ("crew", "late", "rain", "snow", "fog", "gate", "door", "engine", "storm", "flight")


@dataclass(frozen=True)
class ForeignModel:
    """flags: what `models add` is told beside the file. rows, later: what it is compared on, and is asked afterwards.

    wanted: what its own library answers to the first of the later ones, by output: a number, or numbers, a row
    """

    what: str
    path: Path
    flags: str
    rows: pd.DataFrame
    later: pd.DataFrame
    wanted: Mapping[str, Any]


Maker = Callable[[Path], ForeignModel]


def all_of(folder: Path) -> Iterator[ForeignModel]:
    """Each in a folder of its own."""
    for at, make in enumerate(_MAKERS):
        own = folder / f"m{at}"
        own.mkdir()
        yield make(own)


def off(model: ForeignModel, answers: Sequence[Mapping[str, Any]]) -> float:
    """By how much an endpoint's answers differ at most, relative to the largest number."""
    found = []
    for name, wanted in model.wanted.items():
        each = np.array([_numbers(row, name) for row in answers])
        values = np.asarray(wanted, np.float64)[: len(answers)]
        found.append(float(np.abs(each - values).max() / max(1.0, np.abs(values).max())))
    return max(found)


def _numbers(row: Mapping[str, Any], name: str) -> Any:
    """Of a class each one's probability, in the order of the labels; else what is there."""
    probabilities = row.get(f"{name}_probabilities")
    return row[name] if probabilities is None else [*probabilities.values()]


def _tables(kinds: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    found = customers(2 * ROWS, missing=0.0)
    if kinds:
        found = found.assign(kind=np.random.default_rng(3).choice(list("vwxyz"), len(found)))
    return found[:ROWS], found[ROWS:].reset_index(drop=True)


def _answer(values: Any) -> Mapping[str, Any]:
    return {"prediction": np.asarray(values)[:ASKED]}


def _xgboost_binary(folder: Path) -> ForeignModel:
    import xgboost

    rows, later = _tables()
    model = xgboost.XGBClassifier(n_estimators=30, max_depth=4).fit(rows, churned(rows))
    model.save_model(folder / "churn.ubj")
    wanted = _answer(model.predict_proba(later))
    return ForeignModel("binary, XGBoost", folder / "churn.ubj", "--rows $rows", rows, later, wanted)


def _sklearn_labels(folder: Path) -> ForeignModel:
    import skops.io
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    rows, later = _tables(kinds=True)
    parts = [("scaled", StandardScaler(), NAMES), ("coded", OneHotEncoder(handle_unknown="ignore"), ["kind"])]
    model = make_pipeline(ColumnTransformer(parts), LogisticRegression())
    model.fit(rows, np.array(LABELS)[churned(rows, 3)])
    skops.io.dump(model, folder / "churn.skops")
    wanted = _answer(model.predict_proba(later))
    return ForeignModel(
        "3 classes with text labels, scikit-learn", folder / "churn.skops", "--rows $rows", rows, later, wanted
    )


def _sklearn_outputs(folder: Path) -> ForeignModel:
    import skops.io
    from sklearn.ensemble import RandomForestRegressor

    rows, later = _tables()
    targets = np.column_stack([rows["age"] * 1.5, rows["visits"] + rows["debt"]])
    model = RandomForestRegressor(20, random_state=0).fit(rows, targets)
    skops.io.dump(model, folder / "two.skops")
    wanted = _answer(model.predict(later))
    return ForeignModel("several targets, scikit-learn", folder / "two.skops", "--rows $rows", rows, later, wanted)


def _lightgbm_regression(folder: Path) -> ForeignModel:
    import lightgbm

    rows, later = _tables()
    model = lightgbm.LGBMRegressor(n_estimators=40, verbose=-1).fit(rows, rows["income"] / 1000 + rows["age"])
    model.booster_.save_model(folder / "income.txt")
    wanted = _answer(model.predict(later))
    return ForeignModel("regression, LightGBM", folder / "income.txt", "--rows $rows", rows, later, wanted)


def _lightgbm_categories(folder: Path) -> ForeignModel:
    import lightgbm

    rows, later = _tables(kinds=True)
    typed = rows.assign(kind=pd.Categorical(rows["kind"], categories=list("vwxyz")))
    model = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1).fit(typed, churned(rows, 3))
    model.booster_.save_model(folder / "kinds.txt")
    given = later.assign(kind=pd.Categorical(later["kind"], categories=list("vwxyz")))
    flags = f"--rows $rows --labels {','.join(LABELS)}"
    wanted = _answer(model.predict_proba(given))
    return ForeignModel("3 classes with categories, LightGBM", folder / "kinds.txt", flags, rows, later, wanted)


def _mlflow_classes(folder: Path) -> ForeignModel:
    import mlflow.xgboost
    import xgboost

    rows, later = _tables()
    model = xgboost.XGBClassifier(n_estimators=20, max_depth=3).fit(rows, churned(rows, 3))
    mlflow.xgboost.save_model(model, folder / "churn", model_format="ubj", pip_requirements=[])
    wanted = _answer(model.predict_proba(later))
    return ForeignModel("3 classes, MLflow of XGBoost", folder / "churn", "--rows $rows", rows, later, wanted)


def _mlflow_pipeline(folder: Path) -> ForeignModel:
    import mlflow.sklearn
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, later = _tables()
    model = make_pipeline(StandardScaler(), Ridge()).fit(rows, rows["age"] * 1.5 + rows["visits"])
    mlflow.sklearn.save_model(model, folder / "age", pip_requirements=[], serialization_format="skops")
    wanted = _answer(model.predict(later))
    return ForeignModel("regression, MLflow of scikit-learn", folder / "age", "--rows $rows", rows, later, wanted)


def _torch(folder: Path, network: Any, example: Mapping[str, Any], shapes: Any) -> Path:
    import torch

    given = tuple(torch.from_numpy(each) for each in example.values())
    program = torch.export.export(network.eval(), given, dynamic_shapes=shapes)
    torch.export.save(program, folder / "net.pt2")
    np.savez(folder / "example.npz", **example)
    return folder / "net.pt2"


def _torch_image(folder: Path) -> ForeignModel:
    import torch
    from sklearn.datasets import load_digits
    from torch import nn

    class Digits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
            self.last = nn.Linear(8 * 4 * 4, 10)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.last(self.layers(image.unsqueeze(1)).flatten(1))

    torch.manual_seed(0)
    network, images = Digits(), (load_digits().images / 16).astype(np.float32)
    images = images[np.random.default_rng(0).permutation(len(images))]
    path = _torch(folder, network, {"image": images[:4]}, ({0: torch.export.Dim("rows")},))
    rows, later = (pd.DataFrame({"image": each.tolist()}) for each in (images[:ROWS], images[ROWS : 2 * ROWS]))
    with torch.no_grad():
        wanted = network(torch.from_numpy(images[ROWS : ROWS + ASKED])).softmax(1).numpy()
    flags = f"--example {folder / 'example.npz'} --labels 0..9"
    return ForeignModel("image, torch.export", path, flags, rows, later, {"output": wanted})


def _torch_sequence(folder: Path) -> ForeignModel:
    import torch
    from torch import nn

    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.each, self.last = nn.Linear(2, 8), nn.Linear(8, 1)

        def forward(self, steps: torch.Tensor, steps_mask: torch.Tensor) -> torch.Tensor:
            there = steps_mask.unsqueeze(2)
            mean = (torch.tanh(self.each(steps)) * there).sum(1) / there.sum(1).clamp(min=1)
            return self.last(mean).squeeze(1)

    torch.manual_seed(0)
    network, draw = Steps(), np.random.default_rng(0)
    given = [draw.normal(size=(length, 2)).astype(np.float32) for length in draw.integers(1, 12, 2 * ROWS)]
    padded, mask = np.zeros((4, 12, 2), np.float32), np.zeros((4, 12), np.float32)
    for at, steps in enumerate(given[:4]):
        padded[at, : len(steps)], mask[at, : len(steps)] = steps, 1
    count, length = torch.export.Dim("rows"), torch.export.Dim("length", min=1, max=4096)
    shapes = ({0: count, 1: length}, {0: count, 1: length})
    path = _torch(folder, network, {"steps": padded, "steps_mask": mask}, shapes)
    rows, later = (pd.DataFrame({"steps": [s.tolist() for s in each]}) for each in (given[:ROWS], given[ROWS:]))
    with torch.no_grad():
        each = [network(torch.from_numpy(s)[None], torch.ones(1, len(s))).item() for s in given[ROWS : ROWS + ASKED]]
    flags = f"--example {folder / 'example.npz'} --task regression"
    return ForeignModel("sequences of unequal length, torch.export", path, flags, rows, later, {"output": each})


def _onnx_outputs(folder: Path) -> ForeignModel:
    import torch
    from torch import nn

    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.price, self.vector = nn.Linear(6, 16), nn.Linear(16, 1), nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            inside = torch.tanh(self.body(x))
            return self.price(inside).squeeze(1), self.vector(inside)

    torch.manual_seed(0)
    network = TwoHeads().eval()
    values = np.random.default_rng(0).normal(size=(2 * ROWS, 6)).astype(np.float32)
    torch.onnx.export(
        network,
        (torch.from_numpy(values[:4]),),
        folder / "two.onnx",
        input_names=["x"],
        output_names=["price", "vector"],
        dynamic_shapes=({0: torch.export.Dim("rows")},),
        dynamo=True,
        verbose=False,
    )
    rows, later = (pd.DataFrame({"x": each.tolist()}) for each in (values[:ROWS], values[ROWS:]))
    with torch.no_grad():
        price, vector = (each.numpy() for each in network(torch.from_numpy(values[ROWS : ROWS + ASKED])))
    wanted = {"price": price, "vector": vector}
    return ForeignModel("several outputs, ONNX", folder / "two.onnx", "--rows $rows", rows, later, wanted)


def _texts(seed: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    return pd.DataFrame({"text": [" ".join(draw.choice(WORDS, draw.integers(2, 9))) for _ in range(ROWS)]})


def _hugging_face(folder: Path, what: str, output: str, head: str, **config: Any) -> ForeignModel:
    """transformers itself answers, text by text."""
    import torch
    import transformers

    path = hugging_face_folder(folder / "texts", head=head, **config)
    rows, later = _texts(0), _texts(1)
    maker = transformers.AutoModel if head == "Model" else transformers.AutoModelForSequenceClassification
    network, tokenizer = maker.from_pretrained(path).eval(), transformers.AutoTokenizer.from_pretrained(path)
    wanted = []
    with torch.no_grad():
        for text in later["text"][:ASKED]:
            found = network(**tokenizer(text, return_tensors="pt", return_token_type_ids=False))
            answer = found.last_hidden_state.mean(1) if head == "Model" else found.logits.softmax(1)
            wanted.append(answer[0].numpy())
    return ForeignModel(what, path, "--rows $rows", rows, later, {output: wanted})


def _hugging_face_text(folder: Path) -> ForeignModel:
    names = dict(enumerate(LABELS))
    return _hugging_face(
        folder, "text, Hugging Face", "label", "ForSequenceClassification",
        id2label=names, label2id={name: at for at, name in names.items()},
    )  # fmt: skip


def _hugging_face_embedding(folder: Path) -> ForeignModel:
    return _hugging_face(folder, "embedding, Hugging Face", "embedding", "Model")


_MAKERS: tuple[Maker, ...] = (
    _xgboost_binary,
    _sklearn_labels,
    _sklearn_outputs,
    _lightgbm_regression,
    _lightgbm_categories,
    _onnx_outputs,
    _torch_image,
    _torch_sequence,
    _hugging_face_text,
    _hugging_face_embedding,
    _mlflow_classes,
    _mlflow_pipeline,
)
