"""Versions by real packages: older runtimes beside ours, operators of another package, and what cannot be had."""

import json
import subprocess
import urllib.request

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from aiinfra_lab import deploy, models
from aiinfra_lab.errors import Failed
from aiinfra_lab.train import environments
from aiinfra_lab.train.environments import Environment
from tests.models.importers.made import ROWS, WEIGHTS, linear

pytestmark = pytest.mark.slow
OLD, OPERATORS = "onnxruntime==1.19.2", "onnxruntime-extensions==0.15.2"
TEXTS = np.array(["Grüße", "ab"], object)


@pytest.fixture(scope="session")
def registry() -> None:
    """Skips where packages cannot be had at all."""
    words = [environments._uv(), "pip", "compile", "--quiet", "-"]
    done = subprocess.run(words, input=OLD, env=environments._handed_on(), text=True, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"packages cannot be had here: {done.stderr.strip()[-300:]}")


@pytest.fixture
def needs(tmp_path, workspace, registry):
    """Gives the path of a requirements file with these lines."""

    def write(*lines):
        path = tmp_path / "requirements.txt"
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    return write


@pytest.fixture
def upper(tmp_path):
    """A network of an operator that ONNX Runtime itself does not have."""
    path = tmp_path / "upper.onnx"
    infos = [[helper.make_tensor_value_info(name, TensorProto.STRING, ["n"])] for name in ("text", "upper")]
    graph = helper.make_graph(
        [helper.make_node("StringUpper", ["text"], ["upper"], domain="ai.onnx.contrib")], "upper", *infos
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.contrib", 1)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=9), path)
    return path


def posted(endpoint, row):
    body = json.dumps({"rows": [row]}).encode()
    with urllib.request.urlopen(f"{endpoint.url}/predict", body, timeout=60) as response:
        return json.load(response)["predictions"][0]


def runtimes(endpoint):
    with urllib.request.urlopen(f"{endpoint.url}/status", timeout=60) as response:
        return json.load(response)["runtimes"]


def test_two_endpoints_answer_side_by_side_each_by_its_own_runtime(needs, tmp_path):
    path = linear(tmp_path / "linear.onnx")
    models.add("net", from_=path, example={"x": ROWS})
    models.add("net", from_=path, example={"x": ROWS}, environment=needs(OLD))
    for each in ("net@1", "net@2"):
        models.check(each)
    ours, old = deploy.start("ours", model="net@1"), deploy.start("old", model="net@2")
    assert runtimes(ours) == {"models:net@1": onnxruntime.__version__}
    assert runtimes(old) == {"models:net@2": "1.19.2"}
    row = {"x": [1.0, 2.0, 3.0]}
    for each in (ours, old):
        assert np.allclose(posted(each, row)["y"], np.array(row["x"]) @ WEIGHTS, atol=1e-6)


def test_one_endpoint_serves_versions_of_two_runtimes(needs, tmp_path):
    path = linear(tmp_path / "linear.onnx")
    models.add("net", from_=path, example={"x": ROWS})
    models.add("net", from_=path, example={"x": ROWS}, environment=needs(OLD))
    for each in ("net@1", "net@2"):
        models.check(each)
    deploy.start("net", model="net@1")
    both = deploy.start("net", model="net@2", canary=0.5)
    assert runtimes(both) == {"models:net@1": onnxruntime.__version__, "models:net@2": "1.19.2"}


def test_operators_of_another_package_are_added_checked_and_served(needs, upper):
    with pytest.raises(Failed, match="StringUpper") as raised:
        models.add("upper", from_=upper, example={"text": TEXTS})
    assert "onnxruntime-extensions" in raised.value.fix
    assert "--environment" in raised.value.fix
    made = models.add("upper", from_=upper, example={"text": TEXTS}, environment=needs(OPERATORS))
    models.check("upper")
    assert made.answers([{"text": "ab"}]) == [{"upper": "AB"}]
    live = deploy.start("upper", model="upper@1")
    assert posted(live, {"text": "ab"})["upper"] == "AB"


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (["onnxruntime==9.9.9"], "there is no version of onnxruntime==9.9.9"),
        (["no-such-package-of-ours==1.0"], "no-such-package-of-ours was not found in the package registry"),
        (["onnxruntime==1.14.1"], "no wheels with a matching Python ABI tag"),
        (["onnxruntime==1.19.2", "numpy==1.20.0"], "building from source is disabled"),
    ],
)
def test_what_cannot_be_installed_is_refused_with_why(needs, tmp_path, lines, what):
    with pytest.raises(Failed) as raised:
        models.add("net", from_=linear(tmp_path / "linear.onnx"), example={"x": ROWS}, environment=needs(*lines))
    assert what in raised.value.what
    assert "echo" in raised.value.fix
    assert not models.ls().items


def test_a_runtime_that_this_numpy_is_too_new_for_says_which_fits(needs, tmp_path):
    path = linear(tmp_path / "linear.onnx")
    with pytest.raises(Failed, match="cannot be built") as raised:
        models.add("net", from_=path, example={"x": ROWS}, environment=needs("onnxruntime==1.17.3"))
    assert "numpy==1.26.4" in raised.value.fix
    made = models.add("net", from_=path, example={"x": ROWS}, environment=needs("onnxruntime==1.17.3", "numpy==1.26.4"))
    live = deploy.start("net", model=made.uri)
    assert runtimes(live) == {made.uri: "1.17.3"}


def test_without_uv_it_is_built_by_pip(needs, monkeypatch):
    monkeypatch.setattr(environments, "_uv", lambda: "")
    text = f"{OLD}\nflatbuffers==25.2.10\n"
    made = Environment.made(text)
    assert made.is_built
    assert environments.pins(made.packages)["flatbuffers"] == "25.2.10"
