"""What is read of a notebook's file, and what is said of one that cannot be read."""

import json

import nbformat
import pytest

from aiinfra_lab.errors import Failed, NotFound
from aiinfra_lab.recipe.notebook import Notebook, read_notebook


def defaults(read: Notebook) -> dict[str, tuple[str, object]]:
    schema = read.schema()
    return {name: (schema.of(name).kind.name, schema.of(name).default) for name in schema}


def test_cells_kernel_and_parameters_are_read(notebook):
    read = read_notebook(notebook("a", "n: int = 1\nword = 'x'", "print(n)"))
    assert ([cell.source for cell in read.cells], read.kernel) == (["n: int = 1\nword = 'x'", "print(n)"], "python3")
    assert defaults(read) == {"n": ("int", 1), "word": ("str", "x")}


def test_without_a_cell_with_the_tag_there_are_no_parameters(notebook):
    path = notebook("a", "n: int = 1")
    path.write_text(path.read_text().replace('"parameters"', '"other"'))
    assert [*read_notebook(path).schema()] == []


def test_what_was_written_since_it_was_read_is_read_again(notebook):
    before = read_notebook(notebook("a", "n: int = 1"))
    assert read_notebook(notebook("a", "n: int = 22")) != before


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"cells": 3}', '{"cells": [{}]}', "\udcff", '{"cells": [3]}'])
def test_a_file_that_is_no_notebook_is_said_so(tmp_path, content):
    path = tmp_path / "x.ipynb"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(Failed, match=r"x.ipynb cannot be read as a notebook: it .+\n.*make it anew in JupyterLab"):
        read_notebook(path)


@pytest.mark.parametrize(
    ("cells", "more"),
    [
        ([{"cell_type": "code", "source": "1"}], {"metadata": {}}),
        ([{"cell_type": "markdown", "source": "1"}], {"metadata": {}}),
        ([], {}),
    ],
)
def test_a_notebook_without_metadata_is_readable_once_the_fix_was_done(tmp_path, cells, more):
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps({"cells": cells, "nbformat": 4, "nbformat_minor": 4, **more}))
    with pytest.raises(Failed, match=r"it lacks `metadata`, of its own or of a cell\n.*write \"metadata\": {} there"):
        read_notebook(path)
    mended = [{**cell, "metadata": {}} for cell in cells]
    path.write_text(json.dumps({"cells": mended, "nbformat": 4, "nbformat_minor": 4, "metadata": {}}))
    assert len(read_notebook(path).cells) == sum(cell["cell_type"] == "code" for cell in cells)
    nbformat.read(path, as_version=4)


def test_a_notebook_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(NotFound, match="there is no notebook"):
        read_notebook(tmp_path / "x.ipynb")


@pytest.mark.parametrize("metadata", [{}, {"kernelspec": {}}])
def test_a_notebook_need_not_name_a_kernel(tmp_path, metadata):
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps({"cells": [], "metadata": metadata, "nbformat": 4}))
    assert read_notebook(path).kernel == ""


@pytest.mark.parametrize(
    ("source", "fix"),
    [("x: float = 1 / 2", "give every parameter a plain value"), ("x = = 2", "one `name: type = value` a line")],
)
def test_a_parameters_cell_that_cannot_be_read_is_refused(notebook, source, fix):
    with pytest.raises(Failed, match=fix):
        read_notebook(notebook("c", source)).schema()


def test_the_language_and_stored_counts_are_read(notebook):
    path = notebook("a", "x <- 1")
    text = path.read_text()
    assert (read_notebook(path).language, read_notebook(path).cells[0].count) == ("python", None)
    path.write_text(
        text.replace('"language": "python"', '"language": "R"').replace(
            '"execution_count": null', '"execution_count": 7'
        )
    )
    assert (read_notebook(path).language, read_notebook(path).cells[0].count) == ("R", 7)


def test_another_languages_parameters_are_not_read(notebook):
    path = notebook("a", "x <- c(1, 2)")
    path.write_text(path.read_text().replace('"language": "python"', '"language": "R"'))
    schema = read_notebook(path).schema()
    assert ("anything" in schema, [*schema], schema.of("x").read("1")) == (True, [], "1")


def test_a_notebook_of_an_old_format_is_refused_with_what_converts_it(tmp_path):
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps({"worksheets": [{"cells": []}], "metadata": {}, "nbformat": 3, "nbformat_minor": 0}))
    with pytest.raises(Failed, match="is a notebook of format 3") as problem:
        read_notebook(path)
    assert problem.value.fix.startswith(f"`jupyter nbconvert --to notebook --inplace {path}`")
