"""What every test gets: a workspace of its own, nothing of it alive afterwards, and no word to the outside."""

import contextlib
import copy
import functools
import ipaddress
import os
import signal
import socket
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, settings

# Machines are shared: how long an example takes says nothing.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

# Set before anything is imported, and inherited by every process that a test starts. That the product needs none of
# this is shown by tests/slow/test_quiet.py, which runs without.
OPT_OUTS = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
    "ITERATIVE_DO_NOT_TRACK": "1",
    "EVIDENTLY_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "BENTOML_DO_NOT_TRACK": "True",
    "CHECKPOINT_DISABLE": "1",
    "NML_DISABLE_USAGE_LOGGING": "1",
    "FEAST_USAGE": "False",
}
os.environ.update(OPT_OUTS)
# Side by side, threads that wait for one another take longer than one thread alone.
os.environ.setdefault("OMP_NUM_THREADS", "1")
for name in [name for name in os.environ if name.startswith("AIINFRA_")]:
    del os.environ[name]  # a developer's own settings must not decide a test

# As users have one, tests have a warm pool. It is found by the folder for temporary files, which all processes of these
# tests share; what a test has written is kept where pytest always keeps it.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
if "PYTEST_XDIST_WORKER" not in os.environ:
    TEMPORARY = tempfile.TemporaryDirectory(prefix="tests-", dir="/tmp", ignore_cleanup_errors=True)
    Path(TEMPORARY.name).chmod(0o755)  # servers that run as users of their own have folders in it
    os.environ["TMPDIR"] = tempfile.tempdir = TEMPORARY.name
os.environ["AIINFRA_POOL"] = "on"

# Copies of heads of audit logs, of whatever a test opens without the fixture below.
STATE = tempfile.TemporaryDirectory(prefix="aiinfra-tests-state-")
os.environ["XDG_STATE_HOME"] = STATE.name

# Whatever a shell starts in the background ignores Ctrl-C, and so do its children; some tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Folders that programs below us would otherwise put into the home of whoever runs the tests.
FOLDERS = {
    "JUPYTER_CONFIG_DIR": "jupyter/config",
    "JUPYTER_DATA_DIR": "jupyter/data",
    "JUPYTER_RUNTIME_DIR": "jupyter/run",
    "JUPYTERLAB_SETTINGS_DIR": "jupyter/settings",
    "JUPYTERLAB_WORKSPACES_DIR": "jupyter/workspaces",
    "IPYTHONDIR": "ipython",
    "DVC_GLOBAL_CONFIG_DIR": "dvc/global",
    "DVC_SYSTEM_CONFIG_DIR": "dvc/system",
    "DVC_SITE_CACHE_DIR": "dvc/site",
    "XDG_STATE_HOME": "state",
}

# Tests that share something which takes long to start: each of these, by its beginning, is run by one process.
TOGETHER = (
    "tests/browser/",
    "tests/core/test_fixes.py",
    "tests/core/test_help.py",
    "tests/core/test_mistakes.py",
    "tests/core/test_store_postgres.py",
    "tests/core/test_store_postgres_away.py",
    "tests/core/test_store_postgres_errors.py",
    "tests/core/test_version_before.py",
    "tests/data/test_example.py",
    "tests/drift/test_by.py",
    "tests/drift/test_drift.py",
    "tests/drift/test_fixes.py",
    "tests/drift/test_served.py",
    "tests/features/test_future.py",
    "tests/jupyter/test_plans.py",
    "tests/jupyter/test_server.py",
    "tests/kernels/foreign/",
    "tests/models/",
    "tests/notebooks/",
    "tests/secrets/test_sinks.py",
)

# Bounds a wait for something that will happen. Never what a test measures: a machine with other work may be slow.
PATIENCE_S = 60.0

outside: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--until", type=float, metavar="S", help="skip what has not begun by then, in epoch seconds")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    until_at = item.config.getoption("--until")
    if until_at is not None and time.time() > until_at:
        pytest.skip("the time is over that whoever runs these tests has for all of them")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two for each core: much of a test is waiting for a process, a browser or a clock; one with `-n logical`."""
    cores = len(os.sched_getaffinity(0))
    return cores if config.option.numprocesses == "logical" else 2 * cores


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out one test at a time, but those of TOGETHER as one. xdist_group does not work with pytest 9.2."""
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if nodeid.startswith("tests/structure/"):  # those of one file, which is parsed once for all of them
                return nodeid.partition("[")[2] or nodeid
            return next((start for start in TOGETHER if nodeid.startswith(start)), nodeid)

    return Together(config, log)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where slow tests alone are wanted, files that have none: to import all of them takes a minute of a core."""
    is_left = config.option.markexpr == "slow" and collection_path.name.startswith("test_")
    return True if is_left and not _has_slow_tests(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    if silent := sorted(str(path) for path in slow if not _has_slow_tests(path)):
        raise pytest.UsageError(
            f"with slow tests and without `mark.slow`, by which they are found: {', '.join(silent)}"
        )


def _has_slow_tests(path: Path) -> bool:
    return "mark.slow" in path.read_text()


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        address = arguments
    else:
        return
    if isinstance(address, tuple) and not is_local(address[0]):
        outside.append(f"{event} {address[:2]}")


def is_local(host: object) -> bool:
    """Whether a host's name or address means this machine."""
    name = host.decode() if isinstance(host, bytes) else str(host or "localhost")
    if name in ("localhost", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False


sys.addaudithook(_watch)  # cannot be taken away again, so it is added once, here


@pytest.fixture(autouse=True, scope="session")
def _tables_keep_the_rules() -> Iterator[None]:
    """No table of a card has content below an empty title, or ends in a column of numbers."""
    from aiinfra_lab.show import Number, Table

    made = Table.__post_init__

    def checked(table: Table) -> None:
        made(table)
        if table.rows and table.titles:
            assert all(table.titles), f"a column without a title: {table.titles}"
            assert not isinstance(table.titles[-1], Number), f"a number stands last: {table.titles}"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Table, "__post_init__", checked)
        yield


@pytest.fixture(autouse=True, scope="session")
def _mlflow_migrates_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """MLflow's migrations, a second of a core for a new database, make one here: the others are copies of it."""
    from aiinfra_lab.train import mlflow

    first, made = tmp_path_factory.mktemp("mlflow") / "mlflow.db", mlflow.tracking_uri

    def tracking_uri() -> str:
        uri = made()
        path = Path(uri.removeprefix("sqlite:///"))
        if path.is_file() and path.stat().st_size == 0:
            if not first.exists():
                _migrate(first)
            # As a transaction of SQLite, and not as a file: somebody else may open it now.
            with contextlib.closing(sqlite3.connect(first)) as source, contextlib.closing(sqlite3.connect(path)) as to:
                source.backup(to)
        return uri

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow, "tracking_uri", tracking_uri)
        yield


def _migrate(path: Path) -> None:
    from mlflow import MlflowClient

    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()


@pytest.fixture(autouse=True, scope="session")
def _torch_lists_its_operations_once() -> Iterator[None]:
    """For each network that it exports, torch describes its 2,700 operations anew: most of the time of a small one."""
    if "torch" not in sys.modules:
        yield
        return
    import torch

    export, patch = torch.onnx.export, pytest.MonkeyPatch()

    def export_quickly(*arguments: Any, **options: Any) -> Any:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        listed = functools.cache(ONNXRegistry.from_torchlib)

        def copy_of(*version: int, **opset_version: int) -> ONNXRegistry:
            found = copy.copy(listed(*version, **opset_version))
            found.functions = {name: [*each] for name, each in found.functions.items()}
            return found

        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(copy_of))
        patch.setattr(torch.onnx, "export", export)
        return export(*arguments, **options)

    patch.setattr(torch.onnx, "export", export_quickly)
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def no_outside() -> Iterator[None]:
    """Fail a test that spoke to anything but this machine, or asked for somebody else's address."""
    before = len(outside)
    yield
    assert outside[before:] == [], "this test reached for the network"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh workspace, which is also the current folder. Afterwards its jobs are cancelled and none may be left."""
    home = tmp_path / "workspace"
    home.mkdir()
    (home / "aiinfra.toml").touch()
    monkeypatch.chdir(home)
    monkeypatch.setenv("AIINFRA_WORKSPACE", str(home))
    for name, folder in FOLDERS.items():
        (tmp_path / folder).mkdir(parents=True)
        monkeypatch.setenv(name, str(tmp_path / folder))
    yield home
    monkeypatch.setenv("AIINFRA_WORKSPACE", str(home))  # a test may have moved on
    stop_jobs(home)
    left = end_survivors(home)
    assert left == [], "these processes outlived their test (ended now)"


@pytest.fixture(scope="module")
def module_workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One workspace for a file of tests, where making one for each would take most of their time."""
    home = tmp_path_factory.mktemp("workspace")
    (home / "aiinfra.toml").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIINFRA_WORKSPACE", str(home))
        for name, folder in FOLDERS.items():
            (home.parent / home.name / folder).mkdir(parents=True)
            patch.setenv(name, str(home / folder))
        patch.chdir(home)
        yield home
        stop_jobs(home)
        assert end_survivors(home) == []


def stop_jobs(home: Path) -> None:
    """Cancel every supervised job of the workspace, wait for its end, and dismiss the supervisor."""
    from aiinfra_lab.config import settings
    from aiinfra_lab.store import has_store

    # A test may have moved it away.
    if not home.is_dir() or not has_store(settings()):
        return
    from aiinfra_lab import jobs
    from aiinfra_lab.errors import LabError
    from aiinfra_lab.store import open_store

    with contextlib.suppress(LabError):  # a test of damage leaves a store that cannot be read
        live = [job for job in jobs.ls(live=True) if job.supervised and job.is_here]
        for job in live:
            jobs.cancel(job.id)
        for job in live:
            jobs.wait(job.id, timeout_s=PATIENCE_S)
    open_store().close()
    end_supervisor(home)


def until(ready: Callable[[], Any], otherwise: str = "it did not happen", most_s: float = PATIENCE_S) -> Any:
    """Wait for something that another process does; what `ready` gave when it was true."""
    end_at = time.monotonic() + most_s
    while not (found := ready()):
        assert time.monotonic() < end_at, otherwise
        time.sleep(0.02)
    return found


def press_ctrl_c_in(function: Callable[..., Any]) -> None:
    """Press Ctrl-C in this process once the calling thread runs that function; returns at once."""
    caller = threading.get_ident()

    def press() -> None:
        until(lambda: _runs(sys._current_frames()[caller], function))
        time.sleep(0.1)  # past its first lines: it is to be interrupted while it waits
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()


def _runs(frame: FrameType | None, function: Callable[..., Any]) -> bool:
    while frame is not None and frame.f_code is not function.__code__:
        frame = frame.f_back
    return frame is not None


def end_supervisor(home: Path) -> None:
    """Kill the workspace's supervisor; its jobs go on."""
    for pid in supervisors(home):
        end(pid)


@contextlib.contextmanager
def no_supervisor() -> Iterator[None]:
    """A supervisor that is asked for meanwhile does not come up."""
    from aiinfra_lab import jobs

    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(jobs, "_SUPERVISOR_S", 0.2)
        broken.setattr(sys, "executable", "/bin/false")
        yield


def supervisors(home: Path) -> list[int]:
    """The workspace's supervisors: one, or none."""
    found = {pid for pid, command in processes_of(home) if "aiinfra_lab.jobs.supervisor" in command}
    # A child of one that has not called exec yet has its command line: it becomes a job, and is not to be ended as one.
    return sorted(pid for pid in found if _parent_of(pid) not in found)


def _parent_of(pid: int) -> int:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).ppid()
    return 0


def end_survivors(home: Path) -> list[str]:
    """Command lines of the workspace's processes that do not end by themselves; they are ended."""
    end_at = time.monotonic() + PATIENCE_S / 2
    while (found := processes_of(home)) and time.monotonic() < end_at:
        time.sleep(0.05)
    for pid, _ in found:
        end(pid)
    return [command for _, command in found]


def pytest_unconfigure(config: pytest.Config) -> None:
    """The pool of these tests ends with them."""
    from aiinfra_lab.pool import asking

    if "PYTEST_XDIST_WORKER" not in os.environ:
        asking.order("end")


def processes_of(home: Path) -> list[tuple[int, str]]:
    """(pid, command line) of all processes but this one that were started for a workspace, and of the forks of the pool
    that are in its folders; Linux only."""
    wanted, found = f"AIINFRA_WORKSPACE={home}".encode(), []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(entry.name) == os.getpid():
                continue
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            is_fork = "aiinfra_lab.pool.template" in command and (entry / "cwd").readlink().is_relative_to(home)
            if is_fork or wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append((int(entry.name), command))
    return found


def end(pid: int) -> None:
    """Kill a process that a test started; returns when it has let go of what it held."""
    from aiinfra_lab.jobs import process

    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not process.birth(pid))
