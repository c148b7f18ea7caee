"""What holds for every export, whatever a recipe, its steps and its parameters are called."""

import ast
import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import jinja2
import pytest
import yaml

from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.recipe.base import Recipe, RecipeStep
from aiinfra_lab.recipe.exports import FORMS, ExportFacts
from aiinfra_lab.recipe.exports.cron import CronLine
from aiinfra_lab.recipe.exports.written import is_untouched, sealed, slug

PROJECT = Path("/srv/project")
Words = list[list[str]]
Files = Mapping[str, str]


def recipe_of(name: str, title: str, *steps: RecipeStep) -> Recipe:
    return Recipe(name, title, PROJECT / "recipes" / "r.toml", {"months": 1}, steps)


def step_of(name: str, *after: str, **changed: object) -> RecipeStep:
    return replace(RecipeStep(name, PROJECT / "notebooks" / "n.ipynb", after=after), **changed)


def facts_of(**given: str) -> ExportFacts:
    refresh = "aiinfra recipe export r --to x"
    line = CronLine.parse("0 3 * * *")
    uses = {"data": ("months",)}
    return ExportFacts(refresh, PROJECT, ("uv sync --locked",), given, line, "registry.example.com/r:1", uses=uses)


PLAIN = recipe_of(
    "flights",
    "Flights",
    step_of(
        "data",
        outputs={"flights": "data:flights"},
        timeout_s=1800,
        retries=1,
        parameters={"months": "${params.months}"},
    ),
    step_of("train", inputs={"flights": "data.flights"}, outputs={"model": "models:delay"}),
    step_of("deploy", inputs={"model": "train.model"}, outputs={"endpoint": "deploy:delay"}),
    step_of("drift", inputs={"endpoint": "deploy.endpoint"}),
)
EVIL = 'it\'s "x" ${{ secrets.A }} {{ b }} {% c %} ${d} $(id) `id` %e \\ ü #f: [g]'
BROKEN = EVIL + "\n- run: id\n\"\"\"\n'''\n"
EVIL_RECIPE = recipe_of(EVIL, BROKEN, step_of(EVIL, outputs={"made": "data:made"}), step_of("b", EVIL))

# What has conditions: steps that do not need each other, one that stops all, and moments of the run.
WIDE = recipe_of(
    "wide",
    "Wide",
    step_of("a", on_failure="stop"),
    step_of("b"),
    step_of("c", "b"),
    step_of("d", "b", outputs={"model": "models:m"}),
    step_of("e", outputs={"one": "deploy:one"}),
    step_of("f", "d", outputs={"other": "deploy:other"}),
    step_of("g", "f"),
)


def facts_of_moments() -> ExportFacts:
    due = {"day": f"{EVIL} ${{run.date}}", "n": "7"}
    return replace(facts_of(), dated={"day": "${run.date}", "at": "${run.time}"}, due=due, zone="Europe/Berlin")


def of_github(files: Files) -> Words:
    jobs = yaml.safe_load(next(iter(files.values())))["jobs"].values()
    lines = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    assert not any("${{" in line for line in lines)
    return [shlex.split(line) for line in lines]


def of_gitlab(files: Files) -> Words:
    jobs = yaml.safe_load(next(iter(files.values()))).values()
    return [shlex.split(line) for job in jobs if isinstance(job, dict) for line in job.get("script", [])]


def of_airflow(files: Files) -> Words:
    words = [each for each in ast.walk(ast.parse(next(iter(files.values())))) if isinstance(each, ast.keyword)]
    commands = [ast.literal_eval(word.value.right) for word in words if word.arg == "bash_command"]
    # What ends so is the name of a file to Airflow.
    assert not any(command.endswith((".sh", ".bash")) for command in commands)
    return [shlex.split(jinja2.Template(command).render()) for command in commands]


def of_argo(files: Files) -> Words:
    document = yaml.safe_load(next(iter(files.values())))
    spec = document["spec"].get("workflowSpec", document["spec"])
    pods = [template["container"] for template in spec["templates"] if "container" in template]
    return [[word.replace("{{='{' + '{'}}", "{{") for word in (*pod["command"], *pod["args"])] for pod in pods]


def of_dvc(files: Files) -> Words:
    stages = yaml.safe_load(next(iter(files.values())))["stages"].values()
    return [shlex.split(line.replace("\\${", "${")) for stage in stages for line in stage["cmd"]]


def of_cron(files: Files) -> Words:
    line = next(iter(files.values())).splitlines()[-1].replace("\\%", "%")
    words = shlex.split(line)
    return [words[words.index("aiinfra") :]]


def of_systemd(files: Files) -> Words:
    line = re.search(r"^ExecStart=/usr/bin/env (.*)$", next(iter(files.values())), re.MULTILINE)
    assert line
    words = re.findall(r'"(?:[^"\\]|\\.)*"|\S+', line[1])
    plain = [ast.literal_eval(word) if word.startswith('"') else word for word in words]
    return [[word.replace("%%", "%").replace("$$", "$") for word in plain]]


def of_container(files: Files) -> Words:
    return [json.loads(next(iter(files.values())).rpartition("ENTRYPOINT ")[2])]


READ: Mapping[str, Callable[[Files], Words]] = {
    "airflow": of_airflow,
    "argo": of_argo,
    "container": of_container,
    "cron": of_cron,
    "dvc": of_dvc,
    "github": of_github,
    "gitlab": of_gitlab,
    "systemd": of_systemd,
}
WHOLE = ("container", "cron", "systemd")


def wanted(form: str, recipe: Recipe, given: Sequence[str]) -> Words:
    head = ["aiinfra", "recipe", "run", recipe.name]
    return [[*head, *given]] if form in WHOLE else [[*head, "--only", step.name, *given] for step in recipe.steps]


def runs_in(form: str, recipe: Recipe, **given: str) -> Words:
    found = READ[form](FORMS[form].render(recipe, facts_of(**given)).files)
    return [words for words in found if words[:3] == ["aiinfra", "recipe", "run"]]


@pytest.mark.parametrize("form", FORMS)
class TestExport:
    def test_the_same_recipe_gives_the_same_files_with_lines_as_everywhere(self, form: str) -> None:
        one, other = (FORMS[form].render(PLAIN, facts_of(months="3")) for _ in range(2))
        assert one == other
        assert one.main == next(iter(one.files))
        for text in one.files.values():
            assert "\r" not in text
            assert text.endswith("\n")
            assert not text.endswith("\n\n")
            assert not re.search(r"[ \t]$", text, re.MULTILINE)

    def test_its_files_say_how_they_are_written_anew_and_show_an_edit(self, form: str) -> None:
        for text in FORMS[form].render(PLAIN, facts_of()).files.values():
            assert "aiinfra recipe export r --to x" in text
            assert is_untouched(text)
            assert not is_untouched(text + "# mine\n")
            assert not is_untouched(text.replace("recipe", "recipes", 1))

    def test_its_commands_are_the_recipes_own(self, form: str) -> None:
        assert runs_in(form, PLAIN, months="3") == wanted(form, PLAIN, ["-p", "months=3"])

    @pytest.mark.parametrize("value", [EVIL, BROKEN, "", "a.sh", "b.bash"])
    def test_no_name_or_value_becomes_anything_else(self, form: str, value: str) -> None:
        if form == "cron" and "\n" in value:
            with pytest.raises(UsageProblem, match="cannot hold a line break"):
                FORMS[form].render(EVIL_RECIPE, facts_of(x=value))
        else:
            assert runs_in(form, EVIL_RECIPE, x=value) == wanted(form, EVIL_RECIPE, ["-p", f"x={value}"])

    def test_a_hostile_title_adds_no_line(self, form: str) -> None:
        hostile = replace(PLAIN, title=BROKEN)
        plain, other = (FORMS[form].render(each, facts_of()).files for each in (PLAIN, hostile))
        lines = [[len(text.splitlines()) for text in files.values()] for files in (plain, other)]
        assert lines[0] == lines[1]

    def test_its_files_lie_below_the_project_in_plain_names(self, form: str) -> None:
        for name in FORMS[form].render(EVIL_RECIPE, facts_of()).files:
            assert re.fullmatch(r"[A-Za-z0-9._@/-]+", name)
            assert ".." not in name


@pytest.mark.parametrize("form", ["github", "gitlab"])
def test_the_recipe_is_checked_with_what_its_runs_are_given(form):
    facts = replace(facts_of(x=EVIL), due={"day": "${run.date}"})
    lines = READ[form](FORMS[form].render(EVIL_RECIPE, facts).files)
    [check] = [words for words in lines if "check" in words]
    assert check[check.index("aiinfra") :] == ["aiinfra", "recipe", "check", EVIL, "-p", f"x={EVIL}", "$@"]
    assert check[:9] == ["if", "[", *check[2:3], "=", "schedule", "];", "then", "set", "--"]
    assert "-p" in check[9:10]


def test_every_form_is_read_by_the_suite() -> None:
    assert READ.keys() == FORMS.keys()
    assert list(FORMS) == sorted(FORMS)


@pytest.mark.parametrize(
    "names", [("a b", "a-b"), ("A", "a"), ("a_b", "a-b"), ("a.b", "a_b!"), ("1", "r-1"), ("ä", "ö"), ("a--b", "a-b")]
)
def test_two_names_do_not_become_one(names: tuple[str, str]) -> None:
    one, other = map(slug, names)
    assert one != other
    assert all(re.fullmatch(r"[a-z][a-z0-9-]*", each) for each in (one, other))


def test_a_plain_name_stays_as_it_is() -> None:
    assert [slug(name) for name in ("flight-delays", "train", "a1")] == ["flight-delays", "train", "a1"]


def test_a_head_is_of_lines_that_are_comments() -> None:
    text = sealed(EVIL_RECIPE, facts_of(), "For tests", "x\n")
    assert all(line.startswith("#") for line in text.splitlines()[:-1])


def test_a_stage_of_a_long_chain_depends_on_the_step_before_it_alone():
    steps = [step_of("s0"), *(step_of(f"s{at}", f"s{at - 1}") for at in range(1, 60))]
    chain = recipe_of("chain", "Chain", *steps)
    stages = yaml.safe_load(next(iter(FORMS["dvc"].render(chain, facts_of()).files.values())))["stages"]
    assert {len(stage["deps"]) for stage in stages.values()} == {1, 2}
    assert "dvc/chain/made/s58" in stages["s59"]["deps"]
    # It says when that ran: what comes after it runs for each of its runs.
    assert stages["s58"]["cmd"][-1] == "date +%s > dvc/chain/made/s58"
