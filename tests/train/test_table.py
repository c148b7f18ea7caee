"""A run's rows as tensors."""

import json

import numpy as np
import pytest
import torch

from aiinfra_lab.errors import Failed, UsageProblem
from aiinfra_lab.train.table import EXAMPLE_ROWS, PROBE_ROWS, TrainingTable

from .conftest import FEATURES, SmallRows, flights


def test_all_rows_come_in_their_order():
    rows = SmallRows()
    numbers, codes, y = TrainingTable(rows).tensors()
    assert len(numbers) == len(codes) == len(y) == 400
    assert y.tolist() == rows.frame["late"].tolist()


def test_the_hold_out_is_what_came_last():
    rows = SmallRows(frame=flights().sample(frac=1, random_state=1))
    learn, held = TrainingTable(rows).split(0.25)
    ordered = rows.frame.sort_values("sched_dep")["late"].tolist()
    assert (learn.y.tolist(), held.y.tolist()) == (ordered[:300], ordered[300:])


def test_the_contract_knows_the_earlier_part_alone():
    frame = flights()
    frame.loc[frame.index[350:], "carrier"] = "Z"
    table = TrainingTable(SmallRows(frame=frame))
    table.split(0.25)
    (carrier,) = [item for item in table.columns().categories if item.name == "carrier"]
    assert "Z" not in carrier.categories


def test_what_only_the_hold_out_lacks_is_not_required():
    frame = flights()
    frame["temp"] = 1.0
    frame.loc[frame.index[390:], "temp"] = np.nan
    table = TrainingTable(SmallRows(frame=frame))
    table.split(0.25)
    assert {item.name: item.required for item in table.columns()}["temp"] is False


@pytest.mark.parametrize("holdout", [0, 1, 1.5, -0.1])
def test_a_hold_out_leaves_rows_on_both_sides(holdout):
    with pytest.raises(UsageProblem):
        TrainingTable(SmallRows()).split(holdout)


@pytest.mark.parametrize(("field", "fix"), [("columns", "%features get"), ("label", "%features ls")])
def test_rows_that_are_no_features_are_refused(workspace, field, fix):
    with pytest.raises(UsageProblem) as caught:
        TrainingTable(SmallRows(**{field: ""}))
    assert fix in caught.value.fix


def test_rows_without_a_label_are_refused():
    frame = flights().astype({"late": "float"})
    frame.loc[3, "late"] = np.nan
    with pytest.raises(Failed):
        TrainingTable(SmallRows(frame=frame))


def test_a_label_of_texts_is_the_place_of_each_among_them():
    frame = flights()
    frame["late"] = frame["late"].map({0: "no", 1: "yes"})
    table = TrainingTable(SmallRows(frame=frame))
    assert table.labels == ("no", "yes")
    assert table.tensors().y.tolist() == (frame["late"] == "yes").astype(int).tolist()
    assert table.tensors().y.dtype == torch.int64


def test_a_label_of_numbers_has_no_names():
    assert TrainingTable(SmallRows()).labels == ()


def test_the_example_is_json_without_nan_and_the_probe_is_spread(tmp_path):
    table = TrainingTable(SmallRows(frame=flights(2_000)))
    example = table.example()
    assert (len(example), set(example[0])) == (EXAMPLE_ROWS, {*FEATURES})
    assert json.dumps(example, allow_nan=False)
    assert len(table.probe()) == PROBE_ROWS
    assert table.probe().index[-1] > 1_500


def test_the_contract_names_the_version_of_the_features_and_not_its_rows(tmp_path):
    table = TrainingTable(SmallRows())
    table.save(tmp_path / "columns.json")
    assert json.loads((tmp_path / "columns.json").read_text())["features_uri"] == "features:delay@1"
