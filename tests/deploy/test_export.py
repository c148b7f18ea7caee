"""What `deploy export` writes; that it runs and answers the same is shown by tests/slow/test_fastapi.py."""

import ast
import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from aiinfra_lab import deploy
from aiinfra_lab.deploy.fastapi import project, schema
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.errors import Conflict, NotFound, UsageProblem
from aiinfra_lab.providers import make
from aiinfra_lab.store import Record, open_store
from aiinfra_lab.testing.deploy import ExporterContract
from aiinfra_lab.train.saved_model import SavedModel

from . import exported, serving
from .conftest import ROW, artifact

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["table", "odd", "arrays"])
def folder(request, tmp_path):
    """The folder of a model."""
    known = {"table": artifact, "odd": exported.odd_table, "arrays": serving.pictures}[request.param]
    return known(tmp_path / "model")


class TestFastapi(ExporterContract):
    @pytest.fixture
    def exporter(self, workspace):
        return make("deploy.exporter", "fastapi")


def test_what_is_written_is_a_project_without_anything_of_ours(folder, tmp_path):
    project.write("My service_2", "models:delay@3", folder, tmp_path / "out")
    for path in (tmp_path / "out").rglob("*.py"):
        text = path.read_text()
        ast.parse(text)
        assert "aiinfra" not in text
        assert not re.search(r"@[A-Z]+@", text)
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {"Dockerfile", "pyproject.toml", "app/schema.py", "model/model.onnx", "tests/test_app.py"} <= written
    assert 'name = "my-service-2"' in (tmp_path / "out" / "pyproject.toml").read_text()


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]])
def test_ruff_has_nothing_to_say(folder, tmp_path, command):
    project.write("delay", "models:delay@3", folder, tmp_path / "out")
    ruff = [sys.executable, "-m", "ruff", *command, "."]
    done = subprocess.run(ruff, cwd=tmp_path / "out", capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


def test_its_example_has_answers_also_where_the_model_came_without(tmp_path):
    project.write("delay", "models:delay@3", artifact(tmp_path / "model"), tmp_path / "out")
    example = json.loads((tmp_path / "out" / "model" / "example.json").read_text())
    assert example["answers"] == SavedModel(tmp_path / "model").answers(example["rows"])


def test_a_version_by_packages_of_its_own_has_these_pinned(tmp_path):
    folder = artifact(tmp_path / "model")
    runtime = f"onnxruntime=={version('onnxruntime')}\n"
    (folder / "requirements.txt").write_text(runtime)
    (folder / "environment.txt").write_text(f"{runtime}numpy==2.0.9\ntorch==2.1\n")
    project.write("delay", "models:delay@3", folder, tmp_path / "out")
    text = (tmp_path / "out" / "pyproject.toml").read_text()
    assert f'"onnxruntime=={version("onnxruntime")}",' in text
    assert '"numpy==2.0.9",' in text
    assert "torch" not in text


def test_a_version_by_operators_of_another_package_is_not_exported(tmp_path):
    folder = artifact(tmp_path / "model")
    example = {"rows": [ROW], "answers": SavedModel(folder).answers([ROW])}
    (folder / "example.json").write_text(json.dumps(example))
    (folder / "requirements.txt").write_text("onnxruntime-extensions==0.15.2\n")
    (folder / "environment.txt").write_text("numpy==2.0.9\n")
    with pytest.raises(UsageProblem, match="operators of onnxruntime_extensions"):
        project.write("delay", "models:delay@3", folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("temp", "temp"), ("rows", "rows"), ("class", "class_"), ("departure delay", "departure_delay"),
        ("3rd", "n3rd"), ("_x", "x"), ("model_x", "the_model_x"), ("json", "json_"), ("Number", "Number_"),
        ("é", "field"), ("list", "list_"),
    ],
)  # fmt: skip
def test_a_column_is_called_what_python_allows(name, called):
    assert schema.identifier(name) == called


def test_two_columns_do_not_get_one_name():
    assert schema.identifier("a b", {"a_b"}) == "a_b_"


def test_names_that_python_does_not_have_are_aliases(tmp_path):
    text = schema.text(SavedModel(exported.odd_table(tmp_path / "model")))
    assert '    class_: Category = Field(alias="class")\n' in text
    assert "    rows: Number | None = None\n" in text
    assert '    departure_delay: Number = Field(alias="departure delay")\n' in text


# ---- the verb ----


@pytest.fixture
def endpoint(register):
    register(1), register(2)
    body = EndpointRecord(champion="models:delay@1", canary="models:delay@2", outcome="stopped")
    open_store().commit([Record.new("delay", body)])


def test_the_champion_is_exported_into_the_project_and_it_is_logged(endpoint, workspace):
    found = deploy.export("delay", to="fastapi")
    assert (found.uri, found.model, found.into) == ("deploy:delay", "models:delay@1", str(workspace / "delay-fastapi"))
    assert found.count == sum(path.is_file() for path in Path(found.into).rglob("*")) > 10
    [event] = [item.event for item in open_store().events(naming="deploy:delay", last=5)]
    assert (event.verb, event.inputs) == ("deploy export", ("models:delay@1",))
    assert found.into in found.card().text().replace("\n", "")


def test_a_folder_that_is_not_empty_is_refused_and_stays_as_it_is(endpoint, tmp_path):
    (tmp_path / "out").mkdir()
    assert deploy.export("delay", into=tmp_path / "out").count > 10
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(Conflict, match="not empty") as problem:
        deploy.export("delay", into=tmp_path / "mine")
    assert "--into" in problem.value.fix
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_what_cannot_be_exported_says_so(endpoint):
    with pytest.raises(UsageProblem) as problem:
        deploy.export("delay", to="fastapy")
    assert "fastapi" in problem.value.fix
    with pytest.raises(NotFound):
        deploy.export("dela")


def test_what_it_needs_is_what_the_tests_have():
    pinned = (ROOT / "constraints" / "fastapi.txt").read_text().splitlines()
    assert {f"{name}=={number}" for name, number in {**project.PINS, "httpx": project.HTTPX}.items()} <= {*pinned}
