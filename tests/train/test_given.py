"""A network of arrays: an image, a sequence of unequal lengths, and what does not fit."""

import json

import numpy as np
import pytest
import torch

from aiinfra_lab.errors import NotFound, UsageProblem
from aiinfra_lab.features.contract import BadRow
from aiinfra_lab.train import export, signature
from aiinfra_lab.train.given import OfArrays
from aiinfra_lab.train.saved_model import SavedModel

DIGITS = signature.task_of("classification", range(10))


class Image(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten())
        self.last = torch.nn.Linear(4 * 6 * 6, 10)

    def forward(self, image):
        return self.last(self.layers(image[:, None]))


class Sequence(torch.nn.Module):
    """The mean of what there is."""

    def forward(self, steps, steps_mask):
        there = steps_mask[:, :, None]
        return (steps * there).sum((1, 2)) / there.sum((1, 2))


@pytest.fixture
def images():
    return np.random.default_rng(0).random((6, 8, 8), np.float32)


@pytest.fixture
def image_model(images, tmp_path):
    torch.manual_seed(0)
    network = Image()
    export.save(network, OfArrays({"image": images}), tmp_path / "model", ["digit"], DIGITS)
    return network, SavedModel(tmp_path / "model")


@pytest.fixture
def sequences(tmp_path):
    steps = np.ones((3, 5, 2), np.float32)
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]], np.float32)
    export.save(Sequence(), OfArrays({"steps": steps, "steps_mask": mask}), tmp_path / "model")
    return SavedModel(tmp_path / "model")


def test_an_image_is_an_input_of_its_own_shape(image_model, images):
    _, saved = image_model
    assert [str(item) for item in saved.signature.inputs] == ["image FP32 [rows, 8, 8]"]
    assert not saved.is_of_table
    example = json.loads((saved.folder / "example.json").read_text())
    assert len(example["rows"]) == 5
    assert np.allclose(example["rows"][0]["image"], images[0])


def test_it_answers_as_torch_does(image_model, images):
    network, saved = image_model
    expected = network(torch.from_numpy(images)).softmax(1).detach().numpy()
    found = saved.answers([{"image": image.tolist()} for image in images])
    assert [int(row["digit"]) for row in found] == expected.argmax(1).tolist()
    assert np.allclose([[*row["digit_probabilities"].values()] for row in found], expected, atol=1e-6)


def test_a_model_of_arrays_has_no_columns(image_model):
    with pytest.raises(NotFound, match=r"takes arrays and no columns: image FP32 \[rows, 8, 8\]"):
        _ = image_model[1].columns


def test_sequences_of_unequal_lengths_are_filled_up_and_the_mask_says_where(sequences):
    assert [item.shape for item in sequences.signature.inputs] == [(-1, -1, 2), (-1, -1)]
    assert sequences.rows.names == ("steps",)
    rows = [{"steps": [[1, 3]]}, {"steps": [[2, 2], [4, 4], [6, 6]]}]
    inputs = sequences.inputs(rows)
    assert inputs["steps"].shape == (2, 3, 2)
    assert inputs["steps_mask"].tolist() == [[1, 0, 0], [1, 1, 1]]
    assert [row["score"] for row in sequences.answers(rows)] == [4.0, 8.0]
    assert sequences.answers(rows[:1]) == [{"score": 4.0}]


def test_its_example_has_no_filling(sequences):
    assert [len(row["steps"]) for row in sequences.example.rows] == [5, 2, 1]


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (None, "it is missing"),
        ([[0.0] * 8] * 7, r"FP32 \[8, 8\] is needed, not one of \[7, 8\]"),
        ([0.0] * 64, r"not one of \[64\]"),
        ([["0"] * 8] * 8, "is needed"),
        ([[0.0] * 8] * 7 + [[0.0]], "is needed"),
        ([[float("nan")] * 8] * 8, "not finite"),
        ([[1e300] * 8] * 8, "not finite"),
        ("image", "is needed"),
        ({"a": 1}, "is needed"),
    ],
)
def test_a_row_that_does_not_fit_is_named(image_model, value, what):
    good = {"image": [[0] * 8] * 8}
    with pytest.raises(BadRow, match=what) as problem:
        image_model[1].rows.validate([good, {"image": value}])
    assert (problem.value.row, problem.value.column) == (1, "image")


def test_an_unknown_input_is_named(image_model):
    with pytest.raises(BadRow, match="unknown input; did you mean image"):
        image_model[1].rows.validate([{"imag": [[0] * 8] * 8}])


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"image": np.zeros((4, 8, 8)), "more": np.zeros((3, 2))}, "the inputs have"),
        ({"image": np.zeros((0, 8, 8))}, "the inputs have"),
        ({"image": 1.0}, "of the shape"),
        ({"image": ["a", "b"]}, "the input image is texts"),
        ({}, "the inputs have"),
    ],
)
def test_inputs_that_are_none_are_refused(given, what, tmp_path):
    with pytest.raises(UsageProblem, match=what):
        export.save(Image(), OfArrays(given), tmp_path / "model", ["digit"], DIGITS)


def test_forward_takes_what_was_given(images, tmp_path):
    with pytest.raises(UsageProblem, match=r"cannot be called.*\n.*def forward\(self, image, more\)"):
        export.save(Image(), OfArrays({"image": images, "more": images}), tmp_path / "model", ["digit"], DIGITS)


def test_one_row_is_enough(images, tmp_path):
    export.save(Image(), OfArrays({"image": images[:1]}), tmp_path / "model", ["digit"], DIGITS)
    assert len(SavedModel(tmp_path / "model").answers([{"image": image.tolist()} for image in images])) == 6


def test_another_number_of_labels_than_of_numbers_is_no_classification(images, tmp_path):
    task = signature.task_of("classification", ["a", "b"])
    with pytest.raises(UsageProblem, match="digit has 10 numbers a row, and there are 2 labels"):
        export.save(Image(), OfArrays({"image": images}), tmp_path / "model", ["digit"], task)
