"""Recording versions: what comes in, what is the same, what is refused, and what a crash leaves."""

import os
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path
from uuid import UUID

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from aiinfra_lab import data, files
from aiinfra_lab.cli import main
from aiinfra_lab.errors import Conflict, Failed, NotFound, UsageProblem
from aiinfra_lab.store import open_store
from aiinfra_lab.testing.data import content_of, folder
from aiinfra_lab.words import split, understand


def events() -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    return [(one.event.verb, one.event.inputs, one.event.outputs) for one in open_store().events()]


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return folder(tmp_path / "pets", {"cats.csv": "name,age\nTom,3\n", "dogs.csv": "name\nRex\n", "pics/tom.txt": "~"})


def test_a_folder_becomes_a_version(workspace, pets):
    added = data.add("pets", pets)
    assert (str(added), added.files, added.tables, added.rows) == ("data:pets@1", 3, ("cats", "dogs"), None)
    assert content_of(added.path) == content_of(workspace / "data" / "pets") == content_of(pets)


def test_a_file_becomes_a_version_whose_path_is_a_file(workspace, pets):
    added = data.add("cats", pets / "cats.csv")
    assert (added.path.name, added.rows, added.path.read_text()) == ("cats.csv", 1, "name,age\nTom,3\n")
    assert added.df().to_dict("list") == {"name": ["Tom"], "age": [3]}


def test_a_data_frame_becomes_a_version(workspace):
    frame = pd.DataFrame({"x": [1, 2], "y": ["a", None], "t": pd.to_datetime(["2013-01-01", None], utc=True)})
    added = data.add("frame", frame)
    assert (added.rows, added.tables, added.source) == (2, ("frame",), "a DataFrame in memory")
    pd.testing.assert_frame_equal(added.df(), frame.assign(t=frame.t.astype("datetime64[ns, UTC]")), check_dtype=False)


@pytest.mark.parametrize("make", [pl.DataFrame, lambda x: pl.DataFrame(x).lazy(), lambda x: pl.DataFrame(x).to_arrow()])
def test_frames_of_other_libraries(workspace, make):
    assert data.add("frame", make({"x": [1, 2]})).table()["x"].to_list() == [1, 2]


def test_a_named_index_is_kept_and_a_nameless_one_with_other_numbers_refused(workspace):
    frame = pd.DataFrame({"x": [1, 2, 3]}, index=pd.Index(["a", "b", "c"], name="key"))
    assert data.add("frame", frame).df().columns.tolist() == ["key", "x"]
    with pytest.raises(Failed, match="an index without a name"):
        data.add("frame", frame.reset_index(drop=True)[1:])


def test_the_same_content_again_is_the_same_version(workspace, pets):
    first, again = data.add("pets", pets), data.add("pets", pets)
    assert (first.uri, again.uri, first.note) == ("data:pets@1", "data:pets@1", "")
    assert "nothing new" in again.note
    assert len(events()) == 1


@pytest.mark.parametrize("name", ["cats.csv", "pics/tom.txt"])
def test_one_byte_or_one_name_makes_another_version(workspace, pets, name):
    first = data.add("pets", pets)
    text = (pets / name).read_text()
    (pets / name).write_text(text.replace("T", "P").replace("~", "-"))
    second = data.add("pets", pets)
    (pets / name).rename(pets / (name + ".bak"))
    third = data.add("pets", pets)
    assert [second.uri, third.uri] == ["data:pets@2", "data:pets@3"]
    assert len({first.digest, second.digest, third.digest}) == 3
    assert data.get("pets@1").digest == first.digest


def test_what_was_before_can_be_the_newest_again(workspace, pets):
    data.add("pets", pets)
    data.add("pets", pets / "cats.csv")
    assert data.add("pets", pets).uri == "data:pets@3"
    assert data.get("pets@3").digest == data.get("pets@1").digest


def test_one_event_with_what_went_in_and_what_came_out(workspace, pets):
    data.add("pets", pets)
    data.add("copy", "data:pets@1")
    assert events() == [
        ("data add", (f"file:{pets}",), ("data:pets@1",)),
        ("data add", ("data:pets@1",), ("data:copy@1",)),
    ]


def test_a_handle_or_a_uri_is_content_too(workspace, pets):
    one = data.add("pets", pets)
    assert data.add("two", one).digest == data.add("three", "data:pets").digest == one.digest


def test_changes_under_data_are_recorded_by_the_name_alone(workspace, pets):
    data.add("pets", pets / "cats.csv")
    (workspace / "data" / "pets" / "cats.csv").write_text("name,age\nTom,4\n")
    second = data.add("pets")
    assert (second.uri, second.df().age[0], second.path.name) == ("data:pets@2", 4, "cats.csv")


def test_changes_under_data_are_never_overwritten(workspace, pets):
    data.add("pets", pets)
    (workspace / "data" / "pets" / "cats.csv").write_text("mine")
    with pytest.raises(Conflict, match="data/pets has changes"):
        data.add("pets", pets / "dogs.csv")
    assert (workspace / "data" / "pets" / "cats.csv").read_text() == "mine"
    assert len(data.ls()) == 1


def test_the_examples_tables(workspace):
    added = data.add("flights", from_="example:nycflights13/2013-02")
    assert added.tables == ("airlines", "airports", "flights", "planes", "weather")
    assert (added.rows, added.source) == (24_951, "example:nycflights13/2013-02")
    assert events() == [("data add", ("example:nycflights13/2013-02",), ("data:flights@1",))]


def test_the_command_line_and_its_json(workspace, pets, capsys):
    assert main(["data", "add", "pets", str(pets), "--json"]) == 0
    assert '"uri": "data:pets@1"' in capsys.readouterr().out


@pytest.mark.parametrize("line", ["add t $df", "add t --rows $df"])
def test_a_notebooks_variable(workspace, line):
    call = understand("data", split(line, {"df": pd.DataFrame({"x": [1]})}))
    assert (call.run().uri, data.get("t").table()["x"].to_list()) == ("data:t@1", [1])


BAD = [
    ("nothing.csv", NotFound, "there is no file or folder"),
    ("empty.csv", Failed, "empty.csv is empty"),
    ("broken.csv", Failed, "line 3 of broken.csv has 1 fields"),
    ("mixed.csv", Failed, "column age of mixed.csv holds numbers, but line 4 says 'old'"),
    ("bare", Failed, "there is no file in"),
    ("links", Failed, "is a link to a folder"),
    ("dangling", Failed, "a broken link or no ordinary file"),
]


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    at = folder(tmp_path / "bad", {
        "empty.csv": "",
        "broken.csv": "name,age\nTom,3\nRex\n",
        "mixed.csv": "name,age\nTom,3\nRex,4\nBo,old\n",
        "dangling/ok.txt": "",
    })  # fmt: skip
    for name in ("bare/within", "links"):
        (at / name).mkdir(parents=True)
    (at / "links" / "there").symlink_to(at / "bare")
    (at / "dangling" / "gone").symlink_to(at / "nowhere")
    return at


@pytest.mark.parametrize(("name", "kind", "says"), BAD)
def test_bad_input_is_refused_and_leaves_nothing(workspace, bad, name, kind, says):
    with pytest.raises(kind, match=says):
        data.add("x", bad / name)
    assert (len(data.ls()), events()) == (0, [])
    assert not (workspace / "data").exists()
    assert list((workspace / ".aiinfra" / "data" / "incoming").iterdir()) == []


def test_a_bad_version_leaves_the_good_one(workspace, pets, bad):
    data.add("pets", pets)
    with pytest.raises(Failed):
        data.add("pets", bad / "broken.csv")
    assert [item.uri for item in data.ls()] == ["data:pets@1"]
    assert content_of(workspace / "data" / "pets") == content_of(pets)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (pd.DataFrame({"x": [1, "a"]}), "column x mixes types"),
        (pd.DataFrame({"x": [True, "a"]}), "column x mixes types"),
        (pd.DataFrame({1: [1]}), "a column 1 with a name that is no text"),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), "a column 'x' twice"),
        (pd.DataFrame(), "no columns"),
        (pl.DataFrame({"x": [object()]}), "column x mixes types"),
        (pd.DataFrame({"x": [1j]}), "cannot be stored"),
        (pa.table([[1], [2]], names=["x", "x"]), "column appears more than once"),
        (pl.LazyFrame({"x": [1]}).select("y"), 'cannot be computed: unable to find column "y"'),
        (pl.DataFrame({"x": [2**70]}), "column x of x.parquet holds whole numbers of more than 64 bits"),
    ],
)
def test_a_frame_that_is_no_table(workspace, frame, says):
    with pytest.raises(Failed, match=says):
        data.add("x", frame)
    assert len(data.ls()) == 0


NO_NAME, WAYS = "use lower-case letters", "give a URI like data:flights, a path like flights.csv"


@pytest.mark.parametrize(
    ("given", "fix"),
    [
        ({"name": "No Name", "rows": "x.csv"}, NO_NAME),
        ({"name": "../x", "rows": "x.csv"}, NO_NAME),
        ({"name": "x"}, "give a path, a data frame, or --from SOURCE"),
        ({"name": "x", "rows": ""}, WAYS),
        ({"name": "x", "rows": " "}, WAYS),
        ({"name": "x", "rows": 7}, WAYS),
        ({"name": "x", "rows": pd.Series([1])}, "series.to_frame()"),
        ({"name": "x", "rows": "models:delay@1"}, "did you mean data:delay@1?"),
        ({"name": "x", "from_": "exmaple:nycflights13/2013-01"}, "did you mean example?"),
        ({"name": "x", "from_": "nycflights13"}, "a path needs no --from"),
        ({"name": "x", "rows": "x.csv", "from_": "example:nycflights13"}, "give one of them"),
    ],
)
def test_a_command_that_names_no_content_says_what_to_give(workspace, given, fix):
    with pytest.raises(UsageProblem) as caught:
        data.add(**given)
    assert fix in caught.value.fix


@pytest.mark.parametrize("rows", ["pets", "pets@1"])
def test_the_bare_name_of_a_version_suggests_its_uri(workspace, pets, rows):
    data.add("pets", pets)
    with pytest.raises(NotFound, match=f"there is no file or folder .*{rows}") as caught:
        data.add("copy", rows)
    assert f"did you mean `%data add copy data:{rows}`?" in caught.value.fix


@pytest.mark.parametrize("rows", ["~nobody-of-that-name/x.csv", "x" * 300])
def test_a_path_that_cannot_be_one_is_not_there(workspace, rows):
    with pytest.raises(NotFound, match="there is no file or folder"):
        data.add("x", rows)


def test_an_address_is_no_path(workspace):
    with pytest.raises(NotFound) as caught:
        data.add("x", "https://example.org/x.csv")
    assert "fetched first" in caught.value.fix


ADDING = "import sys; from aiinfra_lab import data; data.add('pets', sys.argv[1])"


def test_two_at_once_make_two_versions(workspace, pets):
    started = [
        subprocess.Popen([sys.executable, "-c", ADDING, str(pets / name)], stderr=subprocess.PIPE)
        for name in ("cats.csv", "dogs.csv")
    ]
    problems = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], problems
    assert sorted(item.uri for item in data.ls()) == ["data:pets@1", "data:pets@2"]


def test_an_object_that_is_no_frame_of_a_known_library_is_refused(workspace):
    with pytest.raises(UsageProblem) as caught:
        data.add("x", {"x": [1]})
    assert WAYS in caught.value.fix


@pytest.mark.parametrize("text", [("zip",), "zip", ["zip"]])
def test_one_column_or_several_can_be_declared_text(workspace, tmp_path, text):
    added = data.add("t", folder(tmp_path / "t", {"t.csv": "zip\n12345\n"}), text=text)
    assert added.table()["zip"].to_list() == ["12345"]


def test_who_waits_for_another_to_take_data_in_says_so_and_ctrl_c_leaves_nothing(workspace, pets):
    command = [sys.executable, "-m", "aiinfra_lab.cli", "data", "add", "pets", str(pets)]
    with files.lock(workspace / ".aiinfra" / "data" / "lock"):
        waiting = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert "nother process of this workspace" in waiting.stderr.readline()
        waiting.send_signal(signal.SIGINT)
        assert (waiting.communicate()[1], waiting.returncode) == ("interrupted\n", 130)
    left = [path for path in (workspace / ".aiinfra" / "data").rglob("*") if path.is_file()]
    assert ([path.name for path in left], list(data.ls()), events()) == (["lock"], [], [])


READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && cd "$0" && exec "$@"'


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount")
def test_a_read_only_workspace_can_be_read_and_not_added_to(workspace, pets):
    data.add("pets", pets)
    open_store().close()

    def there(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["unshare", "-m", "sh", "-c", READ_ONLY, str(workspace), sys.executable, "-m", "aiinfra_lab.cli"]
        return subprocess.run([*command, "data", *words], capture_output=True, text=True, check=False)

    refused, read = there("add", "pets", str(pets / "cats.csv")), there("get", "pets")
    assert (refused.returncode, read.returncode) == (1, 0), refused.stderr + read.stderr
    assert "may not be written" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    "values",
    [
        pd.Categorical(["a", "a"], categories=["a", "b"]),
        pd.Categorical(["a", "b"], categories=["b", "a"]),
        [date(2013, 1, 1)] * 2,
        [UUID(int=7)] * 2,
        [[1, 2]] * 2,
        pd.Series(["2026-01-01"] * 2, dtype="datetime64[s]"),
        pd.Series([1, 2], dtype="int64[pyarrow]"),
        pd.Series([date(2013, 1, 1)] * 2, dtype="date32[pyarrow]"),
    ],
)
def test_what_of_a_frame_is_not_kept_is_said_when_it_is_added(workspace, values):
    assert "olumn x" in data.add("t", pd.DataFrame({"x": values})).card().lead
    assert data.get("t").note == ""


@pytest.mark.parametrize("dtype", ["datetime64[ns]", "datetime64[us]", "datetime64[ms]", "int64", "float64"])
def test_a_column_that_comes_back_as_it_was_has_no_note(workspace, dtype):
    frame = pd.DataFrame({"x": pd.Series([1, 2], dtype=dtype)})
    added = data.add("t", frame)
    assert (added.note, added.df().x.dtype) == ("", frame.x.dtype)


def test_an_index_without_a_name_beside_one_with_a_name_is_a_column_that_is_named(workspace):
    frame = pd.DataFrame({"x": [1]}, index=pd.MultiIndex.from_tuples([(1, 2)], names=["a", None]))
    assert "level_1" in data.add("t", frame).note


def test_categories_keep_their_order_whatever_else_the_process_has_read(workspace):
    before = pd.DataFrame({"x": pd.Categorical(["b", "a", "b"])})
    after = data.add("t", before).df()
    assert list(after.x.cat.codes) == list(before.x.cat.codes) == [1, 0, 1]


def test_whole_numbers_with_a_gap_come_back_exact(workspace, tmp_path):
    (tmp_path / "ids.csv").write_text(f"id,who\n{2**60 + 1},a\n,b\n{2**60 + 2},c\n")
    assert data.add("ids", tmp_path / "ids.csv").df().id.dropna().tolist() == [2**60 + 1, 2**60 + 2]


@pytest.mark.parametrize("folder", [b"plain", b"odd\xff"])
def test_a_path_that_is_not_utf8_is_refused(workspace, tmp_path, folder):
    path = tmp_path / os.fsdecode(folder) / os.fsdecode(b"t\xff.csv")
    path.parent.mkdir()
    path.write_text("x\n1\n")
    for given in (path, path.parent):
        with pytest.raises(Failed, match="is not UTF-8") as caught:
            data.add("t", given)
        assert caught.value.what.isascii()
