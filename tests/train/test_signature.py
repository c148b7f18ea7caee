import math

import numpy as np
import pytest

from aiinfra_lab.errors import Damaged, Failed, UsageProblem
from aiinfra_lab.train import signature
from aiinfra_lab.train.signature import CUSTOM, OF_SCORE, SavedExample, Signature, Task, Tensor, of_table

KINDS = Task("classification", ("early", "late"))
TWO = Signature(of_table(2, 1), (Tensor("delay", "FP32", (-1,)), Tensor("kind", "FP32", (-1, 2))), KINDS)


def test_what_was_written_is_read_again():
    assert Signature.from_json(TWO.to_json()) == TWO


def test_a_signature_of_before_is_read():
    text = """{"inputs": {"numbers": {"dtype": "float32", "shape": [null, 3]}, "codes": {"dtype": "int64", "shape":
    [null, 0]}}, "outputs": {"score": {"dtype": "float32", "shape": [null]}}}"""
    assert Signature.from_json(text) == Signature(of_table(3, 0), (Tensor("score", "FP32", (-1,)),), CUSTOM)


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "{}",
        "[]",
        '{"inputs": [], "outputs": []}',
        TWO.to_json().replace("FP32", "FP31"),
        TWO.to_json().replace("delay", "kind"),
        TWO.to_json().replace("delay", "row_id"),
        TWO.to_json().replace("classification", "divination"),
        '{"inputs": {"numbers": {"dtype": "complex64", "shape": [null]}}, "outputs": {}}',
    ],
)
def test_what_is_no_signature_is_damaged(text):
    with pytest.raises(Damaged, match="this is no signature"):
        Signature.from_json(text)


def test_without_a_file_it_is_that_of_a_score(tmp_path):
    assert signature.read(tmp_path) == OF_SCORE
    (tmp_path / "signature.json").write_text(TWO.to_json())
    assert signature.read(tmp_path) == TWO


def test_the_example_of_before_had_scores(tmp_path):
    assert SavedExample.read(tmp_path) == SavedExample([], [])
    (tmp_path / "example.json").write_text('{"rows": [{"x": 1}], "scores": [0.5]}')
    assert SavedExample.read(tmp_path) == SavedExample([{"x": 1}], [{"score": 0.5}])


@pytest.mark.parametrize(
    ("values", "free", "expected"),
    [
        (np.zeros(3, np.float32), (), ("FP32", (-1,))),
        (np.zeros((3, 28, 28), np.uint8), (), ("UINT8", (-1, 28, 28))),
        (np.zeros((3, 7), np.int64), (1,), ("INT64", (-1, -1))),
        (np.array(["a", "b"]), (), ("BYTES", (-1,))),
        (np.array([True]), (), ("BOOL", (-1,))),
    ],
)
def test_a_tensor_is_as_the_array_of_its_rows(values, free, expected):
    found = Tensor.of("x", values, free)
    assert (found.datatype, found.shape) == expected


def test_an_array_of_another_kind_is_refused():
    with pytest.raises(UsageProblem, match="x is an array of complex128"):
        Tensor.of("x", np.zeros(3, np.complex128))


def test_a_row_is_answered_with_its_outputs_by_name():
    given = {"delay": np.array([1.5, -2.0], np.float32), "kind": np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)}
    assert TWO.answers(given, 2) == [
        {"delay": 1.5, "kind": "late", "kind_probabilities": {"early": 0.25, "late": 0.75}},
        {"delay": -2.0, "kind": "early", "kind_probabilities": {"early": 0.5, "late": 0.5}},
    ]
    assert TWO.answered == ("delay", "kind", "kind_probabilities")
    assert TWO.summary == "numbers, codes → delay, kind"


@pytest.mark.parametrize("given", [{}, {"delay": np.zeros(3), "kind": np.zeros((2, 2))}])
def test_an_output_that_lacks_or_has_other_rows_is_no_answer(given):
    with pytest.raises(Failed, match="for 2 rows"):
        TWO.answers(given, 2)


@pytest.mark.parametrize(
    ("name", "labels", "what"),
    [
        ("clasification", ["a", "b"], "did you mean classification"),
        ("regression", ["a", "b"], "regression has no labels"),
        ("classification", ["a"], "two labels or more"),
        ("classification", ["a", "a"], "each once"),
    ],
)
def test_a_task_that_is_none_is_refused(name, labels, what):
    with pytest.raises(UsageProblem, match=what):
        signature.task_of(name, labels)


def test_labels_are_texts():
    assert signature.task_of("classification", range(3)).labels == ("0", "1", "2")


@pytest.mark.parametrize(
    ("wanted", "found", "off"),
    [
        ([{"score": 1.0}], [{"score": 1.5}], 0.5),
        ([{"score": 10.0}], [{"score": 11.0}], 0.1),
        ([{"kind": "a", "p": {"a": 0.75, "b": 0.25}}], [{"kind": "a", "p": {"a": 0.5, "b": 0.5}}], 0.25),
        ([{"vector": [1.0, [2.0]]}], [{"vector": [1.0, [2.0]]}], 0.0),
        ([{"kind": "a"}], [{"kind": "b"}], math.inf),
        ([{"flag": True}], [{"flag": False}], math.inf),
        ([{"score": 1.0}], [], math.inf),
        ([{"score": 1.0}], [{}], math.inf),
        ([{"score": 1.0}], [{"score": None}], math.inf),
        ([{"vector": [1.0]}], [{"vector": [1.0, 2.0]}], math.inf),
        ([], [], 0.0),
    ],
)
def test_answers_differ_by_their_numbers_or_altogether(wanted, found, off):
    assert signature.difference(wanted, found) == pytest.approx(off)


def test_a_number_that_is_none_differs_from_every_other():
    assert not signature.difference([{"score": 1.0}], [{"score": math.nan}]) <= 1.0
