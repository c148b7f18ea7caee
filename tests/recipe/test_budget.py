"""A run that has cost what it may is not gone on with, and says so; what it costs is what its card says."""

import json
import os
import time
import tomllib
from functools import partial
from pathlib import Path

import pytest

from aiinfra_lab import recipe as verbs
from aiinfra_lab.errors import Failed, UsageProblem
from aiinfra_lab.recipe import declaration
from aiinfra_lab.recipe.alerting import report_end
from aiinfra_lab.recipe.base import Outcome
from aiinfra_lab.recipe.budget import RunBudget, read_budget, spent_usd
from aiinfra_lab.recipe.history import recorded_run
from aiinfra_lab.recipe.noun import NOUN
from aiinfra_lab.recipe.record import RunRecord, StepRecord
from aiinfra_lab.recipe.recorded import RecordedRun
from aiinfra_lab.recipe.runner import RecipeRunner
from aiinfra_lab.resolve import resolve
from aiinfra_lab.show import Dim, Table
from tests import records
from tests.conftest import PATIENCE_S, until
from tests.fakes.in_process import InProcess
from tests.fakes.mail_server import MailServer
from tests.fakes.web_receiver import WebReceiver

CHAIN = """
[steps.a]
notebook = "a.ipynb"
[steps.b]
notebook = "a.ipynb"
parameters = { x = 2 }
after = ["a"]
[steps.c]
notebook = "a.ipynb"
parameters = { x = 3 }
after = ["b"]
"""
USED_UP = "the run's budget of 1.00 USD is used up: it has cost "


@pytest.fixture
def price(workspace):
    """`price(USD)` an hour of this machine."""

    def write(usd: float) -> None:
        (workspace / "aiinfra.toml").write_text(f"[cost]\nmachine_usd_per_hour = {usd}\n")

    return write


@pytest.fixture
def chain(notebook, recipe, price):
    """`chain(ACT)` runs three steps, which may cost a dollar: a second of the machine costs two, and a busy machine
    takes its time before the first begins."""
    notebook("a", "x: int = 1")
    recipe("chain", f'budget = "1 USD"\n{CHAIN}[alert]\nto = ["file:alerts.jsonl"]\n')
    price(7_200)

    def run(act) -> RecordedRun:
        executor = InProcess(act)
        return RecipeRunner(declaration.read("chain"), {}, executor, keep=True, force=True).go(lambda _run: None)

    return run


def takes(seconds: float) -> Outcome:
    time.sleep(seconds)
    return Outcome("done")


def until_stopped(stop_requested) -> Outcome:
    until(stop_requested, "nobody stops it")
    return Outcome("stopped", cell=2)


def states(run: RecordedRun) -> list[str]:
    return [step.state for step in run.steps]


def alerts(workspace) -> list[tuple[str, str, str]]:
    found = [json.loads(line) for path in workspace.rglob("alerts.jsonl") for line in path.read_text().splitlines()]
    return [(one["kind"], one["subject"], one["what"]) for one in found]


@pytest.mark.parametrize("text", ['"5 USD"', '"5usd"', '"$5"', "5", "5.0", '"5 dollars"'])
def test_it_is_written_as_money_is_everywhere(text):
    assert read_budget("r.toml", tomllib.loads(f"budget = {text}")["budget"]) == 5


@pytest.mark.parametrize(
    "text", ['"5 EUR"', '""', '"-1"', "-1", "0", '"0 USD"', "true", "inf", "nan", "[5]", "2026-01-01"]
)
def test_what_is_no_budget_is_refused_with_what_to_write(notebook, recipe, text):
    notebook("a", "x: int = 1")
    recipe("r", f"budget = {text}\n{CHAIN}")
    with pytest.raises(UsageProblem, match=r"r\.toml: budget: ") as problem:
        declaration.read("r")
    assert problem.value.fix == 'write budget = "5 USD" above the tables, or leave it out'


def test_a_budget_below_a_step_is_no_key_of_it(notebook, recipe):
    notebook("a", "x: int = 1")
    recipe("r", f'{CHAIN}budget = "5 USD"\n')
    with pytest.raises(UsageProblem, match=r"\[steps\.c\] has an unknown key 'budget'"):
        declaration.read("r")


def test_no_step_begins_once_it_is_used_up(chain, workspace):
    run = chain(lambda *_: takes(0.6))
    assert (run.body.state, states(run)) == ("failed", ["done", "not run", "not run"])
    assert run.body.error.startswith(USED_UP)
    assert run.body.error.endswith('fix: write budget = "2 USD" in chain.toml, or have it cost less')
    assert run.steps[1].error.startswith(USED_UP)
    assert run.body.budget_usd == 1
    assert run.body.spent_usd >= run.steps[0].seconds * 2
    assert run.body.spent_usd == pytest.approx((run.body.ended_at - run.body.started_at) * 2, rel=0.1)
    assert alerts(workspace) == [
        ("failed", "recipe:chain", "its budget is spent"),
        ("over budget", "recipe:chain", "its budget is spent"),
    ]


def test_a_step_that_goes_on_is_stopped_and_has_failed(chain):
    run = chain(lambda _, stop_requested: until_stopped(stop_requested))
    assert (run.body.state, states(run)) == ("failed", ["failed", "not run", "not run"])
    assert run.steps[0].error.startswith(USED_UP)
    assert 1 <= run.body.spent_usd < 10
    card = verbs.show("chain@1").card()
    assert card.lead.startswith(f"**Step a failed in cell 2:** {USED_UP}")
    assert "budget" in dict(card.facts)


def test_one_that_does_not_heed_that_is_killed(chain, monkeypatch):
    monkeypatch.setattr("aiinfra_lab.recipe.budget.GRACE_S", 0.2)
    asked: list[int] = []

    def act(_: int, stop_requested) -> Outcome:
        until(lambda: stop_requested() == 2, "it is not killed")
        asked.append(stop_requested())
        return Outcome("stopped")

    assert (states(chain(act))[0], asked) == ("failed", [2])


def test_what_fails_by_itself_meanwhile_keeps_its_error(chain):
    def act(_: int, stop_requested) -> Outcome:
        until(stop_requested, "nobody stops it")
        return Outcome("failed", "ZeroDivisionError")

    run = chain(act)
    assert run.steps[0].error == "ZeroDivisionError"
    assert run.body.error.startswith(USED_UP)


def test_what_the_last_step_uses_up_is_heard_of_though_the_run_is_done(chain, recipe, workspace):
    recipe("chain", 'budget = "1 USD"\n[steps.a]\nnotebook = "a.ipynb"\n[alert]\nto = ["file:alerts.jsonl"]\n')
    run = chain(lambda *_: takes(0.6))
    assert (run.body.state, run.body.error) == ("done", "")
    assert run.body.spent_usd > 1
    assert alerts(workspace) == [("over budget", "recipe:chain", "its budget is spent")]


def test_a_run_within_it_is_as_one_without(chain, price, workspace):
    price(1)
    run = chain(lambda *_: takes(0.01))
    assert (run.body.state, run.body.error, alerts(workspace)) == ("done", "", [])
    assert 0 < run.body.spent_usd < 1


@pytest.mark.usefixtures("chain")
def test_what_somebody_stops_is_stopped_whatever_it_costs_until_it_ends():
    budget = RunBudget(declaration.read("chain"))
    assert budget.urgency(1, time.time() - 1) == 1
    assert (budget.reason, budget.error) == ("", "")
    assert budget.as_ended(Outcome("stopped")) == Outcome("stopped")


def test_each_run_begins_at_nothing(notebook, recipe, price):
    notebook("a", "x: int = 1")
    recipe("r", f'budget = "1 USD"\n{CHAIN}')
    price(0.1)
    assert verbs.run("r").state == "done"
    price(1)
    again = verbs.run("r")
    assert {step["state"] for step in again.steps.values()} == {"skipped"}
    assert again.spent_usd < 0.1


def test_more_of_it_goes_on_from_there(notebook, recipe, price):
    notebook("a", "x: int = 1")
    recipe("r", f'budget = "1 USD"\n{CHAIN}')
    price(1e9)
    with pytest.raises(Failed, match=r"recipe:r@1: the run's budget of 1\.00 USD is used up") as problem:
        verbs.run("r")
    assert "then `%recipe run r`: what succeeded is skipped" in problem.value.fix
    price(0.1)
    assert verbs.run("r").state == "done"


def test_the_executed_notebook_of_a_step_that_was_stopped_is_kept_and_says_how_it_ended(
    notebook, recipe, price, workspace, monkeypatch
):
    begun = workspace / "begun"
    notebook("a", "x: int = 1", f"print('one')\nopen({str(begun)!r}, 'w').close()\nimport time\ntime.sleep(600)", "2")
    recipe("r", 'budget = "1 USD"\n[steps.a]\nnotebook = "a.ipynb"\n')
    price(1)
    # However long its kernel takes to start.
    monkeypatch.setattr("aiinfra_lab.recipe.budget._lasted_s", lambda _: 3600.0 if begun.exists() else 0.0)
    run = verbs.run("r", report=True)
    assert (run.state, run.steps["a"]["state"], run.error.startswith(USED_UP)) == ("failed", "failed", True)
    executed = json.loads(Path(run.steps["a"]["archive"]).read_text())
    first, second, third = (each for each in executed["cells"] if each["cell_type"] == "code" and each["metadata"])
    assert [each["metadata"]["aiinfra"]["state"] for each in (first, second, third)] == ["done", "failed", "not_run"]
    assert executed["metadata"]["aiinfra"]["state"] == "failed"
    assert "".join(second["outputs"][0]["text"]) == "one\n"


def test_a_run_of_its_own_process_keeps_to_it(notebook, recipe, price):
    notebook("a", "x: int = 1", "import time\ntime.sleep(0.5)")
    recipe("r", f'budget = "1 USD"\n{CHAIN}')
    price(36_000)
    verbs.run("r", wait=False)
    until(lambda: verbs.show("r@1").state != "running", "it does not end", PATIENCE_S)
    run = verbs.show("r@1")
    assert (run.state, run.error.startswith(USED_UP), run.budget_usd) == ("failed", True, 1)


def test_check_show_and_a_dry_run_state_it(notebook, recipe, price):
    notebook("a", "x: int = 1")
    recipe("r", f'budget = "5 USD"\n{CHAIN}')
    price(0.5)
    for found in (verbs.check("r"), verbs.show("r"), verbs.run("r", dry=True)):
        assert found.budget_usd == 5
        assert ("budget", "5.00 USD") in found.card().facts
        assert found.notes == ()


@pytest.mark.parametrize("seen", [verbs.check, verbs.show, partial(verbs.run, dry=True)])
def test_one_that_is_never_reached_is_noted(notebook, recipe, seen):
    notebook("a", "x: int = 1")
    recipe("r", f'budget = "5 USD"\n{CHAIN}')
    found = seen("r")
    (note,) = found.notes
    assert note.startswith("The budget of 5.00 USD is never reached here, since an hour of this machine has no price: ")
    assert "machine_usd_per_hour" in found.card().text()


def test_an_alert_of_a_budget_that_is_not_there_is_noted(notebook, recipe):
    notebook("a", "x: int = 1")
    recipe("r", f'{CHAIN}[alert]\non = ["over budget"]\nto = ["file:alerts.jsonl"]\n')
    assert verbs.check("r").notes == ("[alert] names over budget, which nobody will hear: the recipe has no budget.",)


@pytest.mark.parametrize(("given", "is_noted"), [("2", True), ('"${params.budget}"', False)])
def test_one_that_came_to_stand_among_the_parameters_is_noted(notebook, recipe, given, is_noted):
    notebook("a", "x: int = 1")
    steps = f'[steps.a]\nnotebook = "a.ipynb"\nparameters = {{ x = {given} }}\n'
    recipe("r", f"[parameters]\nbudget = 5\n{steps}")
    assert any(note.startswith("The budget stands below [parameters]") for note in verbs.check("r").notes) == is_noted


def test_a_price_that_is_none_is_refused_before_anything_runs(chain, price):
    price(-1)
    with pytest.raises(UsageProblem, match="is no price"):
        chain(lambda *_: takes(0))
    assert len(verbs.log("chain")) == 0


def test_the_alert_is_posted_and_mailed(chain, recipe, workspace, monkeypatch):
    with WebReceiver().running() as web, MailServer().running() as mail:
        monkeypatch.setenv("ALERT_URL", f"http://127.0.0.1:{web.port}/hook")
        with (workspace / "aiinfra.toml").open("a") as file:
            file.write(f'[alerts]\nsmtp_host = "127.0.0.1"\nsmtp_port = {mail.port}\nsmtp_security = "none"\n')
            file.write('smtp_from = "lab@example.org"\n')
        to = '["webhook:ALERT_URL", "smtp:team@example.org"]'
        recipe("chain", f'budget = "1 USD"\n{CHAIN}[alert]\non = ["over budget"]\nto = {to}\n')
        chain(lambda *_: takes(0.6))
        (posted,) = map(json.loads, (each.body for each in web.posted))
        (received,) = mail.mails
    assert (posted["kind"], posted["subject"], posted["what"]) == ("over budget", "recipe:chain", "its budget is spent")
    assert posted["facts"]["spent"].endswith(" of 1.00 USD")
    assert "over budget" in received.message["subject"]


def test_the_panel_has_it_of_a_run_and_why_that_failed(chain):
    chain(lambda *_: takes(0.6))
    found = NOUN.details("recipe:chain@1")
    assert found.problem.startswith(USED_UP)
    (fact,) = (fact for fact in found.facts if fact.label == "budget")
    assert (fact.value.endswith(" of 1.00 USD"), fact.share) == (True, 1.0)
    assert NOUN.budgets() == []


def test_the_panel_has_what_a_run_that_goes_on_has_cost_until_now(price):
    price(36)
    step = StepRecord(name="a", state="running", began_at=time.time() - 10)
    body = RunRecord(started_at=time.time() - 10, budget_usd=1.0, steps=(step,))
    assert spent_usd(body) == pytest.approx(0.1, abs=0.05)
    assert spent_usd(RunRecord(state="done", started_at=1.0, budget_usd=1.0, spent_usd=0.7, steps=(step,))) == 0.7


def test_of_a_run_whose_process_vanished_it_has_what_it_cost_until_its_last_sign(notebook, recipe, price, workspace):
    price(3_600)
    notebook("a", "x: int = 1")
    recipe("r", '[steps.a]\nnotebook = "a.ipynb"\n[alert]\nto = ["file:alerts.jsonl"]\n')
    archive = workspace / "a.ipynb"
    archive.write_text("{}")
    os.utime(archive, (103.0, 103.0))
    step = StepRecord(name="a", state="running", began_at=100.0, archive=str(archive))
    records.recorded_run("r@1", RunRecord(started_at=100.0, budget_usd=2.0), step)
    run = verbs.show("r@1")
    assert (run.state, run.spent_usd, run.duration_s, run.steps["a"]["seconds"]) == ("lost", 3.0, 3.0, 3.0)
    card = run.card()
    assert dict(card.facts)["budget"] == "3.00 USD of 2.00 USD spent"
    (table,) = (part for part in card.parts if isinstance(part, Table))
    assert {"3.0 s", "3.00 USD"} <= {cell for cell in table.rows[0] if isinstance(cell, str)}
    assert spent_usd(resolve("r@1", RunRecord).body) == 3.0
    (fact,) = (fact for fact in NOUN.details("recipe:r@1").facts if fact.label == "budget")
    assert fact.value == "3.00 USD of 2.00 USD"
    report_end(declaration.read("r"), recorded_run("r@1"))
    (failed, over) = map(json.loads, (workspace / "alerts.jsonl").read_text().splitlines())
    assert (failed["what"], over["what"]) == ("its process vanished", "its budget is spent")
    assert failed["facts"]["spent"] == over["facts"]["spent"] == "3.00 USD of 2.00 USD"


def test_of_a_step_that_was_lost_its_time_is_not_none_where_nobody_knows_it(notebook, recipe, price):
    price(3_600)
    notebook("a", "x: int = 1")
    recipe("r", '[steps.a]\nnotebook = "a.ipynb"\n')
    step = StepRecord(name="a", state="lost", began_at=100.0)
    records.recorded_run("r@1", RunRecord(state="lost", started_at=100.0, ended_at=103.0), step)
    (table,) = (part for part in verbs.show("r@1").card().parts if isinstance(part, Table))
    assert sum(isinstance(cell, Dim) for cell in table.rows[0]) == 3  # of the time, the cost and what it made


@pytest.mark.parametrize(("spent", "shown"), [(7.0, ["7.00 USD", "14.00 USD"]), (0.0, [])])
def test_what_the_steps_of_a_run_have_cost_adds_up_to_what_it_had_spent_whatever_the_price_is_now(price, spent, shown):
    price(36_000)
    steps = [StepRecord(name=name, state="done", began_at=at, seconds=7.0) for name, at in (("a", 100.0), ("b", 107.0))]
    ended = RunRecord(state="done", started_at=100.0, ended_at=114.0, budget_usd=20.0, spent_usd=2 * spent)
    records.recorded_run("r@1", ended, *steps)
    card = verbs.show("r@1").card()
    assert dict(card.facts)["budget"] == f"{2 * spent:.2f} USD of 20.00 USD spent"
    (table,) = (part for part in card.parts if isinstance(part, Table))
    cells = [cell for row in (*table.rows, table.total) for cell in row if isinstance(cell, str)]
    assert [*dict.fromkeys(cell for cell in cells if cell.endswith("USD"))] == shown
