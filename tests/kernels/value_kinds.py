"""Values of many kinds, and whether two of them are the same to the type and the bit."""

import collections
import datetime as dt
import decimal
import enum
import fractions
import functools
import importlib
import math
import pathlib
import struct
import uuid
import zoneinfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import torch


def same(one: object, other: object) -> bool:
    """Whether two values are the same, to the type and the bit."""
    if type(one) is not type(other):
        return False
    compare = next((compare for kind, compare in COMPARE.items() if isinstance(one, kind)), None)
    return compare(one, other) if compare else bool(one == other)


def frames(one, other) -> bool:
    check = pd.testing.assert_frame_equal if isinstance(one, pd.DataFrame) else pd.testing.assert_series_equal
    check(one, other, check_exact=True, check_freq=True, check_flags=True)
    zones = [[type(column.dtype.tz) for column in columns_of(rows, pd.DatetimeTZDtype)] for rows in (one, other)]
    missing = [[type(value) for value in column] for column in (one.to_numpy().ravel(), other.to_numpy().ravel())]
    columns = [*map(type, (one.columns, other.columns))] if isinstance(one, pd.DataFrame) else [0, 0]
    if any(
        repr(list(a.cat.categories)) != repr(list(b.cat.categories))
        for a, b in zip(*(columns_of(rows, pd.CategoricalDtype) for rows in (one, other)), strict=True)
    ):
        return False
    return (
        zones[0] == zones[1]
        and missing[0] == missing[1]
        and type(one.index) is type(other.index)
        and columns[0] == columns[1]
    )


def columns_of(rows, kind: type) -> list:
    columns = [rows.iloc[:, n] for n in range(rows.shape[1])] if isinstance(rows, pd.DataFrame) else [rows]
    return [column for column in columns if isinstance(column.dtype, kind)]


def arrays(one, other) -> bool:
    is_same = one.dtype == other.dtype and one.shape == other.shape and one.strides == other.strides
    return is_same and one.tobytes() == other.tobytes() and other.flags.writeable


def tensor_bits(one: torch.Tensor) -> tuple:
    flat = one.detach().resolve_conj().contiguous().reshape(-1)
    bits = flat.as_strided(flat.shape, (1,)).view(torch.uint8).tolist()
    return one.dtype, one.shape, one.requires_grad, bits


COMPARE = {
    float: lambda one, other: struct.pack("d", one) == struct.pack("d", other),
    complex: lambda one, other: struct.pack("2d", one.real, one.imag) == struct.pack("2d", other.real, other.imag),
    decimal.Decimal: lambda one, other: one.as_tuple() == other.as_tuple(),
    dict: lambda one, other: (
        same([*one.items()], [*other.items()]) and same(vars(one), vars(other))
        if isinstance(one, collections.OrderedDict)
        else same([*one.items()], [*other.items()])
    ),
    (list, tuple): lambda one, other: len(one) == len(other) and all(map(same, one, other)),
    (set, frozenset): lambda one, other: one == other and {*map(type, one)} == {*map(type, other)},
    (dt.datetime, dt.time): lambda one, other: (repr(one), one.fold) == (repr(other), other.fold),
    np.generic: lambda one, other: one.dtype == other.dtype and one.tobytes() == other.tobytes(),
    np.ma.MaskedArray: lambda one, other: repr(one) == repr(other),
    np.ndarray: lambda one, other: one.tolist() == other.tolist() if one.dtype == object else arrays(one, other),
    torch.Tensor: lambda one, other: tensor_bits(one) == tensor_bits(other),
    (pd.DataFrame, pd.Series): frames,
    pd.Index: lambda one, other: pd.testing.assert_index_equal(one, other, exact=True) is None,
    pl.DataFrame: lambda one, other: one.schema == other.schema and one.equals(other, null_equal=True),
    pl.Series: lambda one, other: one.dtype == other.dtype and one.name == other.name and one.equals(other),
    (pa.Table, pa.RecordBatch): lambda one, other: one.equals(other, check_metadata=True),
    pa.ChunkedArray: lambda one, other: one.type == other.type and [*map(len, one.chunks)] == [*map(len, other.chunks)],
    np.random.Generator: lambda one, other: one.bit_generator.state == other.bit_generator.state,
}

pytz = importlib.import_module("pytz")  # as pandas brings it
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
PLAIN = {
    "nothing": None,
    "flags": [True, False],
    "numbers": [0, -1, 2**53, -(2**63), 10**5000, 0.1, -0.0, 5e-324, math.inf, -math.inf, math.nan, -math.nan],
    "long_number": 7**9000,
    "text": "é\0\n\ud800 𝄞" * 3,
    "alone": ["\ud83d\ude00", {"\ud83d\ude00": 1}, "\ud83d\ude00" * 5000, "\U0001f600"],
    "long_text": "ü" * 10_000,
    "content": [b"", b"\0\xff", bytes(range(256)) * 9, bytearray(b"ab"), bytearray(999)],
    "complexes": [complex(math.nan, -0.0), 1j],
    "nested": [(), (1, [2, {"a": (3,)}]), {1: "x", None: [], (1, 2): {"k": {4}}, 2.5: b"v", "s": frozenset({1, "a"})}],
    "sets": [set(), {1, "a", None, (2, 3)}, frozenset({1.5})],
    "moments": [
        dt.datetime(2026, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001 - one without a zone goes too
        dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN),
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=-3, microseconds=1), "there")),
        dt.date(1, 1, 1), dt.time(23, 59, fold=1, tzinfo=dt.UTC), dt.timedelta(-3, 4, 5), dt.UTC, BERLIN,
    ],
    "decimals": [decimal.Decimal(text) for text in ("0.10", "-0", "sNaN12", "Infinity", "1E+999", "9" * 60)],
    "fractions": [fractions.Fraction(1, 3), fractions.Fraction(-(10**40), 7)],
    "paths": [pathlib.Path("a/b"), pathlib.PurePosixPath("/x"), pathlib.PureWindowsPath("c:\\y")],
    "others": [uuid.UUID(int=5), range(1, 9, 3), slice(None, 3), ..., range(10**30, 10**31)],
    "ordered": collections.OrderedDict(b=1, a=[2]),
}  # fmt: skip


def structured() -> np.ndarray:
    kind = np.dtype({"names": ["a", "b"], "formats": ["i4", ("f8", (2,))], "offsets": [0, 8], "itemsize": 32})
    made = np.zeros(3, kind)
    made["a"], made["b"] = [1, 2, 3], [[1, 2]] * 3
    return made


ARRAYS = {
    "floats": np.array([0.1, np.nan, -0.0, np.inf]),
    "columns_first": np.asfortranarray(np.arange(12, dtype="i2").reshape(3, 4)),
    "every_second": np.array(np.arange(20)[::2]),
    "other_end": np.array([1, 2, 3], ">i4"),
    "moments": np.array(["2020-01-01", "NaT"], "M8[s]"),
    "spans": np.array([1, 2], "m8[25us]"),
    "texts": np.array(["a", "ünï"]),
    "bytes": np.array([b"a", b"bc"]),
    "flags": np.array([[True], [False]]),
    "complexes": np.array([1j, np.nan]),
    "one": np.array(3.5),
    "empty": np.empty((0, 3)),
    "no_size": np.zeros(3, "S0"),
    "structured": structured(),
    "scalars": [np.float32(0.1), np.int8(-1), np.datetime64("2020-01-01"), np.str_("é"), np.bool_(True), np.float64(1)],
}


def state_dict() -> dict:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)).state_dict()


TENSORS = {
    "types": [
        torch.arange(-3, 3).to(getattr(torch, kind))
        for kind in ("float64", "float32", "float16", "bfloat16", "complex64", "int64", "int8", "bool", "float8_e5m2")
    ],
    "shapes": [torch.tensor(1.5), torch.empty(0, 4), torch.arange(12).reshape(3, 4).T, torch.ones(2).expand(3, 2)],
    "one_of_many": torch.arange(4.0)[::4],
    "conjugated": torch.tensor([1 + 2j]).conj(),
    "learned": torch.nn.Parameter(torch.ones(2)),
    "frozen": torch.nn.Parameter(torch.ones(2), requires_grad=False),
    "asked": torch.ones(2, requires_grad=True),
    "state": state_dict(),
}
ROWS = {
    "plain": pd.DataFrame({"a": [1, 2, 3], "b": [0.5, math.nan, -0.0], "c": [True, False, True], "d": ["x", "", "ü"]}),
    "no_text": pd.DataFrame(
        {"none": ["a", None], "nan": ["b", math.nan], "gone": pd.Series([None, None], dtype=object)}
    ),
    "narrow": pd.DataFrame({kind: np.array([1, 2], kind) for kind in ("i1", "u2", "f2", "f4", "u8")}),
    "times": pd.DataFrame(
        {
            "s": np.array(["2020-01-01", "NaT"], "M8[s]"),
            "ns": pd.to_datetime(["2020-01-01 00:00:00.000000001", "2021"], format="ISO8601"),
            "zone": pd.to_datetime(["2020-01-01", "2020-06-01"]).tz_localize("Europe/Berlin"),
            "span": pd.to_timedelta([1, None], unit="ms"),
        }
    ),
    "zones": pd.DataFrame(
        {
            str(number): pd.to_datetime(["2026-10-25T00:30Z", None]).tz_convert(zone)
            for number, zone in enumerate(
                [
                    *(BERLIN, dt.UTC, dt.timezone(dt.timedelta(hours=5)), "+02:00"),
                    *(pytz.UTC, pytz.timezone("Europe/Berlin"), pytz.FixedOffset(90)),
                ]
            )
        },
        index=pd.to_datetime(["2026-10-25T00:30Z", None]).tz_convert(BERLIN),
    ),
    "nullable": pd.DataFrame(
        {
            "i": pd.array([1, None], "Int64"),
            "b": pd.array([None, True], "boolean"),
            "s": pd.array(["a", None], "string"),
        }
    ),
    "kinds": pd.DataFrame(
        {"o": pd.Categorical(["b", "a", None], ["b", "a", "z"], ordered=True), "n": pd.Categorical([3, 1, 3])}
    ),
    "kinds_by_time": pd.Series(pd.Categorical([np.datetime64("2020-01-01", "s"), np.datetime64("NaT")])),
    "by_name": pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="key")),
    "by_time": pd.DataFrame({"a": [1, 2]}, index=pd.DatetimeIndex(["2020-01-01", "2020-01-05"], name="at")),
    "by_number": pd.DataFrame({"a": [1, 2]}, index=[7, 3]),
    "by_range": pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(5, 9, 2, name="r")),
    "numbered": pd.DataFrame(np.arange(6.0).reshape(2, 3)),
    "same_labels": pd.DataFrame([[1, "a"], [2, "b"]], columns=["x", "x"]),
    "no_rows": pd.DataFrame({"a": pd.Series([], dtype="f8"), "b": pd.Series([], dtype=object)}),
    "no_rows_of_kinds": pd.DataFrame({"o": pd.Categorical([], ["b", "a"], ordered=True)}),
    "none_of_a_kind": pd.Series(pd.Categorical([], ["b", "a"])),
    "column": pd.Series([1.5, 2.5], name="y", index=["a", "b"]),
    "nameless": pd.Series(["a", None]),
}
IN_BERLIN = pd.Series(pd.to_datetime(["2026-10-25T00:30Z", "2026-10-25T01:30Z"]).tz_convert("Europe/Berlin"))
HARD_KINDS = {
    "zoned": IN_BERLIN,
    "nullable": pd.Series([1, 3], dtype="Int64"),
    "truth": pd.Series([True], dtype="boolean"),
    "text": pd.Series(["a"], dtype="string"),
    "objects": pd.Series([1, 2], dtype=object),
    "decimals": pd.Series([decimal.Decimal("1.10"), decimal.Decimal(2)]),
    "spans": pd.Series([pd.Timedelta("1us")], dtype=object),
    "moments": pd.Series([*IN_BERLIN], dtype=object),
    "tuples": pd.Series([(1, 2), (3, 4)]),
    "uuids": pd.Series([uuid.UUID(int=5)]),
    "named": pd.Series(["a"], name="n"),
}
HARD_ROWS = {
    "objects": pd.DataFrame({"a": [1, "x", None, (2,)]}),
    "missing_both": pd.DataFrame({"a": ["x", None, math.nan]}),
    "numbers_as_objects": pd.DataFrame({"a": pd.Series([1, 2], dtype=object)}),
    "lists": pd.DataFrame({"a": [[1], [2, 3]]}),
    "days": pd.DataFrame({"a": [1, 2]}, index=pd.date_range("2020", periods=2, freq="D")),
    "levels": pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", "y"])),
    "labels": pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])),
    "nan_and_na": pd.DataFrame({"a": pd.arrays.FloatingArray(np.array([math.nan, 1.0]), np.array([False, True]))}),
    "complexes": pd.DataFrame({"a": [1j, 2j]}),
    "other_end": pd.DataFrame({"a": np.array([1, 2], ">i4")}),
    "nothing": pd.DataFrame(),
    "rows_only": pd.DataFrame(index=[1, 2]),
    "periods": pd.DataFrame({"a": pd.period_range("2020", periods=2, freq="M")}),
    "index": pd.Index(["a", "b"], name="i"),
    "by_object": pd.Series([1, 2], index=pd.Index([*IN_BERLIN], dtype=object)),
    "dateutil": pd.Series(pd.to_datetime(["2026-10-25T00:30Z"]).tz_convert("dateutil/Europe/Berlin")),
    **{
        f"kinds_{name}": pd.DataFrame({"k": pd.Categorical.from_codes([0, -1], pd.Index(values, dtype=values.dtype))})
        for name, values in HARD_KINDS.items()
    },
}
TABLES = {
    "frame": pl.DataFrame(
        {
            "i": [1, None],
            "l": [[1], []],
            "s": [{"q": 1}, {"q": None}],
            "e": pl.Series(["x", "y"], dtype=pl.Enum(["y", "x"])),
            "c": pl.Series(["x", None], dtype=pl.Categorical),
            "d": pl.Series([1, 2]).cast(pl.Decimal(10, 2)),
            "t": pl.Series([0, 1]).cast(pl.Datetime("us", "Europe/Berlin")),
        }
    ),
    "series": pl.Series("y", [1.5, None]),
    "no_columns": pl.DataFrame(),
    "table": pa.table({"a": [1, None], "b": pa.array(["x", "y"]).dictionary_encode()}).replace_schema_metadata(
        {"k": "v"}
    ),
    "batch": pa.record_batch({"a": [[1], None]}),
    "array": pa.array([1, 2, 3])[1:],
    "chunks": pa.chunked_array([[1], [2, 3]]),
    "empty_chunks": pa.chunked_array([[], ["a"], [], ["b"], []], pa.string()).dictionary_encode(),
    "no_chunks": pa.chunked_array([], pa.int8()),
    "no_rows": pa.table({"a": pa.array([], pa.int8())}),
}


class Colour(enum.Enum):
    RED = 1


def in_a_notebook(code: str) -> dict:
    """What a cell defines: its classes and functions are those of `__main__`, which the other side does not have."""
    names: dict = {"__name__": "__main__"}
    exec(code, names)
    return names


CELL = in_a_notebook(
    """
import math
from dataclasses import dataclass
@dataclass
class Point:
    x: float
    y: object = None
def area(radius, factor=2):
    return math.pi * radius ** 2 * factor
def counter():
    count = 0
    def more():
        nonlocal count
        count += 1
        return count
    return more
"""
)
PICKLED = {
    "instance": CELL["Point"](1.5, np.arange(3)),
    "masked": np.ma.array([1, 2], mask=[0, 1]),
    "objects": np.array([{"a": 1}, None, "x"], dtype=object),
    "named": collections.Counter("abca"),
    "generator": np.random.default_rng(3),
    "partial": functools.partial(int, base=2),
}
