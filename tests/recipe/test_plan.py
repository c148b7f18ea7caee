"""What decides whether a step runs, what became of its earlier attempts, and what is said of both."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from aiinfra_lab import jobs
from aiinfra_lab import recipe as verbs
from aiinfra_lab.errors import Failed, NotFound, UsageProblem
from aiinfra_lab.recipe import declaration, filling, history, plan
from aiinfra_lab.recipe.base import Recipe, RecipeStep
from aiinfra_lab.recipe.cache_key import environment
from aiinfra_lab.recipe.plan import PlannedStep, Planner, build_plan
from aiinfra_lab.recipe.record import Output, RunRecord, StepRecord
from aiinfra_lab.recipe.recorded import RecordedRun
from aiinfra_lab.store import open_store
from tests import records

CHAIN = """
[parameters]
n = 1
[steps.a]
notebook = "a.ipynb"
parameters = { n = "${params.n}" }
out = { made = "recipe:made" }
[steps.b]
notebook = "b.ipynb"
in = { made = "a.made" }
[steps.c]
notebook = "c.ipynb"
in = { table = "table.csv" }
[steps.d]
notebook = "d.ipynb"
after = ["a"]
"""


@pytest.fixture
def chain(notebook, recipe, workspace) -> Path:
    """The project of a recipe whose step b takes what a makes, d comes after it, and c takes a file."""
    (workspace / "table.csv").write_text("n\n1\n2\n")
    (workspace / "notebooks").mkdir()
    (workspace / "notebooks" / "helper.py").write_text("def twice(n):\n    return 2 * n\n")
    notebook("a", "n: int = 5\nseed = 0", "# first\nimport helper", "print(helper.twice(n), seed)")
    notebook("b", 'made: str = ""', "%load_ext aiinfra_lab\nprint(made)")
    notebook("c", 'table: str = ""', "print(open(table).read())")
    notebook("d", "", "print(open('../plain.txt').read())")
    (workspace / "plain.txt").write_text("text")
    recipe("chain", CHAIN)
    return workspace


def planned(given: Mapping[str, Any] = {}, **options: bool) -> dict[str, PlannedStep]:
    recipe = filling.filled_recipe(declaration.read("chain"), given)
    return build_plan(Planner({}, history.runs("chain"), **options), recipe.steps)


def actions(**options: Any) -> dict[str, str]:
    return {name: one.action for name, one in planned(**options).items()}


def because(name: str, **options: Any) -> tuple[str, ...]:
    return planned(**options)[name].because


def attempt(given: Mapping[str, Any] = {}, **changes: Any) -> RecordedRun:
    """Write down that the recipe ran as it is now, without running anything. changes: of the record of step a."""
    recipe = filling.filled_recipe(declaration.read("chain"), given)
    planner, steps = Planner({}, ()), []
    for step in recipe.steps:
        now = planner.plan(step).prepared
        made = tuple(Output(name, f"{uri}@1") for name, uri in step.outputs.items())
        one = StepRecord(name=step.name, state="done", key=now.key, parts=dict(now.parts), outputs=made)
        one = replace(one, values=dict(now.values), **(changes if step.name == "a" else {}))
        planner.take(step.name, now.key, one)
        now.environment.keep()
        steps.append(one)
    run(1, recipe="made") if open_store().get(RunRecord, "made@1") is None else None
    return run(len(history.runs("chain")) + 1, *steps)


def run(number: int, *steps: StepRecord, recipe: str = "chain") -> RecordedRun:
    body = RunRecord(state="done", started_at=1.0, ended_at=2.0)
    return records.recorded_run(f"{recipe}@{number}", body, *steps)


ALL, NONE = dict.fromkeys("abcd", "run"), dict.fromkeys("abcd", "skip")


def test_what_never_ran_runs(chain):
    assert (actions(), because("a"), because("b")) == (ALL, ("first time",), ("first time",))


def test_what_did_not_change_is_skipped_for_the_attempt_before(chain):
    done = attempt()
    assert actions() == NONE
    assert planned()["a"].found == done.steps[0]


# ---- cosmetic edits ----


def edited(project: Path, name: str, change: Callable[[Any], Any]) -> None:
    path = project / "notebooks" / f"{name}.ipynb"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=3))


def cell(content: Any, at: int = 1) -> Any:
    return content["cells"][at]


COSMETIC: dict[str, Callable[[Any], Any]] = {
    "a text between cells": lambda nb: nb["cells"].insert(1, {"cell_type": "markdown", "metadata": {}, "source": "x"}),
    "a comment": lambda nb: cell(nb).update(source="# another one, of ../table.csv\nimport helper"),
    "layout": lambda nb: cell(nb, 2).update(source="print(\n    helper.twice(n) , seed\n)\n"),
    "a collapsed cell": lambda nb: cell(nb)["metadata"].update(jupyter={"source_hidden": True}, collapsed=True),
    "outputs": lambda nb: cell(nb).update(outputs=[{"output_type": "stream", "name": "stdout", "text": "x"}]),
    "the kernel's name": lambda nb: nb["metadata"]["kernelspec"].update(display_name="Mine"),
    "a cell's id": lambda nb: cell(nb).update(id="other"),
    "saved again": lambda nb: nb["metadata"].update(language_info={"version": "3.99"}),
    "a default that the recipe overrides": lambda nb: cell(nb, 0).update(source="n: int = 7\nseed = 0"),
    "an execution count": lambda nb: cell(nb).update(execution_count=12),
}


@pytest.mark.parametrize("change", COSMETIC.values(), ids=COSMETIC)
def test_a_cosmetic_edit_reruns_nothing(chain, change):
    attempt()
    edited(chain, "a", change)
    assert actions() == NONE


def test_comments_and_layout_of_a_module_and_of_the_recipe_rerun_nothing(chain, recipe):
    attempt()
    (chain / "notebooks" / "helper.py").write_text("# more\ndef twice( n ): return 2*n")
    recipe("chain", f"title = 'Another'\n{CHAIN} # the end")
    assert actions() == NONE


# ---- real edits ----

# What is edited → the steps that run for it and why the first does; what comes behind a step that runs waits for it.
REAL: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "code": (lambda at: edited(at, "a", lambda nb: cell(nb, 2).update(source="print(n)")), "a", "its code changed"),
    "a default": (
        lambda at: edited(at, "a", lambda nb: cell(nb, 0).update(source="n: int = 5\nseed = 1")), "a", "seed 0 → 1"
    ),
    "a module": (
        lambda at: (at / "notebooks" / "helper.py").write_text("def twice(n):\n    return 3 * n"),
        "a",
        "notebooks/helper.py changed",
    ),
    "an input that is cut in half": (lambda at: (at / "table.csv").write_text("n\n1\n"), "c", "table.csv changed"),
    "a byte of an input": (lambda at: (at / "table.csv").write_text("n\n1\n3\n"), "c", "table.csv changed"),
    "a file that the code names": (lambda at: (at / "plain.txt").write_text("txet"), "d", "plain.txt changed"),
    "a tag": (
        lambda at: edited(at, "c", lambda nb: cell(nb)["metadata"].update(tags=["raises-exception"])),
        "c",
        "its code changed",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "step", "why"), REAL.values(), ids=REAL)
def test_a_real_edit_reruns_its_step_and_says_why(chain, edit, step, why):
    attempt()
    edit(chain)
    behind = {"b": "wait", "d": "wait"} if step == "a" else {}
    assert actions() == {**NONE, step: "run", **behind}
    assert because(step) == (why,)


def test_a_parameter_of_the_recipe_reruns_its_step_and_what_comes_behind_depends_on_what_it_makes(chain):
    attempt()
    assert actions(given={"n": 2}) == {"a": "run", "b": "wait", "c": "skip", "d": "wait"}
    assert because("a", given={"n": 2}) == ("n 1 → 2",)
    assert because("b", given={"n": 2}) == ("a runs",)


@pytest.mark.parametrize(
    "code",
    [
        "!python job.py",
        "import subprocess; subprocess.run(['python', 'job.py'])",
        "!python -m job",
        "!python -m package",
        "import subprocess; subprocess.run(['python', '-m', 'package'])",
        "!python ../tools/other.py",
    ],
)
def test_a_module_of_a_program_that_the_code_starts_reruns_its_step(chain, notebook, code):
    for place in ("notebooks/job.py", "notebooks/package/__main__.py", "tools/other.py"):
        (chain / place).parent.mkdir(exist_ok=True)
        (chain / place).write_text("import used")
    notebook("a", "n: int = 5", code)
    used = chain / ("tools" if "other" in code else "notebooks") / "used.py"
    used.write_text("N = 1")
    attempt()
    used.write_text("N  =  1")
    assert actions() == NONE
    used.write_text("N = 2")
    assert because("a") == (f"{used.relative_to(chain)} changed",)


@pytest.mark.parametrize(
    ("was", "now", "given", "why"),
    [
        ("str = 'x'", "dt.date = dt.date(2026, 1, 1)", "2026-01-02", "date(2026, 1, 2)"),
        ("str = 'x'", "Decimal = Decimal('2')", "1", 'Decimal("1")'),
        ("list[int] = []", "tuple[int, ...] = ()", [1, 2], "(1, 2)"),
        ("list[str] = []", "list[Path] = []", ["a"], '[Path("a")]'),
    ],
)  # fmt: skip
def test_another_type_of_a_parameter_reruns_its_step_and_another_word_for_it_does_not(
    chain, notebook, recipe, was, now, given, why
):
    imports = "import datetime as dt\nfrom decimal import Decimal\nfrom pathlib import Path\n"
    recipe("chain", CHAIN.replace("n = 1", f"n = {json.dumps(given)}"))
    notebook("a", f"{imports}n: {was}", "print(repr(n))")
    attempt()
    notebook("a", f"{imports}n: None | {was}", "print(repr(n))")
    assert actions() == NONE
    notebook("a", f"{imports}n: {now}", "print(repr(n))")
    (reason,) = because("a")
    assert reason.endswith(f"→ {why}")


def test_what_comes_behind_runs_in_any_case_when_it_changed_itself(chain, notebook):
    attempt()
    notebook("b", 'made: str = ""', "print('other', made)")
    assert actions(given={"n": 2}) == {"a": "run", "b": "run", "c": "skip", "d": "wait"}
    assert because("b", given={"n": 2}) == ("its code changed",)


def test_an_output_under_another_name_reruns_its_step(chain, recipe):
    attempt()
    recipe("chain", CHAIN.replace("recipe:made", "recipe:other"))
    assert because("a") == ("what it makes is called otherwise",)


@pytest.mark.parametrize(
    ("part", "was", "why"),
    [
        ("accelerator", "NVIDIA H100", "accelerator NVIDIA H100 → cpu"),
        ("engine", "other", "engine other → local"),
        ("python", "3.10.1", "python 3.10.1 → "),
    ],
)
def test_another_machine_engine_or_interpreter_reruns_everything(chain, part, was, why):
    done = attempt()
    steps = [replace(step, parts={**step.parts, part: was}, key="other") for step in done.steps]
    run(2, *steps)
    done.with_body(replace(done.body, order=())).commit(done)
    assert done.by_step
    assert set(actions().values()) == {"run"}
    assert all(one.because[0].startswith(why) for one in planned().values())


def test_a_package_of_another_version_reruns_everything_and_is_named(chain, monkeypatch):
    attempt()
    own = environment.own_packages()
    monkeypatch.setattr(environment, "own_packages", lambda: tuple(sorted({*own[1:], "torch 9.9"} - {own[-1]})))
    assert actions() == ALL
    assert because("a")[0].startswith("packages changed: ")
    assert "torch" in because("a")[0]


def test_an_attempt_of_an_earlier_version_of_the_toolkit_says_so(chain):
    attempt(parts={}, key="old")
    assert because("a") == ("an earlier version of the toolkit ran it last",)


def test_force_runs_every_step(chain):
    attempt()
    assert (actions(force=True), because("a", force=True)) == (ALL, ("it was asked for by --force",))


def test_a_file_that_is_gone_is_said_so(chain):
    recipe = filling.filled_recipe(declaration.read("chain"), {})
    (chain / "table.csv").unlink()
    with pytest.raises(NotFound, match=r"table\.csv"):
        build_plan(Planner({}, ()), recipe.steps)


# ---- earlier attempts ----


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("failed", "it had failed in recipe:chain@2"),
        ("stopped", "it had been stopped in recipe:chain@2"),
        ("lost", "it had been lost in recipe:chain@2"),
    ],
)
def test_nothing_older_stands_in_for_an_attempt_that_did_not_succeed(chain, state, why):
    attempt()
    attempt(state=state)
    assert (actions()["a"], because("a")) == ("run", (why,))


def test_a_run_in_which_the_step_did_not_begin_is_passed_over(chain):
    attempt()
    run(2, StepRecord(name="a", state="not run"))
    assert actions() == NONE


def test_an_older_attempt_stands_in_for_a_step_that_is_again_as_it_was_then(chain):
    attempt(given={"n": 1})
    attempt(given={"n": 2})
    assert actions(given={"n": 1}) == actions(given={"n": 2}) == NONE


def test_an_attempt_whose_output_is_gone_does_not_stand_in(chain):
    attempt(outputs=(Output("made", "recipe:made@9"),))
    assert because("a") == ("recipe:made@9 is not there any more",)


def test_an_attempt_during_which_something_changed_stands_for_nothing(chain):
    attempt(changed=("table.csv",))
    assert because("a") == ("table.csv changed while it ran",)


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a" * 5000 + ".csv", "no\0path.csv", "../.aiinfra/store.sqlite", "/etc/hostname"]
)
def test_a_text_that_names_no_file_of_the_project_counts_as_a_text(chain, notebook, text):
    notebook("b", f"made: str = ''\npath: str = {text!r}")
    assert planned()["b"].prepared.named == {}


# ---- the verb ----


def test_a_dry_run_says_what_would_run_and_leaves_no_trace(chain):
    attempt()
    before = {path: path.stat().st_mtime_ns for path in chain.rglob("*") if path.is_file() and "store" not in path.name}
    found = verbs.run("chain", param={"n": 2}, dry=True)
    assert {name: step["action"] for name, step in found.steps.items()} == actions(given={"n": 2})
    assert len(history.runs("chain")) == 1
    assert {path: path.stat().st_mtime_ns for path in before} == before
    card = found.card()
    assert card.lead == "**1 of 4 steps would run.** 2 steps may: that depends on what those make."
    assert card.next == ["Next: `%recipe run chain -p n=2`"]
    rows = [(*row[:2], row[3]) for row in card.parts[-1].rows]
    assert rows[0] == ("a", "run", "n 1 → 2")
    assert rows[2] == ("c", "be skipped", "same code, parameters and inputs")


def test_a_dry_run_states_what_goes_on_and_takes_what_vanished_for_lost(chain):
    attempt()
    there = attempt(state="running")
    going = there.record.of(replace(there.body, state="running", ended_at=None))
    with jobs.here(going.uri, going):
        found = verbs.run("chain", dry=True)
    assert found.notes == ("recipe:chain@2 is running: what it gets done of this by its end is skipped.",)
    assert (found.steps["a"]["action"], found.steps["a"]["because"]) == ("run", ("it runs in recipe:chain@2",))
    before = open_store().changed()
    found = verbs.run("chain", dry=True)
    assert (found.notes, found.steps["a"]["because"]) == ((), ("it had been lost in recipe:chain@2",))
    assert (history.runs("chain")[0].body.state, open_store().changed()) == ("running", before)


def test_a_dry_run_of_what_did_not_change_says_so(chain):
    attempt()
    assert verbs.run("chain", dry=True).card().lead == "**Nothing changed**: 4 steps would be skipped."


@pytest.mark.parametrize(
    ("on_failure", "planned_then"),
    [
        ("skip", {"a": "fail", "b": "block", "c": "skip", "d": "block"}),
        ("stop", {"a": "fail", "b": "block", "c": "block", "d": "block"}),
    ],
)
def test_a_step_fails_whose_output_is_not_as_expected_and_what_needs_it_is_blocked(
    chain, recipe, on_failure, planned_then, monkeypatch
):
    attempt()
    monkeypatch.setattr(RunRecord, "metrics", {"auc": 0.5}, raising=False)
    recipe(
        "chain", CHAIN.replace("[steps.b]", f'expect = {{ made = "auc > 1" }}\non_failure = "{on_failure}"\n[steps.b]')
    )
    assert actions() == planned_then


def test_what_a_step_made_is_the_newest_of_what_it_names(workspace):
    run(1, recipe="made")
    run(7, recipe="made")
    step = RecipeStep("a", Path("a.ipynb"), outputs={"made": "recipe:made"})
    assert plan.made(step, "recipe:r@1") == (Output("made", "recipe:made@7"),)


def test_a_step_that_made_nothing_is_told_where_to_correct_it(workspace):
    step = RecipeStep("a", Path("a.ipynb"), outputs={"made": "recipe:made"})
    with pytest.raises(Failed) as problem:
        plan.made(step, "recipe:r@1")
    assert (problem.value.what, problem.value.fix) == (
        "a ran, but made no recipe:made",
        "correct a.ipynb, or `out` of the step",
    )


def test_a_part_of_a_recipe_has_only_the_steps_that_lead_to_what_is_wanted():
    def made(name: str, *after: str) -> RecipeStep:
        return RecipeStep(name, Path(f"{name}.ipynb"), outputs={"x": f"data:{name}"}, after=after)

    whole = Recipe("r", "R", Path("r.toml"), {}, (made("a"), made("b"), made("c", "a"), made("d", "c")))
    assert [step.name for step in whole.leading_to("data:c").steps] == ["a", "c"]
    assert [step.name for step in whole.leading_to("data:d").steps] == ["a", "c", "d"]
    assert whole.leading_to("data:nothing") is None


def test_what_steps_have_made_already_is_taken_and_they_do_not_run():
    def made(name: str, *takes: str, after: tuple[str, ...] = ()) -> RecipeStep:
        inputs = {each: f"{each}.x" for each in takes}
        return RecipeStep(name, Path(f"{name}.ipynb"), inputs=inputs, outputs={"x": f"data:{name}"}, after=after)

    whole = Recipe("r", "R", Path("r.toml"), {}, (made("a"), made("b", "a"), made("c", "a", "b", after=("b",))))
    assert whole.from_what_is_there({}) == whole
    (last,) = whole.from_what_is_there({"data:a": "data:a@2", "data:b": "data:b@7"}).steps
    assert (last.inputs, last.data, last.after) == ({}, {"a": "data:a@2", "b": "data:b@7"}, ())
    b, c = whole.from_what_is_there({"data:a": "data:a@2", "data:c": "data:c@1"}).steps
    assert (b.inputs, b.data) == ({}, {"a": "data:a@2"})
    assert (c.inputs, c.data, c.after) == ({"b": "b.x"}, {"a": "data:a@2"}, ("b",))
    a, c = whole.from_what_is_there({"data:b": "data:b@7"}).steps
    assert (a.name, c.inputs, c.data) == ("a", {"a": "a.x"}, {"b": "data:b@7"})


def test_what_a_plan_was_asked_with_stands_in_the_command_that_runs_it(notebook, recipe):
    from aiinfra_lab import recipe as verbs

    notebook("a", "")
    recipe("r", '[steps.a]\nnotebook = "a.ipynb"\n')
    plan = verbs.run("r", dry=True, force=True, only="a", keep=False)
    assert plan.card().next == ["Next: `%recipe run r --force --only a --no-keep`"]


def test_a_step_whose_cache_is_never_runs_each_time_and_what_it_makes_again_is_no_reason(notebook, recipe):
    notebook("a", "", "import pandas as pd", "from aiinfra_lab import data; data.add('t', pd.DataFrame({'x': [1]}))")
    notebook("b", "t: str = ''", "print(t)")
    steps = '[steps.a]\nnotebook = "a.ipynb"\ncache = "never"\nout = { t = "data:t" }\n'
    recipe("r", f'{steps}[steps.b]\nnotebook = "b.ipynb"\nin = {{ t = "a.t" }}\n')
    verbs.run("r")
    done = verbs.run("r")
    assert {name: step["state"] for name, step in done.steps.items()} == {"a": "done", "b": "skipped"}
    assert done.steps["a"]["because"] == ("its cache is never",)
    recipe("r", steps.replace("never", "always"))
    with pytest.raises(UsageProblem, match="cache cannot be 'always'") as problem:
        declaration.read("r")
    assert problem.value.fix == 'write cache = "never", or leave it out'
