"""The suites of nbclient and papermill, from their sources: each test ends as it does with a plain `python3`."""

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.slow.environments import packages_of

from . import fresh

pytestmark = pytest.mark.slow
SUITES = {"nbclient": "tests", "papermill": "papermill"}
# Their settings are for other versions of pytest's plugins, and ours are none of theirs.
OPTIONS = [
    "-q", "-p", "no:cacheprovider", "-p", "no:nbval", "--continue-on-collection-errors",
    "-o", "log_cli=false", "-o", "asyncio_default_fixture_loop_scope=function", "-o", "junit_family=xunit1",
]  # fmt: skip


@pytest.fixture
def packages() -> Path:
    """What the suites import beside the package that they are of."""
    try:
        return packages_of("suites")
    except AssertionError as problem:
        pytest.skip(f"packages cannot be had here: {problem}")


class Suite:
    """One suite, unpacked. environment: in which its tests run."""

    def __init__(self, name: str, packages: Path, folder: Path) -> None:
        self.folder, self.tests = folder / f"{name}-{version(name)}", SUITES[name]
        self.environment = {**os.environ, "PYTHONPATH": str(packages)}
        # As source: what is installed has no tests.
        wanted = ["--no-deps", "--no-binary", name, f"{name}=={version(name)}", "-d", str(folder)]
        self._run([sys.executable, "-m", "pip", "download", "--quiet", *wanted], folder)
        shutil.unpack_archive(folder / f"{self.folder.name}.tar.gz", folder)
        if name != self.tests:
            shutil.rmtree(self.folder / name)  # the installed one is meant

    def verdicts(self, tests: Sequence[str] = (), **environment: str) -> dict[str, str]:
        """How each test ended, by its id."""
        report = self.folder / "report.xml"
        report.unlink(missing_ok=True)
        side_by_side = "0" if tests else "2"
        words = [*OPTIONS, "-n", side_by_side, f"--junitxml={report}", *(tests or [self.tests])]
        subprocess.run(
            [sys.executable, "-m", "pytest", *words],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            check=False,
        )
        return {_id(case): case[0].tag if len(case) else "passed" for case in ET.parse(report).iter("testcase")}

    def _run(self, command: Sequence[str], folder: Path) -> None:
        done = subprocess.run(command, cwd=folder, env=self.environment, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr[-4000:]


def _id(case: ET.Element) -> str:
    """As pytest takes it on its command line."""
    file = case.get("file", "")
    within = case.get("classname", "").removeprefix(file.removesuffix(".py").replace("/", ".")).replace(".", "::")
    return f"{file}{within}::{case.get('name')}"


@pytest.mark.parametrize("name", SUITES)
def test_each_test_ends_as_with_a_plain_kernel(name, packages, workspace, tmp_path):
    suite = Suite(name, packages, tmp_path)
    fresh.install(tmp_path / "fresh")
    path = os.pathsep.join([str(tmp_path / "fresh"), str(packages), str(Path(__file__).parents[3])])
    sessions = {"JUPYTER_PATH": str(tmp_path / "fresh"), "PYTHONPATH": path}
    plain, ours = suite.verdicts(), suite.verdicts(**sessions)
    assert list(plain.values()).count("passed") > 100
    assert any((workspace / "fresh").iterdir()), "no session was used"
    different = [each for each in plain.keys() | ours.keys() if plain.get(each) != ours.get(each)]
    if different:  # they wait for seconds: on a machine with other work, one by one is what counts
        plain, ours = suite.verdicts(different), suite.verdicts(different, **sessions)
    assert {each: (plain[each], ours[each]) for each in plain if plain[each] != ours[each]} == {}
