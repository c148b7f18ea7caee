"""What an error of the noun data advises is done to the letter, and then it works."""

import re
import shlex
import shutil
import subprocess
import sys
from datetime import timedelta, timezone
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from aiinfra_lab import data
from aiinfra_lab.data.record import DataVersion
from aiinfra_lab.errors import Conflict, Damaged, Failed, LabError, NotFound, UsageProblem
from aiinfra_lab.resolve import resolve
from aiinfra_lab.testing.data import content_of, folder
from tests.following import follow, provoked, run


@pytest.fixture
def cats(workspace: Path, tmp_path: Path) -> Path:
    """Two versions of what lies at the path; the path has blanks."""
    for age in (1, 2):
        at = folder(tmp_path / "my cats", {"cats.csv": f"name,age\nTom,{age}\n", "same.txt": "same"})
        data.add("cats", at)
    return at


def stored_file(workspace: Path, uri: str) -> Path:
    path = data.get(uri).path / "cats.csv"
    cache = (workspace / ".dvc" / "cache" / "files").rglob("*")
    return next(file for file in cache if file.is_file() and file.samefile(path))


def alter(path: Path) -> None:
    mode = path.stat().st_mode
    path.chmod(0o600)
    path.write_text(path.read_text().replace("Tom", "Rex"))
    path.chmod(mode)


def test_bytes_that_were_altered_are_put_back_by_adding_them_again(workspace, cats):
    alter(data.get("cats").path / "cats.csv")
    problem = provoked(lambda: data.check("cats"))
    assert "is whole again" in follow(problem).note
    assert data.check("cats").findings[0].state == "good"
    assert data.get("cats").df().name.tolist() == ["Tom"]


def test_what_the_store_holds_with_other_bytes_is_put_back_too(workspace, cats):
    alter(stored_file(workspace, "cats"))
    shutil.rmtree(data.get("cats").path)
    problem = provoked(lambda: data.get("cats"))
    assert isinstance(problem, Damaged)
    assert follow(problem).df().name.tolist() == ["Tom"]
    shutil.rmtree(data.get("cats").path)  # out of the store once more
    assert data.get("cats").df().name.tolist() == ["Tom"]


def test_an_older_version_is_put_back_by_its_content(workspace, cats, tmp_path):
    alter(data.get("cats@1").path / "cats.csv")
    problem = provoked(lambda: data.check("cats@1"))
    (cats / "cats.csv").write_text("name,age\nTom,1\n")
    follow(problem)
    assert data.check("cats@1").findings[0].state == "good"


def test_a_list_of_files_that_is_gone_is_written_by_adding_again(workspace, cats):
    for path in (workspace / ".aiinfra" / "data" / "manifests").iterdir():
        path.unlink()
    problem = provoked(lambda: data.get("cats"))
    assert isinstance(problem, Damaged)
    follow(problem)
    assert data.get("cats").df().age.tolist() == [2]


def test_content_that_the_store_lacks_comes_back_by_adding_again(workspace, cats):
    for file in [*data.get("cats").path.iterdir(), *(workspace / ".dvc" / "cache" / "files").rglob("*")]:
        if file.is_file():
            file.unlink()
    problem = provoked(lambda: data.get("cats"))
    assert isinstance(problem, NotFound)
    assert follow(problem).df().age.tolist() == [2]


@pytest.mark.parametrize("source", ["frame", "data:cats@1", "example:nycflights13/2013-01"])
def test_how_content_is_added_again_depends_on_where_it_came_from(workspace, cats, source):
    frame = pl.DataFrame({"x": [1]})
    added = data.add("again", frame) if source == "frame" else run(f"data add again {source_words(source)}")
    path = min(added.path.rglob("*.*"))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[::-1])
    problem = provoked(lambda: data.check("again"))
    if source == "frame":
        assert "`data.add`" in problem.fix
        data.add("again", frame)
    else:
        follow(problem)
    assert data.check("again", report=True).findings[0].state == "good"


def source_words(source: str) -> str:
    return source if source.startswith("data:") else f"--from {source}"


FRAMES = [
    pd.DataFrame({"x": [1, "a"]}),
    pd.DataFrame({"x": pd.Series([1, 2**70], dtype=object)}),
    pd.DataFrame({1: [1]}),
    pd.DataFrame([[1, 2]], columns=["x", "x"]),
    pl.DataFrame({"x": pl.Series([object(), 1], dtype=pl.Object)}),
    pd.DataFrame({"x": [1, 2]}, index=pd.Index([3, 4], name=0)),
    pd.DataFrame({"x": [1, 2]}, index=pd.MultiIndex.from_tuples([(3, 4), (5, 6)], names=["a", "a"])),
    pd.DataFrame({"x": [1, 2]}, index=pd.MultiIndex.from_tuples([(3, 4), (5, 6)], names=[None, 1])),
    pd.DataFrame({"a": [1, 2]}, index=pd.Index([3, 4], name="a")),
]
OFFSET = timezone(timedelta(hours=5, minutes=30))
TIMES = pd.date_range("2020-01-01", periods=2, tz=OFFSET)
FRAMES += [
    pd.DataFrame({"t": TIMES}),
    pd.DataFrame({"x": [1, 2]}, index=TIMES.rename("t")),
    pd.DataFrame({"x": [1, 2]}, index=pd.MultiIndex.from_product([[1], TIMES], names=["a", "t"])),
    pd.DataFrame({"x": [1, 2]}, index=pd.MultiIndex.from_product([[1], TIMES], names=["a", None])),
    pd.DataFrame({"t": pd.Series([*TIMES.to_pydatetime()], dtype=object)}),
    pd.DataFrame({"t": pd.Categorical(TIMES)}),
    pd.DataFrame({"t": pd.Series([1, 2], dtype=pd.ArrowDtype(pa.timestamp("us", tz="+05:30")))}),
    pa.table({"t": pa.array([1, 2], pa.timestamp("ns", tz="+05:30")), "u": [1, 2]}),
]


@pytest.mark.parametrize("frame", FRAMES)
def test_the_code_that_an_error_of_a_frame_gives_makes_it_one(workspace, frame):
    names = {"df": frame, "pl": pl, "pd": pd, "pa": pa}
    exec(code_of(provoked(lambda: data.add("x", frame))), names)
    assert data.add("x", names["df"]).rows == len(frame)


def test_an_index_and_a_column_that_both_are_called_by_a_number_are_told_apart_fix_by_fix(workspace):
    names = {"df": pd.DataFrame({0: [1, 2]}, index=pd.Index([3, 4], name=0))}
    for _ in ("the index is called by a text", "and the column", "which is the same, and renamed"):
        exec(code_of(provoked(lambda: data.add("x", names["df"]))), names)
    assert data.add("x", names["df"]).df().columns.tolist() == ["0", "0_2"]


def code_of(problem: LabError) -> str:
    return problem.fix[problem.fix.index("df") :]


def test_times_of_a_fixed_offset_are_the_same_moments_then(workspace):
    frame = pd.DataFrame({"t": TIMES})
    problem = provoked(lambda: data.add("t", frame))
    assert "'t'" in problem.what
    exec(code_of(problem), {"df": frame, "pd": pd})
    assert list(data.add("t", frame).df()["t"]) == list(TIMES)


def test_a_column_of_mixed_values_can_be_taken_as_text(workspace, tmp_path):
    given = folder(tmp_path / "t", {"t.csv": "first age,b\n1,2\n2,2\nold,2\n"})
    problem = provoked(lambda: data.add("t", given))
    [flag] = re.findall(r"`([^`]+)`", problem.fix)
    assert run(f"data add t {shlex.quote(str(given))} {flag}").df()["first age"].tolist() == ["1", "2", "old"]


@pytest.mark.parametrize("way", ["record", "take away"])
def test_changes_in_the_way_are_recorded_or_taken_away(workspace, cats, tmp_path, way):
    copy = workspace / "data" / "cats"
    (copy / "mine.txt").write_text("mine")
    other = folder(tmp_path / "other", {"cats.csv": "name,age\nNew,1\n"})
    problem = provoked(lambda: data.add("cats", other))
    assert isinstance(problem, Conflict)
    if way == "record":
        assert follow(problem).uri == "data:cats@3"
    else:
        (copy / "mine.txt").unlink()
    assert data.add("cats", other).df().name.tolist() == ["New"]
    assert content_of(copy) == content_of(other)


def test_which_table_is_meant_can_be_named_or_added_alone(workspace, tmp_path):
    data.add("pets", folder(tmp_path / "pets", {"cats.csv": "age\n1\n", "dogs.csv": "age\n2\n"}))
    problem = provoked(lambda: data.get("pets").df())
    assert isinstance(problem, UsageProblem)
    named = re.search(r"\.df\(.*?\)", problem.fix)[0]
    assert eval(f"found{named}", {"found": data.get("pets")}).age.tolist() == [1]
    assert follow(problem).df().age.tolist() == [1]


@pytest.mark.parametrize("bad", ["link", "broken", "empty", "own"])
def test_what_is_in_the_way_in_a_folder_can_be_taken_out_of_it(workspace, tmp_path, bad):
    given = folder(tmp_path / "x", {} if bad == "empty" else {"a.txt": "a"})
    given.mkdir(exist_ok=True)
    odd = given / {"own": ".dvcignore"}.get(bad, "odd")
    if bad in ("link", "broken"):
        odd.symlink_to(tmp_path if bad == "link" else tmp_path / "nowhere")
    elif bad == "own":
        odd.touch()
    problem = provoked(lambda: data.add("x", given))
    assert isinstance(problem, Failed)
    odd.unlink(missing_ok=True)  # "put the folder itself there", "take it out", "put the data there"
    folder(given, {"b.txt": "b"})
    assert data.add("x", given).files >= 1


def test_a_path_that_is_no_text_is_renamed(workspace, tmp_path):
    script = "import os, sys; open(os.fsencode(sys.argv[1]) + b'/t\\xff.csv', 'w').write('x\\n1\\n')"
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    [path] = tmp_path.glob("*.csv")
    assert "`mv`" in provoked(lambda: data.add("t", path)).fix
    assert data.add("t", path.rename(tmp_path / "t.csv")).rows == 1


def test_a_bad_share_is_allowed_by_the_flag_that_the_fix_names(workspace):
    data.add("t", pl.DataFrame({"id": [1, 1, 2], "x": [1.0, 1.0, None]}))
    line = "data check t --max-missing 0.1"
    for _ in range(2):
        problem = provoked(lambda line=line: run(line))
        line = f"{line} {re.search(r'--max-[a-z]+ [0-9]+%', problem.fix)[0]}".replace("--max-missing 0.1 ", "", 1)
        if run(f"{line} --report").state == "good":
            break
    assert run(line).state == "good"


def test_the_record_of_what_was_put_back_is_the_one_that_was(workspace, cats):
    before = resolve("cats", DataVersion)
    alter(data.get("cats").path / "cats.csv")
    follow(provoked(lambda: data.check("cats")))
    assert resolve("cats", DataVersion) == before
