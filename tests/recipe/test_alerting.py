"""People hear that a recipe failed, and that it runs again; nothing else, and nothing twice."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aiinfra_lab import recipe as verbs
from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.recipe import declaration, history
from aiinfra_lab.recipe.base import Outcome, RecipeAlert
from aiinfra_lab.recipe.noun import NOUN
from aiinfra_lab.recipe.runner import RecipeRunner
from tests.conftest import until
from tests.fakes.in_process import InProcess
from tests.fakes.web_receiver import SILENT, Answer, WebReceiver

STEP = '[steps.a]\nnotebook = "a.ipynb"\n'


@pytest.fixture
def heard(notebook, recipe, workspace):
    """`heard(OUTCOME)` runs a recipe that ends so; all that people have heard until then."""
    notebook("a", "")
    recipe("one", f'{STEP}[alert]\nto = ["file:alerts.jsonl"]\n')

    def run(outcome: Outcome) -> list[tuple[str, str, str]]:
        declared = declaration.read("one")
        RecipeRunner(declared, {}, InProcess(lambda *_: outcome), keep=True, force=True).go(lambda _run: None)
        return lines(workspace)

    return run


def lines(workspace: Path) -> list[tuple[str, str, str]]:
    found = [json.loads(line) for path in workspace.rglob("alerts.jsonl") for line in path.read_text().splitlines()]
    return [(one["kind"], one["subject"], one["what"]) for one in found]


FAILED = ("failed", "recipe:one", "the step a failed")
AGAIN = ("recovered", "recipe:one", "it runs to its end again")


def test_a_failure_is_heard_of_once_and_then_that_it_runs_again(heard):
    assert heard(Outcome("done")) == []
    assert heard(Outcome("failed", "secret words", 3)) == [FAILED]
    assert heard(Outcome("failed", "other words", 4)) == [FAILED]
    assert heard(Outcome("done")) == [FAILED, AGAIN]
    assert heard(Outcome("done")) == [FAILED, AGAIN]


def test_what_it_failed_by_is_not_sent(heard, workspace):
    heard(Outcome("failed", "secret words", 3))
    (path,) = workspace.rglob("alerts.jsonl")
    assert "secret" not in path.read_text()
    assert '"cell": "3"' in path.read_text()
    assert "%recipe show one@1" in path.read_text()


def test_what_somebody_stopped_is_no_failure(heard):
    assert heard(Outcome("stopped")) == []


def test_what_timed_out_or_was_killed_says_so(heard):
    assert heard(Outcome("timeout")) == [("failed", "recipe:one", "the step a timed out")]
    assert heard(Outcome("killed"))[1:] == [("failed", "recipe:one", "the step a was killed")]


def test_nothing_is_heard_of_a_recipe_that_does_not_ask_for_it(heard, recipe):
    recipe("one", STEP)
    assert heard(Outcome("failed")) == []
    recipe("one", f'{STEP}[alert]\non = ["recovered"]\nto = ["file:alerts.jsonl"]\n')
    assert heard(Outcome("failed")) == []


def test_nothing_is_heard_of_a_part_that_somebody_runs_for_its_input(notebook, recipe):
    notebook("a", "")
    recipe("one", f'{STEP}out = {{ x = "data:x" }}\n[alert]\n')
    declared = declaration.read("one")
    assert (declared.alert is None, declared.leading_to("data:x").alert) == (False, None)


def test_a_sink_that_is_away_fails_no_run(notebook, recipe):
    notebook("a", "")
    recipe("one", f'{STEP}[alert]\non = ["failed", "recovered"]\nto = ["webhook:NO_SUCH_VARIABLE"]\n')
    assert verbs.run("one").state == "done"


@pytest.fixture
def silent(monkeypatch):
    """The environment names a sink that takes what it is sent, and does not answer."""
    with WebReceiver().running() as there:
        there.by_path["/slow"] = Answer(SILENT)
        monkeypatch.setenv("SLOW_URL", f"http://127.0.0.1:{there.port}/slow")
        yield there


@pytest.mark.parametrize("wait", [True, False])
def test_a_sink_that_does_not_answer_keeps_no_run_going(notebook, recipe, silent, wait):
    notebook("a", "", "1 / 0")
    recipe("one", f'{STEP}[alert]\nto = ["webhook:SLOW_URL"]\n')
    command = [sys.executable, "-m", "aiinfra_lab.cli", "recipe", "run", "one", *([] if wait else ["--no-wait"])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as first:
        until(lambda: silent.refused, "nothing is sent")
        assert verbs.show("one@1").state == "failed"
        assert history.going("recipe:one") == []
        recipe("one", STEP)
        notebook("a", "")
        assert verbs.run("one").state == "done"
        assert (first.poll() is None) == wait
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=5)
    if wait:
        (notice,) = NOUN.notices()
        assert notice.text == "webhook:SLOW_URL has not got an alert (failed): it was interrupted"


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ('[alert]\non = ["faild"]', "did you mean failed"),
        ('[alert]\non = "failed"', 'write on = ["failed"]'),
        ("[alert]\nto = 3", 'write to = ["…"]'),
        ("[alert]\nwhen = []", "known: on, to"),
        ("alert = true", "write [alert]"),
    ],
)
def test_what_is_no_alert_is_refused(notebook, recipe, text, fix):
    notebook("a", "")
    recipe("one", f"{text}\n{STEP}")
    with pytest.raises(UsageProblem) as problem:
        declaration.read("one")
    assert fix in problem.value.fix


def test_where_and_of_what_may_be_left_out(notebook, recipe):
    notebook("a", "")
    recipe("one", f"[alert]\n{STEP}")
    assert declaration.read("one").alert == RecipeAlert(("failed", "recovered", "late", "over budget"), None)


def test_a_destination_that_can_be_none_fails_the_check_and_no_run(notebook, recipe):
    notebook("a", "")
    recipe("one", f'{STEP}[alert]\nto = ["nobody", "webhok:ALERT_URL"]\n')
    with pytest.raises(
        UsageProblem, match=r"one.toml \[alert\]: entry 1 .* has no colon; entry 2 .* no sink"
    ) as problem:
        verbs.check("one")
    assert "did you mean webhook?" in problem.value.fix
    assert declaration.read("one").alert is not None


def test_a_variable_that_is_not_set_is_noted_by_the_check(notebook, recipe, monkeypatch):
    notebook("a", "")
    recipe("one", f'{STEP}[alert]\nto = ["webhook:NO_SUCH_URL", "file:alerts.jsonl"]\n')
    (note,) = verbs.check("one").notes
    assert note == "An alert would not reach webhook:NO_SUCH_URL from here: the environment has no NO_SUCH_URL."
    assert "NO_SUCH_URL" in verbs.check("one").card().text()
    monkeypatch.setenv("NO_SUCH_URL", "http://127.0.0.1:9/x")
    assert verbs.check("one").notes == ()


def test_an_alert_that_did_not_get_through_needs_a_look(heard, recipe):
    recipe("one", f'{STEP}[alert]\nto = ["webhook:NO_SUCH_URL", "file:alerts.jsonl"]\n')
    assert heard(Outcome("failed")) == [FAILED]
    (notice,) = NOUN.notices()
    assert notice.uri == "recipe:one@1"
    assert notice.text.startswith(
        "webhook:NO_SUCH_URL has not got an alert (failed): the environment has no NO_SUCH_URL"
    )
    assert notice.fix.startswith("`%recipe check one`")
