import errno
import os
import random

import pytest

from aiinfra_lab.host import journal as module
from aiinfra_lab.host.journal import Journal, read


def numbers(journal: Journal, after: int = 0) -> list[int]:
    return [record.number for record in journal.after(after)]


@pytest.fixture
def journal(tmp_path) -> Journal:
    return Journal(tmp_path / "journal", segment_bytes=1000)


def fill(journal: Journal, count: int) -> list[bytes]:
    payloads = [os.urandom(100) for _ in range(count)]
    for payload in payloads:
        journal.append(payload)
    return payloads


def test_records_come_back_in_order_from_any_number_on(journal):
    payloads = fill(journal, 50)
    assert [record.payload for record in journal.after(0)] == payloads
    assert numbers(journal, 48) == [49, 50]
    assert numbers(journal, 50) == []


def test_another_process_goes_on_where_one_was_killed(journal):
    payloads = fill(journal, 12)
    with max(journal.folder.iterdir()).open("ab") as file:
        file.write(b"half a record")
    again = Journal(journal.folder, segment_bytes=1000)
    assert (again.last, again.append(b"next")) == (12, 13)
    assert [record.payload for record in again.after(0)] == [*payloads, b"next"]


def test_what_is_safe_elsewhere_is_dropped_in_whole_files(journal):
    fill(journal, 50)
    before = journal.size
    journal.drop(30)
    assert 1 < journal.first <= 31
    assert numbers(journal, 30) == list(range(31, 51))
    assert journal.size < before
    journal.drop(50)
    assert numbers(journal, 0) == numbers(journal, journal.first - 1)


def test_it_is_for_its_user_only_and_compressed_once_it_is_not_written_any_more(tmp_path):
    journal = Journal(tmp_path / "journal", segment_bytes=10_000)
    for _ in range(100):
        journal.append(b"the same line again and again\n" * 10)
    assert journal.size > 100 * 310
    while journal.is_sealable:
        journal.seal_one()
    assert journal.size < 100 * 310 / 2
    assert journal.folder.stat().st_mode & 0o077 == 0
    assert [path for path in journal.folder.iterdir() if path.stat().st_mode & 0o077] == []
    assert len(numbers(journal)) == 100


def test_what_would_take_more_than_its_limit_is_compressed_before_it_is_lost(tmp_path):
    journal = Journal(tmp_path / "journal", limit_bytes=10_000, segment_bytes=3000)
    for _ in range(100):
        journal.append(b"the same line again and again\n" * 10)
    assert journal.size <= 13_000
    assert numbers(journal) == list(range(1, 101))
    assert numbers(Journal(journal.folder)) == list(range(1, 101))


def test_what_is_dropped_is_not_compressed(journal):
    fill(journal, 50)
    journal.drop(50)
    while journal.is_sealable:
        journal.seal_one()
    assert [path.name for path in journal.folder.iterdir() if path.name.endswith(".z")] == []


def test_what_nobody_fetches_is_bounded_and_leaves_a_gap(tmp_path):
    journal = Journal(tmp_path / "journal", limit_bytes=5000, segment_bytes=1000)
    fill(journal, 200)
    assert journal.size <= 6000
    assert numbers(journal)[0] == journal.first > 100
    assert numbers(journal)[-1] == 200


def test_a_number_that_is_left_out_is_a_gap_for_whoever_reads(journal):
    fill(journal, 3)
    journal.skip_to(10)
    fill(journal, 2)
    assert numbers(journal) == [1, 2, 3, 11, 12]
    assert numbers(Journal(journal.folder)) == [1, 2, 3, 11, 12]
    journal.skip_to(5)
    assert journal.append(b"x") == 13


def test_a_full_disk_costs_the_records_that_it_takes_not_and_no_other(journal, monkeypatch):
    fill(journal, 3)
    write = os.write

    def refuse(file: int, data: bytes) -> int:
        write(file, bytes(data)[:20])
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(module.os, "write", refuse)
    for _ in range(2):
        with pytest.raises(OSError, match="no space"):
            journal.append(b"lost")
    monkeypatch.undo()
    assert journal.append(b"again") == 6
    assert numbers(journal) == [1, 2, 3, 6]
    assert numbers(Journal(journal.folder)) == [1, 2, 3, 6]


def test_what_is_read_while_it_is_written_comes_whole_and_once(journal):
    random_ = random.Random(3)
    found, reader = [], None
    for _number in range(1, 400):
        journal.append(os.urandom(random_.randrange(300)))
        if random_.random() < 0.3:
            reader = reader or journal.after(found[-1] if found else 0)
            if (record := next(reader, None)) is None:
                reader = None
            else:
                found.append(record.number)
        if random_.random() < 0.05 and found:
            journal.drop(found[-1])
        if random_.random() < 0.05:
            journal.seal_one()
    assert found == list(range(1, len(found) + 1))
    assert found + numbers(journal, found[-1]) == list(range(1, 400))


def test_what_is_forgotten_is_not_on_the_disk_and_what_follows_keeps_its_number(tmp_path):
    journal = Journal(tmp_path)
    for payload in (b"one", b"two", b"three"):
        journal.append(payload)
    journal.forget(2)
    assert [(each.number, bytes(each.payload)) for each in journal.after(0)] == [(3, b"three")]
    assert journal.append(b"four") == 4
    assert b"two" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    journal.forget(4)
    assert (list(journal.after(0)), journal.last, journal.append(b"five")) == ([], 4, 5)
    journal.close()
    assert [each.number for each in read(tmp_path)] == [5]
