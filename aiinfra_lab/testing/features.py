"""What every online store of features promises.

What goes in is made here as files; a store that reads more, or less, than these files cannot pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl
import pytest

from ..errors import NotFound
from ..features.base import Known, OnlineStore, Value
from ..features.record import Spec, TypedColumn, TypedColumns, ViewSpec

START = datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
TYPES = {"n": "number", "i": "integer", "s": "text", "b": "truth"}
BIG = 2**53 + 1  # a whole number that no float can hold


def hour(count: float) -> datetime:
    """So many hours after the start."""
    return START + timedelta(hours=count)


def typed(**types: str) -> TypedColumns:
    """Columns of these types, in this order."""
    return tuple(TypedColumn(*item) for item in types.items())


def spec(name: str = "set", version: int = 1, known_at: str | None = None) -> Spec:
    """A version with a view that holds one value of each type, and a view with two keys."""
    one = ViewSpec("one", typed(k="text"), "t", known_at, 3600.0, typed(**TYPES), ("x",))
    two = ViewSpec("two", typed(k="text", m="integer"), "t", None, None, typed(v="number"), ("x",))
    options = {"code": "", "timestamp": "at", "label": "", "row_id": ""}
    return Spec(name=name, version=version, **options, columns=(), views=(one, two))


def timeless() -> Spec:
    """A version whose view has one row for each entity, without a time."""
    return msgspec.structs.replace(
        spec(), timestamp="", views=(msgspec.structs.replace(spec().views[0], timestamp="", ttl_s=None),)
    )


Row = tuple[str, float, float | None, int | None, str | None, bool | None]
Pair = tuple[str, int, float, float]


def sources(folder: Path, rows: Sequence[Row], pairs: Sequence[Pair] = ()) -> dict[str, Path]:
    """Files of view `one` from (k, hour, n, i, s, b) and of view `two` from (k, m, hour, v)."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {"k": str, "t": pl.Float64, "n": float, "i": int, "s": str, "b": bool}
    one = pl.DataFrame(rows, schema=kinds, orient="row")
    two = pl.DataFrame(list(pairs), schema={"k": str, "m": int, "t": pl.Float64, "v": float}, orient="row")
    for name, frame in (("one", one), ("two", two)):
        time = pl.lit(START) + pl.duration(milliseconds=pl.col("t") * 3_600_000)
        timed = frame.with_columns(time.alias("t")).with_columns(pl.col("t").dt.epoch("us").alias(f"{name}__time"))
        timed.with_columns(seen=pl.col("t") + pl.duration(hours=2)).write_parquet(folder / f"{name}.parquet")
    return {name: folder / f"{name}.parquet" for name in ("one", "two")}


def values(n: float | None, i: int | None, s: str | None, b: bool | None) -> dict[str, Value]:
    """What view `one` holds."""
    return {"n": n, "i": i, "s": s, "b": b}


ROWS: list[Row] = [("a", 0, 1.0, BIG, "x", True), ("a", 5, 2.0, None, None, False), ("b", 1, None, -1, "ü", None)]


def one(store: OnlineStore, of: Spec, *keys: str) -> list[Known]:
    """What view `one` knows of these."""
    return store.read(of, {"k": keys, "m": [0] * len(keys)})["one"]


def known(store: OnlineStore, of: Spec, key: str) -> tuple[datetime, dict[str, Value]]:
    """What view `one` knows of something that it must know."""
    found = one(store, of, key)[0]
    assert found is not None
    return found


class OnlineStoreContract:
    """A provider's test inherits this and gives the fixture `store`, empty."""

    def test_the_newest_of_each_entity_is_read_with_its_exact_time(self, store: OnlineStore, tmp_path: Path) -> None:
        store.load(spec(), sources(tmp_path / "in", ROWS), hour(9))
        found = one(store, spec(), "b", "a", "nobody")
        assert found == [(hour(1), values(None, -1, "ü", None)), (hour(5), values(2.0, None, None, False)), None]

    def test_what_came_after_the_moment_is_not_there(self, store: OnlineStore, tmp_path: Path) -> None:
        store.load(spec(), sources(tmp_path / "in", ROWS), hour(4))
        assert one(store, spec(), "a") == [(hour(0), values(1.0, BIG, "x", True))]

    def test_what_happens_at_the_very_moment_is(self, store: OnlineStore, tmp_path: Path) -> None:
        store.load(spec(), sources(tmp_path / "in", ROWS), hour(5))
        assert known(store, spec(), "a")[0] == hour(5)

    def test_what_was_not_known_at_the_moment_is_not_there(self, store: OnlineStore, tmp_path: Path) -> None:
        late = spec(known_at="seen")
        store.load(late, sources(tmp_path / "in", ROWS), hour(6.9))
        assert known(store, late, "a")[0] == hour(0)

    def test_among_events_of_one_time_the_last_by_value_counts(self, store: OnlineStore, tmp_path: Path) -> None:
        ties = [("a", 0, n, 0, "", True) for n in (1.0, 3.0, 2.0)]
        store.load(spec(), sources(tmp_path / "in", ties), hour(9))
        assert known(store, spec(), "a")[1]["n"] == 3.0

    def test_loading_again_leaves_nothing_of_before(self, store: OnlineStore, tmp_path: Path) -> None:
        store.load(spec(), sources(tmp_path / "in", ROWS), hour(9))
        store.load(spec(), sources(tmp_path / "again", ROWS[:1]), hour(9))
        assert one(store, spec(), "a", "b") == [(hour(0), values(1.0, BIG, "x", True)), None]

    def test_going_back_in_time_forgets_what_came_after(self, store: OnlineStore, tmp_path: Path) -> None:
        files = sources(tmp_path / "in", ROWS)
        for moment in (hour(9), hour(0.5)):
            store.load(spec(), files, moment)
        assert one(store, spec(), "a", "b") == [(hour(0), values(1.0, BIG, "x", True)), None]

    def test_several_keys_are_one_entity(self, store: OnlineStore, tmp_path: Path) -> None:
        store.load(spec(), sources(tmp_path / "in", ROWS, [("a", 1, 0, 10.0), ("a", 2, 0, 20.0)]), hour(9))
        found = store.read(spec(), {"k": ["a", "a", "b"], "m": [2, 1, 1]})["two"]
        assert found == [(hour(0), {"v": 20.0}), (hour(0), {"v": 10.0}), None]

    def test_a_view_in_which_nothing_is_known_yet_is_empty(self, store: OnlineStore, tmp_path: Path) -> None:
        store.load(spec(), sources(tmp_path / "in", []), hour(9))
        assert one(store, spec(), "a") == [None]

    def test_without_times_the_one_row_of_each_entity_is_read(self, store: OnlineStore, tmp_path: Path) -> None:
        until = hour(9)
        frame = pl.DataFrame([{"k": "a", **values(1.0, BIG, "x", True)}, {"k": "b", **values(None, -1, "ü", None)}])
        at = pl.lit(until).cast(pl.Datetime("us", "UTC"))
        frame.with_columns(one__at=at, one__time=at.dt.epoch("us")).write_parquet(tmp_path / "one.parquet")
        store.load(timeless(), {"one": tmp_path / "one.parquet"}, until)
        found = one(store, timeless(), "b", "nobody", "a")
        assert found == [(until, values(None, -1, "ü", None)), None, (until, values(1.0, BIG, "x", True))]

    def test_versions_and_sets_do_not_mix(self, store: OnlineStore, tmp_path: Path) -> None:
        all_of_them = [spec("set", 1), spec("set", 2), spec("se-t", 1), spec("se.t", 1)]
        for number, each in enumerate(all_of_them):
            store.load(each, sources(tmp_path / str(number), [("a", 0, float(number), 0, "", True)]), hour(9))
        assert [known(store, each, "a")[1]["n"] for each in all_of_them] == [0.0, 1.0, 2.0, 3.0]

    def test_no_entity_is_lost_among_many(self, store: OnlineStore, tmp_path: Path) -> None:
        many = [(str(number), 0, float(number), number, "", True) for number in range(5_000)]
        store.load(spec(), sources(tmp_path / "in", many), hour(9))
        found = one(store, spec(), *(row[0] for row in many))
        assert [item[1]["i"] if item else None for item in found] == list(range(5_000))

    def test_what_was_forgotten_is_not_found(self, store: OnlineStore, tmp_path: Path) -> None:
        store.load(spec(), sources(tmp_path / "in", ROWS), hour(9))
        for _ in range(2):
            store.forget(spec())
        with pytest.raises(NotFound):
            one(store, spec(), "a")
