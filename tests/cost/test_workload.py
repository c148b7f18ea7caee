"""`cost show` and `cost check` of a workload: from what was measured, and never from anything else."""

import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_lab import cost
from aiinfra_lab.cost import premises, workload
from aiinfra_lab.cost.results import Forecast
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.errors import Failed, Inconclusive, LabError, NotFound, UsageProblem
from aiinfra_lab.recipe.record import RunRecord, StepRecord
from aiinfra_lab.store import Event, Record, open_store
from aiinfra_lab.units import parse_count, parse_ms, write_count
from aiinfra_lab.words import Call, Word, split, understand
from tests.cards import one_line

G5 = "aws.g5.xlarge"
Tested = Callable[..., None]


@pytest.fixture
def tested(workspace) -> Tested:
    """`tested(per_s, p95_ms, …)`: a load test of an endpoint was answered so."""

    def add(per_s: float, p95_ms: float, name: str = "delay", model: str = "models:delay@1", **more) -> None:
        store = open_store()
        if store.get(EndpointRecord, name) is None:
            body = EndpointRecord(champion="models:delay@1", outcome="stopped", started_at=1.0, stopped_at=2.0)
            store.commit([Record.new(name, body)])
        sent = int(per_s * 20)
        detail = {"sent": sent, "ok": sent, "for_s": 20.0, "p95_ms": p95_ms, "versions": {model: sent}, **more}
        store.commit([], Event("deploy run", f"deploy:{name}", (), (f"deploy:{name}",), detail))

    return add


def premise(found: Forecast, name: str) -> str:
    return next(each.source for each in found.premises if each.name == name)


# ---- requests ----


def test_ten_million_requests_a_day_from_a_measured_rate(tested):
    tested(100, 12.0)
    found = cost.show(requests_per_day="10M", p95_ms=50, machine=G5)
    assert (found.uri, found.option, found.per) == ("deploy:delay", "as each hour needs", "month")
    assert found.plan.option("on demand").usd_per_month == pytest.approx(3 * 730 * 1.006)
    assert found.usd < found.plan.option("on demand").usd_per_month
    assert found.per_1000_usd == pytest.approx(found.usd / (10e6 * 730 / 24) * 1000)
    assert premise(found, "rate of this machine").startswith("load test of deploy:delay at ")
    assert "p95 12 ms, by models:delay@1" in premise(found, "rate of this machine")


def test_of_several_tests_the_fastest_within_the_latency_counts(tested):
    for per_s, p95_ms in ((100, 12.0), (300, 45.0), (500, 80.0)):
        tested(per_s, p95_ms)
    rates = [workload.measured_rate("deploy:delay", p95_ms).per_s for p95_ms in (20, 50, None)]
    assert rates == [100, 300, 500]


def test_a_test_that_lost_requests_measures_nothing(tested):
    tested(100, 12.0)
    tested(900, 10.0, ok=16_000)
    assert workload.measured_rate(None, 50).per_s == 100


def test_what_an_older_version_was_measured_to_do_counts_only_where_nothing_newer_is_known(tested):
    tested(900, 10.0, model="models:delay@7")
    found = cost.show(requests_per_day="10M")
    assert any("serves another version" in note for note in found.notes)
    tested(100, 10.0)
    assert workload.measured_rate(None, None).per_s == 100


def test_the_endpoint_that_was_tested_last_counts_unless_one_is_named(tested):
    tested(100, 10.0, name="old")
    tested(200, 10.0, name="new")
    assert cost.show(requests_per_day="1M").uri == "deploy:new"
    assert cost.show(requests_per_day="1M", endpoint="old").uri == "deploy:old"


def test_rows_of_a_request_make_predictions_cheaper(tested):
    tested(100, 10.0, batch=20)
    found = cost.show(requests_per_day="10M")
    assert found.per_1000_usd == pytest.approx(found.usd / (10e6 * 730 / 24 * 20) * 1000)


def test_what_nobody_measured_is_refused_with_the_verb_that_measures_it(tested):
    with pytest.raises(NotFound, match="no endpoint was ever measured") as problem:
        cost.show(requests_per_day="10M")
    assert "`%deploy run NAME --rows ROWS" in problem.value.fix
    tested(100, 80.0)
    with pytest.raises(NotFound, match="within 50 ms: the best of 1 test had 100 requests a second, p95 80 ms") as slow:
        cost.show(requests_per_day="10M", p95_ms=50)
    assert "--rate 50" in slow.value.fix
    with pytest.raises(NotFound, match="no load test of deploy:other was ever run"):
        cost.show(requests_per_day="10M", endpoint="other")


def test_a_machine_that_nobody_compared_is_assumed_and_a_setting_or_a_flag_says_it(tested, monkeypatch):
    tested(100, 10.0)
    name = "does as much as this one"
    assert premise(cost.show(requests_per_day="1M"), name).startswith("assumed, nothing was measured there")
    monkeypatch.setenv("AIINFRA_COST_MACHINE_TYPE", "aws.g4dn.xlarge")
    assert "`cost.machine_type`" in premise(cost.show(requests_per_day="1M"), name)
    assert "--machine" in premise(cost.show(requests_per_day="1M", machine="aws.g4dn.xlarge"), name)
    with pytest.raises(NotFound) as problem:
        cost.show(requests_per_day="1M", machine="aws.g4dn.xlagre")
    assert problem.value.fix == "did you mean aws.g4dn.xlarge?"


def test_the_spot_price_counts_where_it_is_asked_for(tested):
    tested(100, 10.0)
    assert cost.show(requests_per_day="1M", machine=G5).option == "on demand"
    assert cost.show(requests_per_day="1M", machine=G5, spot=True).option == "spot"
    assert any("no spot price of aws g4dn.xlarge" in note for note in cost.show(requests_per_day="1M").notes)


def test_own_machines_decide_once_somebody_says_what_one_costs(tested, monkeypatch):
    tested(100, 10.0)
    found = cost.show(requests_per_day="1M", machine=G5)
    assert found.option == "on demand"
    assert "assumed" in premise(found, "price of an own machine")
    monkeypatch.setenv("AIINFRA_COST_OWN_USD", "3000")
    found = cost.show(requests_per_day="1M", machine=G5)
    assert (found.option, found.plan.break_even[0].month) == ("own machines", 6)
    assert "AIINFRA_COST_OWN_USD" in premise(found, "price of an own machine")
    assert "from month 6 on" in one_line(found.card())


@pytest.mark.parametrize(("key", "wrong"), [("peak", "0.5"), ("utilisation", "1.5"), ("own_usd", "-1"), ("pue", "0.9")])
def test_a_premise_that_cannot_be_is_refused(tested, monkeypatch, key, wrong):
    tested(100, 10.0)
    monkeypatch.setenv(f"AIINFRA_COST_{key.upper()}", wrong)
    with pytest.raises(UsageProblem, match=f"cost.{key} = {wrong} cannot be"):
        cost.show(requests_per_day="1M")


def test_every_premise_says_where_it_is_from(workspace):
    assert all(known.source and known.unit for known in premises.DEFAULTS.values())
    shown = premises.Premises.here().shown()
    assert [each.value for each in shown] == [
        "1.7 times the mean",
        "70 % of the measured rate",
        "5,000.00 USD over 5 years",
        "300 W × 1.58 at 0.13 USD a kWh",
        "2 hours a month at 60.50 USD an hour",
    ]
    assert all(known.source in "; ".join(each.source for each in shown) for known in premises.DEFAULTS.values())


def test_the_card_of_a_forecast_is_short_enough_and_says_it_in_its_first_sentence(tested):
    tested(100, 10.0)
    card = cost.show(requests_per_day="10M", p95_ms=50, machine=G5).card()
    assert card.lead.startswith("**10,000,000 requests a day, p95 within 50 ms: about 1,")
    assert len(re.sub(r'src="data:[^"]+"', "", card.html())) < 7_000
    assert len(card.html()) < 20_000
    asked = f"--requests-per-day 10M --p95-ms 50 --machine {G5}"
    assert f"`%cost check {asked} --budget" in one_line(card)  # of the same machine
    judged = cost.check(requests_per_day="10M", p95_ms=50, machine=G5, spot=True, budget="10000usd", report=True)
    assert f"`%cost show {asked} --spot` shows it without a budget" in one_line(judged.card())


# ---- a budget ----


def test_a_budget_that_is_enough_passes_and_one_that_is_not_stops_the_pipeline(tested):
    tested(100, 10.0)
    passed = cost.check(requests_per_day="10M", machine=G5, budget="5000usd")
    assert (passed.state, passed.card().state.word) == ("within budget", "within budget")
    with pytest.raises(Failed, match=r"would cost about 1,\d\d0 USD a month, and the budget is 500.00 USD") as problem:
        cost.check(requests_per_day="10M", machine=G5, budget="500usd")
    assert "give it what it costs: `%cost check --requests-per-day 10M" in problem.value.fix
    assert cost.check(requests_per_day="10M", machine=G5, budget=500, report=True).state == "over budget"


def test_the_fix_of_a_check_names_what_would_be_within(tested):
    tested(100, 10.0)
    with pytest.raises(Failed) as problem:
        cost.check(requests_per_day="1M", machine=G5, budget=400)
    assert "set `cost.own_usd`" in problem.value.fix
    with pytest.raises(Failed) as problem:
        cost.check(requests_per_day="100M", machine=G5, budget=11_000)
    assert "set `cost.own_usd`" in problem.value.fix
    assert "add --spot (about 10,700 USD a month)" in problem.value.fix


def run_lines(fix: str) -> list[Forecast]:
    """Run every command of a fix, as it stands."""
    calls = [understand(*_noun_and_words(line)) for line in re.findall(r"`%(cost check [^`]+)`", fix)]
    return [call.run() for call in calls if isinstance(call, Call)]


def _noun_and_words(line: str) -> tuple[str, list[Word]]:
    noun, *words = split(line)
    return str(noun), words


@pytest.mark.parametrize(
    "flags",
    [
        {"requests_per_day": "100M", "machine": G5, "budget": 11_000},
        {"requests_per_day": "10M", "p95_ms": 50, "endpoint": "old", "budget": 1},
        {"requests_per_day": "10M", "machine": G5},
        {},
    ],
)
def test_the_commands_of_a_checks_fix_pass_as_they_stand(tested, flags):
    tested(50, 40.0, name="old")
    tested(100, 10.0)
    with pytest.raises(LabError) as problem:
        cost.check(**flags)
    found = run_lines(problem.value.fix)
    assert found
    assert {each.state for each in found} == {"within budget"}


@pytest.mark.parametrize("flags", [{"budget": 500, "every": "90m"}, {"budget": 0}, {}])
def test_the_commands_of_the_fix_of_a_pipelines_check_pass_as_they_stand(workspace, flags):
    ran(1, step("train", 4000.0))
    with pytest.raises(LabError) as problem:
        cost.check(workload="recipe:retrain", machine=G5, **flags)
    found = run_lines(problem.value.fix)
    assert {(each.state, each.uri) for each in found} == {("within budget", "recipe:retrain")}


def test_the_check_that_a_forecast_proposes_passes_as_it_stands(tested):
    tested(100, 10.0)
    ran(1, step("train", 4000.0))
    for found in (
        cost.show(requests_per_day="10M", machine="aws.p5.48xlarge", spot=True),
        cost.show(workload="recipe:retrain", machine=G5, every="1h"),
    ):
        (judged,) = run_lines(one_line(found.card()))
        assert (judged.state, judged.usd) == ("within budget", found.usd)


def test_a_check_without_a_budget_says_what_it_would_cost(tested):
    tested(100, 10.0)
    with pytest.raises(UsageProblem, match="nothing says what it may cost") as problem:
        cost.check(requests_per_day="10M", machine=G5)
    assert problem.value.fix.startswith("it would cost about 1,")


def test_what_cannot_be_told_passes_no_check(workspace):
    with pytest.raises(Inconclusive, match="no endpoint was ever measured"):
        cost.check(requests_per_day="10M", budget=500)


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        ({}, "nothing says what to forecast"),
        ({"requests_per_day": 1, "workload": "recipe:a"}, "two forecasts"),
        ({"requests_per_day": 1, "every": "1d"}, "--every says how often a pipeline runs"),
        ({"workload": "recipe:a", "p95_ms": 5}, "--p95-ms and --endpoint belong to requests"),
    ],
)
def test_flags_of_two_forecasts_are_refused(workspace, flags, match):
    with pytest.raises(UsageProblem, match=match):
        cost.check(budget=5, **flags)


def test_a_flag_of_a_forecast_without_one_is_refused(workspace):
    with pytest.raises(UsageProblem, match="--p95-ms belongs to a forecast"):
        cost.show(p95_ms=50)
    with pytest.raises(UsageProblem, match="a forecast is of what will"):
        cost.show("deploy:delay", requests_per_day=5)


def test_a_rate_below_one_is_no_rate_of_none(tested):
    tested(0.4, 900.0)
    found = cost.show(requests_per_day=1000)
    assert "0.4 requests a second" in [each.value for each in found.premises]
    with pytest.raises(NotFound, match=r"had 0\.4 requests a second"):
        cost.show(requests_per_day=1000, p95_ms=10)


# ---- pipelines ----


def ran(number: int, *steps: StepRecord) -> None:
    ends = {"done": "done", "failed": "failed"}
    state = ends.get(steps[-1].state, "done")
    started = time.time() - 1e6 + number * 1000
    body = RunRecord(state=state, started_at=started, ended_at=started + 500, steps=steps)
    open_store().commit([Record.new(f"retrain@{number}", body)])


def step(name: str, seconds: float, state: str = "done") -> StepRecord:
    return StepRecord(name=name, state=state, seconds=seconds, began_at=1.0)


def test_a_pipeline_costs_the_usual_time_of_its_steps(workspace):
    ran(1, step("data", 400.0), step("train", 3000.0))
    ran(2, step("data", 0.0, "skipped"), step("train", 3800.0))
    once = cost.show(workload="recipe:retrain", machine=G5)
    assert [(each.name, each.state, each.usual_s, each.runs) for each in once.times.steps] == [
        ("data", "skipped", 400.0, 1),
        ("train", "done", 3400.0, 2),
    ]
    assert (once.per, once.usd) == ("run", pytest.approx(3800 / 3600 * 1.006))
    daily = cost.show(workload="recipe:retrain", machine=G5, every="1d")
    assert daily.usd == pytest.approx(once.usd * 730 / 24)
    assert "1 to 2 runs of retrain" in premise(daily, "time of a run that skips nothing")


def test_this_machine_counts_with_its_price(workspace, monkeypatch):
    ran(1, step("train", 3600.0))
    assert any("this machine counts as free" in note for note in cost.show(workload="retrain").notes)
    monkeypatch.setenv("AIINFRA_COST_MACHINE_USD_PER_HOUR", "0.2")
    assert cost.show(workload="retrain").usd == pytest.approx(0.2)


def test_a_step_that_never_was_done_makes_the_forecast_impossible(workspace):
    with pytest.raises(NotFound, match="recipe:retrain never ran"):
        cost.show(workload="recipe:retrain")
    ran(1, step("data", 400.0), step("train", 30.0, "failed"))
    with pytest.raises(NotFound, match="train of recipe:retrain never ran to the end") as problem:
        cost.show(workload="recipe:retrain")
    assert problem.value.fix == "run it: `%recipe run retrain`"


def test_a_pipelines_budget_is_that_of_a_run_or_of_a_month(workspace):
    ran(1, step("train", 3600.0))
    assert cost.check(workload="recipe:retrain", machine=G5, budget=1.01).state == "within budget"
    with pytest.raises(Failed, match="every 1 h would cost about 734 USD a month") as problem:
        cost.check(workload="recipe:retrain", machine=G5, budget=500, every="1h")
    assert "add --spot" in problem.value.fix


def test_each_run_is_billed_for_a_minute_at_least(workspace):
    ran(1, step("train", 4.0))
    once = cost.show(workload="recipe:retrain", machine=G5)
    assert once.usd == pytest.approx(60 / 3600 * 1.006)
    hourly = cost.show(workload="recipe:retrain", machine=G5, every="1h")
    assert (hourly.usd, hourly.chosen.utilisation) == (pytest.approx(730 * 60 / 3600 * 1.006), pytest.approx(4 / 60))
    assert "a minute of each run is paid at least" in hourly.chosen.note
    with pytest.raises(Failed, match="would cost about 12"):
        cost.check(workload="recipe:retrain", machine=G5, every="1h", budget=5)


@pytest.mark.parametrize("every", ["1min", "10s"])
def test_runs_that_would_be_billed_all_the_time_cost_a_machine_that_is_kept(workspace, every):
    ran(1, step("train", 4.0))
    found = cost.show(workload="recipe:retrain", machine=G5, every=every)
    assert (found.usd, found.chosen.machines) == (pytest.approx(730 * 1.006), 1)


def test_runs_that_overlap_take_several_machines_and_the_card_says_so(workspace, monkeypatch):
    monkeypatch.setenv("AIINFRA_COST_MACHINE_USD_PER_HOUR", "9")
    ran(1, step("train", 2.5 * 3600))
    found = cost.show(workload="recipe:retrain", machine=G5, every="1h")
    assert {each.name: each.machines for each in found.options}["machines like this one"] == 3
    assert (found.chosen.machines, found.chosen.utilisation) == (3, pytest.approx(1.0))
    assert found.usd == pytest.approx(2.5 * 730 * 1.006)
    assert "machines 3 where runs overlap" in one_line(found.card())


# ---- units ----


@given(st.integers(1, 10**12))
def test_a_count_is_read_as_it_is_written(count):
    assert parse_count(write_count(float(count))) == count


@pytest.mark.parametrize(
    ("text", "count"), [("10M", 10e6), ("1.5 million", 1.5e6), ("250k", 250e3), ("2bn", 2e9), (7, 7)]
)
def test_counts(text, count):
    assert parse_count(text) == count


@pytest.mark.parametrize("wrong", ["ten", "10X", "-5", "0", "", "nan", "1e999", "k"])
def test_what_is_no_count(wrong):
    with pytest.raises(UsageProblem):
        parse_count(wrong)


def test_latencies():
    assert [parse_ms(text) for text in ("50", 50, "50ms", "0.5s")] == [50, 50, 50, 500]
    for wrong in ("fast", "0", "-1ms", "50usd"):
        with pytest.raises(LabError):
            parse_ms(wrong)
