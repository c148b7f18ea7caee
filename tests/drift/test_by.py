"""Rows that depend on each other: the column that says so, wherever it is, and what the verdict says of it."""

import re

import numpy as np
import pandas as pd
import pytest

from aiinfra_lab import completion, data, drift, features
from aiinfra_lab.errors import Failed, Inconclusive, UsageProblem
from tests.cards import one_line
from tests.drift.conftest import frame


def days(seed: int, first: int, count: int = 18, *, moved: float = 0.0) -> pd.DataFrame:
    """So many days of fifty rows, shuffled: each has a level of its own, and no column of the model's says which."""
    rng = np.random.default_rng(seed)
    rows = frame(seed, count * 50)
    day = np.repeat(np.arange(first, first + count), 50)
    level = np.repeat(rng.normal(size=count), 50)
    rows = rows.assign(day=day, x=rows["x"] * 0.1 + level + moved, moment=np.arange(len(rows)) + first * 50.0)
    return rows.sample(frac=1, random_state=seed).reset_index(drop=True)


@pytest.fixture(scope="module")
def two_months(model) -> None:
    """data:june@1, data:july@1, which differ in nothing, and data:august@1, which is two sd away."""
    data.add("june", days(11, 0))
    data.add("july", days(12, 20))
    data.add("august", days(13, 40, moved=4.0))


def check(endpoint, **given):
    return drift.check(endpoint.name, **{"against": "data:june@1", "rows": "data:july@1", "report": True, **given})


def test_rows_of_one_day_count_as_one_where_the_day_is_declared(endpoint, two_months):
    assert "x" in check(endpoint).drifted
    found = check(endpoint, by="day")
    assert (found.state, found.by, list(found.units)) == ("no drift", "day", ["18 and 18 blocks of day"])
    assert "Units: 18 and 18 blocks of day." in one_line(found.card())
    assert drift.show(endpoint.name).as_json()["columns"][0]["unit"] == "18 and 18 blocks of day"


def test_a_change_beyond_the_days_own_is_still_drift(endpoint, two_months):
    assert "x" in check(endpoint, rows="data:august@1", by="day").drifted


def test_the_column_of_rows_that_have_their_features_is_found_where_they_came_from(endpoint, two_months):
    made = [features.get("f", rows=f"data:{name}@1").uri for name in ("june", "july")]
    assert check(endpoint, against=made[0], rows=made[1], by="day").state == "no drift"


def test_a_column_with_another_value_in_each_row_is_an_order_of_rows(endpoint, two_months):
    """In the order of the moments, rows of one day are neighbours, and resemble each other."""
    found = check(endpoint, by="moment")
    assert found.state == "cannot tell"
    assert all("stretches of rows in the order of moment" in unit for unit in found.units)


def test_a_column_with_one_value_is_inconclusive_and_says_why(endpoint, two_months):
    data.add("still", days(14, 0).assign(day=1))
    with pytest.raises(Inconclusive, match="18 and 1 blocks of day are too few: 5 are needed"):
        check(endpoint, rows="data:still@1", by="day", report=False)
    assert drift.show(endpoint.name).state == "cannot tell"


def test_too_few_blocks_are_declared_by_another_column_as_the_fix_says(endpoint, two_months):
    for name, seed in (("winter", 19), ("spring", 20)):
        data.add(name, days(seed, 0).assign(month=1))
    both = {"against": "data:winter@1", "rows": "data:spring@1"}
    with pytest.raises(Inconclusive) as problem:
        check(endpoint, **both, by="month", report=False)
    assert "another column with --by, one with 5 values or more" in problem.value.fix
    assert check(endpoint, **both, by="day").state == "no drift"


def test_fewer_rows_than_sixty_are_inconclusive(endpoint, two_months):
    data.add("little", days(15, 0).head(59))
    with pytest.raises(Inconclusive, match="59 rows are too few: 60 are needed"):
        check(endpoint, rows="data:little@1", by="day", report=False)


@pytest.mark.parametrize(
    ("by", "fix"), [("dya", "did you mean day?"), ("zzzzz", "known: at, colour, day, moment, row_id, x, y")]
)
def test_a_column_that_rows_do_not_have_is_named_with_what_they_have(endpoint, two_months, by, fix):
    with pytest.raises(UsageProblem, match=rf"features:f@1#\w+ has no column '{by}' for --by") as problem:
        check(endpoint, by=by)
    assert problem.value.fix == fix


def test_a_column_that_only_the_reference_has_is_missed_in_the_rows(endpoint, two_months):
    data.add("dayless", days(16, 0).drop(columns="day"))
    with pytest.raises(UsageProblem, match="has no column 'day'"):
        check(endpoint, rows="data:dayless@1", by="day")


def test_a_log_has_the_columns_of_the_model(endpoint, two_months):
    endpoint(frame(4))
    with pytest.raises(UsageProblem, match=f"the log of deploy:{endpoint.name} has no column 'day'") as problem:
        check(endpoint, rows=None, by="day")
    assert problem.value.fix.startswith("known: colour, x; a log has these")
    assert check(endpoint, rows=None, by="colour", report=True).state == "cannot tell"


def test_a_log_suggests_no_other_unit_for_a_column_that_it_lacks(endpoint, two_months):
    """`colours` is near to `colour`, which need not say what belongs together."""
    data.add("shades", days(21, 0).assign(colours="many"))
    endpoint(frame(4))
    with pytest.raises(UsageProblem, match=r"the log of .* has no column 'colours'") as problem:
        check(endpoint, against="data:shades@1", rows=None, by="colours")
    assert problem.value.fix.startswith("known: colour, x; a log has these")


def test_values_that_are_missing_are_one_block(endpoint, two_months):
    gone = days(17, 20)
    data.add("gone", gone.assign(day=gone["day"].where(gone["day"] % 2 == 0)))
    assert check(endpoint, rows="data:gone@1", by="day").state == "no drift"


def test_a_column_of_lists_is_refused(endpoint, two_months):
    data.add("lists", days(18, 20).assign(day=lambda rows: [[day] for day in rows["day"]]))
    with pytest.raises(UsageProblem, match=r"day of features:f@1#\w+ holds lists"):
        check(endpoint, rows="data:lists@1", by="day")


def test_moments_of_any_kind_are_values(endpoint, two_months):
    """A time is a block of its own where rows share it, and no day is made of it."""
    for name in ("june", "july"):
        rows = data.get(f"{name}@1").df()
        data.add(name, rows.assign(day=pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(rows["day"], "D")))
    found = check(endpoint, against="data:june@2", rows="data:july@2", by="day")
    assert (found.state, list(found.units)) == ("no drift", ["18 and 18 blocks of day"])


def test_completion_offers_the_columns_that_feature_sets_know(endpoint):
    assert completion.complete("drift", f"check {endpoint.name} --by ") == ["at", "colour", "x"]


def test_the_help_says_what_is_believed_of_it(capsys):
    from aiinfra_lab.verbs import help_of

    text = re.sub(r"\s+", " ", help_of("drift", "check").content)
    assert "[--by TEXT]" in text
    assert "those with different ones do not. That is believed" in text


def test_a_drift_names_its_verdict_in_the_fix(endpoint, two_months):
    with pytest.raises(Failed) as problem:
        check(endpoint, rows="data:august@1", by="day", report=False)
    assert f"`%drift show {endpoint.name}@1`" in problem.value.fix
