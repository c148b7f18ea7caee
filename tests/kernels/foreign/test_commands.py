"""Programs of Jupyter's own that know nothing of sessions, on the command line."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pexpect
import pytest

from tests.conftest import PATIENCE_S

from .test_suites import packages

__all__ = ["packages"]
CONSOLE = ["-m", "jupyter_console", "--simple-prompt", "--no-confirm-exit"]


def test_jupyter_run_leaves_the_session_alive(attach, session, tmp_path):
    (tmp_path / "code.py").write_text("x_of_run = 6 * 7\nprint('in the session', x_of_run)\n")
    command = [sys.executable, "-m", "jupyter_client.runapp", "--kernel=aiinfra-trainer", str(tmp_path / "code.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout) == (0, "in the session 42\n"), done.stderr
    assert session.is_alive()
    assert attach().run("print(x_of_run)") == "42\n"


def test_jupyter_run_fails_with_the_error_of_its_code(session, tmp_path):
    (tmp_path / "code.py").write_text("1 / 0\n")
    command = [sys.executable, "-m", "jupyter_client.runapp", "--kernel=aiinfra-trainer", str(tmp_path / "code.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode != 0
    assert "ZeroDivisionError" in done.stdout + done.stderr


@contextmanager
def console(packages, *flags: str) -> Iterator[pexpect.spawn]:
    paths = os.pathsep.join([str(packages), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": paths, "TERM": "dumb"}
    child = pexpect.spawn(sys.executable, [*CONSOLE, *flags], env=env, encoding="utf-8", timeout=PATIENCE_S)
    try:
        child.expect(r"In \[\d+\]: ")
        yield child
    finally:
        child.close(force=True)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kernel", "existing"])
def test_a_console_works_in_the_session_and_leaves_it_alive(packages, attach, session, how):
    flag = "--kernel=aiinfra-trainer" if how == "kernel" else f"--existing={session.connection}"
    attach().run("shared = 20")
    with console(packages, flag) as child:
        child.sendline("print('both', shared + 1)")
        child.expect("both 21\r\n")
        child.expect(r"In \[\d+\]: ")
        child.sendline("name = input('who? ')")
        child.expect(r"who\? ")
        child.sendline("Ada")
        child.expect(r"In \[\d+\]: ")
        if how == "kernel":  # it interrupts none that it has not started itself
            child.sendline("import time; print('now', 1); time.sleep(600)")
            child.expect("now 1\r\n")
            child.sendintr()
            child.expect("KeyboardInterrupt")
            child.expect(r"In \[\d+\]: ")
        child.sendeof()  # `exit` would run in the kernel, and end it, as it does in a notebook
        child.expect(pexpect.EOF)
    assert session.is_alive()
    assert attach().run("print(name, shared)") == "Ada 20\n"
