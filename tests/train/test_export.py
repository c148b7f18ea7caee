import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from aiinfra_lab.errors import Failed, LabError, UsageProblem
from aiinfra_lab.features.contract import Columns
from aiinfra_lab.train import export, signature
from aiinfra_lab.train.given import OfArrays, OfTable
from aiinfra_lab.train.saved_model import SavedModel
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


def scores(folder, numbers, codes):
    return SavedModel(folder).run({"numbers": numbers, "codes": codes})["score"]


def test_the_folder_is_readable_without_torch_and_gives_the_same_scores(table, delay, tmp_path):
    export.save(delay, OfTable(table), tmp_path / "model")
    folder = tmp_path / "model"
    numbers, codes = Columns.from_json((folder / "columns.json").read_text()).encode(table.frame)
    expected = delay(torch.from_numpy(numbers), torch.from_numpy(codes)).detach().numpy()
    assert np.abs(scores(folder, numbers, codes) - expected).max() < 1e-5
    assert scores(folder, numbers[:1], codes[:1]).shape == (1,)
    assert load_file(folder / "weights.safetensors").keys() == delay.state_dict().keys()


def test_example_signature_and_environment_are_beside_it(table, delay, tmp_path):
    export.save(delay, OfTable(table), tmp_path / "model")
    example, written = (
        json.loads((tmp_path / "model" / name).read_text()) for name in ("example.json", "signature.json")
    )
    assert [len(example[key]) for key in ("rows", "answers")] == [5, 5]
    assert [*example["answers"][0]] == ["score"]
    assert example["rows"][0].keys() == set(table.columns().names)
    assert written["inputs"][0] == {"name": "numbers", "datatype": "FP32", "shape": [-1, 2]}
    assert written["task"] == {"name": "custom", "labels": []}
    assert f"torch=={torch.__version__}\n" in (tmp_path / "model" / "environment.txt").read_text()


def test_a_missing_value_of_the_example_is_null(delay, tmp_path):
    frame = flights()
    frame.loc[0, "temp"] = float("nan")
    export.save(delay, OfTable(TrainingTable(SmallRows(frame))), tmp_path / "model")
    assert json.loads((tmp_path / "model" / "example.json").read_text())["rows"][0]["temp"] is None


def test_the_model_is_left_as_it_was_and_exported_as_it_answers(table, tmp_path):
    model = Dropping()
    export.save(model, OfTable(table), tmp_path / "model")
    assert model.training
    numbers = np.ones((3, 2), np.float32)
    assert scores(tmp_path / "model", numbers, np.zeros((3, 2), np.int64)).tolist() == [1, 1, 1]


def test_an_output_may_be_called_as_an_operation_of_the_network(tmp_path):
    class Words(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.words = torch.nn.Embedding(5, 2)

        def forward(self, relu):
            return torch.relu(self.words(relu)).sum(1)

    given = OfArrays({"relu": np.array([[1, 2], [3, 4]])})
    export.save(Words(), given, tmp_path / "model", ["embedding"], signature.task_of("embedding"))
    assert SavedModel(tmp_path / "model").answers([{"relu": [1, 2]}])[0].keys() == {"embedding"}


def test_nothing_is_said_while_it_exports(table, delay, tmp_path, capfd):
    export.save(delay, OfTable(table), tmp_path / "model")
    assert capfd.readouterr() == ("", "")


def test_a_model_without_categories_is_fine(tmp_path):
    rows = SmallRows(columns=("temp", "hour"))
    export.save(Forward(lambda numbers, codes: numbers.sum(1)), OfTable(TrainingTable(rows)), tmp_path / "model")
    found = scores(tmp_path / "model", np.ones((2, 2), np.float32), np.zeros((2, 0), np.int64))
    assert found.tolist() == [2, 2]


def test_a_model_that_trains_in_double_answers_in_float(table, tmp_path):
    export.save(Forward(lambda numbers, codes: numbers.double()[:, 0]), OfTable(table), tmp_path / "model")
    found = scores(tmp_path / "model", np.ones((2, 2), np.float32), np.zeros((2, 2), np.int64))
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
        export.save(Forward(forward), OfTable(table), tmp_path / "model")
    assert fix in problem.value.fix
    assert list(tmp_path.iterdir()) == []


def test_a_forward_of_one_argument_is_explained(table, tmp_path):
    with pytest.raises(UsageProblem, match=r"cannot be called.*\n.*def forward\(self, numbers, codes\)"):
        export.save(torch.nn.Linear(2, 1), OfTable(table), tmp_path / "model")


def test_what_is_no_module_is_refused(table, tmp_path):
    with pytest.raises(UsageProblem, match=r"given a function"):
        export.save(lambda n, c: n, OfTable(table), tmp_path / "model")


def test_rows_without_features_are_refused():
    with pytest.raises(UsageProblem, match=r"nothing says which of its columns"):
        TrainingTable(SmallRows(columns=()))


def test_rows_without_a_label_are_counted():
    frame = flights().astype({"late": "float"})
    frame.loc[3:5, "late"] = np.nan
    with pytest.raises(Failed, match=r"3 of 400 rows have no late"):
        TrainingTable(SmallRows(frame))


def test_a_label_that_is_neither_number_nor_text_is_refused():
    frame = flights(20).assign(late=[["yes"]] * 20)
    with pytest.raises(Failed, match=r"the label late holds what is neither a number nor a text"):
        TrainingTable(SmallRows(frame)).tensors()


def three_outputs(numbers, codes):
    return numbers[:, 0], torch.stack([numbers[:, 0], numbers[:, 1], numbers.sum(1)], 1), codes


def test_several_outputs_are_named_and_answered_as_what_they_are(table, tmp_path):
    task = signature.task_of("classification", ["early", "on time", "late"])
    export.save(Forward(three_outputs), OfTable(table), tmp_path / "model", ["delay", "kind", "seen"], task)
    saved = SavedModel(tmp_path / "model")
    assert [(item.name, item.datatype, item.shape) for item in saved.signature.outputs] == [
        ("delay", "FP32", (-1,)),
        ("kind", "FP32", (-1, 3)),
        ("seen", "INT64", (-1, 2)),
    ]
    numbers, _ = saved.columns.encode(table.frame.head(4))
    answers = saved.answers(table.frame.head(4))
    parts = np.stack([numbers[:, 0], numbers[:, 1], numbers.sum(1)], 1)
    labels = np.array(["early", "on time", "late"])
    assert [row["kind"] for row in answers] == labels[parts.argmax(1)].tolist()
    # What forward gives are no probabilities: what is answered is.
    assert [sum(row["kind_probabilities"].values()) for row in answers] == pytest.approx([1.0] * 4)
    assert [len(row["seen"]) for row in answers] == [2] * 4


def test_probabilities_are_answered_as_they_are(table, tmp_path):
    def forward(numbers, codes):
        late = torch.sigmoid(numbers[:, 0])
        return torch.stack([1 - late, late], 1)

    task = signature.task_of("classification", ["on time", "late"])
    export.save(Forward(forward), OfTable(table), tmp_path / "model", ["kind"], task)
    saved = SavedModel(tmp_path / "model")
    numbers, _ = saved.columns.encode(table.frame.head(3))
    found = [row["kind_probabilities"]["late"] for row in saved.answers(table.frame.head(3))]
    assert found == pytest.approx((1 / (1 + np.exp(-numbers[:, 0]))).tolist(), abs=1e-6)


def test_a_dict_has_its_own_names(table, tmp_path):
    model = Forward(lambda numbers, codes: {"delay": numbers[:, 0], "ahead": -numbers[:, 0]})
    export.save(model, OfTable(table), tmp_path / "model")
    assert SavedModel(tmp_path / "model").signature.answered == ("delay", "ahead")


@pytest.mark.parametrize(
    ("forward", "outputs", "what", "fix"),
    [
        (lambda n, c: (n[:, 0], n[:, 1]), ["a"], "forward gives 2 tensors, and outputs has 1 name", "outputs="),
        (lambda n, c: n[:, 0], ["a", "b"], "forward gives 1 tensor, and outputs has 2 names", "outputs="),
        (lambda n, c: {"a": n[:, 0]}, ["b"], "forward gives a, and outputs names b", "name in outputs"),
        (lambda n, c: n.sum(), ["a"], "rows a is the shape", "first dimension is the rows"),
        (lambda n, c: [n[:, 0], "x"], ["a", "b"], "rows b is str", "first dimension is the rows"),
        (lambda n, c: n[:, 0], ["temp"], "no output can be called 'temp'", "name it otherwise"),
        (lambda n, c: n[:, 0], ["row_id"], "no output can be called 'row_id'", "name it otherwise"),
        (lambda n, c: n / 0, ["a"], "a holds NaN or infinity", "diverged"),
    ],
)
def test_outputs_that_do_not_fit_are_refused(table, tmp_path, forward, outputs, what, fix):
    with pytest.raises(LabError, match=what) as problem:
        export.save(Forward(forward), OfTable(table), tmp_path / "model", outputs)
    assert fix in problem.value.fix
    assert list(tmp_path.iterdir()) == []


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


def test_tensors_keep_the_rows_order():
    table = TrainingTable(SmallRows(flights(10)))
    numbers, codes, y = table.tensors()
    assert (numbers.dtype, codes.dtype, y.dtype) == (torch.float32, torch.int64, torch.float32)
    assert y.tolist() == table.frame["late"].tolist()
    assert isinstance(table.frame, pd.DataFrame)
