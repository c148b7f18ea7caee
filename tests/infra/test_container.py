"""The daemon's container file: what it runs keeps schedules, and ends in order."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from aiinfra_lab import files, jobs
from aiinfra_lab.config import settings
from aiinfra_lab.recipe import run as run_recipe
from aiinfra_lab.recipe import show
from aiinfra_lab.recipe.exports.container import IMAGE, UV
from tests.conftest import PATIENCE_S, end_supervisor, until

ROOT = Path(__file__).parents[2]
FILE = ROOT / "infra" / "container" / "Dockerfile"


def entry() -> list[str]:
    (found,) = re.findall(r"^ENTRYPOINT (.+)$", FILE.read_text(), re.MULTILINE)
    return json.loads(found)


def test_it_has_the_base_of_exported_container_files():
    text = FILE.read_text()
    assert f"FROM {IMAGE}\n" in text
    assert f"uv=={UV} " in text


def test_nothing_of_a_workspace_or_a_secret_comes_into_it():
    ignored = FILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    assert {".aiinfra", ".git", "**/.env*", "**/*.key"} <= {*ignored}


def test_its_entry_ends_a_run_in_order_before_itself(workspace):
    (workspace / "notebooks").mkdir()
    (workspace / "recipes").mkdir()
    cell = {"cell_type": "code", "source": "import time; time.sleep(300)", "metadata": {}, "outputs": [], "id": "a"}
    book = {"cells": [{**cell, "execution_count": None}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (workspace / "notebooks" / "a.ipynb").write_text(json.dumps(book))
    (workspace / "recipes" / "r.toml").write_text('[steps.a]\nnotebook = "a.ipynb"\n')
    end_supervisor(workspace)
    daemon = subprocess.Popen([sys.executable, *entry()[1:]], stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: jobs.is_watched() or daemon.poll() is not None)
        run_recipe("r", wait=False)
        until(lambda: any(step["state"] == "running" for step in show("r@1").steps.values()))
        began = time.monotonic()
        daemon.send_signal(signal.SIGTERM)
        assert daemon.communicate(timeout=PATIENCE_S)[1] == ""
        assert daemon.returncode == 0
        assert time.monotonic() - began < 30
    finally:
        if daemon.poll() is None:
            daemon.kill()
    assert show("r@1").state == "interrupted"
    assert show("r@1").steps["a"]["state"] == "interrupted"
    assert not jobs.ls("recipe:r", live=True)


def test_one_that_waits_for_another_says_so_collects_what_has_ended_and_ends_when_asked(workspace):
    end_supervisor(workspace)
    files.make_folder(settings().home)
    with files.take_lock(settings().home / jobs.LOCK):
        # As the first process of a container it has children that it has not started.
        code = "import os, sys; os.fork() or os._exit(0); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
        log = workspace / "log"
        started = subprocess.Popen([sys.executable, "-c", code, *entry()[1:]], stderr=log.open("w"))
        try:
            until(lambda: "waits for the end of another supervisor" in log.read_text())
            until(lambda: not psutil.Process(started.pid).children())
            started.send_signal(signal.SIGTERM)
            assert started.wait(PATIENCE_S) == 0
            assert len(log.read_text().splitlines()) == 1
        finally:
            if started.poll() is None:
                started.kill()
