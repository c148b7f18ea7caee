"""Stop and Ctrl-C while notebooks run: nothing but our own words, and a record and an archive that tell the truth."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel

from aiinfra_lab import jobs, recipe
from aiinfra_lab.config import settings
from aiinfra_lab.recipe.base import NotebookTask
from aiinfra_lab.recipe.engine import client as engine_client
from aiinfra_lab.recipe.local import LocalExecutor
from aiinfra_lab.recipe.stopping import stop_requests
from tests.conftest import PATIENCE_S, until

SLOW = (  # whoever sees the file reads all of it
    "from pathlib import Path; import os, time; Path('noted').write_text(str(os.getpid())); "
    "Path('noted').rename('begun'); time.sleep(60)"
)
CHAIN = """
[steps.quick]
notebook = "quick.ipynb"
[steps.slow]
notebook = "slow.ipynb"
after = ["quick"]
[steps.other]
notebook = "quick.ipynb"
after = ["slow"]
parameters = { x = 2 }
"""


@pytest.fixture
def begun(notebook, recipe) -> Callable[[], bool]:
    """A recipe whose second step is slow; whether that has begun."""
    notebook("quick", "x: int = 1", "print(x)")
    slow = notebook("slow", "x: int = 1", SLOW, "print('never')")
    recipe("chain", CHAIN)
    return (slow.parent / "begun").exists


def assert_stopped_at_slow(word: str = "interrupted") -> None:
    run = recipe.show("chain@1")
    states = [step["state"] for step in run.steps.values()]
    cells = json.loads(Path(run.steps["slow"]["archive"]).read_text())["cells"]
    assert (run.state, states) == (word, ["done", word, "not run"])
    assert [cell["metadata"]["papermill"]["status"] for cell in cells[-2:]] == ["failed", "pending"]
    assert cells[-2]["outputs"][-1]["ename"] == "KeyboardInterrupt"
    assert jobs.find("recipe:chain").state == "stopped"


def test_ctrl_c_in_a_shell_says_nothing_but_our_own_words(begun):
    command = [sys.executable, "-m", "aiinfra_lab.cli", "recipe", "run", "chain"]
    going = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0)
    until(begun)
    os.killpg(going.pid, signal.SIGINT)  # as a terminal does: to all of its foreground
    said = going.communicate(timeout=PATIENCE_S)[0].splitlines()
    assert going.returncode == 130
    assert [line.split()[:3] for line in said[:5]] == [
        *(["◐", "quick", "running"], ["✓", "quick", "done"]),
        *(["◐", "slow", "running"], ["■", "slow", "interrupted"], ["»", "other", "skipped"]),
    ]
    assert said[5] == "StoppedEarly: recipe:chain@1 was interrupted at slow"
    assert (said[6].split()[0], len([line for line in said if line])) == ("fix:", 7)
    assert_stopped_at_slow()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_run_in_a_shell_that_is_to_end_is_recorded_as_interrupted_and_its_kernel_ends(begun, number, code):
    command = [sys.executable, "-m", "aiinfra_lab.cli", "recipe", "run", "chain"]
    going = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    until(begun)
    kernel = psutil.Process(int((Path("notebooks") / "begun").read_text()))
    going.send_signal(number)
    said = going.communicate(timeout=PATIENCE_S)[0]
    assert (going.returncode, "recipe:chain@1 was interrupted at slow" in said) == (code, True)
    assert not kernel.is_running()
    assert_stopped_at_slow()


def test_a_kernel_that_is_ended_while_it_runs_a_recipe_writes_down_the_end_first(begun, kernel):
    manager, client = kernel
    client.execute("%recipe run chain")
    until(begun)
    manager.provisioner.process.terminate()
    manager.provisioner.process.wait(PATIENCE_S)
    assert_stopped_at_slow()


@pytest.fixture
def kernel(workspace: Path) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    """The kernel of a notebook in which the magics are loaded."""
    with Path("said").open("wb") as said:
        manager, client = start_new_kernel(kernel_name="python3", stdout=said, stderr=said)
    shown(client, "%load_ext aiinfra_lab")
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel()


def shown(client: BlockingKernelClient, code: str) -> list[dict[str, Any]]:
    """What a cell shows: streams, results and errors; a frame that was updated counts once."""
    messages: list[dict[str, Any]] = []
    client.execute_interactive(code, output_hook=messages.append, timeout=PATIENCE_S, allow_stdin=False)
    found = [{**message["content"], "kind": message["msg_type"]} for message in messages]
    frames = [each for each in found if each["kind"] == "update_display_data"][-1:]
    return [*frames, *(each for each in found if each["kind"] in ("stream", "execute_result", "error"))]


def test_the_stop_button_says_nothing_but_our_own_words(begun, kernel):
    manager, client = kernel
    stopper = threading.Thread(target=lambda: until(begun) and manager.interrupt_kernel())
    stopper.start()
    frame, error = shown(client, "%recipe run chain")
    stopper.join()
    assert "It was interrupted in step slow." in frame["data"]["text/plain"]
    assert re.search(r"slow +■ interrupted", frame["data"]["text/plain"])
    assert error["evalue"].startswith("recipe:chain@1 was interrupted at slow")
    assert shown(client, "import gc, time; time.sleep(1.5); gc.collect(); print(1)")[0]["text"] == "1\n"
    assert "ERROR" not in Path("said").read_text()
    assert_stopped_at_slow()


def test_the_steps_are_drawn_once_in_a_cell_by_its_result(notebook, recipe, kernel):
    notebook("quick", "x: int = 1")
    recipe("short", '[steps.quick]\nnotebook = "quick.ipynb"')
    frame, result = (each["data"]["text/plain"] for each in shown(kernel[1], "%recipe run short"))
    assert frame == ""
    assert re.search(r"quick +✓ done", result)
    assert "executed notebooks" in result


def test_a_cell_that_does_not_heed_ends_with_its_kernel(notebook, begun, monkeypatch):
    monkeypatch.setattr(engine_client, "INTERRUPT_TIMEOUT_S", 0.5)
    notebook("slow", "x: int = 1", f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{SLOW}")
    stopper = threading.Thread(target=lambda: until(begun) and recipe.stop("chain"))
    stopper.start()
    run = recipe.run("chain", report=True)
    stopper.join()
    assert (run.state, run.steps["slow"]["error"]) == ("stopped", "DeadKernelError: Kernel died")


def test_asked_for_twice_the_end_comes_at_once_and_takes_all_that_was_started(notebook, workspace, monkeypatch):
    monkeypatch.setattr(engine_client, "INTERRUPT_TIMEOUT_S", 600.0)
    started = "import subprocess; p = subprocess.Popen(['sleep', '600'], start_new_session=True)"
    slow = SLOW.replace("str(os.getpid())", "f'{os.getpid()} {p.pid}'")
    deaf = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{started}\n{slow}"
    path = notebook("deaf", "x: int = 1", deaf, "print('never')")
    begun = path.parent / "begun"
    handle = LocalExecutor(settings()).submit(NotebookTask(path, workspace / "out.ipynb"))
    until(begun.exists)
    handle.cancel()
    time.sleep(1.0)  # the interrupt comes to nothing
    handle.cancel(at_once=True)
    assert handle.collect().state == "stopped"
    assert not any(psutil.pid_exists(int(pid)) for pid in begun.read_text().split())


def test_how_urgently_the_end_was_asked_for(workspace):
    with jobs.here("recipe:a@1") as job, stop_requests(job) as stop:
        assert stop() == 0
        jobs.cancel(job.id)
        until(lambda: stop() == 1)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop() == 1
        os.kill(os.getpid(), signal.SIGINT)
        assert stop() == 2


def test_what_a_kernel_said_that_never_came_up_is_told(begun, capfd, tmp_path):
    folder = tmp_path / "jupyter" / "data" / "kernels" / "mute"
    folder.mkdir(parents=True)
    argv = [sys.executable, "-c", "raise SystemExit('there is no ipykernel here')"]
    (folder / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "mute", "language": "python"}))
    path = Path("notebooks/quick.ipynb")
    path.write_text(path.read_text().replace('"name": "python3"', '"name": "mute"'))
    assert recipe.run("chain", report=True).steps["quick"]["state"] == "failed"
    assert "there is no ipykernel here" in capfd.readouterr().err


def test_ctrl_c_is_taken_note_of_and_then_again_what_it_was(workspace):
    with jobs.here("recipe:a@1") as job:
        with stop_requests(job) as stop:
            before = stop()
            os.kill(os.getpid(), signal.SIGINT)
            assert (before, stop()) == (0, 1)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_process_that_ignores_ctrl_c_goes_on_doing_so(workspace, monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with jobs.here("recipe:a@1") as job, stop_requests(job) as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert not stop()
    finally:
        signal.signal(signal.SIGINT, before)
