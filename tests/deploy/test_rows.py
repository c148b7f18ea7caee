"""A request's body: the compiled reader accepts and refuses exactly what the contract does, and says the same."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiinfra_lab.deploy.server import rows
from aiinfra_lab.deploy.server.rows import MANY_ROWS, MAX_ROWS, Reader, Refusal, open_envelope
from aiinfra_lab.features.contract import BadRow, Column, ColumnRows, Columns
from aiinfra_lab.train.inputs import TableInputs

from .conftest import COLUMNS, ROW

READER = Reader(TableInputs(COLUMNS))


def read(rows, reader=READER):
    return reader.request(json.dumps({"rows": rows}).encode())


def test_values_come_in_the_contracts_order():
    assert read([ROW, {"distance": 1, "carrier": "ZZ"}]).values == [("AA", 3.0, 250.0), ("ZZ", None, 1.0)]


def test_a_rows_own_id_is_kept_and_is_no_input():
    parsed = read([{**ROW, "row_id": 7}, ROW])
    assert parsed.ids == ["7", None]
    assert parsed.values[0] == parsed.values[1]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b'{"rows": [{"temp": NaN}]}', 400, "NaN"),
        (b'{"rows": [{"temp": Infinity}]}', 400, "Infinity"),
        (b"rows", 400, "JSON"),
        (b"\xff\xfe", 400, "JSON"),
        (b"", 400, "JSON"),
        (b"[]", 422, "rows"),
        (b"{}", 422, "rows"),
        (b'{"rows": [], "rws": 1}', 422, "rws"),
        (b'{"rows": [], "key": 1.5}', 422, "key"),
    ],
)
def test_a_body_of_another_shape_is_refused(body, status, words):
    with pytest.raises(Refusal) as caught:
        open_envelope(body)
    assert caught.value.status == status
    assert words in caught.value.what


@pytest.mark.parametrize(
    ("rows", "words"),
    [([], "1 to"), ({}, "list"), ("x", "list"), ([1], "object"), ([ROW] * (MAX_ROWS + 1), "1 to"), (None, "list")],
)
def test_rows_of_another_shape_are_refused(rows, words):
    with pytest.raises(Refusal, match=words) as caught:
        read(rows)
    assert caught.value.status == 422


@pytest.mark.parametrize("bad", ['[{"temp": 1e999}]', '[{"temp": 1}', "[" * 100_000])
def test_json_that_breaks_inside_the_rows_is_refused(bad):
    with pytest.raises(Refusal) as caught:
        READER.request(b'{"rows":%b}' % bad.encode())
    assert caught.value.status in (400, 422)


@pytest.mark.parametrize(
    ("change", "column", "words"),
    [
        ({"temp": "warm"}, "temp", "the text 'warm'"),
        ({"distance": True}, "distance", "number"),
        ({"distance": None}, "distance", "missing"),
        ({"distance": 1e300}, "distance", "finite"),
        ({"carrier": 1.5}, "carrier", "category"),
        ({"carrier": ["UA"]}, "carrier", "category"),
        ({"tmp": 1}, "tmp", "did you mean temp?"),
        ({"row_id": [1]}, "row_id", "id"),
    ],
)
def test_a_refusal_names_row_and_column(change, column, words):
    with pytest.raises(Refusal) as caught:
        read([ROW, {**ROW, **change}])
    error = json.loads(caught.value.body())["error"]
    assert (error["row"], error["column"]) == (1, column)
    assert words in error["what"]


def test_a_missing_required_column_is_named():
    with pytest.raises(Refusal) as caught:
        read([{"carrier": "UA"}])
    assert (caught.value.row, caught.value.column) == (0, "distance")


def test_names_that_are_no_identifiers_work():
    strange = Columns("", "y", (Column("a b.c", "number", True), Column("class", "category", False, ("x",))))
    assert read([{"a b.c": 1, "class": "x"}], Reader(TableInputs(strange))).values == [(1.0, "x")]


def test_one_column_alone_works():
    only = Columns("", "y", (Column("x", "number", True),))
    assert read([{"x": 1}, {"x": 2}], Reader(TableInputs(only))).values == [(1.0,), (2.0,)]


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text(max_size=3), st.just([])
)


@given(st.dictionaries(st.sampled_from(["carrier", "temp", "distance", "other"]), SCALARS))
@example({"carrier": 7, "distance": 10**4000})
@example({"carrier": True, "distance": -0.0})
def test_the_reader_and_the_contract_agree(row):
    body = json.dumps({"rows": [row]}).replace("Infinity", "1e999").encode()
    try:
        expected = COLUMNS.validate([row])
    except BadRow:
        with pytest.raises(Refusal):
            READER.request(body)
    else:
        assert READER.request(body).values == expected


def columns_of(rows):
    names = {name: None for row in rows for name in row}
    return {name: [row.get(name) for row in rows] for name in names}


def read_columns(columns, reader=READER):
    return reader.request(json.dumps({"columns": columns}).encode())


ANY_ROW = st.fixed_dictionaries(
    {"carrier": st.sampled_from(["AA", "UA", "ZZ", 5, None, 1.5]), "distance": st.sampled_from([1, 2.5, None, "far"])},
    optional={"temp": st.sampled_from([None, 3.0, 7, "hot", 1e300])},
)


def outcome(reading, given):
    try:
        return reading(given).values
    except Refusal as refusal:
        return refusal.body()


@given(st.lists(ANY_ROW, min_size=1, max_size=5))
def test_columns_are_read_as_the_same_rows_are(rows):
    filled = [{name: row.get(name) for name in columns_of(rows)} for row in rows]
    assert outcome(read_columns, columns_of(rows)) == outcome(read, filled)


def test_columns_may_bring_the_rows_ids():
    parsed = read_columns({**columns_of([ROW, ROW]), "row_id": ["a", 7]})
    assert (parsed.ids, parsed.values) == (["a", "7"], read([ROW, ROW]).values)


def test_many_columns_are_the_same_rows_and_stay_columns():
    rows = [{**ROW, "distance": at, "temp": None if at % 3 else at} for at in range(MANY_ROWS)]
    parsed = read_columns(columns_of(rows))
    assert isinstance(parsed.values, ColumnRows)
    assert [*parsed.values] == read(rows).values == [*parsed.values[:5], *parsed.values[5:]]
    assert parsed.values[7] == read(rows).values[7]
    for found, same in zip(COLUMNS.encode_values(parsed.values), COLUMNS.encode(rows), strict=True):
        assert found.tolist() == same.tolist()


@pytest.mark.parametrize("form", [{"rows": [{**ROW, "carrier": "A" * 2001}]}, {"columns": {**columns_of([ROW, ROW])}}])
def test_of_a_long_text_alone_the_log_gets_something_else_than_the_body(form):
    parsed = READER.request(json.dumps(form).encode())
    assert json.loads(parsed.logged or "{}").keys() == form.keys() - {"columns"}
    if parsed.logged:
        assert json.loads(parsed.logged)["rows"][0]["carrier"] == {"begins": "A" * 2000, "characters": 2001, "words": 1}


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({}, "one length"),
        ({"carrier": ["AA"], "distance": [1, 2]}, "one length, these have 1 and 2"),
        ({"carrier": [], "distance": []}, f"1 to {MAX_ROWS}"),
        ({"carrier": "AA", "distance": 1}, "list of its values"),
        ([1], "list of its values"),
        ({"carrier": ["AA"]}, "is missing"),
        ({**columns_of([ROW]), "wind": [1]}, "unknown column"),
        ({**columns_of([ROW]), "row_id": [1.5]}, "id"),
        ({**columns_of([ROW]), "row_id": [1, 2]}, "one length"),
    ],
)
def test_columns_that_are_none_are_refused(columns, why):
    with pytest.raises(Refusal, match=why) as refused:
        read_columns(columns)
    assert refused.value.status == 422


@pytest.mark.parametrize("body", [b"{}", b'{"key": 1}', b'{"rows": [], "columns": {}}'])
def test_a_request_has_rows_or_columns(body):
    with pytest.raises(Refusal, match="rows, or columns"):
        open_envelope(body)


@pytest.mark.parametrize("text", ["null", "null null null", ":null", ": null"])
def test_a_text_hides_no_name_that_stands_twice(text):
    row = json.dumps({"carrier": text, "distance": 1, "temp": 2})
    assert READER.request(b'{"rows":[%b]}' % row.encode()).values == [(text, 2.0, 1.0)]
    with pytest.raises(Refusal, match="'temp' stands twice"):
        READER.request(b'{"rows":[%b,"temp":3}]}' % row[:-1].encode())


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'{"rows":[{"temp":null,"temp":30,"carrier":"AA","distance":4}]}', "temp"),
        (b'{"rows":[{"temp":30,"temp":null,"carrier":"AA","distance":4}]}', "temp"),
        (b'{"rows":[{"temp":null,"temp":null,"carrier":"AA","distance":4}]}', "temp"),
        (
            b'{"rows":[{"temp":null,"carrier":"AA","distance":4},{"carrier":"AA","carrier":"AA","distance":4}]}',
            "carrier",
        ),
        (b'{"key":null,"key":"a","rows":[{"carrier":"AA","distance":4}]}', "key"),
        (b'{"key":"a","key":null,"rows":[{"carrier":"AA","distance":4}]}', "key"),
        (b'{"columns":{"temp":null,"temp":[30],"carrier":["AA"],"distance":[4]}}', "temp"),
        (b'{"columns":{"temp":[null],"temp":null,"carrier":["AA"],"distance":[4]}}', "temp"),
        (b'{"key":null,"key":null,"columns":{"carrier":["AA"],"distance":[4]}}', "key"),
    ],
)
def test_a_name_stands_twice_whatever_its_values_are(body, name):
    with pytest.raises(Refusal, match=f"'{name}' stands twice"):
        READER.request(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"key":null,"rows":[{"temp":null,"carrier":"AA","distance":4},{"carrier":"AA","distance":4}]}',
        b'{"key":null,"columns":{"temp":null,"carrier":["AA","AA"],"distance":[4,4]}}',
        b'{"columns":{"temp":[null,null],"carrier":["AA","AA"],"distance":[4,4]}}',
        b'{"columns":{"carrier":["AA","AA"],"distance":[4,4]}}',
    ],
)
def test_what_is_null_is_as_what_is_left_out_and_costs_no_second_reading(body, monkeypatch):
    monkeypatch.setattr(rows, "repeated_name", None)
    parsed = READER.request(body)
    assert [*parsed.values] == [("AA", None, 4.0)] * 2


@pytest.mark.parametrize("null", [b":null", b": null", b" :\n null"])
def test_what_is_null_is_no_name_that_stands_twice(null):
    assert READER.request(b'{"rows":[{"carrier":"AA","distance":1,"temp"%b}]}' % null).values == [("AA", None, 1.0)]


LONG = "n" * 900_000


@pytest.mark.parametrize(
    "body",
    [
        {LONG: 1, "rows": []},
        {"rows": [{**ROW, LONG: 1}]},
        {"rows": [{**ROW, "carrier": [LONG]}]},
        {"rows": [{**ROW, "distance": LONG}]},
        {"rows": [{**ROW, "distance": {LONG: 1}}]},
        {"columns": {**columns_of([ROW]), LONG: [1]}},
        {"columns": {**columns_of([ROW]), "distance": [LONG]}},
        {"columns": {**columns_of([ROW]), "row_id": [[LONG]]}},
        {"rows": [ROW], "key": [LONG]},
    ],
)
def test_a_refusal_repeats_little_of_what_was_sent(body):
    with pytest.raises(Refusal) as caught:
        READER.request(json.dumps(body).encode())
    assert caught.value.body().count(b"n") < 200
