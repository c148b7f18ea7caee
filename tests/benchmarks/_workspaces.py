"""A workspace for a row about sessions, and a machine behind a real sshd that its settings name."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import FOLDERS, stop_jobs
from tests.hosts import MACHINE_ID
from tests.sshd import _SSHD, SshHost

from .rows import Cannot


@contextmanager
def workspace() -> Iterator[Path]:
    """An empty workspace with Jupyter's folders of its own; what lives in it ends with the block."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, pytest.MonkeyPatch.context() as patch:
        home = Path(folder, "workspace")
        home.mkdir()
        (home / "aiinfra.toml").touch()
        patch.setenv("AIINFRA_WORKSPACE", str(home))
        for name, inside in FOLDERS.items():
            Path(folder, inside).mkdir(parents=True)
            patch.setenv(name, str(Path(folder, inside)))
        patch.chdir(home)
        try:
            yield home
        finally:
            stop_jobs(home)


def needs_namespaces() -> None:
    """Cannot where machines of its own cannot be made."""
    if os.geteuid() != 0 or not MACHINE_ID.exists():
        raise Cannot("it needs root and network namespaces")


@contextmanager
def far_host(home: Path) -> Iterator[SshHost]:
    """A machine with a real sshd, known to the workspace as `far` of the provider ssh."""
    needs_namespaces()
    if _SSHD is None:
        raise Cannot("it needs an sshd")
    host = SshHost(7, home.parent / "far")
    try:
        lines = ["[gpu]", 'ssh_hosts = "far"', f'ssh_config = "{host.config}"', f'ssh_python = "{sys.executable}"']
        (home / "aiinfra.toml").write_text("\n".join(lines))
        yield host
    finally:
        host.set_link("up")
        host.remove()
