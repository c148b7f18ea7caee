"""A host that sends what no host of ours does gets nothing written."""

import hashlib
import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from aiinfra_lab.errors import Denied, LabError, Unavailable
from aiinfra_lab.host.sync.stream import send
from aiinfra_lab.kernels.sync import sync

CONTENT = b"#!/bin/sh\nowned\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
Frame = tuple[dict[str, Any], bytes]


def file(path: Any, **changes: Any) -> list[Any]:
    """A row for a file of that content."""
    row = {"kind": "f", "value": DIGEST, "mode": 0o755, "size": len(CONTENT), "mtime_ns": 10**18} | changes
    return [path, *row.values()]


def folder(path: str) -> list[Any]:
    return [path, "d", "", 0o755, 0, 0]


def link(path: str, target: str) -> list[Any]:
    return [path, "l", target, 0o777, 0, 0]


def frames(*rows: Any, then: Iterable[Frame] = ()) -> io.BytesIO:
    """What such a host sends: its rows, whatever it is asked next."""
    stream = io.BytesIO()
    send(stream, {"name": "../../evil", "token": "", "digest": "", "rows": len(rows), "is_known": False})
    send(stream, {"rows": list(rows)})
    send(stream, {"left_out": []})
    for head, body in then:
        send(stream, head, body)
    stream.seek(0)
    return stream


@pytest.fixture
def attack(tmp_path: Path) -> Callable[[io.BytesIO], LabError]:
    """The error that a sync ends with, once it is seen that nothing was written and nothing is left."""
    (tmp_path / "home/project").mkdir(parents=True)
    (tmp_path / "home/project/mine").write_text("mine")
    (tmp_path / "home/outside").mkdir()
    (tmp_path / "home/project/way-out").symlink_to(tmp_path / "home/outside")

    def attack(stream: io.BytesIO) -> LabError:
        with pytest.raises(LabError) as problem:
            sync(tmp_path / "home/project", stream, io.BytesIO(), state=tmp_path / "state")
        found = {path.relative_to(tmp_path / "home").as_posix() for path in (tmp_path / "home").rglob("*")}
        arriving = {"", "/sync", "/sync/incoming", f"/sync/incoming/{DIGEST}"}  # where nobody looks for a file
        ours = {f"project/.aiinfra{each}" for each in arriving}
        assert found - ours == {"project", "project/mine", "project/way-out", "outside"}
        assert (tmp_path / "home/project/mine").read_text() == "mine"
        return problem.value

    return attack


@pytest.mark.parametrize(
    "rows",
    [
        [file("../../.bashrc")],
        [file("../.bashrc")],
        [file("/etc/cron.d/x")],
        [file("")],
        [file(".")],
        [file("..")],
        [folder(".."), file("../x")],
        [folder("a"), file("a/../../x")],
        [folder("a"), folder("a/.."), file("a/../x")],
        [folder("a"), file("a//x")],
        [file("a/")],
        [file("nul\0")],
        [file("x" * 300)],
        [folder("/".join(["d"] * n)) for n in range(1, 400)],
        [file("\ud800")],
        [file("no/folder")],
        [file("a"), file("a/x")],
        [link("a", "b"), file("a/x")],
        [file("a"), file("a")],
        [link("a", "/etc")],
        [link("a", "../x")],
        [folder("d"), link("d/a", "../../x")],
        [link("d", "."), link("a", "d/../../x")],
        [link("a", "")],
        [file(".aiinfra")],
        [file(".aiinfraignore")],
        [folder(".aiinfra"), file(".aiinfra/x")],
        [folder(".git"), folder(".git/hooks"), file(".git/hooks/post-checkout")],
        [folder(".Git"), folder(".Git/hooks"), file(".Git/hooks/post-checkout")],
        [folder(".AiInfra"), file(".AiInfra/store.sqlite")],
        [file("x", mtime_ns=1 << 63)],
        [file("x", mtime_ns=10**30)],
        [file("x", size=1 << 40)],
        [file("x", size=-1)],
        [file("x", size=True)],
        [file("x", size=1.5)],
        [file("x", value="../../.bashrc")],
        [file("x", value=DIGEST.upper())],
        [file("x", kind="p")],
        [file("x", mode="rwx")],
        [file(7)],
        [["x"]],
        ["x"],
        [None],
        [{}],
    ],
)
def test_what_no_host_sends_is_refused_as_a_whole(attack: Callable[..., LabError], rows: list[Any]) -> None:
    problem = attack(frames(file("a-good-one"), *rows))
    assert isinstance(problem, Denied)
    assert "nothing of it was written here" in problem.what
    assert problem.what.startswith("evil sends ")


OFFER = frames(file("new")).getvalue()


@pytest.mark.parametrize(
    ("body", "digest", "at"),
    [
        (b"other content!!!", DIGEST, 0),
        (CONTENT + b"more", DIGEST, 0),
        (CONTENT, "../../.bashrc", 0),
        (CONTENT, DIGEST, 5),
        (CONTENT, DIGEST, -5),
        (b"", DIGEST, 0),
    ],
)
def test_content_that_is_not_what_was_announced_gets_no_name(
    attack: Callable[..., LabError], body: bytes, digest: str, at: int
) -> None:
    answers = [({}, b""), ({"offsets": [0]}, b""), ({"refused": []}, b""), ({"digest": digest, "at": at}, body)]
    attack(frames(file("new"), then=answers))


@pytest.mark.parametrize("mtime_ns", [(1 << 63) - 1, -(1 << 63) + 1, 0, -1])
def test_a_file_of_any_time_is_taken(tmp_path: Path, mtime_ns: int) -> None:
    (tmp_path / "project").mkdir()
    answers = [({}, b""), ({"digest": DIGEST, "at": 0}, CONTENT), ({"end": True}, b""), ({}, b""), ({}, b"")]
    stream = frames(file("new", mtime_ns=mtime_ns), then=answers)
    assert sync(tmp_path / "project", stream, io.BytesIO(), state=tmp_path / "state").received_files == 1
    assert (tmp_path / "project/new").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff" * 100,
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\x00\x00\x00\x02\x00\x00\x00\x00[]",
        b"\x00\x00\x00\x02\x00\x00\x00\x00{x",
        b"\x00\x00\x00\x05\x00\x00\x00\x00" + b"[" * 5,
        b"\x00\x01\x86\xa0\x00\x00\x00\x00" + b"[" * 100_000,
    ],
)
def test_what_is_no_frame_ends_the_sync(attack: Callable[..., LabError], raw: bytes) -> None:
    assert isinstance(attack(io.BytesIO(raw)), Unavailable)


@pytest.mark.parametrize(
    "head",
    [
        {},
        {"rows": -1},
        {"rows": "many"},
        {"rows": 10**9},
        {"rows": 1, "is_known": "yes"},
        {"problem": "x" * 10_000},
        {"problem": {"a": 1}},
    ],
)
def test_a_first_answer_that_is_none(attack: Callable[..., LabError], head: dict[str, Any]) -> None:
    stream = io.BytesIO()
    send(stream, head)
    stream.seek(0)
    assert len(str(attack(stream))) < 1000


def test_a_host_that_claims_to_be_as_it_was_has_nothing_at_first(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    stream = io.BytesIO()
    for head in ({"name": "box", "token": "", "is_known": True}, {}, {}):
        send(stream, head)
    stream.seek(0)
    assert sync(tmp_path / "project", stream, io.BytesIO(), state=tmp_path / "state").received_files == 0
