"""The log of predictions: every line once, in order, for the owner only, and never in the way."""

import contextlib
import json
import resource
import signal
import stat
import threading
import time

from aiinfra_lab.deploy.server import predictions_log
from aiinfra_lab.deploy.server.predictions_log import PredictionsLog, files, newest
from tests.conftest import until

ROOM = 1e9


def flushed(log):
    done = threading.Event()
    log.flush(done.set)
    assert done.wait(30)


def exchange(number, **answer):
    """A request of one row, and its answer."""
    predictions = [{"row_id": str(number), "score": 0.5} | answer]
    said = {"request_id": "r", "model": "models:delay@1", "predictions": predictions}
    return json.dumps({"rows": [{"x": number}]}).encode(), json.dumps(said).encode()


def add(log, number, **answer):
    log.add("champion", 0.5, *exchange(number, **answer), 1)


def test_every_line_is_there_after_the_close_newest_first(tmp_path):
    log = PredictionsLog(tmp_path / "log", ROOM)
    for number in range(1000):
        add(log, number)
    log.close()
    assert [found["row_id"] for found in newest(tmp_path / "log", 2000)] == [str(at) for at in reversed(range(1000))]
    assert log.lost == 0


def test_a_row_is_what_it_promises(tmp_path):
    log = PredictionsLog(tmp_path, ROOM)
    add(log, 1)
    add(log, 2, score=None, error="no")
    log.close()
    bad, good = newest(tmp_path, 10)
    assert list(good) == ["at", "request_id", "row_id", "model", "arm", "latency_ms", "inputs", "outputs"]
    assert (good["inputs"], good["outputs"], good["latency_ms"]) == ({"x": 1}, {"score": 0.5}, 0.5)
    assert (bad["outputs"], bad["error"]) == (None, "no")


def test_a_request_has_one_line_however_it_was_written(tmp_path):
    log = PredictionsLog(tmp_path, ROOM)
    request = json.dumps({"columns": {"x": [1, 2], "row_id": ["a", "b"]}}, indent=1).replace("\n", "\r\n").encode()
    columns = {"row_id": ["a", "b"], "score": [None, 0.5]}
    answer = {"request_id": "r", "model": "m", "columns": columns, "errors": {"0": "no"}}
    log.add("canary", 0.5, request, json.dumps(answer).encode(), 2)
    log.close()
    assert len(files(tmp_path)[0].read_bytes().splitlines()) == 1
    second, first = newest(tmp_path, 10)
    assert (first["row_id"], first["inputs"], first["outputs"], first["error"]) == ("a", {"x": 1}, None, "no")
    assert (second["row_id"], second["inputs"], second["outputs"]) == ("b", {"x": 2}, {"score": 0.5})
    assert newest(tmp_path, 1) == [second]


BEFORE = {"at": 1.0, "request_id": "r", "row_id": "1", "model": "m", "canary": False, "latency_ms": 0.5}


def test_a_line_of_before_had_one_row_and_at_first_a_score(tmp_path):
    rows = [{"score": 0.25}, {"score": None, "error": "no"}, {"outputs": {"score": 0.75}}]
    lines = [json.dumps({**BEFORE, "inputs": {"x": 1}, **row}) for row in rows]
    (tmp_path / "1.jsonl").write_text("\n".join(lines))
    newest_one, bad, good = newest(tmp_path, 10)
    assert (good["outputs"], bad["outputs"], bad["error"]) == ({"score": 0.25}, None, "no")
    now = {name: value for name, value in BEFORE.items() if name != "canary"} | {"arm": "champion"}
    assert newest_one == {**now, "inputs": {"x": 1}, "outputs": {"score": 0.75}}


def test_files_are_for_their_owner_only(tmp_path):
    log = PredictionsLog(tmp_path / "log", ROOM)
    add(log, 1)
    log.close()
    assert stat.S_IMODE(files(tmp_path / "log")[0].stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o700


def test_full_files_are_followed_by_new_ones_and_the_oldest_go_with_a_word(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(predictions_log, "FILE_BYTES", 180)  # a line is a little longer
    caplog.set_level("INFO")
    log = PredictionsLog(tmp_path, 750)
    for number in range(8):
        add(log, number)
        flushed(log)
    log.close()
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 750
    assert [found["row_id"] for found in newest(tmp_path, 100)] == ["7", "6", "5"]
    assert "deploy.log_gib" in caplog.text


def test_a_flush_returns_when_the_lines_are_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions_log, "FLUSH_S", 60)
    log = PredictionsLog(tmp_path, ROOM)
    add(log, 1)
    flushed(log)
    assert [found["row_id"] for found in newest(tmp_path, 10)] == ["1"]
    log.close()


def test_what_takes_much_memory_does_not_wait_for_the_clock(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions_log, "FLUSH_S", 60)
    log = PredictionsLog(tmp_path, ROOM)
    request, answer = exchange(1)
    log.add("champion", 0.5, request + b" " * predictions_log.FLUSH_BYTES, answer, 1)
    until(lambda: newest(tmp_path, 10))
    assert [found["row_id"] for found in newest(tmp_path, 10)] == ["1"]
    log.close()


def test_a_torn_line_is_passed_over(tmp_path):
    log = PredictionsLog(tmp_path, ROOM)
    add(log, 1)
    log.close()
    whole = files(tmp_path)[0].read_bytes()
    files(tmp_path)[0].write_bytes(whole + whole[:60])
    assert [found["row_id"] for found in newest(tmp_path, 10)] == ["1"]


def test_the_newest_come_out_of_several_files(tmp_path):
    for number in (9, 10, 11):
        lines = [json.dumps({**BEFORE, "row_id": f"{number}{half}", "inputs": {}, "outputs": {}}) for half in "ab"]
        (tmp_path / f"{number}.jsonl").write_text("\n".join(lines) + "\n")
    assert [found["row_id"] for found in newest(tmp_path, 3)] == ["11b", "11a", "10b"]


def test_lines_that_come_too_fast_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions_log, "MOST_WAITING", 10)
    monkeypatch.setattr(predictions_log, "FLUSH_S", 30)
    log = PredictionsLog(tmp_path, ROOM)
    for number in range(25):
        add(log, number)
    assert log.lost == 15
    log.close()
    assert len(newest(tmp_path, 100)) == 10


@contextlib.contextmanager
def small_files(most_bytes):
    """Files of this process may not grow beyond that: a write fails, as on a full disk."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_loses_lines_counts_them_and_tears_none(tmp_path):
    log = PredictionsLog(tmp_path, ROOM)
    with small_files(300):
        for number in range(20):
            add(log, number)
        log.close()
    assert log.lost == 20
    assert [path.stat().st_size for path in files(tmp_path)] == [0]


def test_a_line_that_is_damaged_in_whatever_way_is_passed_over(tmp_path):
    log = PredictionsLog(tmp_path, ROOM)
    for number in range(6):
        add(log, number, note="cold")
    log.close()
    [path] = files(tmp_path)
    lines = path.read_bytes().splitlines()
    lines[0] = lines[0].replace(b"cold", b"\xb4old")
    lines[1] = lines[1].replace(b'"rows": [', b'"rows": [{"x": 1}, ')
    lines[2] = lines[2].replace(b'"rows": [{"x": 2}]', b'"columns": {"x": [1, 2], "y": [1]}')
    lines[3] = lines[3].replace(b'"x": 3', b'"x": ' + b"[" * 100_000)
    path.write_bytes(b"\n".join(lines))
    assert [found["row_id"] for found in newest(tmp_path, 10)] == ["5", "4"]


def test_of_several_fronts_each_has_files_of_its_own_and_the_newest_rows_are_those_of_all(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions_log.time, "time_ns", iter(range(10**15, 10**16, 500)).__next__)
    logs = [PredictionsLog(tmp_path, ROOM) for _ in range(3)]
    for number in range(30):
        add(logs[number % 3], number)
        if number % 5 == 0:
            flushed(logs[number % 3])
        time.sleep(0.001)
    [log.close() for log in logs]
    assert len(files(tmp_path)) == 3
    for rows in (0, 1, 7, 30, 100):
        assert [found["row_id"] for found in newest(tmp_path, rows)] == [str(at) for at in range(29, -1, -1)][:rows]


def test_a_file_that_another_front_deletes_at_this_moment_costs_no_row(tmp_path, monkeypatch):
    there = files
    monkeypatch.setattr(predictions_log, "files", lambda folder: [folder / "0.jsonl", *there(folder)])
    log = PredictionsLog(tmp_path, ROOM)
    add(log, 1)
    log.close()
    assert ([found["row_id"] for found in newest(tmp_path, 10)], log.lost) == (["1"], 0)


def test_a_file_that_another_has_deleted_is_not_written_on(tmp_path):
    log = PredictionsLog(tmp_path, ROOM)
    add(log, 1)
    flushed(log)
    files(tmp_path)[0].unlink()
    add(log, 2)
    log.close()
    assert [found["row_id"] for found in newest(tmp_path, 10)] == ["2"]
