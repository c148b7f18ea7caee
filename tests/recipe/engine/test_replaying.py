"""A notebook that is executed once more from its journal is what it was when its kernel ran."""

import contextlib
import json
import resource
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import pytest
from jupyter_client.session import Session
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from aiinfra_lab.host import journal as host_journal
from aiinfra_lab.host.frames import MessageChannel, pack, unpack
from aiinfra_lab.host.journal import Journal
from aiinfra_lab.kernels.recovery import message_of
from aiinfra_lab.leftovers import IN_MEMORY
from aiinfra_lab.recipe import archives
from aiinfra_lab.recipe.archives import FACTS
from aiinfra_lab.recipe.base import NotebookTask
from aiinfra_lab.recipe.engine import execute, rebuilding, replaying, step_journal
from aiinfra_lab.recipe.engine.replaying import LEFT_OUT, Recording, recorded
from aiinfra_lab.recipe.engine.step_journal import BEGUN, JOURNALS, StepJournal
from aiinfra_lab.secrets import in_kernel

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


@pytest.mark.parametrize("name", [BEGUN, FACTS, "out.ipynb", "secrets"])
def test_what_cannot_be_read_now_is_not_taken_for_gone(kept, monkeypatch, name):
    archive = kept("print('sh' 'own')")
    archive.write_bytes((archives.journal_of(archive) / BEGUN).read_bytes())

    def fails(read):
        def reading(path: Path, *args: object, **options: object) -> object:
            if Path(path).name == name:
                raise OSError(5, "Input/output error")
            return read(path, *args, **options)

        return reading

    with monkeypatch.context() as patch:
        patch.setattr(nbformat, "read", fails(nbformat.read))
        for each in ("read_bytes", "read_text"):
            patch.setattr(Path, each, fails(getattr(Path, each)))
        assert archives.close_lost(archive) == ""
    assert archives.journal_of(archive).is_dir()
    assert archives.close_lost(archive) != ""
    assert "shown" in archive.read_text()


def test_more_than_a_notebook_can_hold_is_not_read(kept, monkeypatch):
    archive = kept("print('sh' 'own')")
    archive.write_bytes((archives.journal_of(archive) / BEGUN).read_bytes())
    folders = [archives.journal_of(archive) / "kept" / name for name in JOURNALS]
    assert recorded(folders, 1).is_whole
    monkeypatch.setattr(replaying, "MOST_BYTES", 1000)
    found = recorded(folders, 1)
    assert (found.is_whole, len(found.published) < 5) == (False, True)
    assert archives.close_lost(archive) != ""
    assert "shown" not in archive.read_text(), "it stays as it was saved"


@contextlib.contextmanager
def no_file_above(size: int):
    """As where the disk, or the memory, has no room for more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_where_memory_had_no_room_for_a_secret_nothing_is_shown_without_it(kept, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "swordfish-123")
    archive = kept("import os; print(os.environ['MY_API_KEY'])")
    secrets = Path(json.loads((archives.journal_of(archive) / FACTS).read_text())["secrets"])
    with no_file_above(secrets.stat().st_size + 5):
        in_kernel.keep(str(secrets), b'["OTHER_TOKEN", "tok-later1"]\n')
    monkeypatch.delenv("MY_API_KEY")
    _, after = again(archive)
    assert "swordfish" not in archive.read_text()
    assert after.cells[-1].outputs[0].text == f"[{LEFT_OUT}]\n"


def test_where_memory_has_no_room_at_all_it_does_without():
    before = set(IN_MEMORY.iterdir())
    with no_file_above(5):
        assert step_journal._in_memory("0123456789") is None
    assert set(IN_MEMORY.iterdir()) <= before


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
        assert timeless(now) == timeless(was)
        if was.cell_type == "code":
            assert now.execution_count == was.execution_count
            assert [without_reason(each) for each in now.outputs] == [without_reason(each) for each in was.outputs]
    for name in ("widgets", "language_info", "aiinfra"):
        assert after.metadata.get(name) == before.metadata.get(name)
    assert timeless(after) == timeless(before)


TIMES = ("start_time", "end_time", "duration")


def timeless(part) -> dict:
    """What papermill's metadata say of a cell, or of the notebook; of times, what they are."""
    facts = part.metadata.get("papermill", {})
    return {name: type(value) if name in TIMES else value for name, value in facts.items()}


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


@pytest.mark.parametrize("is_there", [True, False])
def test_one_whose_kernel_had_not_answered_yet_is_a_valid_notebook(kept, is_there):
    archive = kept("print(1)")
    folder = archives.journal_of(archive) / "kept"
    before = list(until_it_answers(folder / "received"))
    for name in ("received", "host/journal"):
        shutil.rmtree(folder / name, ignore_errors=True)
    written = Journal(folder / "received")
    for payload in before:
        written.append(payload)
    written.close()
    archive.unlink()
    if is_there:
        archive.write_bytes((archives.journal_of(archive) / BEGUN).read_bytes())
    assert archives.close_lost(archive) != ""
    made = nbformat.read(archive, as_version=4)
    nbformat.validate(made)
    assert made.metadata["aiinfra"]["state"] == "killed"


def until_it_answers(folder: Path):
    """What the kernel has sent before it has said what it is."""
    for entry in host_journal.read(folder):
        found = message_of(unpack(entry.payload).parts)
        if found is not None and found["msg_type"] == "kernel_info_reply":
            return
        yield bytes(entry.payload)


CLIENT = "of-the-run"


def sent(kind: str, client: str = CLIENT, *, request: str = "", **content: object) -> bytes:
    """A message of a session's kernel, as its journal has it."""
    session = Session(key=b"key")
    parent = {"header": {"msg_id": request or f"{client}-1", "session": client}}
    channel = MessageChannel.SHELL if kind.endswith("_reply") else MessageChannel.IOPUB
    return pack(channel, session.serialize(session.msg(kind, content, parent=parent)), time.time())


def of_cell(request: str) -> list[bytes]:
    begun = sent("execute_input", request=request, code="1", execution_count=1)
    return [begun, sent("execute_reply", request=request, status="ok")]


def test_a_journal_of_a_session_without_its_oldest_part_is_not_whole(tmp_path):
    info = sent("kernel_info_reply", language_info={"name": "python"})
    of_others = sent("stream", "somebody", name="stdout", text="theirs")
    written = Journal(tmp_path / "received", segment_bytes=1)
    for payload in (of_others, info, *of_cell("one"), *of_cell("two")):
        written.append(payload)
    written.close()
    assert recorded([tmp_path / "received"], 1, CLIENT).is_whole
    written.drop(4)  # as where it has reached its limit
    assert not recorded([tmp_path / "received"], 1, CLIENT).is_whole


def test_what_has_run_other_code_than_the_notebook_has_puts_nothing_into_it(kept):
    archive = kept("print(1)", "print(2)")
    begun = archives.journal_of(archive) / BEGUN
    archive.write_bytes(begun.read_bytes())
    aside = begun.read_text().replace("print(1)", "print(0)")
    begun.unlink()  # it is the archive's own first file
    begun.write_text(aside)
    assert not archives.complete(archive)
    assert all(not cell.outputs for cell in nbformat.read(archive, as_version=4).cells if cell.cell_type == "code")
