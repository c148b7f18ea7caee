"""Looking at versions: get, ls, show, log, rm, and rows for other nouns."""

import re

import pandas as pd
import pytest

from aiinfra_lab import data
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.errors import Conflict, Damaged, NotFound, UsageProblem
from aiinfra_lab.store import Event, Record, open_store
from aiinfra_lab.testing.data import content_of, folder


@pytest.fixture
def cats(workspace, tmp_path):
    """Three versions of a CSV: one cat, two cats, three."""
    for count in (1, 2, 3):
        rows = "".join(f"Tom{n},{n}\n" for n in range(count))
        data.add("cats", folder(tmp_path / "cats", {"cats.csv": "name,age\n" + rows}))
    return workspace


def test_an_older_version_is_there_after_a_newer_one(cats):
    assert [data.get(f"cats@{n}").rows for n in (1, 2, 3)] == [1, 2, 3]
    assert (str(data.get("cats")), data.get("data:cats@2").df().age.max()) == ("data:cats@3", 1)


def test_a_version_that_is_not_in_place_comes_out_of_the_cache(cats):
    path = data.get("cats@1").path
    for file in path.iterdir():
        file.unlink()
    assert data.get("cats@1").table()["age"].to_list() == [0]


def test_content_that_is_nowhere_is_an_error_with_a_fix(cats):
    path = data.get("cats@1").path
    for file in [*path.iterdir(), *(cats / ".dvc" / "cache" / "files").rglob("*")]:
        if file.is_file():
            file.unlink()
    with pytest.raises(NotFound, match="not in this workspace's DVC cache") as caught:
        data.get("cats@1")
    assert "dvc pull" in caught.value.fix


def test_stored_bytes_that_were_altered_are_never_handed_out(cats):
    path = data.get("cats@1").path
    stored = next(file for file in (cats / ".dvc" / "cache" / "files").rglob("*") if file.samefile(path / "cats.csv"))
    (path / "cats.csv").unlink()
    stored.chmod(0o644)
    stored.write_text("name,age\nTom0,9\n")
    stored.chmod(0o400)
    with pytest.raises(Damaged, match="other bytes"):
        data.get("cats@1")


def test_a_damaged_list_of_files_is_not_trusted(cats):
    digest = data.get("cats@1").digest
    (cats / ".aiinfra" / "data" / "manifests" / f"{digest}.json").write_text("[]")
    with pytest.raises(Damaged):
        data.get("cats@1")


def test_a_copy_into_a_free_place(cats, tmp_path):
    data.get("cats@2", into=tmp_path / "new" / "cats")
    copied = tmp_path / "new" / "cats" / "cats.csv"
    copied.write_text(copied.read_text() + "Mine,1\n")
    assert data.get("cats@2").table().height == 2


@pytest.mark.parametrize("name", ["cats.csv", "cats.parquet"])
def test_a_copy_into_a_file_of_rows_is_the_table(cats, tmp_path, name):
    made = data.get("cats@2", into=tmp_path / name)
    assert str(tmp_path / name) in made.card().text()
    assert data.add("again", tmp_path / name).df().equals(data.get("cats@2").df())


def test_a_card_says_where_a_copy_is(cats, tmp_path):
    assert str(tmp_path / "new") in data.get("cats@2", into=tmp_path / "new").card().text()


def test_a_folder_is_not_called_like_one_of_its_files(workspace, tmp_path):
    folder(tmp_path / "texts", {"a.txt": "1", "b.txt": "2"})
    data.add("texts", tmp_path / "texts")
    with pytest.raises(UsageProblem) as problem:
        data.get("texts", into=tmp_path / "out.txt")
    assert problem.value.fix == f"did you mean {tmp_path / 'out'}?"


def test_a_copy_over_something_is_refused(cats, tmp_path):
    folder(tmp_path / "there", {"a": ""})
    with pytest.raises(Conflict, match="is there already"):
        data.get("cats", into=tmp_path / "there")
    assert content_of(tmp_path / "there") == {"a": ""}


@pytest.mark.parametrize(
    ("name", "kind", "fix"),
    [
        ("cast", NotFound, "did you mean cats"),
        ("cats@9", NotFound, "there are: cats@3, cats@2, cats@1"),
        ("cats@best", UsageProblem, "@N"),
        ("cats@1#cats", UsageProblem, "@N"),
    ],
)
def test_what_is_not_there(cats, name, kind, fix):
    with pytest.raises(kind) as caught:
        data.get(name)
    assert fix in caught.value.fix


def test_where_there_is_nothing_yet_the_fix_makes_something(workspace):
    with pytest.raises(NotFound) as caught:
        data.get("cats")
    assert caught.value.fix == "there is none yet: `%data add cats PATH` makes one"
    assert "`%data add NAME PATH`" in data.ls().card().text()


def test_a_table_that_is_not_there(cats):
    with pytest.raises(NotFound, match="no table 'cat'") as caught:
        data.get("cats").df("cat")
    assert "did you mean cats" in caught.value.fix


def test_several_tables_and_none_called_like_the_data(workspace, tmp_path):
    got = data.add("zoo", folder(tmp_path / "zoo", {"a.csv": "x\n1\n", "b.csv": "x\n2\n"}))
    with pytest.raises(UsageProblem, match="2 tables") as caught:
        got.df()
    assert 'as in .df("a")' in caught.value.fix
    assert "`%data add a data:zoo@1`" in caught.value.fix
    assert data.add("a", "data:zoo@1").df()["x"].to_list() == got.df("a")["x"].to_list() == [1]


def test_several_tables_with_names_that_data_cannot_have(workspace, tmp_path):
    got = data.add("zoo", folder(tmp_path / "zoo", {"A.csv": "x\n1\n", "B.csv": "x\n2\n"}))
    with pytest.raises(UsageProblem) as caught:
        got.df()
    assert f"`%data add NAME {got.path}/A.csv`" in caught.value.fix


@pytest.mark.parametrize("table", [None, "cats"])
def test_files_that_are_no_tables(workspace, tmp_path, table):
    got = data.add("zoo", folder(tmp_path / "zoo", {"cats.xlsx": "PK"}))
    with pytest.raises(NotFound, match="holds no table") as caught:
        got.df(table)
    assert "(.parquet, .csv, .tsv, .jsonl, .ndjson)" in caught.value.fix


def test_the_list_is_newest_first(cats):
    assert [item.uri for item in data.ls()] == ["data:cats@3", "data:cats@2", "data:cats@1"]
    assert len(data.ls("cats")) == 3
    with pytest.raises(NotFound, match="did you mean cats"):
        data.ls("cat")


def test_show_says_everything(cats):
    shown = data.show("cats@2")
    assert (shown.rows, shown.files, shown.tables[0].columns) == (2, 1, (("name", "text"), ("age", "int64")))
    text = shown.card().text()
    assert "Data version data:cats@2  ✓ complete" in text
    assert "Against data:cats@1: 1 row more." in text
    assert "`%data diff cats@2 cats@1` · `%data get cats@2`" in text
    assert shown.as_json()["tables"][0]["columns"] == [["name", "text"], ["age", "int64"]]


def test_the_only_table_is_the_same_one_whatever_its_file_is_called(workspace, tmp_path):
    data.add("t", folder(tmp_path / "one", {"july.csv": "x,y\n1,2\n"}))
    data.add("t", folder(tmp_path / "two", {"august.csv": "x\n1\n2\n"}))
    assert "Against data:t@1: 1 row more, 1 column gone (y)." in data.show("t").card().text()


def test_the_html_of_a_wide_version_stays_small(workspace):
    got = data.add("wide", pd.DataFrame({f"column_{n}": [n] for n in range(300)}))
    for html in (got.card().html(), data.show("wide").card().html()):
        assert len(re.sub(r"base64,[^\"]*", "", html)) < 5_000
        assert len(html) < 60_000


def test_the_first_rows_of_a_wide_version_say_how_many_of_its_columns_they_show(workspace):
    text = data.add("wide", pd.DataFrame({f"column_{n}": [n] * 3 for n in range(30)})).card().text()
    assert re.search(r"first 3 of 3 rows, \d of 30 columns", text)
    assert "first 3 of 3 rows:" in data.add("narrow", pd.DataFrame({"x": [1, 2, 3], "y": "a"})).card().text()


def test_one_value_among_the_rows_looked_at_is_not_said_as_a_bound(workspace, monkeypatch):
    monkeypatch.setattr("aiinfra_lab.data.sample.MOST_ROWS", 1000)
    frame = pd.DataFrame({"same": "a", "two": ["b", "c"] * 2000})
    rows = next(part for part in data.add("t", frame).card().parts if "distinct" in str(part.titles)).rows
    assert [row[3] for row in rows] == ["1 seen", "≥ 2"]


def test_the_log_tells_what_was_made_of_it(cats):
    data.add("copy", "data:cats@2")
    assert [item.outputs for item in data.log("cats@2")] == [("data:copy@1",), ("data:cats@2",)]
    assert len(data.log("cats")) == 4
    with pytest.raises(NotFound):
        data.log("dogs")


def test_removing_keeps_the_record(cats):
    gone = data.rm("cats@2")
    assert (gone.uri, gone.newest) == ("data:cats@2", "data:cats@3")
    assert "data:cats@2  ▲ removed" in gone.card().text()
    assert "data:cats now means data:cats@3" in gone.card().text()
    with pytest.raises(NotFound, match="was removed"):
        data.get("cats@2")
    assert data.show("cats@2").state == "removed"
    assert data.log("cats@2")[0].verb == "data rm"
    assert [data.get(f"cats@{n}").table().height for n in (1, 3)] == [1, 3]


def test_removing_the_newest_brings_back_the_one_before(cats):
    data.rm("cats@3")
    assert str(data.get("cats")) == "data:cats@2"
    assert (cats / "data" / "cats" / "cats.csv").read_text() == "name,age\nTom0,0\nTom1,1\n"


def test_a_number_is_never_used_again(cats, tmp_path):
    data.rm("cats@3")
    assert data.add("cats", folder(tmp_path / "cats", {"cats.csv": "name,age\nNew,1\n"})).uri == "data:cats@4"


def test_removing_all_leaves_no_content(cats):
    removed = [data.rm(f"cats@{version}") for version in (1, 2, 3)]
    assert "no version of data:cats is left" in removed[-1].card().text()
    assert [path for path in (cats / ".dvc" / "cache" / "files").rglob("*") if path.is_file()] == []
    assert [path.name for path in (cats / "data").iterdir()] == []
    with pytest.raises(NotFound, match="was removed"):
        data.get("cats")


def test_what_a_served_model_was_made_of_is_not_removed(cats):
    made = Event("models add", "models:m@1", ("data:cats@1",), ("models:m@1",))
    open_store().commit([Record.new("m", EndpointRecord(champion="models:m@1"))], made)
    with pytest.raises(Conflict, match="deploy:m serves models:m@1, which was made of data:cats@1"):
        data.rm("cats@1")
    assert data.get("cats@1").df().shape


def test_removing_twice_and_removing_everything_at_once_are_refused(cats):
    data.rm("cats@1")
    with pytest.raises(NotFound, match="already") as twice:
        data.rm("cats@1")
    with pytest.raises(UsageProblem, match="which version") as all_of_them:
        data.rm("cats")
    assert "`%data ls cats`" in twice.value.fix
    assert "`%data ls cats`" in all_of_them.value.fix


def test_content_that_another_version_has_stays(cats):
    data.add("copy", "data:cats@3")
    data.rm("copy@1")
    for file in data.get("cats@3").path.iterdir():
        file.unlink()
    assert data.get("cats@3").table().height == 3


def test_rows_are_found_wherever_they_are(cats, tmp_path):
    folder(tmp_path, {"more.csv": "a\n1\n"})
    handle = data.get("cats@1")
    assert data.open_rows(handle) is handle
    assert data.open_rows("data:cats@2").rows == 2
    assert data.open_rows(str(tmp_path / "more.csv")).uri == "data:rows@1"
    assert data.open_rows(pd.DataFrame({"a": [5]}), name="mine").uri == "data:mine@1"


@pytest.mark.parametrize("rows", [None, "", 7, "features:delay@1"])
def test_what_is_no_rows(workspace, rows):
    with pytest.raises(UsageProblem):
        data.open_rows(rows)


def test_the_log_of_one_version_and_of_what_was_removed(cats):
    data.rm("cats@1")
    assert [item.verb for item in data.log("cats@1")] == ["data rm", "data add"]
    assert [item.outputs for item in data.log("data:cats@2")] == [("data:cats@2",)]
    with pytest.raises(NotFound) as caught:
        data.log("cats@9")
    assert caught.value.fix == "there are: cats@3, cats@2"


def test_the_log_of_a_name_leaves_out_longer_names(cats):
    data.add("cats-two", "data:cats@1")
    assert [item.outputs for item in data.log("cats-two")] == [("data:cats-two@1",)]
    assert len(data.log("cats")) == 4


@pytest.mark.parametrize("lost", [False, True])
def test_the_files_of_a_version_cannot_be_written_by_accident(cats, lost):
    path = data.get("cats@1").path
    if lost:
        for file in path.iterdir():
            file.unlink()
        data.get("cats@1")
    assert [file.stat().st_mode & 0o222 for file in path.iterdir()] == [0]


def test_a_handle_is_a_name_too(cats):
    one, two = data.get("cats@1"), data.get("cats@2")
    assert data.show(one).uri == one.uri
    assert data.diff(two, one).other == one.uri
    assert data.check(two, like=one, key=["name"]).state == "good"
    assert data.rm(one).uri == one.uri


def test_a_version_that_was_removed_is_still_shown(cats):
    for number in (1, 2, 3):
        data.rm(f"cats@{number}")
    assert (data.show("cats").uri, data.show("cats@1").state) == ("data:cats@3", "removed")


def test_without_a_version_nothing_is_written_by_looking(workspace):
    data.ls()
    open_store().close()
    assert not (workspace / ".dvc").exists()
