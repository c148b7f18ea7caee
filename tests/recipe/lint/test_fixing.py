"""What `--fix` writes: the edits and nothing else, in the form that the file had."""

import json

import pytest

from aiinfra_lab.recipe.lint import fix_notebook, lint_notebook
from aiinfra_lab.recipe.notebook import read_notebook

from .conftest import write_notebook

BAD = "x = 'é'  # lab: ignore[LAB999]"
FORMS = {
    "as JupyterLab": lambda whole: json.dumps(whole, indent=1, ensure_ascii=False) + "\n",
    "without an end": lambda whole: json.dumps(whole, indent=1, ensure_ascii=False),
    "two blanks": lambda whole: json.dumps(whole, indent=2, ensure_ascii=False) + "\n\n",
    "tabs": lambda whole: json.dumps(whole, indent="\t", ensure_ascii=False) + "\n",
    "in ASCII": lambda whole: json.dumps(whole, indent=1) + "\n",
    "on one line": lambda whole: json.dumps(whole, ensure_ascii=False),
    "tight": lambda whole: json.dumps(whole, ensure_ascii=False, separators=(",", ":")),
    "with returns": lambda whole: json.dumps(whole, indent=1, ensure_ascii=False).replace("\n", "\r\n") + "\r\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_the_files_form_stays(workspace, form):
    path = write_notebook(workspace / "n.ipynb", "y = 2\n", BAD)
    before = FORMS[form](json.loads(path.read_text()))
    path.write_bytes(before.encode())
    assert fix_notebook(path, lint_notebook(path)) == 1
    assert path.read_bytes().decode() == before.replace("  # lab: ignore[LAB999]", "")


def test_a_source_in_one_text_stays_one(workspace):
    path = write_notebook(
        workspace / "n.ipynb", {"cell_type": "code", "metadata": {}, "outputs": [], "source": f"{BAD}\nz = 1"}
    )
    fix_notebook(path, lint_notebook(path))
    assert json.loads(path.read_text())["cells"][0]["source"] == "x = 'é'\nz = 1"


def test_modes_stay_and_texts_between_the_cells_do_not_count(workspace):
    text = {"cell_type": "markdown", "metadata": {}, "source": ["# A title"]}
    path = write_notebook(workspace / "n.ipynb", text, BAD, text, "%data ls", text)
    path.chmod(0o600)
    assert fix_notebook(path, lint_notebook(path)) == 2
    assert [cell.source for cell in read_notebook(path).cells] == ["x = 'é'", "%load_ext aiinfra_lab", "%data ls"]
    kinds = [cell["cell_type"] for cell in json.loads(path.read_text())["cells"]]
    assert kinds == ["markdown", "code", "markdown", "code", "code", "markdown"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_put_in_is_a_valid_cell(workspace):
    import nbformat

    path = write_notebook(workspace / "n.ipynb", "%data ls")
    fix_notebook(path, lint_notebook(path))
    nbformat.validate(nbformat.read(path, as_version=4))


def test_without_anything_to_fix_nothing_is_written(workspace):
    path = write_notebook(workspace / "n.ipynb", "print(x)")
    before = path.stat().st_mtime_ns
    assert fix_notebook(path, lint_notebook(path)) == 0
    assert path.stat().st_mtime_ns == before
