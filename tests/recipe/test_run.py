import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from aiinfra_lab import jobs, modes, nouns, recipe
from aiinfra_lab import recipe as verbs
from aiinfra_lab.data.record import DataVersion
from aiinfra_lab.errors import Conflict, Failed, NotFound, StoppedEarly, UsageProblem
from aiinfra_lab.recipe import history
from aiinfra_lab.recipe.local import LocalExecutor
from aiinfra_lab.resolve import resolve
from aiinfra_lab.store import open_store
from tests.cards import one_line
from tests.conftest import PATIENCE_S, until

from .conftest import TWO

FAKES = Path(__file__).parents[1] / "fakes"

# A version of data as its noun writes it, without the seconds that adding a real one takes. Its content is the word.
MAKE = """
from aiinfra_lab.data.record import DataVersion
from aiinfra_lab.store import Event, add_version, next_version, open_store
store = open_store()
content = globals().get("word", "")
fields = {"key": "k", "digest": content, "rows": None, "files": 0, "size_bytes": 0, "source": "", "only": ""}
version = next_version(store, DataVersion, "made")
body = DataVersion(name="made", version=version, described=(), added_at=1.0, **fields)
add_version(store, "made", body, lambda uri: Event("data add", uri, outputs=(uri,)))
"""

UNSORTED = """
[steps.make]
notebook = "make.ipynb"
out = { zeroth = "data:made", first = "data:made" }
[steps.check]
notebook = "use.ipynb"
in = { made = "make.zeroth" }
[steps.again]
notebook = "use.ipynb"
in = { made = "make.first" }
"""


@pytest.fixture
def two(notebook, recipe) -> None:
    notebook("make", "word: str = ''", MAKE)
    notebook("use", "made: str = 'data:made@9'", "print('used', made)")
    recipe("two", TWO)


def states(run: recipe.RecipeRun) -> dict[str, str]:
    return {name: step["state"] for name, step in run.steps.items()}


def test_the_second_run_skips_what_did_not_change(two):
    first = recipe.run("two")
    again = recipe.run("two")
    assert (first.state, states(first)) == ("done", {"make": "done", "use": "done"})
    assert states(again) == {"make": "skipped", "use": "skipped"}
    assert again.outputs == first.outputs == {"make.made": "data:made@1"}


def test_a_step_gets_what_the_step_before_it_made(two):
    run = recipe.run("two")
    archive = nbformat.read(run.steps["use"]["archive"], as_version=4)
    assert "used data:made@1" in archive.cells[-1].outputs[0].text


def test_a_step_is_credited_with_no_version_that_is_there_already(two, notebook):
    recipe.run("two")
    notebook("make", "word: str = ''", "print(word)")
    done = recipe.run("two", report=True)
    assert states(done) == {"make": "failed", "use": "blocked"}
    assert "make ran, but made no data:made" in done.steps["make"]["error"]


def test_a_step_is_credited_with_what_it_made_and_not_with_what_somebody_else_did_meanwhile(two, notebook):
    others = "import os; context = os.environ.pop('AIINFRA_CONTEXT')\n"
    notebook("make", "word: str = ''", MAKE, f"{others}{MAKE}\nos.environ['AIINFRA_CONTEXT'] = context", "print(1)")
    assert recipe.run("two").outputs == {"make.made": "data:made@1"}
    assert resolve("data:made", DataVersion).version == 2


def test_what_a_step_makes_once_more_as_it_was_it_has_made(notebook, recipe, workspace):
    code = "import pandas as pd; from aiinfra_lab import data; data.add('made', pd.DataFrame({'n': [1]}))"
    notebook("make", "word: str = ''", code)
    notebook("use", "made: str = ''")
    recipe("two", TWO)
    for _ in range(2):
        assert verbs.run("two", force=True).outputs == {"make.made": "data:made@1"}


def test_what_another_recipe_made_in_a_step_the_step_has_made_even_if_nothing_ran_there(two, notebook, recipe):
    notebook("outer", "", "from aiinfra_lab import recipe; recipe.run('two')")
    recipe("outer", '[steps.a]\nnotebook = "outer.ipynb"\nout = { made = "data:made" }')
    for _ in range(2):
        assert verbs.run("outer", force=True).outputs == {"a.made": "data:made@1"}


def test_a_changed_parameter_runs_its_step_and_the_dependents(two):
    recipe.run("two")
    assert states(recipe.run("two", param={"word": "other"})) == {"make": "done", "use": "done"}


def test_a_run_looks_as_far_back_as_its_plan_did(two, monkeypatch):
    monkeypatch.setattr(history, "RECENT", 2)
    for word in ("hello", "other"):
        recipe.run("two", param={"word": word})
    planned = recipe.run("two", param={"word": "hello"}, dry=True)
    assert {step["action"] for step in planned.steps.values()} == {"skip"}
    assert set(states(recipe.run("two", param={"word": "hello"})).values()) == {"skipped"}


def test_a_changed_cell_runs_its_step_only_and_a_comment_cell_none(two, notebook):
    recipe.run("two")
    notebook("use", "made: str = 'data:made@9'", "print('using', made)")
    assert states(recipe.run("two")) == {"make": "skipped", "use": "done"}


def test_an_output_that_was_removed_is_made_again_and_the_same_reruns_nothing(two):
    recipe.run("two")
    open_store().commit([resolve("data:made@1", DataVersion).with_(removed_at=1.0)])
    again = recipe.run("two")
    assert states(again) == {"make": "done", "use": "skipped"}
    assert (again.outputs["make.made"], again.steps["make"]["because"]) == (
        "data:made@2",
        ("data:made@1 is not there any more",),
    )


def test_a_step_that_makes_the_same_again_reruns_nothing_behind_it(two, notebook):
    recipe.run("two")
    notebook("make", "word: str = ''", MAKE, "print('something new')")
    assert states(recipe.run("two")) == {"make": "done", "use": "skipped"}
    notebook("make", "word: str = ''", MAKE.replace('"digest": content', '"digest": "!" + content'))
    again = recipe.run("two")
    assert (states(again), again.steps["use"]["because"]) == (
        {"make": "done", "use": "done"},
        ("data:made@2 → @3",),
    )


def test_a_failed_step_stops_its_dependents_and_says_where(two, notebook):
    notebook("make", "word: str = ''", "1 / 0", "print('never')")
    with pytest.raises(Failed, match=r"step make failed in cell 3: ZeroDivisionError") as problem:
        recipe.run("two", param={"word": "good day"})
    assert "correct the notebook, then `%recipe run two -p 'word=good day'`" in problem.value.fix
    assert states(recipe.show("two@1")) == {"make": "failed", "use": "blocked"}


def test_a_recipe_whose_newest_run_failed_says_where_and_why(two, notebook):
    notebook("make", "word: str = ''", "1 / 0")
    with pytest.raises(Failed):
        recipe.run("two")
    shown = recipe.show("two")
    card = shown.card()
    assert (shown.state, shown.newest) == ("failed", "recipe:two@1")
    assert "**Step make failed in cell 3:** ZeroDivisionError" in card.lead
    assert "`%recipe show two@1`" in card.next
    assert [item.newest for item in recipe.ls()] == ["recipe:two@1"]


def test_below_its_card_the_error_of_a_run_says_only_where_it_failed_and_the_fix(two, notebook, monkeypatch):
    notebook("make", "word: str = ''", "1 / 0")
    done = recipe.run("two", report=True)
    monkeypatch.setattr(recipe, "in_notebook", lambda: True)
    problem = recipe._failure(done, "`%recipe run two`")
    assert problem.what == "recipe:two@1: step make failed in cell 3"
    assert "correct the notebook, then `%recipe run two`" in problem.fix
    assert type(recipe._failure(replace(done, state="stopped"), "`%recipe run two`")) is StoppedEarly


def test_an_error_of_ours_in_a_step_brings_its_own_fix(two, notebook):
    notebook("make", "word: str = ''", "from aiinfra_lab import data\ndata.get('nothing')")
    with pytest.raises(Failed, match="step make failed in cell 3: NotFound: there is no data:nothing") as problem:
        recipe.run("two")
    assert str(problem.value).count("fix:") == 1
    assert "`%data add nothing PATH`" in problem.value.fix


def test_after_mending_only_what_failed_runs(two, notebook):
    notebook("use", "made: str = 'data:made@9'", "1 / 0")
    recipe.run("two", report=True)
    notebook("use", "made: str = 'data:made@9'", "print(1)")
    assert states(recipe.run("two")) == {"make": "skipped", "use": "done"}


def cell_states(archive: str) -> list[str]:
    cells = json.loads(Path(archive).read_text())["cells"]
    return [cell["metadata"]["papermill"]["status"] for cell in cells if "papermill" in cell["metadata"]]


def test_the_archive_says_which_cells_never_ran(two, notebook):
    notebook("make", "word: str = ''", "1 / 0", "print('never')")
    run = recipe.run("two", report=True)
    assert cell_states(run.steps["make"]["archive"])[-2:] == ["failed", "pending"]


def test_a_kernel_that_dies_is_told_as_it_was(two, notebook):
    notebook("make", "word: str = ''", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "print('never')")
    run = recipe.run("two", report=True)
    assert (run.state, run.steps["make"]["state"]) == ("killed", "killed")
    assert "DeadKernelError" in run.steps["make"]["error"]
    assert "**Step make was killed in cell 3:** DeadKernelError" in run.card().lead
    assert cell_states(run.steps["make"]["archive"])[-2:] == ["failed", "pending"]


def test_a_step_that_takes_too_long_ends_as_such(notebook, recipe):
    notebook("slow", "x: int = 1", "import time; time.sleep(600)", "print('never')")
    recipe("one", '[steps.slow]\nnotebook = "slow.ipynb"\ntimeout = "2s"\n')
    run = verbs.run("one", report=True)
    assert (run.state, states(run), jobs.find("recipe:one").state) == ("timeout", {"slow": "timeout"}, "failed")
    assert cell_states(run.steps["slow"]["archive"])[-2:] == ["failed", "pending"]
    with pytest.raises(Failed, match=r"step slow timed out.*it may take 2.0 s"):
        verbs.run("one")
    assert verbs.run("one", dry=True).steps["slow"]["because"] == ("it had timed out in recipe:one@2",)


TWICE = """
from pathlib import Path
if Path("broken").exists():
    1 / 0
"""


def test_after_an_attempt_that_failed_nothing_older_stands_in_for_it(two, notebook, workspace):
    notebook("make", "word: str = ''", MAKE, TWICE)
    recipe.run("two")
    (workspace / "notebooks" / "broken").touch()
    recipe.run("two", force=True, report=True)
    (workspace / "notebooks" / "broken").unlink()
    assert states(recipe.run("two")) == {"make": "done", "use": "skipped"}
    assert states(recipe.run("two")) == {"make": "skipped", "use": "skipped"}


def test_the_job_of_a_run_ends_as_the_run_did(two, notebook, monkeypatch):
    notebook("make", "word: str = ''", "1 / 0")
    recipe.run("two", report=True)
    assert jobs.find("recipe:two").state == "failed"
    monkeypatch.setattr(LocalExecutor, "submit", interrupt)
    recipe.run("two", report=True)
    assert jobs.find("recipe:two").state == "stopped"


def test_executed_notebooks_are_named_by_the_run_that_executed_them(two):
    ran, again = recipe.run("two"), recipe.run("two")
    assert ("executed notebooks", ran.archive) in ran.card().facts
    assert again.archive == ""
    assert ("executed notebooks", ran.archive) in again.card().facts
    assert "recipe:two@1" in one_line(again.card())


def test_an_output_that_was_not_made_is_a_failure(two, notebook):
    notebook("make", "word: str = ''", "print('nothing made')")
    assert "made no data:made" in recipe.run("two", report=True).steps["make"]["error"]


def test_an_unknown_parameter_is_refused_before_anything_runs(two):
    with pytest.raises(UsageProblem, match="did you mean word"):
        recipe.run("two", param={"wrod": "x"})
    assert recipe.log("two").items == ()


SMALL = """
[small]
word = "little"
"""


def test_what_is_there_is_handed_over_and_nothing_runs(two):
    recipe.run("two")
    made = recipe.get("two", "data:made")
    assert (str(made), made.note, len(recipe.log("two").items)) == ("data:made@1", "", 1)


def test_what_is_missing_is_made_small_by_the_steps_it_takes(two, workspace):
    path = workspace / "recipes" / "two.toml"
    path.write_text(TWO + SMALL)
    made = recipe.get("two", "data:made")
    assert str(made) == "data:made@1"
    assert "word=little" in made.note
    assert states(recipe.show("two@1")) == {"make": "done"}


def test_what_no_step_makes_is_not_found(two):
    with pytest.raises(NotFound, match="makes: data:made"):
        recipe.get("two", "data:other")


SERVE = f"""
import sys
sys.path.insert(0, {str(FAKES)!r})
import living_noun
living_noun.start("web")
"""
SERVICE = """
[steps.serve]
notebook = "serve.ipynb"
out = { web = "service:web" }
[steps.use]
notebook = "use.ipynb"
in = { made = "serve.web" }
"""


@pytest.fixture
def service(notebook, recipe, monkeypatch) -> None:
    monkeypatch.syspath_prepend(FAKES)
    monkeypatch.setitem(nouns.TABLE, "service", "living_noun")
    notebook("serve", "", SERVE)
    notebook("use", "made: str = ''", "print(made)")
    recipe("service", SERVICE)


def test_what_lives_is_left_running_unless_asked_otherwise(service):
    recipe.run("service")
    assert jobs.find("service:web").live
    assert states(recipe.run("service")) == {"serve": "skipped", "use": "skipped"}


def test_without_keep_nothing_lives_afterwards_and_nothing_runs_twice(service):
    recipe.run("service", keep=False)
    assert not jobs.find("service:web").live
    assert states(recipe.run("service", keep=False)) == {"serve": "skipped", "use": "skipped"}


def test_what_lives_is_made_again_once_it_was_given_something_else(service, notebook, workspace):
    def run_with(word: str) -> dict[str, str]:
        notebook("serve", "", SERVE, f"print({word!r})")
        return states(recipe.run("service"))

    assert [run_with(word)["serve"] for word in ("a", "b", "a", "a")] == ["done", "done", "done", "skipped"]


def test_what_must_live_again_for_a_changed_step_is_started_again(service, notebook):
    recipe.run("service", keep=False)
    notebook("use", "made: str = ''", "print('changed', made)")
    assert states(recipe.run("service", keep=False)) == {"serve": "done", "use": "done"}


def test_what_must_live_for_a_step_that_may_run_may_be_started_again(service, notebook, recipe):
    text = '[steps.make]\nnotebook = "make.ipynb"\nout = { made = "data:made" }\n'
    recipe("service", text + SERVICE.replace("made = ", 'other = "make.made", made = '))
    notebook("make", "", MAKE)
    notebook("use", "made: str = ''\nother: str = ''", "print(made, other)")
    verbs.run("service", keep=False)
    notebook("make", "", MAKE, "print('changed, and makes the same')")
    planned = verbs.run("service", keep=False, dry=True).steps
    assert {name: step["action"] for name, step in planned.items()} == {"make": "run", "serve": "wait", "use": "wait"}
    assert planned["serve"]["because"] == ("use may need what it starts",)
    assert states(verbs.run("service", keep=False)) == {"make": "done", "serve": "skipped", "use": "skipped"}


def test_somebody_elses_job_is_left_alone(service):
    mine = jobs.start("gpu:mine", ["sleep", "600"])
    recipe.run("service", keep=False)
    assert jobs.poll(mine.id).live


def test_one_run_of_a_recipe_at_a_time(two):
    with jobs.here("recipe:two@9"), pytest.raises(Conflict, match="recipe:two@9 is running"):
        recipe.run("two")


def test_a_notebook_whose_kernel_is_named_python_runs_in_that_of_this_python(two, workspace):
    path = workspace / "notebooks" / "make.ipynb"
    path.write_text(path.read_text().replace('"name": "python3"', '"name": "python"'))
    assert recipe.run("two").state == "done"


def test_a_kernel_that_is_not_there_is_a_failure_that_names_those_that_are(two, workspace):
    path = workspace / "notebooks" / "make.ipynb"
    path.write_text(path.read_text().replace('"name": "python3"', '"name": "no-such-kernel"'))
    error = "there is no kernel no-such-kernel, which make.ipynb names"
    assert recipe.run("two", report=True).steps["make"]["error"].startswith(error)
    with pytest.raises(Failed, match=f"step make failed: {error}\n.*python3"):
        recipe.run("two")


def test_stop_interrupts_the_cell_that_runs(two, notebook, workspace):
    notebook("make", "word: str = ''", "import time; time.sleep(60)")
    going = subprocess.Popen([sys.executable, "-m", "aiinfra_lab.cli", "recipe", "run", "two"], stderr=subprocess.PIPE)
    until(lambda: jobs.ls("recipe:two", live=True) and recipe.show("two@1").steps["make"]["state"] == "running")
    assert recipe.stop("two").state == "stopping"
    assert going.wait(PATIENCE_S) == 1
    output = going.stderr.read().decode()
    going.stderr.close()
    assert states(recipe.show("two@1")) == {"make": "stopped", "use": "not run"}, output
    assert "recipe:two@1 was stopped at make" in output
    assert "recipe run two` goes on from there" in output


def test_ctrl_c_says_how_to_go_on(two, monkeypatch):
    monkeypatch.setattr(LocalExecutor, "submit", interrupt)
    with pytest.raises(Failed, match="recipe:two@1 was interrupted at make") as problem:
        recipe.run("two", param={"word": "other"})
    assert problem.value.fix.startswith("`%recipe run two -p word=other` goes on from there")
    with pytest.raises(Failed) as problem:
        recipe.get("two", "data:made")
    assert problem.value.fix.startswith("`%recipe get two data:made` goes on from there")


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_stop_of_what_is_over_shows_it_and_changes_nothing(two):
    recipe.run("two")
    done = recipe.show("two@1")
    assert done.state == "done"
    assert recipe.stop("two") == recipe.stop("two@1") == done


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("twoo", "did you mean two?"),
        ("two", "run it: `%recipe run two`"),
        ("two@7", "run it: `%recipe run two`"),
    ],
)
def test_what_never_ran_cannot_be_stopped(two, name, fix):
    with pytest.raises(NotFound) as problem:
        recipe.stop(name)
    assert problem.value.fix == fix


@pytest.fixture
def unsorted(notebook, recipe) -> None:
    notebook("make", "", MAKE)
    notebook("use", "made: str = ''")
    recipe("order", UNSORTED)


def test_steps_and_what_they_made_are_shown_in_the_order_of_the_recipe(unsorted, capsys):
    recipe.run("order")
    for run in (recipe.show("order@1"), recipe.stop("order"), recipe.log("order")[0], recipe.run("order")):
        assert [row[0] for row in run.card().parts[-1].rows] == ["make", "check", "again"]
        assert list(run.outputs) == ["make.zeroth", "make.first"]
    shown = [line.split()[1:3] for line in capsys.readouterr().err.splitlines()]
    assert sorted(shown[:6]) == sorted(
        [step, state] for step in ("make", "check", "again") for state in ("running", "done")
    )
    assert shown[6:] == [[step, "skipped"] for step in ("make", "check", "again")]


def test_a_run_whose_process_vanished_is_lost(two, notebook):
    notebook("make", "word: str = ''", "import time; time.sleep(3)")
    going = subprocess.Popen(
        [sys.executable, "-m", "aiinfra_lab.cli", "recipe", "run", "two"], stderr=subprocess.DEVNULL
    )
    until(lambda: jobs.ls("recipe:two", live=True) and recipe.show("two@1").steps["make"]["state"] == "running")
    os.kill(going.pid, signal.SIGKILL)
    going.wait()
    lost = recipe.show("two@1")
    assert (lost.state, states(lost)) == ("lost", {"make": "lost", "use": "not run"})


def test_the_archive_is_its_owners_and_what_a_notebook_makes_is_the_users(workspace, notebook, request):
    notebook("make", "n: int = 1", "import pathlib\npathlib.Path('made').touch()")
    request.getfixturevalue("recipe")("one", '[steps.make]\nnotebook = "make.ipynb"\n')
    before = os.umask(0o022)
    try:
        with modes.owner_only():  # as the command does
            done = recipe.run("one")
    finally:
        os.umask(before)
    assert (workspace / "notebooks" / "made").stat().st_mode & 0o777 == 0o644
    archive = Path(done.steps["make"]["archive"])
    assert [path.stat().st_mode & 0o077 for path in (archive, archive.parent)] == [0, 0]
