"""The owner's end of an exchange, against a host that is played by the test."""

import json
import os
from pathlib import Path

import pytest

from aiinfra_lab import files
from aiinfra_lab.host.exchange import PIECE_BYTES, HostFiles, unpack_piece
from aiinfra_lab.host.frames import Decoder, Frame, Kind
from aiinfra_lab.host.journal import Journal
from aiinfra_lab.host.stream import Stream
from aiinfra_lab.kernels.exchanges import WINDOW_BYTES, Exchanges


class Played:
    """A host whose answers come when the test says so."""

    def __init__(self, top: Path) -> None:
        self.files = HostFiles(top / "there")
        self.exchanges = Exchanges(top / "here")
        self.journal = Journal(top / "journal")
        self.connect()

    def connect(self, host: str | None = "?") -> None:
        self.reads, writes = os.pipe()
        os.set_blocking(self.reads, False)
        self.stream = Stream(writes, writes, lambda: None)
        self.decoder = Decoder()
        self.exchanges.greet(str(self.files.folder) if host == "?" else host, is_here=False)

    def asked(self) -> list[Frame]:
        """What the owner sends now."""
        self.exchanges.serve(self.stream)
        found: list[Frame] = []
        while self.stream.is_behind(self.journal):
            self.stream.send(self.journal)
            found += self.decoder.feed(os.read(self.reads, 1 << 20))
        return found

    def answer(self, asked: list[Frame]) -> None:
        for each in asked:
            if each.kind == Kind.KEEP:
                self.files.keep(json.loads(each.payload))
                continue
            head, data = unpack_piece(each.payload)
            path = self.files.path(head["name"])
            done = (
                self.files.write(path, head["at"], data) if each.kind == Kind.PUT else self.files.read(path, head["at"])
            )
            for found in Decoder().feed(done):
                self.exchanges.take(found)

    def until_idle(self) -> None:
        while asked := self.asked():
            self.answer(asked)


@pytest.fixture
def host(tmp_path) -> Played:
    return Played(tmp_path)


@pytest.fixture
def exchange(tmp_path):
    """One that this process has begun, with something to send."""
    folder = tmp_path / "here" / "abc"
    files.make_private_folder(folder)
    owner = files.take_lock(folder / "owner")
    assert owner is not None
    yield folder
    owner.close()


CONTENT = os.urandom(WINDOW_BYTES + 3 * PIECE_BYTES + 17)


def send(exchange: Path) -> None:
    (exchange / "in").write_bytes(CONTENT)
    (exchange / "send").touch()


def test_a_file_goes_there_and_no_more_than_a_window_waits_for_an_answer(host, exchange):
    send(exchange)
    first = host.asked()
    assert sum(len(unpack_piece(each.payload)[1]) for each in first if each.kind == Kind.PUT) == WINDOW_BYTES
    host.answer(first)
    host.until_idle()
    assert (exchange / "sent").exists()
    paths = json.loads((exchange / "paths").read_text())
    assert Path(paths["in"]).read_bytes() == CONTENT


def test_after_a_cut_it_goes_on_where_the_host_is(host, exchange):
    send(exchange)
    host.answer(host.asked()[:6])  # what is more was lost
    host.connect()
    again = host.asked()
    assert [unpack_piece(each.payload)[1] for each in again if each.kind == Kind.PUT] == [b""]
    host.answer(again)
    more = host.asked()
    assert unpack_piece(more[0].payload)[0]["at"] == 5 * PIECE_BYTES  # one of the six frames said which exchanges go on
    host.answer(more)
    host.until_idle()
    assert (host.files.folder / "abc.in").read_bytes() == CONTENT


@pytest.mark.parametrize("by", ["cut", "another owner"])
def test_what_comes_back_goes_on_where_it_is_here(host, exchange, by):
    host.until_idle()
    host.files.folder.mkdir()
    (host.files.folder / "abc.out").write_bytes(CONTENT)
    files.write(exchange / "wanted", str(len(CONTENT)))
    host.answer(host.asked()[:5])
    if by == "another owner":
        host.exchanges = Exchanges(exchange.parent)
    host.connect()
    again = host.asked()
    assert min(unpack_piece(each.payload)[0]["at"] for each in again if each.kind == Kind.GET) == 5 * PIECE_BYTES
    host.answer(again)
    host.until_idle()
    assert (exchange / "come").exists()
    assert (exchange / "out").read_bytes() == CONTENT


def test_another_owner_removes_nothing_of_what_goes_on(host, exchange):
    send(exchange)
    host.answer(host.asked())
    host.exchanges = Exchanges(exchange.parent)
    host.connect()
    host.until_idle()
    assert (host.files.folder / "abc.in").read_bytes() == CONTENT


def test_what_is_over_here_is_removed_there(host, exchange):
    send(exchange)
    host.until_idle()
    for path in exchange.iterdir():
        path.unlink()
    exchange.rmdir()
    host.until_idle()
    assert list(host.files.folder.iterdir()) == []


def test_a_host_that_knows_no_exchange_is_a_problem_that_says_so(host, exchange):
    host.connect(None)
    assert host.asked() == []
    assert "of an earlier version" in (exchange / "problem").read_text()


def test_the_first_problem_is_the_one_that_is_noted(host, exchange, monkeypatch):
    def full(*_: object) -> None:
        monkeypatch.undo()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("aiinfra_lab.host.exchange._write_at", full)
    send(exchange)
    host.answer(host.asked())
    assert (exchange / "problem").read_text() == "on the machine of the kernel: No space left on device"


def test_a_file_that_vanishes_there_is_a_problem(host, exchange):
    send(exchange)
    host.answer(host.asked())
    (host.files.folder / "abc.in").unlink()
    host.until_idle()
    assert "a part of it has vanished" in (exchange / "problem").read_text()
