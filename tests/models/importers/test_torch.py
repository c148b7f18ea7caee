import json
import zipfile

import numpy as np
import pytest
import torch

from aiinfra_lab import models
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Failed, UsageProblem
from aiinfra_lab.models.importers.torch import TorchFile
from aiinfra_lab.testing.models import ImporterContract

IMAGES = np.random.default_rng(0).normal(size=(12, 1, 8, 8)).astype(np.float32)


def network():
    torch.manual_seed(0)
    layers = (torch.nn.Flatten(), torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(16, 10))
    return torch.nn.Sequential(*layers).eval()


def save(model, path, *, rows=True):
    shapes = ({0: torch.export.Dim("rows")},) if rows else None
    torch.export.save(torch.export.export(model, (torch.from_numpy(IMAGES[:4]),), dynamic_shapes=shapes), path)
    return path


def changed(path, target, change):
    """The archive with the content of some of its entries changed."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as made:
        for name in source.namelist():
            made.writestr(name, change(name, source.read(name)))
    return target


class TestTorch(ImporterContract):
    @pytest.fixture
    def importer(self, workspace):
        return TorchFile(settings())

    @pytest.fixture
    def file(self, tmp_path):
        return save(network(), tmp_path / "digits.pt2")

    @pytest.fixture
    def example(self):
        return {"example": IMAGES[:4], "task": "classification", "labels": "0..9"}

    @pytest.fixture
    def rows(self):
        return [{"input": image.tolist()} for image in IMAGES]

    @pytest.fixture
    def expected(self):
        return torch.softmax(network()(torch.from_numpy(IMAGES)), 1).detach().numpy()


def test_a_number_of_rows_that_is_fixed_is_refused(workspace):
    save(network(), "digits.pt2", rows=False)
    with pytest.raises(UsageProblem, match=r"whose first size cannot vary"):
        models.add("digits", from_="digits.pt2", example=IMAGES[:4])


def test_dropout_that_was_exported_for_training_is_refused(workspace):
    save(network().train(), "digits.pt2")
    with pytest.raises(Failed, match="is not deterministic"):
        models.add("digits", from_="digits.pt2", example=IMAGES[:4])


@pytest.mark.parametrize("text", ["__import__('os').system('touch ran')", "os.abort()", "s0.__class__", "print(s0)"])
def test_a_size_that_is_a_line_of_python_is_not_run(workspace, text):
    def change(name, content):
        if not name.endswith("models/model.json"):
            return content
        body = json.loads(content)
        body["more"] = {"expr_str": text}
        return json.dumps(body)

    changed(save(network(), "plain.pt2"), "digits.pt2", change)
    with pytest.raises(UsageProblem, match="a size that is none"):
        models.add("digits", from_="digits.pt2", example=IMAGES[:4])


def test_a_weight_that_is_a_pickle_is_not_read(workspace):
    changed(
        save(network(), "plain.pt2"),
        "digits.pt2",
        lambda name, content: content.replace(b'"use_pickle": false', b'"use_pickle": true'),
    )
    with pytest.raises(UsageProblem, match="weights as a pickle"):
        models.add("digits", from_="digits.pt2", example=IMAGES[:4])


def test_a_zip_of_anything_else_is_refused(workspace):
    with zipfile.ZipFile("digits.pt2", "w") as made:
        made.writestr("a.txt", "a")
    with pytest.raises(Failed, match=r"is no program of torch\.export"):
        models.add("digits", from_="digits.pt2", example=IMAGES[:4])
