"""Random folders, random edits on both sides, cuts at random bytes: no byte is lost, and both sides end up the same."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiinfra_lab.errors import LabError, Unavailable
from aiinfra_lab.host.sync import tree as trees

from .two_sides import NOTHING_DONE, TwoSides, done, tree

PATHS = st.lists(st.sampled_from(["a", "b", "B", "ü\n"]), min_size=1, max_size=3).map("/".join)
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["near", "far"]),
        st.sampled_from(["write", "write", "write", "rm", "mkdir", "link", "mode", "move"]),
        PATHS,
        PATHS,
    ),
    max_size=8,
)


class Edited(TwoSides):
    """Two sides with users, who are known to have written and to have taken away certain contents."""

    def __init__(self, top: Path) -> None:
        super().__init__(top)
        self.far.mkdir()
        self.number = 0
        self.written: set[bytes] = set()
        self.taken_away: set[bytes] = set()

    def edit(self, edits: list[tuple[str, str, str, str]]) -> None:
        for side, what, path, other in edits:
            folder = getattr(self, side)
            before = tree(folder)
            self._edit(what, folder / path, folder / other)
            after = tree(folder)
            self.written |= contents(folder)
            changed = [each for name, each in before.items() if each[0] == "f" and after.get(name, "")[:2] != each[:2]]
            self.taken_away |= {each[1] for each in changed}

    def _edit(self, what: str, path: Path, other: Path) -> None:
        there = os.path.lexists(path)
        try:
            if what in ("rm", "link", "mkdir") and there:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            if what == "write":
                path.parent.mkdir(parents=True, exist_ok=True)
                self.number += 1
                if path.is_symlink():
                    path.unlink()
                path.write_text(f"content {self.number - self.number % 3}")  # each three have the same
            elif what == "mkdir":
                path.mkdir(parents=True)
            elif what == "link":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(other.name)
            elif what == "mode" and path.is_file():
                path.chmod(path.stat().st_mode ^ 0o111)
            elif what == "move" and there:
                path.rename(other)
        except OSError:
            pass  # a file is where a folder would have to be, or the like


def contents(folder: Path) -> set[bytes]:
    return {each[1] for each in tree(folder).values() if each[0] == "f"}


@pytest.fixture(scope="module")
def new_sides() -> Iterator[Callable[[], Edited]]:
    # In memory where there is such a place: each sync waits for the disk several times.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as top:

        def new_sides() -> Edited:
            return Edited(Path(tempfile.mkdtemp(dir=top)))

        yield new_sides


def may_go(base: dict[str, Any], path: str, content: Any, other: dict[str, Any]) -> bool:
    """Whether the other side changed or deleted on purpose what this one had not touched."""
    before = base.get(path)
    now = other.get(path)
    return before is not None and before[:2] == content[:2] and (now is None or now[:2] != before[:2])


@settings(max_examples=40)
@given(rounds=st.lists(EDITS, min_size=1, max_size=4))
def test_every_content_is_on_both_sides_or_was_taken_away_on_purpose(
    new_sides: Callable[[], Edited], rounds: list[list[tuple[str, str, str, str]]]
) -> None:
    both, base = new_sides(), dict[str, Any]()
    for edits in rounds:
        both.edit(edits)
        near, far = tree(both.near), tree(both.far)
        report = both.sync()
        after = tree(both.near)
        assert tree(both.far) == after, report
        assert report.left_out == ()
        kept = {each[1] for each in after.values() if each[0] == "f"}
        for mine, other in ((near, far), (far, near)):
            for path, entry in mine.items():
                if entry[0] == "f" and not may_go(base, path, entry, other):
                    assert entry[1] in kept, (path, report)
        for path, entry in near.items():
            if far.get(path) == base.get(path) and entry != base.get(path) and not report.conflicts:
                assert after[path][:2] == entry[:2] or entry[0] == "d" or "d" in (far.get(path, ""))[:1]
        base = after
        assert done(both.sync()) == NOTHING_DONE


@settings(max_examples=40)
@given(first=EDITS, second=EDITS, cuts=st.lists(st.floats(0, 1), min_size=1, max_size=3), between=EDITS)
def test_a_cut_anywhere_loses_nothing(
    new_sides: Callable[[], Edited], first: Any, second: Any, cuts: list[float], between: Any
) -> None:
    both = new_sides()
    both.edit(first)
    both.sync()
    whole = both.passed
    both.edit(second)
    for share in cuts:
        with contextlib.suppress(Unavailable):
            both.sync(cut_at=int(share * max(whole, 3000)))
        left = contents(both.near) | contents(both.far)
        assert both.written - both.taken_away <= left | both.taken_away
    both.edit(between)
    both.sync()
    assert tree(both.near) == tree(both.far)
    assert both.written - both.taken_away <= contents(both.near)
    assert done(both.sync()) == NOTHING_DONE


def test_a_cut_at_every_byte_of_a_small_sync_loses_nothing(new_sides: Callable[[], Edited]) -> None:
    """All that can be on the way: both directions, a conflict, deletions, a move."""

    def changed() -> Edited:
        both = new_sides()
        for name in ("a", "b", "c", "gone"):
            (both.near / name).write_text(f"first {name}")
        both.sync()
        (both.near / "a").write_text("mine")
        (both.far / "a").write_text("theirs")
        (both.near / "b").write_text("second")
        (both.far / "new").write_text("new there")
        (both.far / "gone").unlink()
        (both.near / "c").rename(both.near / "moved")
        return both

    whole = changed()
    whole.sync()
    expected = contents(whole.near)
    for cut_at in range(0, whole.passed, 53):
        both = changed()
        with pytest.raises(Unavailable):
            both.sync(cut_at=cut_at)
        report = both.sync()
        assert tree(both.near) == tree(both.far)
        assert contents(both.near) == expected, (cut_at, report)
        # A cut makes no conflict of its own, and keeps none twice.
        assert len([name for name in tree(both.near) if ".conflict-" in name]) == 1, cut_at


def test_an_edit_after_a_cut_is_no_conflict(new_sides: Callable[[], Edited]) -> None:
    """Whatever of the second version had arrived, the third follows upon it."""
    for cut_at in range(200, 6000, 211):
        both = new_sides()
        (both.near / "a").write_text("first")
        both.sync()
        (both.near / "a").write_text("second, longer")
        with contextlib.suppress(Unavailable):
            both.sync(cut_at=cut_at)
        (both.near / "a").write_text("third, longer yet")
        assert both.sync().conflicts == ()
        assert (both.far / "a").read_text() == "third, longer yet"


@pytest.mark.parametrize("side", ["near", "far"])
def test_a_large_file_goes_on_where_it_was_cut(new_sides: Callable[[], Edited], side: str) -> None:
    both = new_sides()
    content = os.urandom(9 << 20)
    (getattr(both, side) / "large").write_bytes(content)
    with pytest.raises(Unavailable):
        both.sync(cut_at=6 << 20)
    report = both.sync()
    assert 0 < report.sent_bytes + report.received_bytes <= 4 << 20
    assert (both.near / "large").read_bytes() == (both.far / "large").read_bytes() == content


def test_files_that_arrived_before_a_cut_are_not_sent_again(
    new_sides: Callable[[], Edited], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiinfra_lab.kernels.sync.BATCH_FILES", 10)
    both = new_sides()
    for number in range(50):
        (both.near / f"f{number}").write_text(f"{number:010}" * 100)
    with pytest.raises(Unavailable):
        both.sync(cut_at=40_000)
    there = sum(len(each[1]) for each in tree(both.far).values())
    assert there >= 20_000
    assert both.sync().sent_bytes <= 50_000 - there


def test_a_file_that_changes_while_it_is_sent_waits_for_the_next_sync(
    new_sides: Callable[[], Edited], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = new_sides()
    path = both.near / "log"
    path.write_bytes(b"x" * (3 << 20))
    chunks = trees.Tree.chunks

    def growing(self: Any, files: Any) -> Iterator[Any]:
        for chunk in chunks(self, files):
            with path.open("r+b") as file:
                file.write(b"y" * (3 << 20))
            yield chunk

    with monkeypatch.context() as patch:
        patch.setattr(trees.Tree, "chunks", growing)
        report = both.sync()
    assert [each.path for each in report.left_out] == ["log"]
    assert not (both.far / "log").exists()
    both.sync()
    assert (both.far / "log").read_bytes() == b"y" * (3 << 20)


def test_errors_are_ours_whatever_is_cut(new_sides: Callable[[], Edited]) -> None:
    both = new_sides()
    (both.near / "a").write_text("x")
    for cut_at in range(30):
        with pytest.raises(LabError):
            both.sync(cut_at=cut_at)
