"""What the documents for strangers name exists, and the forms and hooks around them do what they claim."""

import re
import shlex
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from .source import ROOT, short, tracked

MAKEFILE = (ROOT / "Makefile").read_text()
ARCHITECTURE = ROOT / "docs" / "architecture.md"
# Decisions are never rewritten, and the changelog tells of what was: they may name what is gone.
DOCUMENTS = [
    path for path in tracked() if path.suffix == ".md" and "decisions" not in path.parts and path.name != "CHANGELOG.md"
]
# A file of a user's project, which this checkout does not have; and what a reader puts a name for.
OF_A_PROJECT, PLACEHOLDER = {"aiinfra.toml"}, "NAME"
QUOTED = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"\.?\w[\w.-]*(/[\w.-]+)*/?")


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def recipe(target: str) -> list[str]:
    """The commands of a target, with the Makefile's own variables put in."""
    block = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert block
    variables = dict(re.findall(r"^(\w+) := (.*)$", MAKEFILE, re.MULTILINE))
    lines = []
    for line in block[1].splitlines():
        if "$(MAKE)" in line:  # other targets, side by side
            lines += [command for word in line.split() if word in targets() for command in recipe(word)]
        else:
            lines.append(re.sub(r"\$\((\w+)\)", lambda match: variables[match[1]], line.strip()))
    return lines


def named_targets(text: str) -> set[str]:
    """What stands behind `make` where a command stands: at the head of a line, or quoted."""
    return set(re.findall(r"(?:^\s*(?:- run: )?|`)make ([a-z][a-z-]*)", text, re.MULTILINE))


def named_paths(text: str) -> set[str]:
    """What is quoted and looks like a file of this checkout, or a folder of it."""
    quoted = {match for match in QUOTED.findall(text) if PATH.fullmatch(match) and PLACEHOLDER not in match}
    return {name for name in quoted if "/" in name or re.search(r"\.(py|md|ya?ml|toml|txt)$", name)}


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("path", DOCUMENTS, ids=short)
def test_every_make_target_that_a_document_names_exists(path: Path) -> None:
    assert named_targets(path.read_text()) - targets() == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=short)
def test_every_path_that_a_document_names_exists(path: Path) -> None:
    names = {file.name for file in tracked()} | OF_A_PROJECT
    found = named_paths(path.read_text())
    here = {name for name in found if any((folder / name).exists() for folder in (ROOT, path.parent))}
    assert {name for name in found - here if "/" in name or name not in names} == set()


def test_the_probes_find_targets_and_paths() -> None:
    text = "```sh\nmake run   # all\n```\n`make test`, `docs/x.md`, `a.py`, `gpu.machines`, `NAME@N`, `text/html x`"
    assert named_targets(text) == {"run", "test"}
    assert named_paths(text) == {"docs/x.md", "a.py"}


def test_the_contributors_page_tells_how_to_add_each_thing() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    for thing in ("provider", "verb", "noun", "kind of record", "setting"):
        assert any(heading.startswith(f"Add a {thing}") for heading in headings)


# ---- hooks, workflow and forms ----


def test_the_hooks_run_what_make_check_runs() -> None:
    (repo,) = loaded(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"
    assert {hook["language"] for hook in repo["hooks"]} == {"system"}
    assert [_command(hook["entry"]) for hook in repo["hooks"]] == recipe("check")


def _command(entry: str) -> str:
    """A hook's command without what finds the environment."""
    first, *rest = shlex.split(entry)
    if first == "bash":
        return rest[1].removeprefix("PATH=$PWD/.venv/bin:$PATH; ")
    return entry.removeprefix(".venv/bin/")


def test_the_workflow_calls_make_targets_and_nothing_else() -> None:
    workflow = loaded(ROOT / ".github" / "workflows" / "ci.yml")
    called = [
        shlex.split(step["run"].replace("${{ matrix.target }}", target))
        for job in workflow["jobs"].values()
        for target in job["strategy"]["matrix"]["target"]
        for step in job["steps"]
        if "run" in step
    ]
    assert [words[0] for words in called] == ["make"] * len(called)
    assert {words[1] for words in called} == {"test", "test-slow"} <= targets()


def test_the_workflow_may_only_read_and_knows_no_secret() -> None:
    path = ROOT / ".github" / "workflows" / "ci.yml"
    workflow = loaded(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in workflow["jobs"].values())
    assert "secrets" not in path.read_text()


@pytest.mark.parametrize("name", ["bug.yml", "idea.yml"])
def test_an_issue_form_is_one(name: str) -> None:
    form = loaded(ROOT / ".github" / "ISSUE_TEMPLATE" / name)
    assert form["name"]
    assert form["description"]
    assert len({field["id"] for field in form["body"]}) == len(form["body"])
    assert all(field["attributes"]["label"] for field in form["body"])


# ---- the architecture ----


def _where_is() -> list[tuple[str, str, str]]:
    rows = ARCHITECTURE.read_text().partition("## Where is")[2].splitlines()
    cells = [tuple(cell.strip() for cell in row.split("|")[1:-1]) for row in rows if row.startswith("| ")]
    return [row for row in cells[1:] if len(row) == 3]


@pytest.mark.parametrize(("question", "where", "names"), _where_is())
def test_what_the_table_points_at_stands_there(question: str, where: str, names: str) -> None:
    (file,) = QUOTED.findall(where)
    text = (ROOT / file).read_text()
    for name in QUOTED.findall(names):
        assert re.search(rf"^ *(async def|def|class) {name}\b|^ *{name}\b.*[:=]", text, re.MULTILINE), (file, name)


def test_the_table_is_long_enough_to_be_of_use() -> None:
    assert len(_where_is()) >= 30


@pytest.mark.parametrize("path", [path for path in tracked() if path.suffix == ".svg"], ids=short)
def test_a_drawing_is_well_formed_and_describes_itself(path: Path) -> None:
    root = ET.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.get("viewBox")
    assert [child.tag.rpartition("}")[2] for child in root][:2] == ["title", "desc"]
    assert "prefers-color-scheme: dark" in path.read_text()


def test_every_picture_that_a_document_shows_exists() -> None:
    shown = {(path, name) for path in DOCUMENTS for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", path.read_text())}
    assert {(short(path), name) for path, name in shown if not (path.parent / name).is_file()} == set()
    assert "pictures/architecture.svg" in {name for _, name in shown}
