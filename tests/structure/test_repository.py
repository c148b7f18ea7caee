"""What the checkout holds apart from code: declarations that agree, clean notebooks, nothing of one machine."""

import json
import re
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from aiinfra_lab import providers
from aiinfra_lab.errors import Missing
from aiinfra_lab.providers import TABLE

from .source import ROOT, foreign_imports, modules, project, short, tracked

# Hosts that a file may name: this machine, reserved example names, and identifiers that look like addresses.
HOSTS = {"127.0.0.1", "localhost", "0.0.0.0", "www.apache.org", "www.w3.org", "json-schema.org"}
RESERVED = (".example", ".test", ".invalid", ".localhost", "example.com", "example.org")
URL = re.compile(
    r"(?:https?|s3|ssh|ftp)://(?:[^/@\s\"']+@)?([A-Za-z0-9.-]+\.[A-Za-z]{2,}|\d+\.\d+\.\d+\.\d+|localhost)\b"
)
MACHINE = re.compile(r"(?<![\w.])/(?:home|root|Users|work|opt|mnt)/[\w.-]+")
THIS = Path(__file__)


def texts() -> list[tuple[Path, str]]:
    found = []
    for path in tracked():
        raw = path.read_bytes()
        if b"\0" not in raw and path not in (THIS, ROOT / "widgets" / "package-lock.json"):
            found.append((path, raw.decode()))
    return found


def test_no_file_names_a_host_of_somebody_else() -> None:
    named = {(short(path), host) for path, text in texts() for host in URL.findall(text)}
    assert {(path, host) for path, host in named if host not in HOSTS and not host.endswith(RESERVED)} == set()


def test_the_lock_file_names_no_registry() -> None:
    assert '"resolved"' not in (ROOT / "widgets" / "package-lock.json").read_text()


def test_no_file_names_a_path_of_one_machine() -> None:
    assert {(short(path), found) for path, text in texts() for found in MACHINE.findall(text)} == set()


def notebooks() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".ipynb"]


@pytest.mark.parametrize("path", notebooks(), ids=short)
def test_a_notebook_holds_no_outputs(path: Path) -> None:
    for cell in json.loads(path.read_text())["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("path", notebooks(), ids=short)
def test_a_notebooks_parameters_are_one_annotated_name_a_line(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text())["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    assert len(cells) == 1
    lines = "".join(cells[0]["source"]).splitlines()
    wanted = re.compile(r"[a-z_]+: \w[\w\[\], |().-]* = |from [\w.]+ import |#|$")
    assert [line for line in lines if not wanted.match(line)] == []


def test_there_are_notebooks() -> None:
    assert "00-tour.ipynb" in [path.name for path in notebooks()]


def declared() -> set[str]:
    metadata = project()["project"]
    extras = metadata["optional-dependencies"].values()
    return {canonical(name) for names in (metadata["dependencies"], *extras) for name in names}


# Reads the files of every package that is installed.
_distributions = cache(packages_distributions)


def undeclared(imported: set[str]) -> set[str]:
    provided_by = _distributions()
    sources = {name: {canonical(item) for item in provided_by.get(name, [name])} for name in imported}
    return {name for name, packages in sources.items() if not packages & declared()}


def test_what_the_code_imports_is_declared() -> None:
    assert undeclared({name for path in modules() for name in foreign_imports(path)}) == set()


@pytest.mark.parametrize("path", notebooks(), ids=short)
def test_what_a_notebook_imports_is_declared(path: Path) -> None:
    cells = [cell["source"] for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    code = "\n".join(line for source in cells for line in "".join(source).splitlines() if line[:1] not in "%!")
    imported = {name.partition(".")[0] for name in re.findall(r"^\s*(?:import|from) ([\w.]+)", code, re.MULTILINE)}
    assert undeclared(imported - set(sys.stdlib_module_names) - {"aiinfra_lab"}) == set()


def test_every_declared_package_has_an_exact_version_in_the_constraints() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[\w.!+]+", line)] == []
    assert declared() - {canonical(line) for line in lines} == set()


def test_the_versions_agree() -> None:
    import aiinfra_lab

    front = json.loads((ROOT / "widgets" / "package.json").read_text())
    assert project()["project"]["version"] == aiinfra_lab.__version__ == front["version"]
    assert f"[{aiinfra_lab.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def canonical(requirement: str) -> str:
    return re.split(r"[\[<>=!~ ;]", requirement)[0].lower().replace("_", "-").replace(".", "-")


def test_the_providers_table_is_alphabetical() -> None:
    assert list(TABLE) == sorted(TABLE)
    assert [list(rows) for rows in TABLE.values()] == [sorted(rows) for rows in TABLE.values()]


@pytest.mark.parametrize(("noun", "name"), [(noun, name) for noun, rows in TABLE.items() for name in rows])
def test_a_provider_can_be_loaded_or_names_an_extra_that_exists(noun: str, name: str) -> None:
    row = TABLE[noun][name]
    assert not row.extra or row.extra in project()["project"]["optional-dependencies"]
    if providers.importable(row):
        assert callable(providers.load(noun, name))
    else:
        with pytest.raises(Missing, match=row.extra or row.needs):
            providers.load(noun, name)
