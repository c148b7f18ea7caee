"""The executed notebook of a run that was killed is completed from the journal of its kernel."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_markdown_cell

from aiinfra_lab import lab
from aiinfra_lab import recipe as verbs
from aiinfra_lab.config import settings
from aiinfra_lab.host import journal
from aiinfra_lab.host.frames import MessageChannel, unpack
from aiinfra_lab.kernels.kept import is_hosted
from aiinfra_lab.kernels.recovery import message_of
from aiinfra_lab.recipe import archives, holding
from aiinfra_lab.recipe.engine import step_journal
from aiinfra_lab.recipe.engine.replaying import LEFT_OUT
from tests.conftest import PATIENCE_S, until

LINES = "import time\nfor n in range(3000):\n    print('line', n, flush=True); time.sleep(0.01)"
WAIT = "import pathlib, time\npathlib.Path('waits').touch()\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)\n"


class Going:
    """A run in a process of its own, whose step is `a`. env: for it, beside ours."""

    def __init__(self, workspace: Path, number: int = 1, *more: str, **env: str) -> None:
        argv = [sys.executable, "-m", "aiinfra_lab.cli", "recipe", "run", "r", *more]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(argv, env={**os.environ, **env}, process_group=0, **quiet)
        self.notebooks = workspace / "notebooks"
        self.archive = settings().home / "recipe" / f"r@{number}" / "a.ipynb"
        self.journal = archives.journal_of(self.archive)

    @property
    def in_memory(self) -> Path:
        return Path(json.loads((self.journal / "facts.json").read_text())["secrets"]).parent

    def until_saved(self, text: str) -> None:
        until(lambda: self.archive.exists() and text in self.archive.read_text())

    def go_on_without_it(self, sent: str) -> None:
        """Have the cell that waits go on while the run's process is stopped, until the kernel has sent that."""
        until((self.notebooks / "waits").exists)
        os.kill(self.process.pid, signal.SIGSTOP)
        (self.notebooks / "go").touch()
        until(lambda: any(sent in str(each["content"]) for each in outputs_of(self.journal)))

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE_S)


def sent_by(folder: Path, place: str = "kept") -> list[dict]:
    """What the kernel has sent, as it lies in both journals."""
    found = {}
    for name in ("received", "host/journal"):
        for entry in journal.read(folder / place / name):
            message = unpack(entry.payload)
            if message.channel in (MessageChannel.IOPUB, MessageChannel.SHELL):
                found[entry.number] = message_of(message.parts)
    return [found[number] for number in sorted(found)]


def outputs_of(folder: Path) -> list[dict]:
    return [each for each in sent_by(folder) if each["msg_type"] in ("stream", "error")]


def printed(messages: list[dict]) -> str:
    streams = (each["content"] for each in messages if each["msg_type"] == "stream")
    return "".join(each["text"] for each in streams if each["name"] == "stdout")


def states(path: Path) -> list[str]:
    return [cell.metadata["aiinfra"]["state"] for cell in code(path)]


def code(path: Path) -> list:
    made = nbformat.read(path, as_version=4)
    nbformat.validate(made)
    return [cell for cell in made.cells if cell.cell_type == "code"]


@pytest.fixture
def step(notebook, recipe, workspace):
    """`step(*CELLS)`: its run has begun; `more` are keys of the step."""
    begun = []

    def begin(*cells: str, more: str = "", **env: str) -> Going:
        recipe("r", f'[steps.a]\nnotebook = "a.ipynb"\n{more}')
        notebook("a", "", *cells)
        begun.append(Going(workspace, **env))
        return begun[-1]

    yield begin
    for each in begun:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(each.process.pid, signal.SIGKILL)
        each.process.wait(PATIENCE_S)


def test_all_that_the_kernel_has_sent_is_there_once_and_in_order(step):
    going = step("print('before')", LINES, "print('never')")
    going.until_saved("line 20")
    going.kill()
    saved = going.archive.read_text().count("line ")
    until(lambda: not is_hosted(going.journal / "kept" / "host"))
    had, in_memory = printed(sent_by(going.journal)), going.in_memory
    assert [run.state for run in verbs.log("r")] == ["lost"]
    assert going.journal.is_dir(), "a list has no time for that"
    assert not (going.journal / "kept" / "sent").exists()
    assert verbs.show("r@1").state == "lost"
    assert states(going.archive) == ["done", "done", "killed", "not_run"]
    output, error = code(going.archive)[2].outputs
    numbers = [int(each) for each in re.findall(r"line (\d+)", output.text)]
    assert numbers == list(range(len(numbers)))
    assert f"before\n{output.text}" == had
    assert len(numbers) > saved
    assert error.ename == "Lost"
    assert [each.name for each in going.archive.parent.iterdir() if "journal" in each.name] == []
    assert not in_memory.exists()


@pytest.mark.parametrize(
    ("cell", "sent", "state"),
    [("print('ended')", "ended", "done"), ("raise ValueError('wrong')", "ValueError", "failed")],
)
def test_a_cell_whose_end_the_run_never_saw_has_ended(step, cell, sent, state):
    going = step(WAIT + cell, "print('never')")
    going.go_on_without_it(sent)
    until(lambda: [each["msg_type"] for each in sent_by(going.journal)][-1] == "execute_reply")
    going.kill()
    verbs.show("r@1")
    made = nbformat.read(going.archive, as_version=4)
    assert states(going.archive) == ["done", state, "not_run"]
    assert (made.metadata["aiinfra"]["state"], "failed:**" in made.cells[0].source) == (
        ("killed", False) if state == "done" else ("failed", True)
    )
    ended = code(going.archive)[1]
    assert ended.metadata["papermill"]["status"] == ("completed" if state == "done" else "failed")
    assert (ended.execution_count, sent in str(ended.outputs)) == (1, True)


def test_a_notebook_whose_last_cell_has_ended_is_done(step):
    going = step(WAIT + "print('ended')")
    going.go_on_without_it("ended")
    until(lambda: [each["msg_type"] for each in sent_by(going.journal)][-1] == "execute_reply")
    going.kill()
    assert verbs.log("r@1/a").state == "lost"
    made = nbformat.read(going.archive, as_version=4)
    assert (made.metadata["aiinfra"], made.metadata["papermill"]["exception"]) == ({"state": "done"}, None)


@pytest.mark.parametrize("left", [None, "", '{"cells": ['])
def test_an_archive_that_is_gone_or_not_whole_is_made_again(step, left):
    going = step("print('first')", LINES)
    going.until_saved("line 20")
    going.kill()
    going.archive.unlink() if left is None else going.archive.write_text(left)
    done = verbs.get("r@1/a", into="made.ipynb")
    made = code(Path("made.ipynb"))
    assert (made[1].outputs[0].text, "line 21" in made[2].outputs[0].text) == ("first\n", True)
    assert states(Path("made.ipynb")) == ["done", "done", "killed"]
    assert not done.is_edited


def test_the_record_says_which_file_it_is(step):
    going = step("print('first')", LINES)
    going.until_saved("line 20")
    going.kill()
    digest = verbs.show("r@1").steps["a"]["archive_sha256"]
    assert digest == archives.digest_of(going.archive) != ""
    assert not verbs.log("r@1/a").is_edited
    going.archive.write_text(going.archive.read_text().replace("first", "second"))
    assert verbs.log("r@1/a").is_edited


def test_several_who_look_at_once_see_the_same(step):
    going = step("print('first')", LINES)
    going.until_saved("line 20")
    going.kill()
    argv = [sys.executable, "-m", "aiinfra_lab.cli", "recipe", "log", "r@1/a"]
    others = [subprocess.Popen(argv, stdout=subprocess.PIPE) for _ in range(2)]
    threads = [threading.Thread(target=verbs.show, args=("r@1",)) for _ in range(2)]
    for each in threads:
        each.start()
    found = {each.communicate(timeout=PATIENCE_S)[0] for each in others}
    for each in threads:
        each.join(PATIENCE_S)
    assert len(found) == 1
    assert verbs.show("r@1").steps["a"]["archive_sha256"] == archives.digest_of(going.archive)
    assert not going.journal.exists()


SET_LATER = "import os; os.environ['LATER_TOKEN'] = 'tok-' + 'later1'; print(os.environ['LATER_TOKEN'], 'shown')"
PRINTS = "import os; print(os.environ['MY_API_KEY'])"


def test_no_secret_is_in_it_not_even_one_that_the_run_never_heard_of(step):
    going = step(PRINTS, WAIT + SET_LATER, MY_API_KEY="swordfish-123")
    going.go_on_without_it("shown")
    going.kill()
    verbs.show("r@1")
    text = going.archive.read_text()
    assert [word in text for word in ("swordfish", "tok-later1")] == [False, False]
    outputs = [cell.outputs[0].text for cell in code(going.archive)[1:]]
    assert outputs == ["[secret MY_API_KEY]\n", "[secret LATER_TOKEN] shown\n"]


@pytest.mark.parametrize("is_known", [True, False])
def test_what_cannot_be_shown_without_secrets_after_a_power_cut_is_left_out(step, monkeypatch, is_known):
    going = step(PRINTS, "print('seen')", WAIT + SET_LATER, MY_API_KEY="swordfish-123")
    until(lambda: "MY_API_KEY" in _read(going.journal / "mark.json") and (going.notebooks / "waits").exists())
    time.sleep(1.5)  # the mark is behind what was printed
    going.go_on_without_it("shown")
    all_at_once(going)
    shutil.rmtree(going.in_memory)
    going.archive.unlink()
    if is_known:
        monkeypatch.setenv("MY_API_KEY", "swordfish-123")
    verbs.show("r@1")
    text = going.archive.read_text()
    assert [word in text for word in ("swordfish", "tok-later1")] == [False, False]
    assert states(going.archive)[:3] == ["done"] * 3
    notes = [LEFT_OUT in str(cell.outputs) for cell in code(going.archive)[1:]]
    assert notes == ([False, False, True] if is_known else [True] * 3)


def test_what_was_saved_is_kept_where_nobody_knows_its_secrets(step):
    going = step(PRINTS, "print('seen')", LINES, MY_API_KEY="swordfish-123")
    going.until_saved("line 20")
    all_at_once(going)
    shutil.rmtree(going.in_memory)
    verbs.show("r@1")
    first, second, third = code(going.archive)[1:]
    assert [first.outputs[0].text, second.outputs[0].text] == ["[secret MY_API_KEY]\n", "seen\n"]
    assert "line 20" in third.outputs[0].text
    assert LEFT_OUT in third.outputs[1].text
    assert states(going.archive) == ["done", "done", "done", "killed"]


@pytest.mark.parametrize("is_known", [True, False])
def test_what_was_saved_stays_where_it_is_newer_than_the_journal(step, monkeypatch, is_known):
    going = step(PRINTS, "print('seen')", LINES, MY_API_KEY="swordfish-123")
    going.until_saved("line 20")
    all_at_once(going)
    shutil.rmtree(going.in_memory)
    cut_behind(going.journal / "kept", "line 2\n")
    if is_known:
        monkeypatch.setenv("MY_API_KEY", "swordfish-123")
    verbs.show("r@1")
    first, second, third = code(going.archive)[1:]
    assert [first.outputs[0].text, second.outputs[0].text] == ["[secret MY_API_KEY]\n", "seen\n"]
    assert "line 20" in third.outputs[0].text
    assert states(going.archive) == ["done", "done", "done", "killed"]
    assert not going.journal.exists()


def cut_behind(kept: Path, text: str) -> None:
    """Have the journals end with what the kernel put out then: no more of them is on the disk."""
    entries = [(each.number, bytes(each.payload)) for each in journal.read(kept / "received")]
    last = next(number for number, payload in entries if text in printed([message_of(unpack(payload).parts) or NONE]))
    for name in ("received", "host/journal"):
        shutil.rmtree(kept / name)
    written = journal.Journal(kept / "received")
    for number, payload in entries:
        if number <= last:
            written.append(payload)
    written.close()


NONE = {"msg_type": ""}


def all_at_once(going: Going) -> None:
    """As when the machine loses its power."""
    state = json.loads((going.journal / "kept" / "host" / "host.json").read_text())
    guard = psutil.Process(state["pid"])
    below = [guard, *guard.children(recursive=True)]
    os.kill(going.process.pid, signal.SIGKILL)
    for each in below:
        with contextlib.suppress(psutil.Error):
            each.kill()
    going.process.wait(PATIENCE_S)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def test_a_step_that_ended_leaves_none_of_it(notebook, recipe, tmp_path, monkeypatch):
    (tmp_path / "memory").mkdir()
    monkeypatch.setattr(step_journal, "IN_MEMORY", tmp_path / "memory")
    recipe("r", '[steps.a]\nnotebook = "a.ipynb"\n')
    notebook("a", "", "import pathlib; print(len(list(pathlib.Path('../memory').glob('*/secrets'))))")
    run = verbs.run("r")
    archive = Path(run.steps["a"]["archive"])
    assert sorted(each.suffix for each in archive.parent.iterdir() if each.name != "a.opened") == [".ipynb"]
    assert list((tmp_path / "memory").iterdir()) == []


def test_its_folder_is_for_its_owner_alone(step):
    going = step(LINES)
    going.until_saved("line 2")
    for each in (going.journal, going.in_memory):
        assert each.stat().st_mode & 0o077 == 0
    for each in (path for place in (going.journal, going.in_memory) for path in place.rglob("*")):
        assert each.stat().st_mode & 0o077 == 0, each


HOLD = 'on_failure = "hold 5m"'


def test_one_that_would_have_been_held_is_completed_and_its_kernel_ends(step):
    going = step("print('first')", LINES, more=HOLD)
    going.until_saved("line 20")
    going.kill()
    verbs.show("r@1")
    assert states(going.archive) == ["done", "done", "killed"]
    assert "line 21" in code(going.archive)[2].outputs[0].text
    assert list((settings().home / "recipe").glob("r.held/*")) == []


def test_a_list_takes_away_what_was_sent_to_a_kernel_that_would_have_been_held(step):
    going = step("print('first')", LINES, more=HOLD)
    going.until_saved("line 20")
    going.kill()
    (folder,) = (settings().home / "recipe").glob("r.held/*")
    assert (folder / "sent").is_dir()
    verbs.log("r")
    assert ((folder / "sent").exists(), (folder / "received").is_dir()) == (False, True)


def test_one_that_goes_on_in_a_held_kernel_is_completed_with_what_it_had(step, notebook, workspace):
    going = step("print('first')", "y = 1 / 0", "print('never')", more=HOLD)
    assert going.process.wait(PATIENCE_S) != 0
    assert (holding.held("r").keys(), going.journal.exists()) == ({"a"}, False)
    verbs.show("r@1")
    assert holding.held("r").keys() == {"a"}
    notebook("a", "", "print('first')", "y = 1 / 1", LINES)
    again = Going(workspace, 2, "--resume")
    again.until_saved("line 20")
    again.kill()
    verbs.show("r@2")
    made = code(again.archive)
    assert states(again.archive) == ["done", "done", "done", "killed"]
    assert (made[1].outputs[0].text, "line 21" in made[3].outputs[0].text) == ("first\n", True)


def test_text_between_what_had_run_and_the_cell_that_failed_stays(recipe, notebook, workspace):
    recipe("r", f'[steps.a]\nnotebook = "a.ipynb"\n{HOLD}')
    with_text(notebook("a", "", "print('first')", "y = 1 / 0", "print('never')"))
    assert verbs.run("r", report=True).state == "failed"
    with_text(notebook("a", "", "print('first')", "y = 1 / 1", LINES))
    again = Going(workspace, 2, "--resume")
    again.until_saved("line 20")
    again.kill()
    verbs.show("r@2")
    made = nbformat.read(again.archive, as_version=4)
    assert [cell.cell_type for cell in made.cells] == ["code", "code", "markdown", "code", "code"]
    assert states(again.archive) == ["done", "done", "done", "killed"]
    assert (code(again.archive)[1].outputs[0].text, made.cells[2].source) == ("first\n", "text")
    assert "line 21" in made.cells[4].outputs[0].text


def with_text(path: Path) -> None:
    """The notebook with a text before its third cell."""
    made = nbformat.read(path, as_version=4)
    made.cells.insert(2, new_markdown_cell("text"))
    nbformat.write(made, path)


def test_what_nobody_looks_at_falls_under_retention(step, monkeypatch):
    going = step(LINES)
    going.until_saved("line 2")
    monkeypatch.setenv("AIINFRA_RECIPE_ARCHIVE_DAYS", "0")
    assert lab.rm(expired=True, dry=True).files == ()
    going.kill()
    freed = lab.rm(expired=True)
    assert [file.path for file in freed.files] == [str(going.journal)]
    assert (going.journal.exists(), going.archive.exists()) == (False, True)


def test_what_a_kernel_sent_that_would_have_been_held_falls_under_it_too(step, monkeypatch):
    going = step(LINES, more=HOLD)
    going.until_saved("line 2")
    monkeypatch.setenv("AIINFRA_RECIPE_ARCHIVE_DAYS", "0")
    (folder,) = (settings().home / "recipe").glob("r.held/*")
    assert lab.rm(expired=True, dry=True).files == ()
    going.kill()
    until(lambda: not is_hosted(folder / "host"))
    freed = lab.rm(expired=True)
    assert {file.path for file in freed.files} == {str(going.journal), str(folder)}
    assert (going.journal.exists(), folder.exists()) == (False, False)


def test_what_no_notebook_needs_any_more_falls_under_it(step, monkeypatch):
    going = step(LINES, more=HOLD)
    going.until_saved("line 2")
    (folder,) = (settings().home / "recipe").glob("r.held/*")
    going.kill()
    shutil.rmtree(going.journal)
    monkeypatch.setenv("AIINFRA_RECIPE_ARCHIVE_DAYS", "0")
    until(lambda: not is_hosted(folder / "host"))
    assert [file.path for file in lab.rm(expired=True).files] == [str(folder)]
    assert not folder.exists()
