import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from aiinfra_lab import models
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Failed, UsageProblem
from aiinfra_lab.models.importers.onnx import OnnxFile
from aiinfra_lab.testing.models import ImporterContract

from .made import LOGITS, ROWS, WEIGHTS, linear, onnx_model


class TestOnnx(ImporterContract):
    @pytest.fixture
    def importer(self, workspace):
        return OnnxFile(settings())

    @pytest.fixture
    def file(self, tmp_path):
        return linear(tmp_path / "linear.onnx")

    @pytest.fixture
    def example(self):
        return {"example": {"x": ROWS[:3]}}

    @pytest.fixture
    def rows(self):
        return [{"x": row.tolist()} for row in ROWS]

    @pytest.fixture
    def expected(self):
        return LOGITS


def add(path, **options):
    return models.add("net", from_=path, **{"example": {"x": ROWS}, **options})


def follow(fix):
    """Run the line of Python that a fix gives."""
    start = min(at for at in (fix.find("import "), fix.find("from ")) if at >= 0)
    exec(fix[start:].rstrip("`"), {})


def test_numbers_for_labels_become_probabilities(workspace, tmp_path):
    made = add(linear(tmp_path / "linear.onnx"), labels="no,yes")
    wanted = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    assert np.allclose(made.predict([{"x": row.tolist()} for row in ROWS]), wanted, atol=1e-6)
    assert made.answers([{"x": [1.0, 0.0, 0.0]}])[0]["y"] == "no"
    assert made.said.startswith("y is made probabilities by softmax")


def test_what_is_probable_already_stays(workspace, tmp_path):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["y"], axis=1)]
    onnx.save(onnx_model(nodes, weights=[numpy_helper.from_array(WEIGHTS, "w")]), tmp_path / "net.onnx")
    made = add(tmp_path / "net.onnx", task="classification", labels="0..1")
    assert made.signature.task.labels == ("0", "1")
    assert np.allclose(made.predict([{"x": r.tolist()} for r in ROWS]).sum(1), 1)
    assert (made.path / "model.onnx").read_bytes() == (tmp_path / "net.onnx").read_bytes()


def test_operators_that_the_runtime_does_not_know_are_refused_by_name(workspace, tmp_path):
    nodes = [
        helper.make_node("Spin", ["x"], ["z"], domain="their.own"),
        helper.make_node("Twist", ["z"], ["y"], domain="their.own"),
    ]
    onnx.save(onnx_model(nodes, domains=["their.own"]), tmp_path / "net.onnx")
    with pytest.raises(Failed, match=r"does not know: their\.own:Spin, their\.own:Twist"):
        add(tmp_path / "net.onnx")


def test_operators_in_the_body_of_a_branch_are_seen(workspace, tmp_path):
    body = helper.make_graph(
        [helper.make_node("Spin", ["x"], ["inner"], domain="their.own")],
        "body", [], [helper.make_tensor_value_info("inner", TensorProto.FLOAT, ["rows", 3])],
    )  # fmt: skip
    condition = numpy_helper.from_array(np.array(True), "always")
    node = helper.make_node("If", ["always"], ["y"], then_branch=body, else_branch=body)
    onnx.save(onnx_model([node], weights=[condition], domains=["their.own"]), tmp_path / "net.onnx")
    with pytest.raises(Failed, match=r"does not know: their\.own:Spin"):
        add(tmp_path / "net.onnx")


def test_weights_beside_the_file_come_along(workspace, tmp_path):
    big = np.eye(3, 2, dtype=np.float32).repeat(1, 0)
    model = onnx_model([helper.make_node("MatMul", ["x", "w"], ["y"])], weights=[numpy_helper.from_array(big, "w")])
    (tmp_path / "own").mkdir()
    onnx.save(
        model, tmp_path / "own" / "net.onnx", save_as_external_data=True, location="net.onnx.data", size_threshold=0
    )
    made = add(tmp_path / "own" / "net.onnx")
    assert {"model.onnx", "weights-0.data"} <= {path.name for path in made.path.iterdir()}
    assert np.allclose(made.predict([{"x": [1.0, 2.0, 3.0]}]), [[1.0, 2.0]])
    assert models.check(made).state == "good"
    with (made.path / "weights-0.data").open("r+b") as stream:
        stream.write(b"\x01")
    with pytest.raises(Failed, match=r"weights-0\.data was changed"):
        models.check(made)


def test_weights_outside_the_folder_are_refused_and_the_fix_brings_them_in(workspace, tmp_path):
    (tmp_path / "own").mkdir()
    path = tmp_path / "own" / "net.onnx"
    model = onnx_model([helper.make_node("MatMul", ["x", "w"], ["y"])], weights=[numpy_helper.from_array(WEIGHTS, "w")])
    onnx.save(model, path, save_as_external_data=True, location="w.data", size_threshold=0)
    (tmp_path / "own" / "w.data").rename(tmp_path / "w.data")
    moved = onnx.load(path, load_external_data=False)
    for entry in moved.graph.initializer[0].external_data:
        entry.value = "../w.data" if entry.key == "location" else entry.value
    onnx.save(moved, path)
    with pytest.raises(UsageProblem, match=r"weights outside its folder, in \.\./w\.data") as problem:
        add(path)
    (tmp_path / "own" / "w.data").write_bytes((tmp_path / "w.data").read_bytes())
    follow(problem.value.fix)
    assert np.allclose(add(path).predict([{"x": row.tolist()} for row in ROWS]), LOGITS, atol=1e-6)


def test_weights_that_are_missing_are_named(workspace, tmp_path):
    model = onnx_model([helper.make_node("MatMul", ["x", "w"], ["y"])], weights=[numpy_helper.from_array(WEIGHTS, "w")])
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="w.data", size_threshold=0)
    (tmp_path / "w.data").unlink()
    with pytest.raises(Failed, match=r"weights in w\.data, which is not there"):
        add(tmp_path / "net.onnx")


def test_a_newer_opset_than_the_runtimes_is_named_and_the_fix_lowers_it(workspace, tmp_path):
    newest = onnx.defs.onnx_opset_version()
    path = linear(tmp_path / "net.onnx", opset=newest + 40)
    with pytest.raises(Failed, match=rf"a newer opset of ai\.onnx than {newest - 2}|than \d+") as problem:
        add(path)
    assert "version_converter" in problem.value.fix


def test_a_number_of_rows_that_is_fixed_is_refused_and_the_fix_frees_it(workspace, tmp_path):
    path = linear(tmp_path / "net.onnx", inputs=[("x", [1, 3])], outputs=[("y", [1, 2])])
    with pytest.raises(UsageProblem, match=r"takes 1 rows? at a time") as problem:
        add(path)
    follow(problem.value.fix)
    assert np.allclose(add(path).predict([{"x": row.tolist()} for row in ROWS]), LOGITS, atol=1e-6)


def test_what_draws_random_numbers_is_refused(workspace, tmp_path):
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["noise"]),
        helper.make_node("Add", ["x", "noise"], ["y"]),
    ]
    onnx.save(onnx_model(nodes, outputs=[("y", ["rows", 3])]), tmp_path / "net.onnx")
    with pytest.raises(Failed, match=r"is not deterministic: y differs"):
        add(tmp_path / "net.onnx")


def test_a_row_whose_answer_depends_on_its_neighbours_is_refused(workspace, tmp_path):
    mean = helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1)
    onnx.save(
        onnx_model([mean, helper.make_node("Sub", ["x", "mean"], ["y"])], outputs=[("y", ["rows", 3])]),
        tmp_path / "net.onnx",
    )
    with pytest.raises(Failed, match=r"depends on the rows beside it: y"):
        add(tmp_path / "net.onnx")


def test_an_output_without_rows_is_refused(workspace, tmp_path):
    node = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)
    onnx.save(onnx_model([node], outputs=[("y", [])]), tmp_path / "net.onnx")
    with pytest.raises(UsageProblem, match=r"its output y is \(\) for 6 rows"):
        add(tmp_path / "net.onnx")


@pytest.mark.parametrize(
    ("example", "what"),
    [
        ({"x": ROWS.astype(str)}, r"the example's x is <U\d+, and the model takes x FP32 \[rows, 3\]"),
        ({"x": ROWS[:, :2]}, r"has the shape \(6, 2\), and the model takes x FP32 \[rows, 3\]"),
        ({"z": ROWS}, r"has no 'x', only z"),
        ({"x": ROWS, "z": ROWS}, r"has 'z', which is no input"),
        ({"x": ROWS[:0]}, r"have \{'x': 0\} rows"),
        ({"x": ROWS * np.nan}, r"y holds NaN"),
        (None, r"nothing says what it is to be compared on"),
        ("missing.npz", r"--example missing\.npz is not there"),
    ],
)
def test_an_example_that_does_not_fit_is_refused(workspace, tmp_path, example, what):
    with pytest.raises((UsageProblem, Failed), match=what):
        add(linear(tmp_path / "net.onnx"), example=example)
    assert models.ls().items == ()


def test_an_example_of_double_precision_and_of_a_file_is_taken(workspace, tmp_path):
    np.savez(tmp_path / "x.npz", x=ROWS.astype(np.float64))
    assert add(linear(tmp_path / "net.onnx"), example=tmp_path / "x.npz").uri == "models:net@1"
    np.save(tmp_path / "x.npy", ROWS)
    assert add(linear(tmp_path / "net.onnx"), example=str(tmp_path / "x.npy")).uri == "models:net@1"


def test_an_example_that_is_a_pickle_is_refused(workspace, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.array([{"a": 1}], object))
    with pytest.raises(UsageProblem, match=r"cannot be read as arrays"):
        add(linear(tmp_path / "net.onnx"), example=tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"labels": "0..9"}, r"y has 2 numbers a row, and there are 10 labels"),
        ({"labels": "a,a"}, r"two labels or more, each once"),
        ({"labels": "9..0"}, r"--labels 9\.\.0 is no range"),
        ({"task": "classification"}, r"nothing says what the 2 classes of y are called"),
        ({"task": "regression", "labels": "a,b"}, r"regression has no labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused(workspace, tmp_path, options, what):
    with pytest.raises(UsageProblem, match=what):
        add(linear(tmp_path / "net.onnx"), **options)
    assert models.ls().items == ()


def test_a_size_that_may_vary_is_that_of_the_example(workspace, tmp_path):
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=0)
    onnx.save(onnx_model([node], inputs=[("x", ["rows", "length"])], outputs=[("y", ["rows"])]), tmp_path / "net.onnx")
    made = add(tmp_path / "net.onnx")
    assert str(made.signature.inputs[0]) == "x FP32 [rows, 3]"
    assert "x FP32 [rows, 3] is taken in the example's size" in made.said.lower().replace("fp32", "FP32")


def test_a_file_that_is_larger_than_any_can_be_is_refused_before_it_is_read(workspace, tmp_path):
    path = linear(tmp_path / "net.onnx")
    with path.open("r+b") as stream:
        stream.truncate(1 << 31)  # sparse: it takes no space
    with pytest.raises(Failed, match=r"is larger than 2 GB") as problem:
        add(path)
    assert "external_data=True" in problem.value.fix


PEAK = """
import sys
from pathlib import Path
import numpy as np
from aiinfra_lab.models import importing
importing.add("net", Path(sys.argv[1]), {"x": np.ones((2, 4), np.float32)}, None, None, (), "")
# Not `getrusage`: its peak is also that of the process that started this one.
print(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024)
"""


def test_a_large_model_is_not_in_memory_twice(workspace, tmp_path):
    """The peak of a process of its own: the runtime alone needs twice the size while it loads, and no more is added."""
    nodes = [
        helper.make_node("Cast", ["x"], ["at"], to=TensorProto.INT64),
        helper.make_node("Gather", ["w", "at"], ["z"]),
        helper.make_node("ReduceMean", ["z"], ["y"], axes=[1, 2], keepdims=0),
    ]
    peaks, sizes = [], []
    for entries in (1000, 8_000_000):
        weights = numpy_helper.from_array(np.ones((entries, 4), np.float32), "w")
        model = onnx_model(nodes, inputs=[("x", ["rows", 4])], outputs=[("y", ["rows"])], weights=[weights])
        onnx.save(model, tmp_path / "net.onnx")
        sizes.append((tmp_path / "net.onnx").stat().st_size)
        command = [sys.executable, "-c", PEAK, str(tmp_path / "net.onnx")]
        # Without the settings of the test's registry, which is not installed there.
        env = {name: value for name, value in os.environ.items() if not name.startswith(("AIINFRA_T", "AIINFRA_M"))}
        found = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
        peaks.append(int(found.stdout.split()[-1]))
    assert (peaks[1] - peaks[0]) / (sizes[1] - sizes[0]) < 2.5


def test_an_example_of_one_text_a_row_is_taken(workspace, tmp_path):
    infos = [[helper.make_tensor_value_info(name, TensorProto.STRING, ["n"])] for name in ("text", "same")]
    graph = helper.make_graph([helper.make_node("Identity", ["text"], ["same"])], "same", *infos)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "t.onnx")
    made = add(tmp_path / "t.onnx", example={"text": np.array(["a", "ß"], object)})
    assert made.answers([{"text": "ß"}]) == [{"same": "ß"}]


def test_operators_of_an_extension_are_refused_with_the_packages_that_have_them(workspace, tmp_path):
    infos = [[helper.make_tensor_value_info(name, TensorProto.STRING, ["n"])] for name in ("text", "upper")]
    node = helper.make_node("StringUpper", ["text"], ["upper"], domain="ai.onnx.contrib")
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.contrib", 1)]
    graph = helper.make_graph([node], "upper", *infos)
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=9), tmp_path / "t.onnx")
    with pytest.raises(Failed, match=r"ai\.onnx\.contrib:StringUpper") as raised:
        add(tmp_path / "t.onnx", example={"text": np.array(["a", "b"], object)})
    line = "echo onnxruntime-extensions | uv pip compile - -o requirements.txt"
    assert f"{line}, and add it with --environment requirements.txt" in raised.value.fix
