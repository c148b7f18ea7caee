"""Files that come and go in pieces: what comes twice changes nothing, a gap is noticed, and names are ours."""

import pytest

from aiinfra_lab.host.exchange import PIECE_BYTES, HostFiles, pack_piece, unpack_piece
from aiinfra_lab.host.frames import Decoder, Kind

NAME = "0123456789abcdef.in"


@pytest.fixture
def files(tmp_path) -> HostFiles:
    return HostFiles(tmp_path / "exchange")


def answer(sent: bytes) -> tuple[int, dict, bytes]:
    [found] = Decoder().feed(sent)
    return found.kind, *unpack_piece(found.payload)


def put(files: HostFiles, at: int, data: bytes) -> dict:
    kind, head, _ = answer(files.write(files.path(NAME), at, data))
    assert kind == Kind.HAS
    return head


def test_a_piece_is_what_it_was():
    assert unpack_piece(pack_piece(b"\0" * 9, name="a", at=3)) == ({"name": "a", "at": 3}, b"\0" * 9)


@pytest.mark.parametrize("payload", [b"", b"\0", b"\0\4true", b"\0\3{}}"])
def test_what_is_no_piece_is_refused(payload):
    with pytest.raises(ValueError, match=r"piece|Extra data"):
        unpack_piece(payload)


def test_pieces_make_the_file_however_often_they_come(files):
    assert put(files, 0, b"")["size"] == 0
    assert put(files, 0, b"abcd")["size"] == 4
    assert put(files, 4, b"ef")["size"] == 6
    assert put(files, 0, b"abcd")["size"] == 6
    assert put(files, 4, b"efgh")["size"] == 8
    assert files.path(NAME).read_bytes() == b"abcdefgh"
    assert files.folder.stat().st_mode & 0o777 == 0o700
    assert files.path(NAME).stat().st_mode & 0o777 == 0o600


def test_a_piece_behind_a_gap_is_a_problem(files):
    put(files, 0, b"abcd")
    assert put(files, 9, b"x")["problem"] == "a part of it has vanished there"
    assert not files.path(NAME).exists()


def test_what_is_asked_for_comes_in_pieces_with_the_size_of_the_whole(files):
    files.folder.mkdir()
    whole = bytes(range(256)) * (PIECE_BYTES // 256) + b"the end"
    files.path("a.out").write_bytes(whole)
    pieces = [answer(files.read(files.path("a.out"), at)) for at in (0, PIECE_BYTES)]
    assert [head for _, head, _ in pieces] == [
        {"name": "a.out", "at": at, "size": len(whole)} for at in (0, PIECE_BYTES)
    ]
    assert b"".join(data for _, _, data in pieces) == whole


def test_what_is_not_there_is_a_problem(files):
    kind, head, data = answer(files.read(files.path("a.out"), 0))
    assert (kind, head, data) == (Kind.PIECE, {"name": "a.out", "problem": "No such file or directory"}, b"")


@pytest.mark.parametrize("name", ["../a.in", "a", "a.in.part", "/etc/passwd", "a/b.out", ".in", ""])
def test_other_names_are_refused(files, name):
    with pytest.raises(ValueError, match="no file is exchanged by the name"):
        files.path(name)


def test_what_belongs_to_nobody_any_more_is_removed(files):
    files.keep(["a"])  # before there is any
    files.folder.mkdir()
    for name in ("a.in", "a.out", "a_c1.out", "b.in", "b_c1.out"):
        files.path(name).touch()
    files.keep(["a"])
    assert sorted(path.name for path in files.folder.iterdir()) == ["a.in", "a.out", "a_c1.out"]
