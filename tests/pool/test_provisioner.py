"""A kernel that Jupyter gets of the pool has what whoever started it asked for, or it is spawned."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from aiinfra_lab.pool.provisioner import WarmProcess, WarmProvisioner

ARGV = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
WRITES = "import os, subprocess\nos.write(1, b'out\\n')\nos.write(2, b'err\\n')\nsubprocess.run(['echo', 'child'])"


@contextmanager
def kernel(**options: Any) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    manager = KernelManager()
    spec = KernelSpec(argv=ARGV, language="python")
    manager._kernel_spec = spec
    manager.provisioner = WarmProvisioner(kernel_id="", kernel_spec=spec, parent=manager)
    manager.start_kernel(**options)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(30)
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def process_of(manager: KernelManager) -> Any:
    assert isinstance(manager.provisioner, WarmProvisioner)
    return manager.provisioner.process


def test_its_output_goes_where_it_was_asked_to(pool: int, tmp_path: Path) -> None:
    out, err = tmp_path / "out", tmp_path / "err"
    with (
        out.open("w") as to_out,
        err.open("w") as to_err,
        kernel(stdout=to_out, stderr=to_err.fileno()) as (manager, client),
    ):
        client.execute_interactive(WRITES, timeout=30, output_hook=lambda _: None)
        assert isinstance(process_of(manager), WarmProcess)
    assert out.read_text() == "out\nchild\n"
    assert "err\n" in err.read_text()


def test_both_may_be_one_file(pool: int, tmp_path: Path) -> None:
    one = tmp_path / "one"
    with one.open("w") as file, kernel(stdout=file, stderr=subprocess.STDOUT) as (manager, client):
        client.execute_interactive(WRITES, timeout=30, output_hook=lambda _: None)
        assert isinstance(process_of(manager), WarmProcess)
    assert {"out", "err", "child"} <= set(one.read_text().splitlines())


@pytest.mark.parametrize("options", [{"stdout": subprocess.PIPE}, {"independent": True}, {"restore_signals": False}])
def test_what_a_fork_cannot_have_makes_it_spawn(pool: int, options: dict[str, Any]) -> None:
    with kernel(**options) as (manager, client):
        assert isinstance(process_of(manager), subprocess.Popen)
        client.execute_interactive("1 + 1", timeout=30, output_hook=lambda _: None)


def test_a_file_that_is_closed_is_the_callers_mistake(pool: int, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as file:
        pass
    with pytest.raises(ValueError, match="closed file"), kernel(stdout=file):
        pass


def test_its_umask_is_the_one_that_was_asked_for(pool: int) -> None:
    texts: list[str] = []
    with kernel(umask=0o027) as (manager, client):
        code = "import os; print(oct(os.umask(0)))"
        client.execute_interactive(code, timeout=30, output_hook=lambda m: texts.append(m["content"].get("text", "")))
        assert isinstance(process_of(manager), WarmProcess)
    assert "".join(texts) == "0o27\n"


def test_paths_are_read_from_its_folder(pool: int, tmp_path: Path) -> None:
    (tmp_path / "table.csv").touch()
    with kernel(cwd=str(tmp_path)) as (manager, _):
        assert isinstance(process_of(manager), WarmProcess)
        assert manager.resolve_path("table.csv") == str(tmp_path / "table.csv")
        assert manager.resolve_path("none.csv") is None
