import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file, save_model

from aiinfra_lab import models
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Failed, UsageProblem
from aiinfra_lab.models.importers.safetensors import SafetensorsFile
from aiinfra_lab.models.record import ModelVersion
from aiinfra_lab.store import open_store
from aiinfra_lab.words import split, understand

CODE = """
import torch


class Net(torch.nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.first, self.last = torch.nn.Linear(3, width), torch.nn.Linear(width, 2)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


class Steps(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.each = torch.nn.Linear(2, 1)

    def forward(self, steps, steps_mask):
        there = steps_mask.unsqueeze(2)
        return {"score": ((self.each(steps) * there).sum(1) / there.sum(1).clamp(min=1)).squeeze(1)}


def build():
    return Net()


def wide(width):
    return Net(width)


def nothing():
    return {}


def broken():
    raise OSError("no such disk")


wider = lambda: Net(9)
"""
ROWS = np.random.default_rng(0).normal(size=(6, 3))


@pytest.fixture
def mine(workspace, monkeypatch):
    """The user's module, which lies beside the notebook and is on no path."""
    (workspace / "mine").mkdir()
    (workspace / "mine" / "__init__.py").touch()
    (workspace / "mine" / "nets.py").write_text(CODE)
    monkeypatch.chdir(workspace)
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(workspace))
    import mine.nets

    monkeypatch.undo()
    monkeypatch.chdir(workspace)
    yield mine.nets
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "mine":
            del sys.modules[name]


@pytest.fixture
def network(mine):
    """Its network, with its weights saved in net.safetensors."""
    torch.manual_seed(0)
    made = mine.build().eval()
    save_model(made, "net.safetensors")
    return made


def add(code="mine.nets:build", **options):
    return models.add("net", from_="net.safetensors", **{"code": code, "example": {"x": ROWS}, **options})


def test_weights_and_the_code_of_their_network_become_a_version(network, mine):
    np.savez("x.npz", x=ROWS)
    made = understand(
        "models",
        split("add net --from net.safetensors --code mine.nets:build --example x.npz --labels no,yes"),
    ).run()
    with torch.no_grad():
        wanted = network(torch.tensor(ROWS, dtype=torch.float32)).softmax(1).numpy()
    assert np.allclose(made.predict([{"x": row.tolist()} for row in ROWS]), wanted, atol=1e-6)
    assert str(made.signature.inputs[0]) == "x FP32 [rows, 3]"
    assert models.check(made).state == "good"


def test_the_code_is_recorded(network, mine):
    made = add()
    code = open_store().get(ModelVersion, "net@1").body.source.code
    assert (code.reference, code.path, len(code.sha256)) == ("mine.nets:build", mine.__file__, 64)
    assert "built by mine.nets:build in" in made.source
    assert "| built by | mine.nets:build in" in made.model_card
    assert add().uri == made.uri
    Path(mine.__file__).write_text(f"{CODE}# later\n")
    assert add().uri == "models:net@2"


def test_a_sequence_beside_its_mask_may_have_any_length(mine):
    torch.manual_seed(0)
    steps = mine.Steps().eval()
    save_model(steps, "net.safetensors")
    given = np.random.default_rng(0).normal(size=(4, 5, 2)).astype(np.float32)
    made = add("mine.nets:Steps", example={"steps": given, "steps_mask": np.ones((4, 5), np.float32)})
    rows = [{"steps": given[0].tolist()}, {"steps": given[1, :2].tolist()}]
    with torch.no_grad():
        wanted = [
            steps(torch.from_numpy(given[at : at + 1, :most]), torch.ones(1, most))["score"].item()
            for at, most in ((0, 5), (1, 2))
        ]
    assert np.allclose(made.predict(rows), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("code", "what", "fix"),
    [
        ("mine.nets", "names no function", "package.module:function"),
        ("mine.nest:build", r"there is no module mine\.nest", "pip install -e"),
        ("mine.nets:biuld", "has no function 'biuld'", "build"),
        ("mine.nets:wide", r"takes arguments: wide\(width\)", "def build"),
        ("mine.nets:nothing", "gives a dict", "torch.nn.Module"),
        ("mine.nets:broken", "raised OSError: no such disk", "broken()"),
        ("mine.nets:wider", "the weights do not fit what mine.nets:wider builds", "same sizes"),
        ("mine.nets:Steps", r"lacks each\.bias, each\.weight", "the network that was trained"),
    ],
)
def test_code_that_does_not_fit_is_refused(network, code, what, fix):
    with pytest.raises((UsageProblem, Failed), match=what) as problem:
        add(code)
    assert fix in problem.value.fix
    assert models.ls().items == ()


def test_weights_that_nobody_asked_for_are_named(network):
    save_file({**network.state_dict(), "more": torch.zeros(2)}, "net.safetensors")
    with pytest.raises(Failed, match=r"has more, which mine\.nets:build does not build"):
        add()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"example": None}, "nothing says what it is to be compared on; it takes x"),
        ({"example": {"y": ROWS}}, "the example has y, and the network's forward takes x"),
        ({"example": {"x": ROWS[:, :2]}}, "cannot predict the example"),
        ({"code": ""}, "holds weights, and nothing says which network"),
    ],
)
def test_what_lacks_is_said(network, options, what):
    with pytest.raises((UsageProblem, Failed), match=what):
        add(**options)


def test_weights_that_were_cut_off_are_refused(network, workspace):
    content = (workspace / "net.safetensors").read_bytes()
    (workspace / "net.safetensors").write_bytes(content[:-8])
    with pytest.raises(Failed, match="cannot be read"):
        add()


def test_code_for_a_whole_model_is_refused(network, workspace):
    from .made import linear

    linear(workspace / "net.onnx")
    with pytest.raises(UsageProblem, match="--code is for weights alone"):
        models.add("net", from_="net.onnx", code="mine.nets:build", example={"x": ROWS})


def test_it_knows_its_own_files(workspace, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"1")
    assert SafetensorsFile(settings()).suits(tmp_path / "a.safetensors")
    assert not SafetensorsFile(settings()).suits(tmp_path)
