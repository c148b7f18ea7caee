"""The columns contract: fitted once, read the same everywhere, and no value mended on the way."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_lab.errors import Damaged, Failed, LabError, NotFound
from aiinfra_lab.features.contract import CATEGORY, NUMBER, BadRow, Column, ColumnRows, Columns, is_missing

DF = pd.DataFrame(
    {
        "carrier": ["UA", "AA", "UA", "9E"],
        "temp": [1.0, None, 3.0, 5.0],
        "distance": [100, 200, 300, 400],
        "windy": [True, False, True, True],
        "late": [0, 1, 0, 1],
    }
)
NAMES = ["carrier", "temp", "distance", "windy"]
ROW = {"carrier": "AA", "temp": 3.0, "distance": 250, "windy": True}


@pytest.fixture(scope="module")
def columns() -> Columns:
    return Columns.fit(DF, NAMES, "late", features_uri="features:delay@2")


def test_fit_learns_kinds_categories_and_what_is_required(columns):
    kinds = [(item.name, item.type, item.required) for item in columns]
    assert kinds == [
        ("carrier", "category", True),
        ("temp", "number", False),
        ("distance", "number", True),
        ("windy", "category", True),
    ]
    assert columns.columns[0].categories == ("9E", "AA", "UA")
    assert columns.sizes == (4, 3)


def test_json_round_trip_keeps_every_value_and_the_format(columns):
    again = Columns.from_json(columns.to_json())
    assert again == columns
    assert again.to_json() == columns.to_json()
    body = json.loads(columns.to_json())
    assert body["features_uri"] == "features:delay@2"
    assert body["label"] == "late"
    assert body["columns"][0] == {
        "name": "carrier", "type": "category", "required": True, "categories": ["9E", "AA", "UA"],
    }  # fmt: skip
    assert set(body["columns"][1]) == {"name", "type", "required", "mean", "std"}


def test_numbers_are_standardised_and_codes_start_at_one(columns):
    numbers, codes = columns.encode([ROW, {**ROW, "temp": None, "carrier": "ZZ"}])
    assert numbers.dtype == np.float32
    assert codes.dtype == np.int64
    assert numbers.tolist() == [[0.0, 0.0], [0.0, 0.0]]  # temp at its mean, then missing; distance at its mean
    assert codes.tolist() == [[2, 2], [0, 2]]


def test_the_training_rows_come_out_with_mean_0_and_spread_1(columns):
    numbers, _ = columns.encode(DF)
    assert numbers[:, 1].mean() == pytest.approx(0, abs=1e-6)
    assert numbers[:, 1].std() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("frame", [DF, pl.from_pandas(DF), DF.convert_dtypes()], ids=["pandas", "polars", "nullable"])
def test_a_frame_and_its_dicts_encode_alike(columns, frame):
    dicts = [{**ROW, "carrier": r.carrier, "distance": r.distance, "windy": r.windy} for r in DF.itertuples()]
    for row, temp in zip(dicts, DF["temp"], strict=True):
        row["temp"] = None if math.isnan(temp) else temp
    for ours, theirs in zip(columns.encode(frame), columns.encode(dicts), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("frame", [pl.from_pandas(DF), DF.convert_dtypes()], ids=["polars", "nullable"])
def test_fit_does_not_depend_on_the_kind_of_frame(columns, frame):
    assert Columns.fit(frame, NAMES, "late", features_uri="features:delay@2") == columns


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("carrier", None, "missing"),
        ("carrier", 1.5, "category"),
        ("carrier", ["AA"], "category"),
        ("distance", "far", "number"),
        ("distance", "250", "number"),
        ("distance", True, "number"),
        ("distance", float("nan"), "finite"),
        ("distance", float("inf"), "finite"),
        ("temp", float("-inf"), "finite"),
        ("temp", 1e300, "finite"),
        ("altitude", 3, "unknown"),
    ],
)
def test_a_bad_value_names_its_row_and_column(columns, column, value, words):
    with pytest.raises(BadRow) as caught:
        columns.encode([ROW, {**ROW, column: value}])
    assert (caught.value.row, caught.value.column) == (1, column)
    assert words in caught.value.problem
    assert column in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, LabError)


def test_a_missing_required_column_is_refused_in_a_frame_too(columns):
    with pytest.raises(BadRow, match="distance"):
        columns.encode(DF.drop(columns="distance"))
    with pytest.raises(BadRow) as caught:
        columns.encode(DF.assign(distance=[1.0, 2.0, None, 4.0]))
    assert caught.value.row == 2


def test_an_optional_column_may_be_absent(columns):
    numbers, _ = columns.encode(DF.drop(columns="temp"))
    assert (numbers[:, 0] == 0).all()
    assert columns.encode([{key: value for key, value in ROW.items() if key != "temp"}])[0][0, 0] == 0


def test_an_infinite_number_in_a_frame_is_refused(columns):
    with pytest.raises(BadRow) as caught:
        columns.encode(DF.assign(temp=[1.0, 2.0, np.inf, 4.0]))
    assert (caught.value.row, caught.value.column) == (2, "temp")


def test_texts_where_numbers_are_due_are_refused_in_a_frame(columns):
    with pytest.raises(BadRow, match="distance"):
        columns.encode(DF.assign(distance=["1", "2", "3", "4"]))


def test_further_columns_of_a_frame_are_passed_over(columns):
    np.testing.assert_array_equal(columns.encode(DF)[0], columns.encode(DF[NAMES].assign(flight_id=7))[0])


def test_whole_numbers_can_be_categories():
    columns = Columns.fit(
        pd.DataFrame({"hour": [6, 7.0, None], "late": [0, 1, 0]}), ["hour"], "late", categories=["hour"]
    )
    assert columns.columns[0].categories == ("6", "7")
    for value in (7, 7.0, "7"):
        assert columns.encode([{"hour": value}])[1].tolist() == [[2]]


def test_optional_may_be_declared():
    assert not Columns.fit(DF, NAMES, "late", optional=["distance"]).columns[2].required


def test_a_constant_column_becomes_zero_not_infinite():
    columns = Columns.fit(pd.DataFrame({"x": [0.1] * 3, "y": [0, 1, 0]}), ["x"], "y")
    assert columns.encode([{"x": 0.1}])[0] == pytest.approx(0)


def test_no_rows_have_the_right_shape(columns):
    numbers, codes = columns.encode([])
    assert numbers.shape == (0, 2)
    assert codes.shape == (0, 2)


def test_only_numbers_or_only_categories_work():
    assert Columns.fit(DF, ["distance"], "late").encode([{"distance": 1}])[1].shape == (1, 0)
    assert Columns.fit(DF, ["carrier"], "late").encode([{"carrier": "AA"}])[0].shape == (1, 0)


@pytest.mark.parametrize(
    ("frame", "names", "error"),
    [
        (DF, ["nothing"], NotFound),
        (DF, [], Failed),
        (DF, ["late"], Failed),
        (DF, ["temp", "temp"], Failed),
        (DF.assign(temp=None), ["temp"], Failed),
        (DF.assign(temp=[1, "a", 2, 3]), ["temp"], Failed),
        (DF.assign(temp=[1, np.inf, 2, 3]), ["temp"], Failed),
        (DF.assign(temp=pd.Timestamp("2013-01-01")), ["temp"], Failed),
        (DF.rename(columns={"temp": 'te"mp'}), ['te"mp'], Failed),
    ],
)
def test_columns_that_cannot_be_fitted_are_refused(frame, names, error):
    with pytest.raises(error):
        Columns.fit(frame, names, "late")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"features_uri": "", "label": "", "columns": [{"name": "x"}]}'])
def test_something_else_than_a_contract_is_damaged(text):
    with pytest.raises(Damaged):
        Columns.from_json(text)


def test_a_spread_of_zero_is_no_contract(columns):
    body = json.loads(columns.to_json())
    body["columns"][1]["std"] = 0
    with pytest.raises(Damaged):
        Columns.from_json(json.dumps(body))


@given(st.floats(), st.one_of(st.none(), st.text(max_size=4)))
def test_whatever_is_accepted_is_finite_in_the_model(columns, temp, carrier):
    row = {**ROW, "temp": temp, "carrier": carrier}
    try:
        numbers, codes = columns.encode([row])
    except BadRow:
        assert carrier is None or not abs(temp) < 1e36
    else:
        assert np.isfinite(numbers).all()
        assert (codes >= 0).all()
        assert (codes < np.array(columns.sizes)).all()


@pytest.mark.parametrize(
    "values",
    [
        ["a", "b", None, "unseen"],
        ["a", float("nan"), "b", "a"],
        [1, True, "true", None],
        [True, 1, 1.0, "1"],
        [1, 2, 1, None],
        [1.0, 2.0, float("nan"), 1.0],
        [True, False, None, True],
    ],
)
def test_the_codes_of_a_frame_are_those_of_its_rows(values):
    categories = ("1", "2", "a", "b", "false", "true")
    columns = Columns("", "y", (Column("c", "category", required=False, categories=categories),))
    frame = pd.DataFrame({"c": pd.Series(values, dtype=object)})
    rows = [{"c": None if is_missing(value) else value} for value in values]
    assert columns.encode(frame)[1].tolist() == columns.encode(rows)[1].tolist()


def test_a_raw_contract_leaves_numbers_as_they_are_and_what_is_missing_as_nan():
    columns = Columns(
        "", "", (Column("at", NUMBER, required=False), Column("kind", CATEGORY, True, ("a", "b"))), raw=True
    )
    rows = [{"at": 1_700_000_000.25, "kind": "b"}, {"at": None, "kind": "z"}]
    for numbers, codes in (columns.encode(rows), columns.encode(pd.DataFrame(rows))):
        assert numbers.dtype == np.float64
        assert numbers[0, 0] == 1_700_000_000.25
        assert np.isnan(numbers[1, 0])
        assert codes.tolist() == [[2], [0]]


def test_whether_it_is_raw_is_written_down_and_only_then():
    plain = Columns("", "", (Column("at", NUMBER, required=True),))
    raw = replace(plain, raw=True)
    assert Columns.from_json(raw.to_json()) == raw
    assert "raw" not in plain.to_json()
    assert Columns.from_json(plain.to_json()) == plain


@pytest.mark.parametrize("by_columns", [False, True])
@pytest.mark.parametrize("count", [0, 1, 2, 128, 129, 300])
def test_rows_are_encoded_the_same_however_many_come_together(columns, count, by_columns):
    rows = [{**ROW, "temp": None if at % 3 else at / 7, "carrier": ["UA", "ZZ", "9E"][at % 3]} for at in range(count)]
    values = columns.validate(rows)
    given = ColumnRows([*map(list, zip(*values, strict=True))] or [[]] * 4) if by_columns else values
    each = [columns.encode_values([row]) for row in values]
    for found, alone in zip(columns.encode_values(given), zip(*each, strict=True) if each else ((), ()), strict=True):
        assert len(found) == count
        assert found.flags.c_contiguous
        assert np.array_equal(found, np.concatenate(alone)) if count else found.shape[1] == 2
