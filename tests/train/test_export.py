import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from aiinfra_lab.errors import Failed, LabError, UsageProblem
from aiinfra_lab.features.contract import Columns
from aiinfra_lab.train import export
from aiinfra_lab.train.table import TrainingTable

from .conftest import NETWORK, SmallRows, flights


@pytest.fixture(scope="module")
def table():
    return TrainingTable(SmallRows())


@pytest.fixture(scope="module")
def delay(table):
    names = {"__name__": "cell"}
    exec(NETWORK, names)
    torch.manual_seed(0)
    columns = table.columns()
    return names["Delay"](len(columns.numbers), columns.sizes)


class Forward(torch.nn.Module):
    """A network of one line, on two numbers and two categories."""

    def __init__(self, forward):
        super().__init__()
        self.does = forward

    def forward(self, numbers, codes):
        return self.does(numbers, codes)


class Dropping(torch.nn.Module):
    """A network that answers differently while it learns."""

    def __init__(self):
        super().__init__()
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, numbers, codes):
        return self.drop(numbers)[:, 0]


def test_the_folder_is_readable_without_torch_and_gives_the_same_scores(table, delay, tmp_path):
    export.save(delay, table, tmp_path / "model")
    folder = tmp_path / "model"
    numbers, codes = Columns.from_json((folder / "columns.json").read_text()).encode(table.frame)
    expected = delay(torch.from_numpy(numbers), torch.from_numpy(codes)).detach().numpy()
    assert np.abs(export.scores(folder / "model.onnx", numbers, codes) - expected).max() < 1e-5
    assert export.scores(folder / "model.onnx", numbers[:1], codes[:1]).shape == (1,)
    assert load_file(folder / "weights.safetensors").keys() == delay.state_dict().keys()


def test_example_signature_and_environment_are_beside_it(table, delay, tmp_path):
    export.save(delay, table, tmp_path / "model")
    example, signature = (
        json.loads((tmp_path / "model" / name).read_text()) for name in ("example.json", "signature.json")
    )
    assert [len(example[key]) for key in ("rows", "scores")] == [5, 5]
    assert example["rows"][0].keys() == set(table.columns().names)
    assert signature["inputs"]["numbers"] == {"dtype": "float32", "shape": [None, 2]}
    assert f"torch=={torch.__version__}\n" in (tmp_path / "model" / "environment.txt").read_text()


def test_a_missing_value_of_the_example_is_null(delay, tmp_path):
    frame = flights()
    frame.loc[0, "temp"] = float("nan")
    export.save(delay, TrainingTable(SmallRows(frame)), tmp_path / "model")
    assert json.loads((tmp_path / "model" / "example.json").read_text())["rows"][0]["temp"] is None


def test_the_model_is_left_as_it_was_and_exported_as_it_answers(table, tmp_path):
    model = Dropping()
    export.save(model, table, tmp_path / "model")
    assert model.training
    numbers = np.ones((3, 2), np.float32)
    assert export.scores(tmp_path / "model" / "model.onnx", numbers, np.zeros((3, 2), np.int64)).tolist() == [1, 1, 1]


def test_nothing_is_said_while_it_exports(table, delay, tmp_path, capfd):
    export.save(delay, table, tmp_path / "model")
    assert capfd.readouterr() == ("", "")


def test_a_model_without_categories_is_fine(tmp_path):
    rows = SmallRows(columns=("temp", "hour"))
    export.save(Forward(lambda numbers, codes: numbers.sum(1)), TrainingTable(rows), tmp_path / "model")
    found = export.scores(tmp_path / "model" / "model.onnx", np.ones((2, 2), np.float32), np.zeros((2, 0), np.int64))
    assert found.tolist() == [2, 2]


def test_a_model_that_trains_in_double_answers_in_float(table, tmp_path):
    export.save(Forward(lambda numbers, codes: numbers.double()[:, 0]), table, tmp_path / "model")
    found = export.scores(tmp_path / "model" / "model.onnx", np.ones((2, 2), np.float32), np.zeros((2, 2), np.int64))
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("forward", "what", "fix"),
    [
        (lambda n, c: n[:, :1], r"shape \(\d+, 1\), not one score a row", "`.squeeze(1)`"),
        (lambda n, c: n, r"shape \(\d+, 2\), not one score a row", "`[:, 0]`"),
        (lambda n, c: n.sum(), r"shape \(\)", "one number a row"),
        (lambda n, c: (n[:, 0],), "gives a tuple", "one number a row"),
        (lambda n, c: n[:, 0] / 0, "NaN or infinity", "diverged"),
        (lambda n, c: n[:, 0] if n.sum() > 0 else n[:, 1], "decides by the values", "torch.where"),
        (lambda n, c: n[:, 0] if len(n) > 6 else n[:, 1], "one number of rows|differently", "numbers"),
        (lambda n, c: torch.linalg.eigvals(n.reshape(-1, 1, 2).repeat(1, 2, 1)).real[:, 0], "linalg_eig", "linalg_eig"),
        (lambda n, c: torch.from_numpy(n.numpy()[:, 0].copy()), "export|differently", "torch"),
    ],
)
def test_what_cannot_be_exported_says_why_and_leaves_nothing(table, tmp_path, forward, what, fix):
    with pytest.raises(LabError, match=what) as problem:
        export.save(Forward(forward), table, tmp_path / "model")
    assert fix in problem.value.fix
    assert list(tmp_path.iterdir()) == []


def test_a_forward_of_one_argument_is_explained(table, tmp_path):
    with pytest.raises(UsageProblem, match=r"cannot be called.*\n.*def forward\(self, numbers, codes\)"):
        export.save(torch.nn.Linear(2, 1), table, tmp_path / "model")


def test_what_is_no_module_is_refused(table, tmp_path):
    with pytest.raises(UsageProblem, match=r"given a function"):
        export.save(lambda n, c: n, table, tmp_path / "model")


def test_rows_without_features_are_refused():
    with pytest.raises(UsageProblem, match=r"nothing says which of its columns"):
        TrainingTable(SmallRows(columns=()))


def test_rows_without_a_label_are_counted():
    frame = flights().astype({"late": "float"})
    frame.loc[3:5, "late"] = np.nan
    with pytest.raises(Failed, match=r"3 of 400 rows have no late"):
        TrainingTable(SmallRows(frame))


def test_a_label_of_texts_is_refused():
    frame = flights(20).assign(late="yes")
    with pytest.raises(Failed, match=r"the label late holds what is no number"):
        TrainingTable(SmallRows(frame)).tensors()


def test_a_column_that_may_be_missing_later_is_not_required():
    required = {item.name: item.required for item in TrainingTable(SmallRows(optional=("hour",))).columns()}
    assert required == {"carrier": True, "origin": True, "temp": False, "hour": False}


def test_a_value_that_only_the_holdout_lacks_is_no_obstacle():
    frame = flights(100)
    frame.loc[99, "hour"] = np.nan
    learn, held = TrainingTable(SmallRows(frame)).split(0.2)
    assert len(learn.y) + len(held.y) == 100


def test_the_holdout_is_the_latest_part_and_unknown_to_the_contract():
    frame = flights(100).sample(frac=1, random_state=1)
    frame.loc[frame["sched_dep"] == frame["sched_dep"].max(), "carrier"] = "ZZ"
    table = TrainingTable(SmallRows(frame))
    learn, held = table.split(0.2)
    assert (len(learn.y), len(held.y)) == (80, 20)
    late = frame.sort_values("sched_dep")["late"].iloc[80:]
    assert held.y.tolist() == late.tolist()
    carrier = next(item for item in table.columns().categories if item.name == "carrier")
    assert "ZZ" not in carrier.categories


@pytest.mark.parametrize("share", [0, 1, 1.5, -0.1])
def test_a_holdout_that_leaves_nothing_is_refused(share):
    with pytest.raises(UsageProblem, match=r"leaves nothing"):
        TrainingTable(SmallRows()).split(share)


def test_rows_without_a_time_cannot_be_split_by_it():
    with pytest.raises(UsageProblem, match=r"no time to split by"):
        TrainingTable(SmallRows(timestamp="")).split(0.2)


def test_tensors_keep_the_rows_order():
    table = TrainingTable(SmallRows(flights(10)))
    numbers, codes, y = table.tensors()
    assert (numbers.dtype, codes.dtype, y.dtype) == (torch.float32, torch.int64, torch.float32)
    assert y.tolist() == table.frame["late"].tolist()
    assert isinstance(table.frame, pd.DataFrame)
