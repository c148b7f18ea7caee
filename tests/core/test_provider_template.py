"""docs/provider-template works as its README has it: copied, renamed, installed, and run by its own tests."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from aiinfra_lab.providers import CONTRACTS, GROUP
from tests.conftest import FOLDERS

ROOT = Path(__file__).parents[2]
FAKES = ROOT / "tests" / "fakes"
TEMPLATE = ROOT / "docs" / "provider-template"


def write_metadata(package: Path, into: Path) -> None:
    """What installing a package writes for it: its name, and its entry points."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    info = into / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [f"{name} = {target}" for name, target in project["entry-points"][GROUP].items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines]) + "\n")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A process's environment in which no workspace is named and nothing is written into the home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIINFRA_", "PYTEST_"))}
    return {**kept, **{name: str(tmp_path / folder) for name, folder in FOLDERS.items()}}


def installed(package: Path, environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who has that package."""
    write_metadata(package, tmp_path / "site")
    return {**environment, "PYTHONPATH": os.pathsep.join(map(str, (package / "src", tmp_path / "site", ROOT)))}


def run(*command: str, cwd: Path, env: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def pytest_of(package: Path, env: dict[str, str]) -> str:
    return run(sys.executable, "-m", "pytest", "-q", "-p", "no:nbval", "-p", "no:cacheprovider", cwd=package, env=env)


def test_the_template_passes_its_own_tests_which_inherit_the_contracts_suite(environment, tmp_path):
    output = pytest_of(TEMPLATE, installed(TEMPLATE, environment, tmp_path))
    passed = re.search(r"(\d+) passed", output)
    assert passed
    assert int(passed[1]) > 10


def test_the_readmes_commands_make_a_package_of_another_name(environment, tmp_path):
    block = re.search(r"```sh\n(.*?)```", (TEMPLATE / "README.md").read_text(), re.DOTALL)
    *commands, install = block[1].strip().splitlines()
    assert install.startswith("pip install")
    script = "\n".join(commands).replace("docs/provider-template", str(TEMPLATE)).replace("..", str(tmp_path))
    run("bash", "-euc", script, cwd=ROOT, env=environment)
    package = tmp_path / "lab-mycloud"
    assert not [path for path in package.rglob("*.*") if path.suffix != ".pyc" and "template" in path.read_text()]
    env = installed(package, environment, tmp_path)
    assert "1 passed" in pytest_of_one(package, env, "test_it_enters_by_its_entry_point")


def contracts() -> set[str]:
    """The classes of all suites that are shipped."""
    found = (ast.parse(path.read_text()) for path in (ROOT / "aiinfra_lab" / "testing").glob("*.py"))
    names = {node.name for tree in found for node in tree.body if isinstance(node, ast.ClassDef)}
    return {name for name in names if name.endswith("Contract")}


@pytest.mark.slow  # every contract's suite in two processes of a stranger's: half a minute
def test_every_suite_runs_without_this_repositorys_tests(environment, tmp_path):
    package, site = tmp_path / "lab-template", tmp_path / "site"
    shutil.copytree(TEMPLATE, package)
    shutil.copy(FAKES / "every_suite.py", package / "tests" / "test_every_suite.py")
    for fake in FAKES.glob("*/*-1.0.dist-info"):
        shutil.copytree(fake.parent, site, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    write_metadata(package, site)
    (site / "aiinfra_lab").symlink_to(ROOT / "aiinfra_lab")
    env = {**environment, "PYTHONPATH": os.pathsep.join(map(str, (package / "src", site)))}
    # Whoever works on this repository has it installed, and with it the package `tests`; a stranger has not.
    (site / "tests.py").write_text("raise ImportError('a stranger does not have the tests')")
    output = pytest_of(package, {**env, "PYTEST_ADDOPTS": "-n 2"})
    assert re.search(r"\d+ passed", output)
    assert "skipped" not in output
    assert {name for name in contracts() if name not in (FAKES / "every_suite.py").read_text()} == set()


def pytest_of_one(package: Path, env: dict[str, str], name: str) -> str:
    return pytest_of(package, {**env, "PYTEST_ADDOPTS": f"-k {name}"})


def test_the_template_type_checks_under_strict(tmp_path):
    env = {**os.environ, "MYPYPATH": str(TEMPLATE / "src")}
    files = [str(path) for folder in ("src", "tests") for path in (TEMPLATE / folder).rglob("*.py")]
    output = run(sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *files, cwd=ROOT, env=env)
    assert output == ""


def test_the_template_names_a_contract_that_exists():
    (entry,) = tomllib.loads((TEMPLATE / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    contract, _, name = entry.rpartition(".")
    assert contract in CONTRACTS
    assert name == "template"


COMMANDS = """
import sys
from aiinfra_lab.cli import main
for line in sys.stdin:
    print(f"[{main(line.split())}]")
"""


@pytest.fixture
def shell(environment, tmp_path, workspace):
    """Runs commands in one process, for which the pretended cloud lasts; their output and exit codes."""
    env = {**installed(TEMPLATE, environment, tmp_path), "AIINFRA_WORKSPACE": str(workspace)}

    def run_lines(*lines: str) -> str:
        command = [sys.executable, "-c", COMMANDS]
        given = "\n".join(lines)
        done = subprocess.run(command, cwd=workspace, env=env, input=given, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    return run_lines


def test_a_shell_starts_lists_prices_and_ends_its_session(shell):
    output = shell("gpu start t --on template --for 1h", "gpu ls", "cost show gpu:t", "lab ls", "gpu stop t")
    assert re.findall(r"\[(\d+)\]", output) == ["0"] * 5
    assert "gpu:t" in output
    assert "template" in output


def test_a_session_whose_cloud_forgot_it_has_ended_and_can_be_started_again(shell):
    shell("gpu start t --on template")
    output = shell("gpu show t", "gpu start t --on template")
    assert "the cloud does not know it" in output
    assert re.findall(r"\[(\d+)\]", output) == ["0", "0"]


def test_code_cannot_be_sent_to_it_and_the_fix_says_where_it_can(shell, workspace):
    (workspace / "rows.csv").write_text("a,b\n1,2\n3,4\n")
    (workspace / "code.py").write_text("run.log(loss=1)")
    output = shell("gpu start t --on template", "train run x --on gpu:t --rows rows.csv --code code.py")
    assert re.findall(r"\[(\d+)\]", output) == ["0", "3"]
    assert "aiinfra gpu start t --on local" in output


def test_lab_check_lists_it_with_the_package_that_brings_it(shell):
    listed = shell("lab check --report --json")
    assert re.search(r'"what": "gpu\.machines on template", "detail": "[^"]*brought by lab-template', listed), listed
