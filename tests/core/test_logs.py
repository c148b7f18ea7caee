import logging
import subprocess
import sys
import threading

import pytest

from aiinfra_lab import files, jobs, logs
from aiinfra_lab.errors import UsageProblem
from tests.conftest import until

MIB = 1 << 20
# Three times the bound, and a last line, by whatever writes to either stream.
WRITE = """
import sys, time
for n in range(3 * 1024):
    print(f'{n:01023}', flush=True)
time.sleep(0.5)
print('the end', file=sys.stderr)
"""


def on_disk(job: jobs.Job) -> int:
    return sum(path.stat().st_size for path in job.folder.glob("log*"))


def test_a_jobs_log_is_bounded_whatever_writes_it_and_ends_with_its_last_line(workspace, monkeypatch):
    monkeypatch.setenv("AIINFRA_JOBS_LOG_MIB", "1")
    job = jobs.wait(jobs.start("train:a", [sys.executable, "-c", WRITE]).id, 60)
    assert on_disk(job) <= MIB
    assert jobs.log(job.id).splitlines()[-1] == "the end"


def test_a_living_jobs_log_is_bounded_and_read_across_the_cut(workspace, monkeypatch):
    monkeypatch.setenv("AIINFRA_JOBS_LOG_MIB", "1")
    job = jobs.start("train:a", [sys.executable, "-c", f"{WRITE}\nimport time; time.sleep(60)"])
    until(lambda: "the end" in jobs.log(job.id))
    until(lambda: on_disk(job) <= MIB)
    numbers = [int(line) for line in jobs.log(job.id).splitlines()[1:-1]]
    assert len(numbers) > 100
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("value", ["0", "-1", "much"])
def test_a_bound_that_is_no_size_is_refused_before_anything_starts(workspace, monkeypatch, value):
    monkeypatch.setenv("AIINFRA_JOBS_LOG_MIB", value)
    with pytest.raises(UsageProblem):
        jobs.start("train:a", ["true"])
    assert jobs.ls() == []


def test_the_supervisors_own_log_is_bounded(workspace, monkeypatch):
    monkeypatch.setenv("AIINFRA_JOBS_LOG_MIB", "1")
    log = workspace / ".aiinfra" / "supervisor.log"
    log.parent.mkdir()
    log.write_bytes(b"x" * 3 * MIB)
    jobs.wait(jobs.start("train:a", ["true"]).id, 20)
    assert sum(path.stat().st_size for path in log.parent.glob("supervisor.log*")) <= MIB


def test_a_short_log_is_left_as_it_is(tmp_path):
    (tmp_path / "log").write_bytes(b"x" * 50)
    logs.bound(tmp_path / "log", 100)
    logs.bound(tmp_path / "nothing", 100)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_what_was_cut_is_the_end(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(bytes(range(100)))
    logs.bound(log, 160)
    assert (log.read_bytes(), logs.tail(log, 1000)) == (b"", bytes(range(40, 100)))
    log.write_bytes(b"new")
    assert logs.tail(log, 5) == bytes([98, 99]) + b"new"
    assert logs.tail(log, 2) == b"ew"


def test_a_log_that_is_being_read_is_cut_the_next_time(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"x" * 100)
    (tmp_path / "log.1").touch()
    with files.shared_lock(tmp_path / "log.1"):
        logs.bound(log, 100)
    assert log.stat().st_size == 100
    logs.bound(log, 100)
    assert log.stat().st_size == 0


def test_a_reader_beside_a_writer_and_the_cut_sees_lines_in_order(tmp_path):
    log, over = tmp_path / "log", threading.Event()

    def write() -> None:
        with log.open("ab", buffering=0) as file:
            for number in range(20_000):
                file.write(b"%06d\n" % number)
        over.set()

    def cut() -> None:
        while not over.is_set():
            logs.bound(log, 20_000)

    threads = [threading.Thread(target=each) for each in (write, cut)]
    log.touch()
    for thread in threads:
        thread.start()
    while not over.is_set():
        seen = [int(line) for line in logs.tail(log, 700).splitlines() if len(line) == 6]
        assert seen == sorted(set(seen))
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ""),
        ("a\nb\n\n", "b"),
        ("2026-01-01 10:00:00 ERROR aiinfra_lab.x: it broke\n  fix: mend it\n", "it broke (mend it)"),
    ],
)
def test_the_problem_that_output_ends_with(text, problem):
    assert logs.last_problem(text) == problem


def fail(logger: logging.Logger, divisor: int) -> None:
    try:
        _ = 1 / divisor if divisor == 0 else [][divisor]
    except (ZeroDivisionError, IndexError):
        logger.exception("a request failed")


def test_a_problem_that_repeats_is_written_once_and_counted(monkeypatch, caplog):
    logger, repeats = logging.getLogger("aiinfra_lab.test"), logs.Repeats()
    logger.addFilter(repeats)
    for divisor in (0, 0, 0, 1):
        fail(logger, divisor)
    assert [record.exc_info[0].__name__ for record in caplog.records] == ["ZeroDivisionError", "IndexError"]
    monkeypatch.setattr(logs, "REPEAT_S", 0.0)
    fail(logger, 0)
    logger.removeFilter(repeats)
    assert caplog.messages[-1] == "a request failed (and 2 times since it was last written)"


LOG = "import logging, {}\nlogging.getLogger('aiinfra_lab.x').warning('hear')"
# Of those that log, the ones that do not import the settings themselves.
LOGGING = ("deploy.server.further_front", "deploy.server.refusals", "deploy.triton.state", "recipe.engine.held")


@pytest.mark.parametrize(
    ("imported", "heard"),
    [
        *((f"aiinfra_lab.{each}", False) for each in ("gpu", "recipe", "recipe.papermill", *LOGGING)),
        ("aiinfra_lab.logs; aiinfra_lab.logs.configure()", True),
    ],
)
def test_the_library_is_silent_until_logging_is_configured(imported, heard):
    command = [sys.executable, "-c", LOG.format(imported)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ("WARNING aiinfra_lab.x: hear" in done.stderr, "hear" in done.stderr) == (heard, heard)
