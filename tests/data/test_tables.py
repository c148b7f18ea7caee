"""Files as tables: types decided over all rows, and every broken line named."""

import json
from pathlib import Path

import polars as pl
import pytest

from aiinfra_lab.data.tables import describe, scan
from aiinfra_lab.errors import Failed, UsageProblem


@pytest.fixture
def read(tmp_path: Path):
    def read(content: str | bytes, name: str = "t.csv", text: tuple[str, ...] = ()) -> pl.DataFrame:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        table = describe(tmp_path, [name], text)[0]
        frame = scan(tmp_path, table).collect()
        assert (table.rows, [name for name, _ in table.columns]) == (frame.height, frame.columns)
        read.types = table.schema
        return frame

    return read


@pytest.mark.parametrize(
    ("values", "kind", "first"),
    [
        (["1", "", "-3"], "int64", 1),
        (["1", "2.5", "1e3"], "float64", 1.0),
        (["NA", "2.5", "NaN"], "float64", None),
        (["true", "False", "null"], "bool", True),
        (["007", "010", "1"], "text", "007"),
        (["12345678901234567890", "1", "2"], "text", "12345678901234567890"),
        (["9E", "AA", "12"], "text", "9E"),
        (["NA", "DE", "FR"], "text", "NA"),
        (["", "", ""], "text", None),
    ],
)
def test_a_column_gets_the_type_that_all_its_values_have(read, values, kind, first):
    frame = read("n,x\n" + "".join(f"{n},{value}\n" for n, value in enumerate(values)))
    assert (read.types["x"], frame["x"][0]) == (kind, first)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("2013-01-31", "date"),
        ("2013-01-31 05:00:00", "timestamp[us]"),
        ("2013-01-31T05:00:00.250", "timestamp[us]"),
        ("2013-01-31T05:00:00Z", "timestamp[us, UTC]"),
        ("2013-01-31T05:00:00+02:00", "timestamp[us, UTC]"),
    ],
)
def test_times_are_times(read, value, kind):
    frame = read(f"t,x\n{value},1\n")
    assert read.types["t"] == kind
    assert frame["t"][0].isoformat().startswith("2013-01-31")


def test_times_with_a_zone_become_utc(read):
    assert read("t,x\n2013-01-31T05:00:00+02:00,1\n")["t"][0].hour == 3


def test_a_word_far_down_a_column_of_numbers_is_found(read):
    rows = [f"{n},{n * 2}" for n in range(20_000)]
    rows[15_000] = "15000,n/a?"
    with pytest.raises(Failed, match=r"column x of t.csv holds numbers, but line 15002 says 'n/a\?'"):
        read("n,x\n" + "\n".join(rows))


def test_what_the_first_rows_suggest_does_not_decide(read):
    read("x\n" + "1\n" * 5_000 + "2.5\n")
    assert read.types == {"x": "float64"}
    read("x\n" + "1\n" * 5_000 + "007\n")
    assert read.types == {"x": "text"}


def test_words_in_front_of_a_column_of_numbers_are_found(read):
    with pytest.raises(Failed, match="holds numbers, but line 2 says 'a'"):
        read("x\n" + "a\n" * 2_000 + "1\n" * 3_000)


def test_neither_true_nor_false(read):
    with pytest.raises(Failed, match="holds true and false, but line 4 says 'maybe'"):
        read("x\ntrue\nfalse\nmaybe\n")


def test_the_line_is_right_after_a_field_with_a_line_break(read):
    with pytest.raises(Failed, match="line 4 says 'oops'"):
        read('n,x\n"a\nb",1\nc,oops\nd,3\n')


def test_a_mixed_column_can_be_declared_text(read):
    assert read("zip,x\n12345,1\nK1A,2\n", text=("zip",))["zip"].to_list() == ["12345", "K1A"]


def test_a_declared_column_that_is_not_there(read):
    with pytest.raises(UsageProblem, match="did you mean zip") as caught:
        read("zip,x\n12345,1\n", text=("zpi",))
    assert "--text zpi" in caught.value.what


def test_a_declared_column_where_there_is_no_table(tmp_path):
    with pytest.raises(UsageProblem) as caught:
        describe(tmp_path, ["picture.png"], ("zip",))
    assert "none of the files is a table" in caught.value.fix


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a,b\n1,2\n3\n4,5\n", "line 3 of t.csv has 1 fields where the header has 2"),
        ("a,b\n1,2\n3,4,5\n", "line 3 of t.csv has 3 fields"),
        ('a,b\n"x,y",2\n3\n', "line 3 of t.csv has 1 fields"),
        ('a,b\n"x\ny",2\n3\n', "line 4 of t.csv has 1 fields"),
        ('a,b\n1,"2\n3,4\n', "ends inside a quoted field"),
        ("a,b\n1,2\n\n3,4\n", "line 3 of t.csv has 0 fields"),
        ("a,a\n1,2\n", "column 'a' twice"),
        ("a,\n1,2\n", "a column without a name"),
        ("\n1,2\n", "line 1 of t.csv is empty"),
        ("", "t.csv is empty"),
        (b"a,b\n1,\xff\n", "not text in UTF-8"),
        ("a,b\r1,2\r", "the lines of t.csv end in a carriage return alone"),
    ],
)
def test_a_broken_csv_is_refused_and_the_line_named(read, content, says):
    with pytest.raises(Failed, match=says):
        read(content)


@pytest.mark.parametrize("content", ["a,b\n1,2\n\n", "a,b\r\n1,2\r\n", "\ufeffa,b\n1,2", "a;b\n1;2\n", "a\tb\n1\t2\n"])
def test_what_is_merely_another_habit_is_read(read, content):
    assert read(content).rows() == [(1, 2)]


def test_quotes_hold_separators_and_line_breaks(read):
    assert read('a,b\n"x, ""y""\nz",2\n').rows() == [('x, "y"\nz', 2)]


def test_one_column_with_a_missing_value(read):
    assert read('a\n1\n""\n3\n')["a"].to_list() == [1, None, 3]


def test_a_header_alone_is_an_empty_table(read):
    assert read("a,b\n").height == 0


def test_json_lines(read):
    rows = [{"a": 1, "b": "x"}, {"a": None, "b": "y"}, {"b": None, "a": 2.5}]
    frame = read("".join(json.dumps(row) + "\n" for row in rows), "t.jsonl")
    assert frame["a"].to_list() == [1.0, None, 2.5]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"a": 1}\n{"a": \n', "line 2 of t.jsonl is no JSON"),
        ('{"a": 1}\n[1]\n', "line 2 of t.jsonl is no JSON object"),
        ('{"a": 1}\n{"a": null}\n{"a": "x"}\n', "line 3 of t.jsonl has a text in 'a', which held a number before"),
        ('{"a": {}}\n{"a": true}\n', "line 2 of t.jsonl has true or false in 'a', which held an object before"),
        ('{"a": NaN}\n', "line 1 of t.jsonl is no JSON: NaN"),
        (f'{{"a": {2**70}}}\n', "column a of t.jsonl holds whole numbers of more than 64 bits"),
        ("", "t.jsonl is empty"),
    ],
)
def test_broken_json_lines_are_refused_and_the_line_named(read, content, says):
    with pytest.raises(Failed, match=says):
        read(content, "t.jsonl")


def test_a_broken_parquet_file_is_refused(read):
    with pytest.raises(Failed, match="cannot be read as a table"):
        read(b"PAR1 nothing of the kind PAR1", "t.parquet")


def test_a_parquet_file_that_is_damaged_before_its_end_is_refused(read, tmp_path):
    pl.DataFrame({"x": range(1000)}).write_parquet(tmp_path / "whole.parquet")
    content = (tmp_path / "whole.parquet").read_bytes()
    with pytest.raises(Failed, match="cannot be read as a table"):
        read(content[:20] + bytes(60) + content[80:], "t.parquet")


def test_types_that_parquet_knows_are_told_in_plain_words(tmp_path):
    frame = pl.DataFrame({"n": [1], "s": ["x"], "b": [True], "f": [0.5]}).with_columns(
        c=pl.col("s").cast(pl.Categorical)
    )
    frame.write_parquet(tmp_path / "t.parquet")
    kinds = describe(tmp_path, ["t.parquet"])[0].schema
    assert kinds == {"n": "int64", "s": "text", "b": "bool", "f": "float64", "c": "category"}


def test_files_of_one_stem_are_two_tables(tmp_path):
    (tmp_path / "t.csv").write_text("a\n1\n")
    (tmp_path / "t.tsv").write_text("a\n2\n")
    assert [table.name for table in describe(tmp_path, ["t.csv", "t.tsv"])] == ["t.csv", "t.tsv"]
