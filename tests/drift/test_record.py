"""A verdict's record, as this version and the one before write it, and what drift tells those who know no noun."""

import contextlib
import json
import sqlite3
from typing import Any

import msgspec
import pytest

from aiinfra_lab import completion, drift, lab, nouns
from aiinfra_lab.drift.noun import NOUN
from aiinfra_lab.drift.record import ColumnChange, DriftRecord
from aiinfra_lab.errors import Damaged, NotFound, UsageProblem
from aiinfra_lab.nouns import Observation
from aiinfra_lab.resolve import resolve, resolve_any
from aiinfra_lab.store import Record, open_store
from aiinfra_lab.store.base import decode, encode
from tests.cards import one_line
from tests.fixtures import answers

COLUMN = ColumnChange(
    column="x",
    kind="number",
    drifted=True,
    effect=0.5,
    floor=0.05,
    effect_unit="sd",
    p=0.001,
    missing_before=0.1,
    missing_now=0.2,
    unseen=0.0,
    why="it moved",
    unit="day",
)


def verdict_at(at: float, state: str = "drift", **changes: Any) -> DriftRecord:
    fields = {
        "state": state,
        "endpoint": "deploy:delay",
        "model": "models:delay@1",
        "against": "features:delay@1#0a",
        "rows_before": 100,
        "rows_now": 200,
        "alpha": 0.05,
        "checked_at": at,
        "columns": (COLUMN,),
    }
    return DriftRecord(**{**fields, **changes})


def put(name: str, body: DriftRecord) -> Record[DriftRecord]:
    return open_store().commit([Record.new(name, body)])[0]


def test_a_verdict_is_written_with_these_fields():
    written = json.loads(encode(verdict_at(1.0, judged="deploy:delay", since_at=0.5, sample="ab", by="day")))
    assert set(written) == {
        *("state", "endpoint", "model", "against", "rows_before", "rows_now", "alpha", "checked_at", "columns"),
        *("sample", "judged", "since_at", "by", "outputs", "projected"),
    }
    assert set(written["columns"][0]) == {
        *("column", "kind", "drifted", "effect", "p", "missing_before", "missing_now", "unseen", "why"),
        *("floor", "effect_unit", "unit"),
    }


def records_before() -> list[tuple[str, str]]:
    """The verdicts in the workspace that version 0.1.0 wrote."""
    with (
        answers.restored("0.1.0") as workspace,
        contextlib.closing(sqlite3.connect(workspace / ".aiinfra" / "store.sqlite")) as db,
    ):
        return db.execute("SELECT name, body FROM records WHERE kind = 'drift' ORDER BY name").fetchall()


def test_the_verdicts_of_version_0_1_0_are_read_as_what_they_were():
    records = records_before()
    assert [name for name, _ in records] == ["late@1", "late@2", "late@3", "second@1"]
    for name, text in records:
        read, old = json.loads(encode(decode(DriftRecord, name, text, 1))), json.loads(text)
        assert {**read, "columns": None} == {**old, "columns": None, "by": "", "outputs": ["score"], "projected": []}
        for column, before in zip(read["columns"], old["columns"], strict=True):
            assert column == {**before, "floor": 0.02, "effect_unit": "", "unit": "rows"}


def test_the_verdicts_of_this_version_are_read_unchanged():
    text = encode(verdict_at(1.0, by="day"))
    assert encode(decode(DriftRecord, "late@1", text, 2)) == text


def test_a_verdict_of_version_0_1_0_says_that_it_took_rows_as_independent(workspace):
    name, text = records_before()[0]
    put(name, decode(DriftRecord, name, text, 1))
    shown = drift.show(name).card()
    assert "Units: rows." in one_line(shown)


def test_a_verdict_from_before_it_kept_what_was_judged_is_read(workspace):
    body = verdict_at(1.0)
    assert (body.judged, body.since_at, body.sample) == ("", None, "")
    put("delay@1", body)
    assert ("current", "deploy:delay, 200 rows") in drift.show("delay").card().facts


def test_a_verdict_with_an_unknown_state_is_damaged():
    text = encode(verdict_at(1.0)).replace('"state":"drift"', '"state":"maybe"')
    with pytest.raises(Damaged, match="drift delay@1 cannot be read"):
        decode(DriftRecord, "delay@1", text, 2)


def test_a_verdict_of_the_first_version_without_columns_is_damaged():
    with pytest.raises(Damaged, match="drift delay@1 cannot be read"):
        decode(DriftRecord, "delay@1", '{"state": "drift"}', 1)


def test_the_answer_holds_every_field_of_the_record(workspace):
    record = put("delay@1", verdict_at(1.0, judged="data:x@1"))
    answer = drift.show("delay").as_json()
    stored = json.loads(encode(record.body))
    del stored["sample"]
    assert answer == {**stored, "uri": "drift:delay@1"}


def test_lists_begin_with_the_newest_verdict(workspace):
    for number in range(1, 12):
        put(f"delay@{number}", verdict_at(float(number)))
    put("other@1", verdict_at(5.5))
    assert [found.uri for found in drift.ls()][:2] == ["drift:delay@11", "drift:delay@10"]
    assert [found.uri for found in drift.log("delay")] == [f"drift:delay@{number}" for number in range(11, 0, -1)]
    assert [found.uri for found in drift.ls()].index("drift:other@1") == 6


def test_the_table_of_nouns_finds_it(workspace):
    first = put("delay@1", verdict_at(1.0))
    second = put("delay@2", verdict_at(2.0, "no drift"))
    assert nouns.find("drift") is NOUN
    assert [(thing.uri, thing.state) for thing in NOUN.things()] == [
        ("drift:delay@2", "no drift"),
        ("drift:delay@1", "drift"),
    ]
    assert NOUN.observe([first]) == [Observation(first.uri, "drift", ended_at=1.0)]
    assert (resolve_any("drift:delay").body, list(NOUN.names())) == (second.body, ["delay", "delay@2", "delay@1"])
    assert completion.complete("drift", "show d") == ["delay", "delay@1", "delay@2"]


def test_nothing_of_it_lives_or_costs(workspace):
    put("delay@1", verdict_at(1.0))
    assert (NOUN.watched(), NOUN.spans(), NOUN.references()) == ([], [], [])
    with pytest.raises(NotFound):
        NOUN.stop("drift:delay@1")


def test_a_check_that_declares_less_does_not_replace_a_worse_one_that_declared_more(workspace):
    """Also in `lab show`, where the newest verdict alone would read as if all were well."""
    put("delay@1", verdict_at(1.0, by="day"))
    put("delay@2", verdict_at(2.0, "no drift"))
    (notice,) = NOUN.notices()
    assert (notice.uri, notice.state) == ("drift:delay@1", "drift")
    assert notice.detail == "x drifted, by day; the newer check drift:delay@2 did not declare that"
    assert notice.fix == "`%drift check delay --against features:delay@1#0a --by day` checks again"
    looks = {look.uri: (str(look.mark), look.command) for look in lab.show().overview.looks}
    assert looks["drift:delay@1"] == ("▲ drift", notice.fix.split("`")[1])


@pytest.mark.parametrize(
    "newer",
    [
        [verdict_at(2.0, "no drift", by="day")],
        [verdict_at(2.0, "no drift"), verdict_at(3.0, "no drift", by="day"), verdict_at(4.0, "no drift")],
        [verdict_at(2.0, "no drift", model="models:delay@2")],
        [verdict_at(2.0)],
    ],
    ids=["checked again", "before the last", "of another model", "as bad"],
)
def test_what_replaces_a_verdict_by_a_column(workspace, newer):
    for number, body in enumerate([verdict_at(1.0, by="day"), *newer], 1):
        put(f"delay@{number}", body)
    assert NOUN.notices() == []


def test_a_card_says_which_check_it_is_of(workspace):
    put("delay@1", verdict_at(1.0, by="day"))
    put("delay@2", verdict_at(2.0))
    assert dict(drift.show("delay@1").card().facts)["by"] == "day"
    assert dict(drift.show("delay@2").card().facts)["by"] == "no column declared"


@pytest.mark.parametrize(
    ("text", "error", "fix"),
    [
        ("delya", NotFound, "did you mean delay?"),
        ("delay@9", NotFound, "there are: delay@1"),
        ("delay@champion", UsageProblem, "write drift:delay for the newest, or @N behind it"),
    ],
)
def test_what_does_not_resolve_says_how_to_go_on(workspace, text, error, fix):
    put("delay@1", verdict_at(1.0))
    with pytest.raises(error) as problem:
        resolve(text, DriftRecord)
    assert problem.value.fix == fix


def test_without_any_verdict_the_fix_makes_one(workspace):
    with pytest.raises(NotFound) as problem:
        drift.show("delay")
    assert problem.value.fix == "there is none yet: `%data add flights PATH` makes one"


def test_what_drifted_or_cannot_be_judged_is_shown_and_the_rest_is_folded(workspace):
    """However large the effect of what did not drift is."""
    quiet = [msgspec.structs.replace(COLUMN, column=f"q{at}", effect=5.0, p=0.2, drifted=False) for at in range(9)]
    unjudged = msgspec.structs.replace(COLUMN, column="u", p=None, drifted=False, why="too few rows")
    put("delay@1", verdict_at(1.0, columns=(COLUMN, unjudged, *quiet)))
    table, fold = drift.show("delay").card().parts
    assert [str(row[1]) for row in table.rows] == ["▲ drift", "? cannot tell", *["✓ same"] * 3]
    assert (fold.summary.partition(":")[0], len(fold.content.items)) == ("6 more columns without drift", 6)
    assert table.rows[1][-1] == "too few rows"


def test_what_cannot_be_judged_is_never_among_what_did_not_drift(workspace):
    """However near the others came, which a verdict keeps before it."""
    quiet = [msgspec.structs.replace(COLUMN, column=f"q{at}", p=0.04, drifted=False) for at in range(9)]
    unjudged = msgspec.structs.replace(COLUMN, column="u", p=None, drifted=False, why="too few rows")
    score = msgspec.structs.replace(COLUMN, column="score")
    put("delay@1", verdict_at(1.0, columns=(score, *quiet, unjudged)))
    card = drift.show("delay").card()
    assert [row[0] for row in card.parts[0].rows][:2] == ["score", "u"]
    assert "no column that could be judged.** Most of all **score**" in card.lead
    assert card.lead.endswith("1 column cannot be judged.")


def unjudged(**reasons: str) -> tuple[ColumnChange, ...]:
    return tuple(
        msgspec.structs.replace(COLUMN, column=column, p=None, drifted=False, why=why)
        for column, why in reasons.items()
    )


def test_each_reason_why_columns_cannot_be_judged_is_told_with_its_columns(workspace):
    columns = unjudged(a="too few rows", b="keys", c="too few rows", score="too few rows")
    body = verdict_at(1.0, "cannot tell", columns=columns)
    record = put("delay@1", body)
    told = "a, c and score: too few rows; b: keys"
    assert drift.show("delay").card().lead == f"**3 of 3 columns cannot be judged.** {told}."
    assert NOUN.details(record.uri).problem == f"cannot be judged: {told}"


def test_reasons_and_columns_that_are_left_out_are_counted(workspace):
    many = {f"a{at}": "too few rows" for at in range(9)} | {f"b{at}": f"reason {at}" for at in range(5)}
    put("delay@1", verdict_at(1.0, "cannot tell", columns=unjudged(**many)))
    lead = drift.show("delay").card().lead
    assert "a0, a1, a2 and 6 more: too few rows; b0: reason 0; b1: reason 1; 3 columns more for other reasons." in lead


def test_rounding_makes_no_effect_that_is_told_apart_from_its_floor(workspace):
    barely = msgspec.structs.replace(COLUMN, effect=0.52 - 0.5, floor=0.02, effect_unit="of rows")
    put("delay@1", verdict_at(1.0, columns=(barely,)))
    (table,) = drift.show("delay").card().parts
    assert list(table.rows[0])[2:4] == ["2 %", "2 %"]
    assert msgspec.structs.replace(barely, effect=0.48 - 0.5).times_floor == 1.0


def test_the_advice_names_a_column_and_the_prediction_only_where_no_column_drifted(workspace):
    score, a = (msgspec.structs.replace(COLUMN, column=name) for name in ("score", "a"))
    put("delay@1", verdict_at(1.0, columns=(score, a)))
    put("other@1", verdict_at(1.0, columns=(score,)))
    assert drift.show("delay").card().advice.startswith("find out what changed **a**.")
    assert drift.show("other").card().advice.startswith("find out what changed in several columns together.")


def test_a_verdict_that_cannot_tell_says_what_it_takes(workspace):
    unsure = msgspec.structs.replace(COLUMN, drifted=False, p=None)
    put("delay@1", msgspec.structs.replace(verdict_at(1.0, columns=(unsure,)), state="cannot tell"))
    assert drift.show("delay").card().advice.startswith("judge more rows, or say with --by")


@pytest.mark.parametrize(
    ("state", "lead"),
    [
        ("drift", "**1 of 2 columns drifted, and the predictions with them.** Most of all **a**"),
        ("no drift", "**None of 2 columns drifted**"),
        ("cannot tell", "**1 of 2 columns cannot be judged**"),
    ],
)
def test_a_verdict_begins_with_what_was_found(workspace, state, lead):
    a, b, score = (msgspec.structs.replace(COLUMN, column=name) for name in ("a", "b", "score"))
    calm = [msgspec.structs.replace(each, drifted=False, p=0.5) for each in (a, b, score)]
    unsure = [msgspec.structs.replace(calm[0], p=None), *calm[1:]]
    columns = {"drift": (a, score, calm[1]), "no drift": tuple(calm), "cannot tell": tuple(unsure)}[state]
    put("delay@1", msgspec.structs.replace(verdict_at(1.0, columns=columns), state=state))
    assert drift.show("delay").card().lead.startswith(lead)
