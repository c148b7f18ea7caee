"""gpu.9: one notebook on every provider, by JupyterLab's kernel and by papermill. The run itself is a slow test."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

from .rows import Figure, exactly, row

TEST = "tests/gpu/test_anywhere.py"


@row("gpu.9", "one notebook wherever its kernel is", "the outputs of a plain kernel, bytes unchanged", ("papermill",))
def anywhere(full: bool) -> Iterator[Figure]:
    """local, ssh, Slurm, EC2 (API on loopback, a machine in namespaces), Kubernetes (API, and a fake kubelet)."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-m", "slow", TEST, f"--junitxml={report}"]
        subprocess.run(command, check=False, stdout=sys.stderr)
        cases = list(ET.parse(report).iter("testcase"))
    for case in cases:
        provider = case.get("name", "").partition("[")[2].rstrip("]")
        skipped = case.find("skipped")
        note = f"{float(case.get('time', 0)):.0f} s for three runs" if skipped is None else skipped.get("message", "")
        differs = None if skipped is not None else sum(case.find(kind) is not None for kind in ("failure", "error"))
        yield Figure(f"{provider}: runs that differ", differs, "runs", exactly(0), note=note)
