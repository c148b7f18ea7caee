"""Warnings at 50, 80 and 100 % of a budget: each is sent once, and stands for as long as it is true."""

import time

import pytest

from aiinfra_lab import cost, lab, nouns, signal_records
from aiinfra_lab.cost import budgets
from aiinfra_lab.cost.noun import NOUN as COST
from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.gpu.record import SessionRecord
from aiinfra_lab.nouns import Budget
from aiinfra_lab.recipe.record import RunRecord, StepRecord
from aiinfra_lab.store import Body, Record, open_store
from aiinfra_lab.units import show_usd
from tests import records
from tests.conftest import until

HOUR = 3600.0


def session(spent_usd: float, name: str = "trainer", budget_usd: float | None = 5.0, **more) -> None:
    """A session that has cost so much, at a dollar an hour, and lives on unless it is given an end."""
    store, started_at = open_store(), time.time() - spent_usd * HOUR
    before = store.get(SessionRecord, name)
    body = SessionRecord(
        provider="nowhere", gpu="L4", started_at=started_at, usd_per_hour=1.0, budget_usd=budget_usd, **more
    )
    store.commit([before.of(body) if before else Record.new(name, body)])


def sent() -> list[str]:
    return [record.body.what for record in signal_records.since(open_store(), 0)]


@pytest.mark.parametrize(
    ("spent", "what"),
    [(1.0, []), (2.5, ["50 % of 5.00 USD"]), (4.1, ["82 % of 5.00 USD"]), (5.5, ["110 % of 5.00 USD"])],
)
def test_a_level_that_is_reached_is_said(workspace, spent, what):
    session(spent)
    budgets.look()
    assert [text.partition(", ")[0] for text in sent()] == what


def test_each_level_is_sent_once(workspace):
    session(2.5)
    for _ in range(3):
        budgets.look()
    [first] = signal_records.since(open_store(), 0)
    budgets.look()
    assert signal_records.since(open_store(), first.rev) == []
    session(4.2)
    budgets.look()
    [second] = signal_records.since(open_store(), first.rev)
    assert second.body.what.startswith("84 %")
    assert second.body.fix == "`%gpu start trainer --budget 10` gives it more"


def test_of_a_budget_that_is_spent_people_hear_by_alert_once(workspace, monkeypatch):
    monkeypatch.setenv("AIINFRA_ALERTS_TO", "file:heard.jsonl")
    session(4.2)
    budgets.look()
    assert not (workspace / "heard.jsonl").exists()
    session(5.5)
    for _ in range(2):
        budgets.look()
    until((workspace / "heard.jsonl").exists)
    [line] = (workspace / "heard.jsonl").read_text().splitlines()
    assert ("over budget" in line, "110 % of 5.00 USD" in line, "gpu:trainer" in line) == (True, True, True)


def test_what_jumps_over_a_level_is_sent_the_highest_alone(workspace):
    session(4.9)
    budgets.look()
    assert len(sent()) == 1


def test_another_start_and_a_larger_budget_begin_anew(workspace):
    session(2.6)
    budgets.look()
    record = open_store().get(SessionRecord, "trainer")
    larger = record.with_(budget_usd=5.1)
    open_store().commit([larger])
    budgets.look()
    assert sent()[0].startswith("51 % of 5.10 USD")


def test_a_session_that_its_budget_ended_is_said_to_have_spent_it(workspace):
    now = time.time()
    session(5.0, ended_at=now, ended_by="budget")
    session(9.0, name="stopped", ended_at=now, ended_by="stopped")
    budgets.look()
    assert [text.partition(", ")[0] for text in sent()] == ["100 % of 5.00 USD"]
    assert COST.notices()[0].fix == "`%gpu start trainer --gpu L4 --on nowhere --budget 10` starts it again"


def test_a_session_without_a_budget_has_no_level(workspace):
    session(100.0, budget_usd=None)
    assert (list(budgets.look()), sent()) == ([], [])


# ---- where it is shown ----


def test_lab_shows_each_budget_once_while_it_stands(workspace):
    session(4.1)
    for _ in range(2):
        looks = [look for look in lab.show().overview.looks if look.uri == "gpu:trainer" and "%" in look.why]
        assert [look.command for look in looks] == ["%gpu start trainer --budget 10"]
    findings = [each for each in lab.check(report=True).findings if "82 % of 5.00 USD" in each.detail]
    assert len(findings) == 1


# ---- the workspace's own budget ----


@pytest.fixture
def monthly(monkeypatch, workspace):
    """The workspace may cost 40 USD a month, and this machine costs a dollar an hour."""
    monkeypatch.setenv("AIINFRA_COST_BUDGET_USD_PER_MONTH", "40")


def test_the_month_of_the_workspace_has_a_budget(monthly, monkeypatch):
    began = budgets.month_began_at()
    assert began <= time.time()
    assert time.localtime(began)[2:6] == (1, 0, 0, 0)
    monkeypatch.setattr(budgets, "spendings", lambda: spent(began - 10 * HOUR, began + 24 * HOUR))
    [found] = budgets.look()
    # What was spent before the first of the month is not this month's.
    assert (found.uri, found.spent_usd, budgets.level(found)) == (budgets.MONTH, pytest.approx(24.0), 0.5)
    assert sent()[0] == "60 % of 40.00 USD, this month's budget of the workspace, is spent"


def spent(start: float, end: float):
    from aiinfra_lab.cost.spending import Rate, Spending

    return [Spending(nouns.Span("gpu:far", start, end, False, 1.0, on_machine=False), (Rate(1.0),))]


def test_without_the_setting_there_is_none_and_a_wrong_one_is_refused(workspace, monkeypatch):
    assert list(budgets.budgets()) == []
    monkeypatch.setenv("AIINFRA_COST_BUDGET_USD_PER_MONTH", "-4")
    with pytest.raises(UsageProblem, match="is no budget"):
        budgets.usd_per_month()


def test_cost_shows_the_month_beside_its_budget(monthly, workspace):
    shown = cost.show()
    assert (shown.budget_usd, shown.month_usd, shown.state) == (40.0, 0.0, "within budget")
    assert any(figure.label == "this month" and figure.unit == "of 40.00 USD" for figure in shown.card().figures)


# ---- words and bars ----


@pytest.mark.parametrize(
    ("spent", "budget", "text"),
    [
        (0.6, 5, "12 % of 5.00 USD"),
        (0, 5, "0 % of 5.00 USD"),
        (4.999, 5, "99.98 % of 5.00 USD"),
        (6, 5, "120 % of 5.00 USD"),
    ],
)
def test_how_much_of_a_budget_is_spent(spent, budget, text):
    meter = budgets.meter(spent, budget)
    assert (meter.text, meter.most, meter.high) == (text, budget, 0.8 * budget)
    assert meter.value <= budget
    assert show_usd(budget) in text


def test_a_sum_of_cents_that_is_the_budget_is_all_of_it():
    assert budgets.level(Budget("gpu:a", 0.0, 0.3, 0.1 + 0.1 + 0.1 - 1e-17, "")) == 1.0
    assert budgets.level(Budget("gpu:a", 0.0, 0.3, 0.29, "")) == 0.8


def test_the_steps_of_pipelines_are_not_read_for_what_everything_cost(workspace, monkeypatch):
    monkeypatch.setenv("AIINFRA_COST_MACHINE_USD_PER_HOUR", "1")
    at = budgets.month_began_at()
    for number in range(1, 31):
        step = StepRecord(name="a", state="done", began_at=at, seconds=HOUR)
        body = RunRecord(state="done", started_at=at, ended_at=at + HOUR)
        records.recorded_run(f"r@{number}", body, step)
    asked: list[type[Body]] = []
    store = type(open_store())
    listed = store.list

    def counted(self, kind, **how):
        asked.append(kind)
        return listed(self, kind, **how)

    monkeypatch.setattr(store, "list", counted)
    assert budgets.month(40.0).spent_usd == 1.0
    assert (RunRecord in asked, asked.count(StepRecord)) == (True, 0)
    assert [part.uri for part in cost.show("recipe:r").parts] == ["recipe:r@30/a"]
    assert asked.count(StepRecord) == 1
