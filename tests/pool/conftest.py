"""A pool of its own for each test, that imports little."""

import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from aiinfra_lab.pool import asking, match

from ..conftest import until


@pytest.fixture
def place(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the pool of this test is, if one is begun; afterwards nothing of it is left."""
    root = Path(tempfile.mkdtemp(prefix="pool-", dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(root))
    monkeypatch.setenv("AIINFRA_POOL", "on")
    monkeypatch.setenv("AIINFRA_KERNELS_PRELOAD", "numpy")
    assert Path(match.folder()).parent == root
    yield Path(match.folder())
    left = [each for each in psutil.process_iter(["cmdline"]) if _is_of(each, root)]
    asking.order("end")
    for each in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.terminate()
    _, alive = psutil.wait_procs(left, 10)
    shutil.rmtree(root, ignore_errors=True)
    for each in alive:
        each.kill()
    assert alive == []


def _is_of(process: psutil.Process, root: Path) -> bool:
    try:
        is_template = "aiinfra_lab.pool.template" in " ".join(process.info["cmdline"] or ())
        return is_template and process.environ().get("TMPDIR") == str(root)
    except psutil.Error:
        return False


@pytest.fixture
def pool(place: Path) -> int:
    """A pool that answers; its process."""
    asking.start("numpy")
    return int(until(lambda: asking.order("show").get("running"), "the pool does not answer"))


@pytest.fixture
def foreground() -> Iterator[None]:
    """Ctrl-C reaches what a test starts, whoever has started the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def command(*arguments: str) -> list[str]:
    """The command `aiinfra`, by this interpreter."""
    return [sys.executable, "-c", "import sys; from aiinfra_lab.pool.entry import main; sys.exit(main())", *arguments]


def is_alive(pid: int) -> bool:
    """Whether a process is there, and is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
