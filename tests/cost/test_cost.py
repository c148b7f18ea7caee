import time
from collections.abc import Callable

import pytest

from aiinfra_lab import cost, lab, nouns
from aiinfra_lab.cost import prices, specs, spending
from aiinfra_lab.errors import NotFound, UsageProblem
from aiinfra_lab.jobs import JobRecord
from aiinfra_lab.nouns import Span, StepSpan
from aiinfra_lab.show import Dim, Figure, Number, moment
from aiinfra_lab.store import Record, open_store
from tests.cards import one_line
from tests.fakes.timed.noun import NOUN

HOUR = 3600.0
HEADER = ",".join(prices.COLUMNS)
Took = Callable[..., None]


@pytest.fixture
def took(workspace, monkeypatch) -> Took:
    """`took(uri, start, end, …)`: some noun's thing took that time."""
    monkeypatch.setitem(nouns.TABLE, "timed", "tests.fakes.timed")
    monkeypatch.setattr(NOUN, "took", [])

    def add(uri: str, start: float, end: float, *, is_live: bool = False, **fields) -> None:
        NOUN.took.append(Span(uri, start, end, is_live, **fields))

    return add


@pytest.fixture
def endpoint(took) -> Took:
    """`endpoint(rows, busy_s, …)`: an endpoint lived for an hour, and predicted."""
    return lambda rows, busy_s, **fields: took(
        "deploy:delay", 1000.0, 1000.0 + HOUR, rows=rows, busy_s=busy_s, **fields
    )


@pytest.fixture
def own_table(workspace, monkeypatch):
    """`own_table(line, …)` makes these the price table."""

    def write(*lines: str) -> None:
        (workspace / "mine.csv").write_text("\n".join([HEADER, *lines]) + "\n")
        monkeypatch.setenv("AIINFRA_COST_PRICES", "mine.csv")

    return write


# ---- what was spent ----


def test_money_is_time_at_its_price(took):
    took("gpu:trainer", 0.0, 2 * HOUR, usd_per_hour=1.5)
    shown = cost.show("gpu:trainer")
    assert (shown.duration_s, shown.spent_usd, shown.usd_per_hour) == (2 * HOUR, 3.0, 1.5)


def test_earlier_starts_are_not_forgotten(took):
    took("gpu:trainer", 5 * HOUR, 6 * HOUR, usd_per_hour=1.0)
    took("gpu:trainer", 0.0, HOUR, usd_per_hour=2.0)
    shown = cost.show("gpu:trainer")
    assert (shown.spent_usd, shown.usd_per_hour) == (3.0, None)
    assert Figure("time", "2 h", "in 2 starts") in shown.card().figures


def test_a_start_with_a_machine_that_was_taken_away_is_one_start(took):
    took("gpu:s", 0.0, HOUR, usd_per_hour=1.0, on_machine=False, of_start="job-1")
    took("gpu:s", HOUR, 2 * HOUR, usd_per_hour=2.0, on_machine=False, of_start="job-1")
    assert Figure("time", "2 h") in cost.show("gpu:s").card().figures
    assert cost.show(by="session").parts[0].note == "1 start"
    took("gpu:s", 3 * HOUR, 4 * HOUR, usd_per_hour=2.0, on_machine=False, of_start="job-2")
    assert Figure("time", "3 h", "in 2 starts") in cost.show("gpu:s").card().figures


def test_where_nothing_ran_on_this_machine_nothing_is_said_of_it(took):
    took("gpu:a", 0.0, HOUR, usd_per_hour=1.0, on_machine=False)
    took("gpu:b", 0.0, HOUR, usd_per_hour=1.0, on_machine=False)
    took("deploy:c", 0.0, HOUR, usd_per_hour=1.0)
    took("train:c@1", 0.0, HOUR, within="gpu:a")
    assert not any("at the same time" in note for note in cost.show().notes)
    took("train:d@1", 0.0, HOUR, usd_per_hour=1.0)
    assert any("at the same time" in note for note in cost.show().notes)


def test_the_earlier_starts_of_an_endpoint_count_with_their_rows(took, endpoint, monkeypatch):
    monkeypatch.setenv("AIINFRA_COST_MACHINE_USD_PER_HOUR", "1")
    took("deploy:delay", 9 * HOUR, 10 * HOUR, rows=3000, busy_s=4.0)
    endpoint(rows=1000, busy_s=4.0)
    shown = cost.show("deploy:delay")
    assert (shown.duration_s, shown.spent_usd, shown.predictions) == (2 * HOUR, 2.0, 4000)
    assert (shown.rows_per_s, cost.spent_usd()) == (500, 2.0)
    # The endpoint itself counts since its newest start: why the two differ must be told.
    assert Figure("predictions", "4,000", "in 2 starts") in shown.card().figures
    assert any("2 starts" in note and "`%deploy show`" in note for note in shown.card().notes)
    assert shown.thousand[0].so_far_usd == pytest.approx(0.5)


def test_all_runs_of_a_name_or_one_of_them(took):
    for version in (1, 2):
        took(f"train:delay@{version}", 0.0, version * HOUR, usd_per_hour=1.0)
    took("train:delays@1", 0.0, HOUR, usd_per_hour=1.0)
    assert cost.show("train:delay").spent_usd == 3.0
    assert cost.show("train:delay@2").spent_usd == 2.0


def test_a_pipelines_run_costs_its_time_step_by_step(took, monkeypatch):
    monkeypatch.setenv("AIINFRA_COST_MACHINE_USD_PER_HOUR", "2")
    skipped, failed = StepSpan("data", "skipped", None, 0.0), StepSpan("b", "failed", 5.0, HOUR)
    took("recipe:flights@1", 0.0, 3 * HOUR, steps=(StepSpan("train", "done", 0.0, 3 * HOUR),))
    took("recipe:flights@2", 5 * HOUR, 6 * HOUR, steps=(skipped, failed))
    shown = cost.show("recipe:flights@2")
    steps = [(part.uri, part.spent_usd, part.note) for part in shown.parts]
    assert steps == [("recipe:flights@2/data", 0.0, "skipped"), ("recipe:flights@2/b", 2.0, "failed")]
    assert (shown.spent_usd, cost.show("recipe:flights@1").spent_usd, cost.spent_usd()) == (2.0, 6.0, 8.0)
    assert cost.show("recipe:flights") == shown


@pytest.mark.parametrize(("is_live", "took_s", "note"), [(True, 60, "goes on"), (False, 0, "its process is gone")])
def test_a_pipelines_step_that_has_no_end_costs_until_now_if_its_run_lives(took, is_live, took_s, note):
    began = time.time() - 60
    step = StepSpan("train", "running", began, None)
    took("recipe:flights@1", began, began + 60, is_live=is_live, steps=(step,))
    (part,) = cost.show("recipe:flights").parts
    assert (part.duration_s, part.note) == (pytest.approx(took_s, abs=30), note)


def test_what_a_run_of_a_pipeline_and_its_notebooks_share_is_paid_once(took, monkeypatch):
    monkeypatch.setenv("AIINFRA_COST_MACHINE_USD_PER_HOUR", "1")
    took("recipe:flights@1", 0.0, HOUR, steps=(StepSpan("train", "done", 0.0, HOUR),))
    took("train:delay@1", 0.0, HOUR)
    assert cost.spent_usd() == pytest.approx(1.0)


def test_this_machine_is_paid_once_however_much_runs_on_it(took):
    took("gpu:a", 0.0, 2 * HOUR, usd_per_hour=1.0)
    took("train:b@1", 1 * HOUR, 3 * HOUR, usd_per_hour=1.0)
    took("gpu:rented", 0.0, HOUR, usd_per_hour=7.0, on_machine=False)
    assert cost.spent_usd() == pytest.approx(3.0 + 7.0)


def ran_in(home: str, uri: str, started_at: float) -> None:
    """That was a job of that folder, which shares the store."""
    body = JobRecord(subject=uri, state="done", started_at=started_at, home=home)
    open_store().commit([Record.new(f"{uri.replace(':', '-').replace('@', '-')}-{started_at}", body)])


def test_each_machine_that_shares_the_store_is_paid_by_itself(took, monkeypatch):
    monkeypatch.setenv("AIINFRA_COST_MACHINE_USD_PER_HOUR", "1")
    for home, uri in (("", "train:a@1"), ("far", "train:b@1"), ("far", "train:c@1"), ("farther", "train:d@1")):
        took(uri, 0.0, HOUR)
        ran_in(home, uri, 1.0)
    assert cost.spent_usd() == pytest.approx(3.0)
    assert "what ran on one machine at the same time is paid once" in cost.show().notes


def test_each_start_of_a_name_ran_where_its_own_job_did(took):
    took("gpu:a", 0.0, HOUR, usd_per_hour=1.0)
    took("gpu:a", 5 * HOUR, 6 * HOUR, usd_per_hour=1.0)
    took("train:b@1", 5 * HOUR, 6 * HOUR, usd_per_hour=1.0)
    ran_in("far", "gpu:a", 1.0)
    ran_in("", "gpu:a", 5 * HOUR + 1)
    assert {item.machine for item in spending.spendings() if item.span.started_at} == {""}
    assert (cost.spent_usd(), [item.machine for item in spending.spendings()][-1]) == (2.0, "far")


def test_a_moment_costs_what_the_dearest_thing_on_the_machine_says(took):
    took("gpu:a", 0.0, 2 * HOUR, usd_per_hour=1.0)
    took("gpu:b", HOUR, 3 * HOUR, usd_per_hour=4.0)
    assert cost.spent_usd() == pytest.approx(1.0 + 4.0 + 4.0)


def test_a_run_in_a_session_is_paid_by_the_session(took):
    took("gpu:trainer", 0.0, 2 * HOUR, usd_per_hour=3.0, on_machine=False)
    took("train:delay@1", 0.0, HOUR, within="gpu:trainer")
    assert cost.show("train:delay@1").spent_usd == 3.0
    assert cost.spent_usd() == 6.0
    assert [part.note for part in cost.show().parts if part.uri == "train:delay@1"] == ["paid by gpu:trainer"]


def test_a_run_costs_what_the_start_of_its_session_cost_that_it_ran_in(took):
    took("gpu:trainer", 2 * HOUR, 3 * HOUR, usd_per_hour=300.0)
    took("gpu:trainer", 0.0, 2 * HOUR, usd_per_hour=3.0)
    took("train:delay@1", 0.5 * HOUR, 1.5 * HOUR, within="gpu:trainer")
    took("train:delay@2", 2 * HOUR, 3 * HOUR, within="gpu:trainer")
    assert [cost.show(f"train:delay@{number}").spent_usd for number in (1, 2)] == [3.0, 300.0]


@pytest.fixture
def replaced(took):
    """A run over two machines of its session, of another price each, with none between them and none in the end."""
    took("gpu:trainer", 0.0, HOUR, usd_per_hour=1.0, on_machine=False)
    took("gpu:trainer", 1.5 * HOUR, 3 * HOUR, usd_per_hour=3.0, on_machine=False)
    took("train:delay@1", 0.5 * HOUR, 4 * HOUR, within="gpu:trainer")


@pytest.mark.parametrize("asked", [{"uri": "train:delay@1"}, {"by": "run"}, {"uri": "train:delay", "by": "day"}])
def test_a_run_costs_what_its_sessions_machines_cost_meanwhile(replaced, asked):
    shown = cost.show(asked.get("uri"), by=asked.get("by"))
    assert (shown.spent_usd, shown.usd_per_hour) == (pytest.approx(0.5 * 1.0 + 1.5 * 3.0), None)
    assert shown.duration_s == 3.5 * HOUR


def test_a_run_after_the_end_of_its_session_costs_nothing(took):
    took("gpu:trainer", 0.0, HOUR, usd_per_hour=1.0, on_machine=False)
    took("train:delay@1", 2 * HOUR, 3 * HOUR, within="gpu:trainer")
    assert cost.show("train:delay@1").spent_usd == 0.0


def test_what_a_run_cost_in_a_session_that_nobody_knows_any_more_is_unknown(took):
    took("train:delay@1", 0.0, HOUR, within="gpu:gone")
    took("train:delay@2", 0.0, HOUR, usd_per_hour=2.0)
    assert cost.show("train:delay@1").spent_usd is None
    assert cost.total() == (2.0, "the price of train:delay@1 is unknown: what it has cost is in no sum here")
    assert all(cost.total().note in shown.notes for shown in (cost.show(), lab.show()))


def test_without_a_price_the_settings_price_of_this_machine_counts(took, monkeypatch):
    took("train:delay@1", 0.0, HOUR)
    assert cost.show().notes == (
        "this machine counts as free: `cost.machine_usd_per_hour` in aiinfra.toml says what an hour of it costs",
    )
    monkeypatch.setenv("AIINFRA_COST_MACHINE_USD_PER_HOUR", "0.2")
    assert cost.show().spent_usd == pytest.approx(0.2)


def test_what_ended_before_it_began_took_no_time_and_the_sum_is_that_of_its_parts(took, monkeypatch):
    monkeypatch.setenv("AIINFRA_COST_MACHINE_USD_PER_HOUR", "3600")
    took("train:delay@1", 1000.0, 900.0)
    took("train:delay@2", 950.0, 960.0)
    took("recipe:flights@1", 5000.0, 5000.0, steps=(StepSpan("train", "done", 5000.0, -3.0),))
    shown = cost.show()
    assert (shown.spent_usd, sum(part.spent_usd for part in shown.parts)) == (10.0, 10.0)
    assert cost.show("recipe:flights").parts[0].duration_s == 0.0


def test_what_goes_on_says_so(took):
    took("train:delay@1", 0.0, HOUR, is_live=True)
    assert cost.show("train:delay@1").parts[0].note == "goes on"


def test_an_empty_workspace_has_cost_nothing(workspace):
    assert (cost.spent_usd(), cost.show().parts) == (0.0, ())


def test_the_cost_of_what_nobody_knows_is_an_error(workspace):
    with pytest.raises(NotFound, match="a cost of deploy:delay"):
        cost.show("deploy:delay")


def test_a_negative_price_of_the_machine_is_refused(workspace, monkeypatch):
    monkeypatch.setenv("AIINFRA_COST_MACHINE_USD_PER_HOUR", "-1")
    with pytest.raises(UsageProblem, match="is no price"):
        cost.machine_usd_per_hour()


# ---- 1,000 predictions ----


def test_a_thousand_predictions_when_busy_and_at_the_use_so_far(endpoint):
    endpoint(rows=50_000, busy_s=100.0, usd_per_hour=1.8)
    here = cost.show("deploy:delay").thousand[0]
    assert cost.show("deploy:delay").rows_per_s == 500
    assert here.when_busy_usd == pytest.approx(1.8 / (3.6 * 500))
    assert here.so_far_usd == pytest.approx(1.8 / 50)


def test_each_start_of_an_endpoint_counts_at_its_own_price(took):
    took("deploy:delay", 0.0, HOUR, rows=1000, busy_s=10.0, usd_per_hour=10.0)
    took("deploy:delay", 2 * HOUR, 5 * HOUR, rows=1000, busy_s=10.0, usd_per_hour=2.0)
    shown = cost.show("deploy:delay")
    here = shown.thousand[0]
    assert here.so_far_usd == pytest.approx(shown.spent_usd / 2) == pytest.approx(8.0)
    assert here.when_busy_usd == pytest.approx((10 * 10.0 + 10 * 2.0) / 3600 / 2)
    assert here.usd_per_hour == pytest.approx(4.0)
    assert "4.00 USD" in next(line for line in shown.card().text().splitlines() if "this machine" in line)


def test_a_start_of_unknown_price_makes_the_price_of_predictions_unknown(took):
    took("deploy:delay", 0.0, HOUR, rows=1000, busy_s=10.0, on_machine=False)
    took("deploy:delay", 2 * HOUR, 3 * HOUR, rows=1000, busy_s=10.0, usd_per_hour=2.0)
    assert cost.show("deploy:delay").thousand[0].so_far_usd is None


def test_on_a_free_machine_a_clouds_price_says_something(endpoint):
    endpoint(rows=1000, busy_s=1.0)
    here, cloud = cost.show("deploy:delay").thousand
    assert here.when_busy_usd == here.so_far_usd == 0
    assert cloud.whose == "aws g4dn.xlarge (2025-03-02)"
    # In a column of its own: a name of so many letters is cut.
    assert "aws g4dn.xlarge" in (rows := cost.show("deploy:delay").card().parts[0].rows)[1]
    assert [row[2] for row in rows] == [Dim("–"), "2025-03-02"]
    assert cloud.when_busy_usd == pytest.approx(0.526 / (3.6 * 1000))


def test_the_machine_to_compare_with_can_be_chosen(endpoint, monkeypatch):
    endpoint(rows=1000, busy_s=1.0)
    monkeypatch.setenv("AIINFRA_COST_COMPARE", "aws.p5.4xlarge")
    assert cost.show("deploy:delay").thousand[1].usd_per_hour == 6.88
    monkeypatch.setenv("AIINFRA_COST_COMPARE", "aws.p5.4xlagre")
    with pytest.raises(NotFound) as problem:
        cost.show("deploy:delay")
    assert problem.value.fix == "did you mean aws.p5.4xlarge?"


def test_without_predictions_it_cannot_be_told(endpoint):
    endpoint(rows=0, busy_s=0.0, usd_per_hour=1.0)
    shown = cost.show("deploy:delay")
    assert shown.thousand == ()
    assert "**No predictions yet**" in shown.card().lead
    assert "`%deploy run`" in shown.card().advice


def test_fewer_than_one_row_a_second_are_not_none(endpoint):
    endpoint(rows=4, busy_s=10.0)
    text = one_line(cost.show("deploy:delay").card())
    assert "measured rate 0.4 a second of answering" in text
    assert "at the rate measured here (0.4 rows a second)" in text


def test_predictions_without_a_measured_time_have_no_rate(endpoint):
    endpoint(rows=1000, busy_s=0.0, usd_per_hour=1.0)
    shown = cost.show("deploy:delay")
    assert (shown.rows_per_s, shown.thousand[0].when_busy_usd) == (None, None)
    assert shown.thousand[0].so_far_usd == pytest.approx(1.0)


# ---- the price table ----


def test_every_shipped_row_is_usable_and_says_where_it_is_from(workspace):
    rows = prices.SHIPPED.read_text().splitlines()[1:]
    table = prices.table()
    assert len(table) == len(rows)
    assert all(price.source and price.as_of and price.count > 0 for price in table)
    assert len({price.uri for price in table}) == len(rows)


def test_prices_are_listed_the_cheapest_first(workspace):
    found = [price.usd_per_hour for price in cost.ls(gpu="L4")]
    assert found == sorted(found)
    assert {price.accelerator for price in cost.ls(gpu="L4")} == {"L4"}


def test_a_share_of_an_accelerator_is_listed_with_it_and_two_are_not_one(workspace):
    assert min(price.count for price in cost.ls(gpu="L4")) == 0.25
    assert min(price.count for price in cost.ls(gpu="2x L4")) == 8


def test_who_asks_for_a_whole_one_is_told_no_price_of_a_share(workspace):
    assert min(price.count for price in prices.having("L4")) == 1
    assert min(price.count for price in prices.having("1/4 L4")) == 0.25


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("A100", {"A100-40GB", "A100-80GB"}), ("a10g", {"A10G"}), ("A10", {"A10"}), ("A100-80GB", {"A100-80GB"})],
)
def test_an_accelerator_is_found_by_its_name(workspace, wanted, found):
    assert {price.accelerator for price in prices.having(wanted)} == found


def test_every_price_is_shown_as_money(own_table):
    own_table("x,a,T4,1,0.526,0.16,0.3,r,s,2999-01-01")
    card = cost.ls().card()
    (table,) = card.parts
    assert card.lead == "**The cheapest is x a**, 0.53 USD an hour."
    assert table.rows == [("x a", "r", "1 × T4", "0.53 USD", "0.16 USD", "0.30 USD", "2999-01-01")]
    assert [isinstance(title, Number) for title in table.titles] == [False, False, False, True, True, True, False]


def test_an_accelerator_that_nobody_has_says_what_there_is(workspace):
    assert "It has no Z80, but A10, A100-40GB" in cost.ls(gpu="Z80").card().text()


@pytest.mark.parametrize("usd", ["0", "-1", "", "nan", "inf"])
def test_a_price_that_cannot_be_true_is_none(own_table, usd):
    own_table(f"x,a,T4,1,{usd},,,r,s,2026-01-01", "x,b,T4,1,1.0,,,r,s,2026-01-01", "x,c,T4,0,1.0,,,r,s,2026-01-01")
    assert [price.type for price in prices.table()] == ["b"]


@pytest.mark.parametrize("spot", ["1.0", "0.1", "0", "2"])
def test_a_spot_price_that_cannot_be_the_markets_is_unknown(own_table, spot):
    own_table(f"x,a,T4,1,1.0,{spot},{spot},r,s,2026-01-01")
    assert prices.table()[0].spot_low_usd is None


def test_a_zone_has_one_spot_price_and_a_region_a_range(own_table, workspace):
    own_table("x,a,T4,1,1.0,0.3,,r,s,2999-01-01", "x,b,T4,1,1.0,0.3,0.6,r,s,2999-01-01")
    assert [(one.spot_low_usd, one.spot_high_usd) for one in prices.table()] == [(0.3, 0.3), (0.3, 0.6)]
    path = workspace / "mine.csv"
    path.write_text(f"{HEADER},zone\nx,a,T4,1,1.0,0.3,,r,s,2999-01-01,r-1\nx,a,T4,1,1.0,,,r,s,2999-01-01,r-2\n")
    assert [(one.uri, one.place, one.spot_low_usd) for one in prices.table()] == [
        ("cost:x.a.r-1", "r-1", 0.3),
        ("cost:x.a.r-2", "r-2", None),
    ]


def test_spot_prices_of_one_region_differ_by_its_zones(workspace):
    zones = {one.zone: one.spot_low_usd for one in prices.table() if one.machine == ("aws", "p5.48xlarge", "us-east-1")}
    assert zones["use1-az5"] == 14.246
    assert zones["use1-az2"] / zones["use1-az5"] > 3
    assert zones["use1-az1"] is None


def test_the_shipped_table_is_small_and_lists_accelerators_of_three_clouds(workspace):
    assert prices.SHIPPED.stat().st_size <= 300_000
    assert {"aws", "azure", "gcp"} <= {one.provider for one in prices.table()}
    known = {gpu.name for gpu in specs.ACCELERATORS}
    assert {one.accelerator for one in prices.table()} - known == {"V100"}


def test_an_accelerator_of_amds_has_a_price_with_its_source_and_its_day(workspace):
    [price] = cost.ls(gpu="MI300X")
    assert (price.provider, price.usd_per_hour, price.spot_high_usd) == ("crusoe", 3.45, 0.95)
    assert (price.source, price.as_of, price.spot_distrust) == ("gpuhunt 3584151", "2026-08-19", "")


def test_what_was_written_is_read(own_table, workspace):
    own_table("x,a,T4,0.25,1.0,0.3,0.6,r,s,2999-01-01")
    (workspace / "mine.csv").write_text(prices.written(prices.table()))
    (found,) = prices.table()
    assert (found.count, found.spot_low_usd, found.spot_high_usd, found.as_of) == (0.25, 0.3, 0.6, "2999-01-01")


def test_old_prices_say_so(own_table):
    own_table("x,a,T4,1,1.0,,,r,s,2020-01-01", "x,b,T4,1,1.0,,,r,s,2999-01-01")
    assert "1 of 2 are older than 180 days" in cost.ls().card().text()


def test_fresh_prices_say_nothing(own_table):
    own_table("x,b,T4,1,1.0,,,r,s,2999-01-01")
    assert list(cost.ls().card().notes) == []


def test_a_table_that_cannot_be_read_names_the_line(own_table, workspace):
    own_table("x,a,T4,1,1.0,,,r,s,2026-01-01", "x,a,T4,many,1.0,,,r,s,2026-01-01")
    with pytest.raises(UsageProblem, match=r"mine\.csv line 3"):
        prices.table()
    (workspace / "mine.csv").write_text("provider,type\n")
    with pytest.raises(UsageProblem, match="lacks the column accelerator"):
        prices.table()
    (workspace / "mine.csv").unlink()
    with pytest.raises(NotFound, match="no price table"):
        prices.table()


def test_a_changed_table_is_read_again(own_table):
    own_table("x,a,T4,1,1.0,,,r,s,2026-01-01")
    assert prices.table()[0].usd_per_hour == 1.0
    own_table("x,a,T4,1,2.0,,,r,s,2026-01-01")
    assert prices.table()[0].usd_per_hour == 2.0


def test_spendings_are_the_last_started_first(took):
    took("train:a@1", 0.0, HOUR)
    took("train:b@1", HOUR, 2 * HOUR)
    assert [item.span.uri for item in spending.spendings()] == ["train:b@1", "train:a@1"]


def test_predictions_of_an_endpoint_that_lives_are_counted_until_a_moment(took):
    took("deploy:delay", 0.0, HOUR, rows=3000, busy_s=4.0, is_live=True, counted_at=1800.0)
    found = cost.show("deploy:delay")
    at = moment(1800.0)
    assert found.counted_at == 1800.0
    assert f"Predictions are counted until {at}" in found.card().text()


def test_predictions_of_one_that_ended_are_all_counted(took):
    took("deploy:delay", 0.0, HOUR, rows=3000, busy_s=4.0)
    assert cost.show("deploy:delay").counted_at is None
    assert "counted until" not in cost.show("deploy:delay").card().text()


# ---- what nobody knows the price of ----


def test_an_unknown_price_is_shown_as_unknown_and_not_as_nothing(took, endpoint):
    endpoint(rows=1000, busy_s=4.0, on_machine=False)
    shown = cost.show("deploy:delay")
    assert (shown.spent_usd, shown.usd_per_hour, [part.spent_usd for part in shown.parts]) == (None, None, [None])
    assert (shown.thousand[0].usd_per_hour, shown.thousand[0].when_busy_usd, shown.thousand[0].so_far_usd) == (
        None,
    ) * 3
    assert shown.thousand[1].so_far_usd > 0
    figures = {one.label: one.value for one in shown.card().figures}
    assert (figures["spent"], figures["price"]) == ("unknown", "unknown")
    assert "0 USD" not in shown.card().text()


def test_the_card_of_an_endpoint_compares_the_price_of_its_predictions(endpoint):
    endpoint(rows=1000, busy_s=4.0, usd_per_hour=1.0)
    card = cost.show("deploy:delay").card()
    assert card.lead.startswith("**1,000 predictions have cost 1.00 USD so far**")
    assert [one.label for one in card.figures][:2] == ["per 1,000 predictions", "spent"]
    here, cloud = card.parts[0].rows
    assert [str(here[-1]), str(cloud[-1])] == ["● now", "↓ 47 % less"]
    assert not isinstance(card.parts[0].titles[-1], Number)


def test_the_cost_of_everything_shows_the_dearest_first_and_their_sum(took):
    took("train:a@1", 0.0, HOUR, usd_per_hour=1.0, on_machine=False)
    took("gpu:b", 0.0, HOUR, usd_per_hour=2.0, on_machine=False)
    card = cost.show().card()
    assert (card.uri, card.lead) == ("everything", "**3.00 USD so far**; gpu:b cost most, 2.00 USD.")
    assert [row[0] for row in card.parts[0].rows] == ["gpu:b", "train:a@1"]
    assert card.parts[0].total[:3] == ("together", "2 h", "3.00 USD")


def test_what_was_spent_by_day_is_pictured_where_there_are_days(took):
    for days in (2, 4):
        began = time.time() - days * 24 * HOUR
        took("gpu:b", began, began + HOUR, usd_per_hour=2.0, on_machine=False)
    assert sum(usd for _, usd in cost.show().days) == pytest.approx(4.0)
    (plots, *_) = cost.show("gpu:b").card().parts
    assert "a day since" in plots.pictures[0].alt


def test_what_cost_nothing_or_only_today_has_no_days(took):
    took("gpu:a", time.time() - 49 * HOUR, time.time(), usd_per_hour=0.0, on_machine=False)
    assert cost.show().days == ()


def test_a_sum_names_what_is_not_in_it(took):
    took("gpu:trainer", 0.0, HOUR, usd_per_hour=2.0, on_machine=False)
    took("deploy:far", 0.0, HOUR, on_machine=False)
    everything = cost.show()
    assert (everything.spent_usd, cost.spent_usd()) == (2.0, 2.0)
    assert {part.uri: part.spent_usd for part in everything.parts} == {"gpu:trainer": 2.0, "deploy:far": None}
    assert "the price of deploy:far is unknown: what it has cost is in no sum here" in everything.notes
    assert "unknown" in everything.card().text()


def test_starts_of_which_one_has_a_price_cost_at_least_that(took, monkeypatch):
    monkeypatch.setenv("AIINFRA_COST_MACHINE_USD_PER_HOUR", "1")
    took("deploy:delay", 0.0, HOUR)
    took("deploy:delay", 5 * HOUR, 6 * HOUR, on_machine=False)
    shown = cost.show("deploy:delay")
    assert (shown.spent_usd, shown.usd_per_hour) == (1.0, None)
    assert Figure("spent", "1.00", "USD, and what is unknown") in shown.card().figures
