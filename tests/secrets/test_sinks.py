"""Six planted secrets and eight sinks: none is found in any, and its name stands in its place."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks._planted import AT_START, PLANTED

SINKS = ("streams", "tracebacks", "displays", "parameters", "record", "audit log", "pages", "alerts and logs")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """All that the benchmark counts, and where the runs were."""
    folder = tmp_path_factory.mktemp("planted")
    command = [sys.executable, "-m", "tests.benchmarks._planted", str(folder)]
    root = str(Path(__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env, cwd=root)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("sink", SINKS)
def test_a_planted_secret_is_found_in_no_sink(table, sink, name):
    found, taken_out = table[1]["recipe"][sink][name]
    assert found == 0
    assert taken_out > 0 or (sink == "parameters" and name not in AT_START)


def test_papermill_with_our_engine_leaves_none_and_with_its_own_many(table):
    assert table[1]["lab"] == 0
    assert table[1]["papermill"] > 50


def test_no_file_of_the_workspace_holds_one(table):
    folder, _ = table
    # But what was planted.
    contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file() and path != folder / "mounted"]
    assert len(contents) > 5
    values = [value.split("\n")[-1].encode() for value in PLANTED.values()]
    assert [value for value in values for content in contents if value in content] == []


def test_a_secret_that_is_set_after_it_was_printed_is_taken_out_all_the_same(workspace, notebook_run):
    text = notebook_run("value = 'zq' + '7Kx-93hLp'\nprint(value)", "import os; os.environ['A_TOKEN'] = value")
    assert text == ["[secret A_TOKEN]\n"]


def test_a_password_of_a_url_that_a_cell_sets_is_known_by_itself(workspace, notebook_run):
    cell = "import os; os.environ['DATABASE'] = 'postgres://ann:db' + '7Kx-93hLp@db/x'; print('db7Kx' + '-93hLp')"
    assert notebook_run(cell) == ["[secret DATABASE]\n"]


def test_a_public_variable_is_shown(workspace, notebook_run, monkeypatch):
    monkeypatch.setenv("SORT_KEY", "departure_time_utc")
    (workspace / "aiinfra.toml").write_text('[secrets]\npublic = ["SORT_KEY"]')
    assert notebook_run("import os; print(os.environ['SORT_KEY'])") == ["departure_time_utc\n"]


def test_what_a_kernel_puts_out_before_it_dies_is_clean(workspace, notebook_run, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "zq" + "7Kx-93hLp")
    assert (
        notebook_run("import os; print(os.environ['MY_TOKEN'])", "os.kill(os.getpid(), 9)")[0] == "[secret MY_TOKEN]\n"
    )


def test_a_picture_is_left_as_it_is(workspace, notebook_run, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "iVBORw0KGgo")
    code = "import base64\nfrom IPython.display import Image, display\n"
    code += "display(Image(base64.b64decode('iVBORw0KGgoAAAAN')))"
    assert notebook_run(code) == ["iVBORw0KGgoAAAAN"]


@pytest.fixture
def notebook_run(workspace):
    """`notebook_run(*CELLS)` runs a notebook by our engine; the texts and pictures of its archive."""
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook

    from aiinfra_lab.recipe.base import NotebookTask
    from aiinfra_lab.recipe.engine import execute

    def run(*cells: str) -> list[str]:
        source, archive = workspace / "a.ipynb", workspace / "out.ipynb"
        nbformat.write(new_notebook(cells=list(map(new_code_cell, cells))), source)
        execute(NotebookTask(source, archive), lambda: 0)
        outputs = [one for cell in nbformat.read(archive, as_version=4).cells for one in cell.get("outputs", ())]
        texts = [one.get("text") or one.get("data", {}).get("image/png") for one in outputs]
        return [text for text in texts if text]

    return run
