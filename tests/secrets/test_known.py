"""How a kernel has its run know of a secret: by a pipe, before it goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aiinfra_lab.errors import Unavailable
from aiinfra_lab.secrets import in_kernel, known
from aiinfra_lab.secrets.names import URL_PASSWORD, VARIABLE

from .conftest import VALUE


@pytest.fixture
def pipe(tmp_path, monkeypatch):
    """The pipe, and what reads all that is in it."""
    path = tmp_path / "pipe"
    os.mkfifo(path, 0o600)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    monkeypatch.setenv(known.REPORT, str(path))
    yield path, lambda: [json.loads(line) for line in os.read(reader, 65536).splitlines()]
    os.close(reader)


def test_what_is_resolved_is_reported_once(pipe):
    known.note("HF_TOKEN", VALUE)
    known.note("HF_TOKEN", VALUE)
    assert pipe[1]() == [["HF_TOKEN", VALUE]]


def test_where_nobody_reads_nothing_happens(tmp_path, monkeypatch):
    monkeypatch.setenv(known.REPORT, str(tmp_path / "none"))
    known.note("HF_TOKEN", VALUE)
    assert dict(known.known_secrets({})) == {"HF_TOKEN": VALUE}


def test_a_pipe_that_stays_full_is_an_error_and_no_silence(pipe, monkeypatch):
    monkeypatch.setattr(in_kernel, "WITHIN_S", 0.1)
    with pytest.raises(Unavailable) as caught:
        known.note("HF_TOKEN", VALUE * 100_000)
    assert VALUE not in str(caught.value)


def test_variables_that_are_there_and_that_are_set_are_reported(pipe):
    path, read = pipe
    patterns = f"{VARIABLE.pattern!r}, {URL_PASSWORD.pattern!r}"
    code = (
        f"from aiinfra_lab.secrets.in_kernel import watch\nwatch({str(path)!r}, {patterns}, ['PLAIN'], ['SORT_KEY'])\n"
        "import os\nos.environ.update(A_TOKEN='a', SORT_KEY='b', OTHER='c', DB='x://ann:hunter2@h', PLAIN='d')"
    )
    root = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": root, "MY_API_KEY": VALUE})
    assert read() == [["MY_API_KEY", VALUE], ["A_TOKEN", "a"], ["DB", "hunter2"], ["PLAIN", "d"]]


def test_what_is_kept_for_later_is_whole_or_empty(tmp_path, monkeypatch):
    kept = tmp_path / "pipe.kept"
    in_kernel.report(str(tmp_path / "pipe"), "A", "first")
    assert not kept.exists()
    kept.write_text("begin\n")
    in_kernel.report(str(tmp_path / "pipe"), "A", "second")
    assert kept.read_text() == 'begin\n["A", "second"]\n'
    monkeypatch.setattr(in_kernel.os, "write", lambda _handle, line: len(line) - 1)
    in_kernel.report(str(tmp_path / "pipe"), "A", "third")
    assert kept.read_text() == ""
