"""The harness of the figures: what an entry looks like, and that it never claims more than was measured."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks import __main__ as bench
from tests.benchmarks import times
from tests.benchmarks.rows import Cannot, Figure, Row, all_hold, at_most, below, exactly, ratio_at_least

KEYS = {
    *("id", "what", "ours", "peer", "peer_name", "ratio", "unit", "reach", "holds", "parts", "note"),
    *("versions", "load"),
}


def entry(*figures: Figure) -> dict[str, object]:
    return Row("x.1", "a row", "all of it", lambda full: figures, ("pytest",)).entry(full=False)


def test_an_entry_and_its_parts_have_exactly_the_agreed_keys() -> None:
    whole = entry(Figure("a", 1, "s", below(2)), Figure("b", 3, "s", at_most(3)))
    assert whole.keys() == KEYS
    assert [part.keys() for part in whole["parts"]] == [KEYS, KEYS]
    assert whole["versions"].keys() == {"python", "aiinfra-lab", "pytest"}


def test_a_row_of_one_figure_is_that_figure() -> None:
    single = entry(Figure("a", 2.0, "s", below(2), peer=4.0, peer_name="other"))
    assert (single["ours"], single["peer"], single["ratio"]) == (2.0, 4.0, 0.5)
    assert (single["holds"], single["parts"], single["reach"]) == (False, [], "all of it")


@pytest.mark.parametrize(
    ("parts", "whole"),
    [([True, True], True), ([True, None], None), ([None, False], False), ([True, False], False)],
)
def test_a_row_holds_only_if_every_part_does(parts: list[bool | None], whole: bool | None) -> None:
    assert all_hold(parts) is whole


def test_a_reach_of_the_ratio_needs_a_peer() -> None:
    assert Figure("a", 30, "1/s", ratio_at_least(2), peer=10).holds is True
    assert Figure("a", 15, "1/s", ratio_at_least(2), peer=10).holds is False
    assert Figure("a", 30, "1/s", ratio_at_least(2)).holds is None


def test_what_the_machine_cannot_measure_stays_open_with_the_reason() -> None:
    def measure(full: bool) -> Iterator[Figure]:
        raise Cannot("there is no accelerator")
        yield

    found = Row("x.1", "a row", "fast", measure, ()).entry(full=False)
    assert (found["ours"], found["holds"], found["note"]) == (None, None, "there is no accelerator")


def test_a_new_entry_takes_the_place_of_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for id, ours in (("loop.10", 1), ("loop.2", 2), ("loop.10", 3)):
        bench.keep(entry(Figure("a", ours, "s", exactly(3))) | {"id": id})
    kept = json.loads((tmp_path / "build/bench.json").read_text())
    assert [(item["id"], item["ours"]) for item in kept] == [("loop.2", 2), ("loop.10", 3)]


def test_a_row_that_must_hold_decides_the_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for is_required, code in ((False, 0), (True, 1)):
        missed = Row("x.1", "a row", "none", lambda full: [Figure("a", 1, "", exactly(0))], (), is_required)
        monkeypatch.setattr(bench, "chosen", lambda only, missed=missed: [missed])
        monkeypatch.setattr("sys.argv", ["benchmarks"])
        assert bench.main() == code


def test_rows_are_in_the_order_of_their_numbers_and_then_of_their_names() -> None:
    ids = ["x.load", "x.10", "x.1w", "x.2", "x.1"]
    assert sorted(ids, key=bench.order) == ["x.1", "x.1w", "x.2", "x.10", "x.load"]


def test_one_row_or_one_group_can_be_chosen() -> None:
    assert [item.id for item in bench.chosen("loop.5")] == ["loop.5"]
    assert [item.id for item in bench.chosen("loop")] == [f"loop.{number}" for number in range(1, 7)]
    assert bench.chosen("nothing") == []


def test_times_are_kept_by_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    times.write("loop.6", "clean", {"wall_s": 900})
    times.write("loop.6", "warm", {"wall_s": 700})
    times.write("loop.6", "warm", {"wall_s": 600})
    assert times.read() == {"loop.6": {"clean": {"wall_s": 900}, "warm": {"wall_s": 600}}}
