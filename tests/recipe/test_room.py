"""For how much there is room."""

from pathlib import Path

import pytest

from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.recipe import room
from aiinfra_lab.recipe.base import NotebookTask
from aiinfra_lab.recipe.room import Room


def task(memory_bytes: int | None = None) -> NotebookTask:
    return NotebookTask(Path("a.ipynb"), Path("out.ipynb"), memory_bytes=memory_bytes)


def test_as_many_as_the_setting_says_else_as_there_are_cores(workspace):
    assert room.at_once() == room.cores()
    (workspace / "aiinfra.toml").write_text("[recipe]\nat_once = 3\n")
    assert room.at_once() == 3


def test_less_than_one_is_refused(workspace):
    (workspace / "aiinfra.toml").write_text("[recipe]\nat_once = -1\n")
    with pytest.raises(UsageProblem, match="runs nothing"):
        room.at_once()


def test_one_fits_alone_whatever_it_needs(monkeypatch):
    monkeypatch.setattr(room, "free_bytes", lambda: 0)
    assert Room(2).is_left_for(task(1 << 60), [])
    assert not Room(2).is_left_for(task(), [task()])


def test_what_goes_on_may_still_take_what_it_declares(monkeypatch):
    monkeypatch.setattr(room, "free_bytes", lambda: 8 << 30)
    monkeypatch.setattr(room, "total_bytes", lambda: 8 << 30)
    assert Room(9).is_left_for(task(3 << 30), [task(5 << 30)])
    assert not Room(9).is_left_for(task(3 << 30), [task(5 << 30), task()])
    assert not Room(1).is_left_for(task(), [task()])


def test_a_container_has_no_more_than_it_was_given(monkeypatch, tmp_path):
    monkeypatch.setattr(room, "_CGROUP", tmp_path)
    machine = room.total_bytes()
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "memory.max").write_text(f"{1 << 20}\n")
    (tmp_path / "memory.current").write_text(f"{1 << 19}\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 1000\n")
    assert (room.cores() <= 2, room.total_bytes(), room.free_bytes()) == (True, 1 << 20, (1 << 19) + 1000)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert (room.total_bytes(), room.free_bytes() > 1 << 20) == (machine, True)
