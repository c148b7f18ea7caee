"""The executed notebook while it is made: what it says of its cells at every moment, and how often it is written."""

from itertools import pairwise

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from aiinfra_lab.errors import Unavailable
from aiinfra_lab.recipe.engine import archive as module
from aiinfra_lab.recipe.engine.archive import Archive, saved_at


class Saves:
    """Keeps what is saved."""

    def __init__(self) -> None:
        self.found: list[list[str]] = []

    def __call__(self, notebook) -> None:
        self.found.append([cell.metadata.papermill["status"] for cell in notebook.cells])


@pytest.fixture
def notebook():
    ran_before = new_code_cell("1", execution_count=7, outputs=[nbformat.v4.new_output("stream", text="old")])
    return new_notebook(cells=[ran_before, new_markdown_cell("text"), new_code_cell("2")])


def test_it_begins_with_no_cell_run_and_nothing_of_an_earlier_run(notebook):
    saves = Saves()
    archive = Archive(notebook, saves, {"parameters": {"n": 1}})
    archive.begin()
    assert saves.found == [["pending"] * 3]
    assert (notebook.cells[0].outputs, notebook.cells[0].execution_count) == ([], None)
    assert notebook.metadata.papermill["parameters"] == {"n": 1}


def test_a_cell_that_never_ran_stays_pending_whatever_ended_the_run(notebook):
    archive = Archive(notebook, Saves(), {})
    archive.begin()
    archive.begin_cell(notebook.cells[0])
    archive.end_cell(notebook.cells[0], RuntimeError("the kernel died"))
    archive.end()
    states = [cell.metadata.papermill["status"] for cell in notebook.cells]
    assert (states, notebook.metadata.papermill["exception"]) == (["failed", "pending", "pending"], True)
    (error,) = notebook.cells[0].outputs
    assert (error.ename, error.evalue) == ("RuntimeError", "the kernel died")
    assert notebook.metadata.papermill["duration"] >= notebook.cells[0].metadata.papermill["duration"] >= 0
    nbformat.validate(notebook)


def test_an_error_that_the_kernel_has_shown_is_not_shown_twice(notebook):
    archive = Archive(notebook, Saves(), {})
    archive.begin()
    cell = notebook.cells[0]
    cell.outputs.append(nbformat.v4.new_output("error", ename="E", evalue="x", traceback=[]))
    archive.end_cell(cell, ValueError("x"))
    assert [output.ename for output in cell.outputs] == ["E"]


def test_what_failed_is_said_at_the_top_with_a_link(notebook):
    archive = Archive(notebook, Saves(), {})
    archive.begin()
    notebook.cells[2].execution_count = 5
    archive.point_to(2, "ValueError: x\nand more")
    top, *_, anchor, _failed = notebook.cells
    assert top.source == "**Cell [2] failed:** `ValueError: x`. [Go there](#failed-cell)"
    assert 'id="failed-cell"' in anchor.source


def test_many_cells_are_not_each_written(monkeypatch):
    saves = Saves()
    notebook = new_notebook(cells=[new_code_cell(str(n)) for n in range(500)])
    archive = Archive(notebook, saves, {})
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    archive.begin()
    for cell in notebook.cells:
        archive.begin_cell(cell)
        clock[0] += 0.01
        archive.end_cell(cell)
    archive.end()
    assert 8 <= len(saves.found) <= 13  # in five seconds, every half second
    assert saves.found[-1] == ["completed"] * 500


def test_a_notebook_that_takes_long_to_write_is_written_rarely(monkeypatch):
    clock, found = [0.0], []

    def save(_notebook) -> None:
        found.append(clock[0])
        clock[0] += 3.0

    notebook = new_notebook(cells=[new_code_cell(str(n)) for n in range(60)])
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    archive = Archive(notebook, save, {})
    archive.begin()
    for cell in notebook.cells:
        clock[0] += 1.0
        archive.end_cell(cell)
    archive.end()
    assert all(later - earlier >= 30 for earlier, later in pairwise(found[:-1]))


def test_a_disk_that_is_full_in_between_ends_nothing_and_at_the_end_is_an_error(monkeypatch):
    clock, found = [0.0], []

    def save(_notebook) -> None:
        found.append(clock[0])
        if found[1:]:
            raise Unavailable("the disk is full", "make room")

    notebook = new_notebook(cells=[new_code_cell(str(n)) for n in range(5)])
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    archive = Archive(notebook, save, {})
    archive.begin()
    for cell in notebook.cells:
        clock[0] += 1.0
        archive.end_cell(cell)
    assert found == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    with pytest.raises(Unavailable):
        archive.end()


def test_it_is_whole_in_its_file_at_every_moment(tmp_path, notebook):
    path = tmp_path / "deep" / "out.ipynb"
    path.parent.mkdir()
    save = saved_at(path)
    for cell in [None, *notebook.cells]:
        if cell is not None:
            cell.source = "x" * 1000
        save(notebook)
        assert len(nbformat.read(path, as_version=4).cells) == 3
    assert [each.name for each in path.parent.iterdir()] == ["out.ipynb"]
