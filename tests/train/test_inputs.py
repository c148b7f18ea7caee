"""What may stand in an array: by its datatype alone, however the numbers beside it are written."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from aiinfra_lab import deploy
from aiinfra_lab.features.contract import BadRow
from aiinfra_lab.train.inputs import ArrayInputs
from aiinfra_lab.train.signature import Tensor

TEMPLATES = Path(deploy.__file__).with_name("fastapi")


def array(datatype, value, sizes=(2,)):
    [(found,)] = ArrayInputs([Tensor("x", datatype, (-1, *sizes))]).validate([{"x": value}])
    return found


TAKEN = [
    ("FP32", [4, 16_777_217], [4, 16_777_216]),
    ("FP32", [4.0, 16_777_217], [4, 16_777_216]),
    ("FP32", [4, 2**70], [4, 2.0**70]),
    ("FP16", [2049, 1.5], [2048, 1.5]),
    ("FP64", [0.1, 2], [0.1, 2]),
    ("UINT64", [2**64 - 1, 0], [2**64 - 1, 0]),
    ("INT8", [-128, 127], [-128, 127]),
]
BEYOND = [
    ("INT8", [4, 300], "beyond INT8"),
    ("UINT8", [4, -1], "beyond UINT8"),
    ("INT64", [4, 2**63], "beyond INT64"),
    ("INT64", [-1, 2**64 - 1], "beyond INT64"),
    ("FP32", [4, 10**39], "not finite"),
    ("FP64", [4, 10**400], "not finite"),
    ("FP16", [4, 70_000], "not finite"),
]


@pytest.mark.parametrize(("datatype", "given", "found"), [*TAKEN, ("BOOL", [True, False], [True, False])])
def test_a_value_of_its_kind_is_taken(datatype, given, found):
    assert array(datatype, given).tolist() == found


@pytest.mark.parametrize(
    ("datatype", "given", "why"),
    [
        *BEYOND,
        ("FP32", [4, True], "true or false"),
        ("FP32", [True, False], "true or false"),
        ("FP32", np.array([True, False]), "true or false"),
        ("INT64", [4, True], "true or false"),
        ("BOOL", [1, 0], "a whole number"),
        ("INT64", [4, 2.0], "a number with a point"),
        ("FP32", [4, "2"], "a text"),
        ("FP32", [4, None], "a value in it is missing"),
        ("BYTES", ["a", None], "a value in it is missing"),
        ("FP32", [4, {"a": 1}], "it holds a dict"),
        ("FP32", [4, [2]], "lists of unequal lengths"),
        ("FP32", [[1, 2], [3]], "lists of unequal lengths"),
        ("FP32", [np.zeros((2, 2)), np.zeros((2, 3))], "lists of unequal lengths"),
    ],
)
def test_another_one_is_refused_in_our_words(datatype, given, why):
    with pytest.raises(BadRow, match=why) as problem:
        array(datatype, given)
    assert (problem.value.row, problem.value.column) == (0, "x")


def test_arrays_and_numbers_of_numpy_are_read_as_lists_are():
    rows = [np.ones(2, np.float32), np.zeros(2, np.float32)]
    nested = np.empty(2, object)
    nested[:] = rows
    for given in (np.array(rows), rows, nested, [[np.float32(1), np.int8(1)], (0, 0.0)]):
        assert array("FP32", given, (2, 2)).tolist() == [[1, 1], [0, 0]]
    assert array("FP32", [], (-1,)).shape == (0,)
    assert array("FP32", np.int64(3), ()).tolist() == 3


@pytest.fixture
def exported(tmp_path, monkeypatch):
    """The arrays of the service that is exported, behind its types."""
    folder = tmp_path / "exported_service"
    folder.mkdir()
    for name in ("arrays", "refusal"):
        (folder / f"{name}.py").write_text((TEMPLATES / f"{name}.py.txt").read_text())
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("exported_service.arrays")
    for name in [name for name in sys.modules if name.startswith("exported_service")]:
        del sys.modules[name]


@pytest.mark.parametrize(("datatype", "given", "found"), TAKEN)
def test_the_exported_service_takes_the_same(exported, tmp_path, datatype, given, found):
    encoder = exported.Encoder(tmp_path, {"inputs": [{"name": "x", "datatype": datatype, "shape": [-1, 2]}]})
    assert encoder.encode([{"x": given}])["x"].tolist() == [found]


@pytest.mark.parametrize(("datatype", "given", "why"), BEYOND)
def test_the_exported_service_refuses_the_same(exported, tmp_path, datatype, given, why):
    encoder = exported.Encoder(tmp_path, {"inputs": [{"name": "x", "datatype": datatype, "shape": [-1, 2]}]})
    with pytest.raises(exported.BadRow, match=why):
        encoder.encode([{"x": given}])
