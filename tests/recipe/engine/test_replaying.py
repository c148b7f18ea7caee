"""A notebook that is executed once more from its journal is what it was when its kernel ran."""

from datetime import UTC, datetime
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from aiinfra_lab.recipe import archives
from aiinfra_lab.recipe.base import NotebookTask
from aiinfra_lab.recipe.engine import execute, rebuilding
from aiinfra_lab.recipe.engine.replaying import Recording
from aiinfra_lab.recipe.engine.step_journal import BEGUN, StepJournal

CELLS = (
    "import sys\nfor n in range(100):\n    print(n, flush=True)\nprint('aside', file=sys.stderr)\n'result'",
    "from IPython.display import display, clear_output\nshown = display('old', display_id=True)",
    "shown.update('new'); print('a\\rb'); clear_output(wait=True); print('only')",
    "import ipywidgets as w\nbar = w.IntProgress(max=3); out = w.Output(); display(bar, out)\nbar.value = 3",
    "with out:\n    print('in the widget')",
    "import asyncio; await asyncio.sleep(0)",
    "",
)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch):
    """`kept(*CELLS)`: an archive, and beside it the journal of its execution."""

    def of(*cells: object) -> Path:
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        made = [new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells]
        nbformat.write(new_notebook(cells=made, metadata=metadata), tmp_path / "a.ipynb")
        monkeypatch.setattr(StepJournal, "remove", lambda _: None)
        execute(NotebookTask(tmp_path / "a.ipynb", tmp_path / "out.ipynb", {"n": 1}), lambda: 0)
        return tmp_path / "out.ipynb"

    return of


def again(archive: Path):
    """The archive, and what is made of the journal where that is gone."""
    before = nbformat.read(archive, as_version=4)
    archive.write_bytes((archives.journal_of(archive) / BEGUN).read_bytes())
    assert archives.complete(archive)
    after = nbformat.read(archive, as_version=4)
    nbformat.validate(after)
    return before, after


@pytest.mark.parametrize(("published", "how"), [("stream", "ok"), ("error", "error")])
def test_a_request_that_has_published_all_has_ended_though_its_reply_is_missing(published, how):
    def message(kind: str, **content: object) -> dict:
        header = {"msg_id": f"m-{kind}-{content.get('execution_state')}", "msg_type": kind}
        return {**header, "header": header, "parent_header": {"msg_id": "r"}, "content": content, "metadata": {}}

    shown = {"stream": {"name": "stdout", "text": "1"}, "error": {"ename": "E", "evalue": "v", "traceback": []}}
    begun = message("execute_input", code="")
    found = [message("status", execution_state="busy"), begun, message(published, **shown[published])]
    recording = Recording([*found, message("status", execution_state="idle")], begun={"r": datetime.now(UTC)})
    recording.settle()
    assert recording.replies["r"]["content"]["status"] == how
    killed = Recording(found, begun={"r": datetime.now(UTC)})
    killed.settle()
    assert killed.replies == {}


def test_what_cannot_be_completed_now_is_left_as_it_is_for_who_looks_next(kept, monkeypatch):
    archive = kept("print(1)")
    archive.write_bytes((archives.journal_of(archive) / BEGUN).read_bytes())
    before = archive.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(rebuilding, "_rendered", lambda *_: 1 / 0)
        assert archives.close_lost(archive) == ""
    assert (archive.read_bytes(), archives.journal_of(archive).is_dir()) == (before, True)
    assert archives.close_lost(archive) == archives.digest_of(archive)
    assert archive.read_bytes() != before


RAISES = new_code_cell("1 / 0", metadata={"tags": ["raises-exception"]})
SKIPPED = new_code_cell("1 / 0", metadata={"tags": ["skip-execution"]})


@pytest.mark.parametrize(
    "cells",
    [
        CELLS,
        ("print(1)", RAISES, new_markdown_cell("text"), SKIPPED, "print(2)"),
        ("print(1)", "raise ValueError('x')", "print('never')"),
        ("print(1)", "import sys; sys.exit(0)", "print('never')"),
        ("print(1)", "import os; os._exit(3)", "print('never')"),
    ],
    ids=["outputs", "tags", "raises", "exits", "dies"],
)
def test_it_is_the_same_however_it_ended(kept, cells):
    before, after = again(kept(*cells))
    assert [cell.source for cell in after.cells] == [cell.source for cell in before.cells]
    for was, now in zip(before.cells, after.cells, strict=True):
        assert now.metadata.get("aiinfra") == was.metadata.get("aiinfra")
        assert now.metadata.get("papermill", {}).get("status") == was.metadata.get("papermill", {}).get("status")
        if was.cell_type == "code":
            assert now.execution_count == was.execution_count
            assert [without_reason(each) for each in now.outputs] == [without_reason(each) for each in was.outputs]
    for name in ("widgets", "language_info", "aiinfra"):
        assert after.metadata.get(name) == before.metadata.get(name)
    assert after.metadata["papermill"]["exception"] == before.metadata["papermill"]["exception"]


def without_reason(output):
    """A kernel that died itself says so in other words."""
    if output.get("ename") == "DeadKernelError":
        return output.ename
    return output


def test_the_times_are_those_of_the_kernel(kept):
    before, after = again(kept("import time; time.sleep(0.3)"))
    (was, now) = (each.cells[-1].metadata["papermill"] for each in (before, after))
    assert now["duration"] == pytest.approx(was["duration"], abs=0.2)
    assert now["start_time"][:16] == was["start_time"][:16]


def test_one_that_says_how_it_ended_is_left_alone(kept):
    archive = kept("print(1)")
    before = archive.read_bytes()
    assert not archives.complete(archive)
    assert archive.read_bytes() == before
    assert not archives.journal_of(archive).exists()


def test_damaged_journals_change_nothing(kept):
    archive = kept("print(1)")
    (archives.journal_of(archive) / "facts.json").write_text("{")
    before = archive.read_bytes()
    assert not archives.complete(archive)
    assert archive.read_bytes() == before
