"""The log of predictions: every line once, in order, for the owner only, and never in the way."""

import contextlib
import json
import resource
import signal
import stat
import threading

import msgspec

from aiinfra_lab.deploy.server import predictions_log
from aiinfra_lab.deploy.server.predictions_log import Line, PredictionsLog, files, newest

ROOM = 1e9


def flushed(log):
    done = threading.Event()
    log.flush(done.set)
    assert done.wait(30)


def line(number, **changes):
    return Line(**{
        "at": 1.0, "request_id": "r", "row_id": str(number), "model": "models:delay@1", "arm": "champion",
        "latency_ms": 0.5, "inputs": {"x": number}, "outputs": {"score": 0.5}, **changes,
    })  # fmt: skip


def add(log, *lines):
    log.add(msgspec.json.Encoder().encode_lines(lines), len(lines))


def test_every_line_is_there_after_the_close_newest_first(tmp_path):
    log = PredictionsLog(tmp_path / "log", ROOM)
    for number in range(1000):
        add(log, line(number))
    log.close()
    assert [found["row_id"] for found in newest(tmp_path / "log", 2000)] == [str(at) for at in reversed(range(1000))]
    assert log.lost == 0


def test_a_line_is_what_it_promises(tmp_path):
    log = PredictionsLog(tmp_path, ROOM)
    add(log, line(1))
    add(log, line(2, outputs=None, error="no"))
    log.close()
    bad, good = newest(tmp_path, 10)
    assert list(good) == ["at", "request_id", "row_id", "model", "arm", "latency_ms", "inputs", "outputs"]
    assert (bad["outputs"], bad["error"]) == (None, "no")


def test_a_line_of_before_had_a_score(tmp_path):
    before = {key: value for key, value in msgspec.to_builtins(line(1)).items() if key != "outputs"}
    lines = [{**before, "score": 0.25}, {**before, "score": None, "error": "no"}]
    (tmp_path / "1.jsonl").write_text("\n".join(map(json.dumps, lines)))
    bad, good = newest(tmp_path, 10)
    assert (good["outputs"], bad["outputs"], bad["error"]) == ({"score": 0.25}, None, "no")


def test_of_a_long_text_a_line_has_its_beginning_and_its_length(tmp_path):
    row = msgspec.defstruct("Row", [("c0", str)], rename={"c0": "text"})
    log = PredictionsLog(tmp_path, ROOM)
    for inputs in ({"text": "late " * 50_000, "x": 1.0}, row("é" * 2001), {"text": "late"}):
        lines = [line(1, inputs=inputs, outputs={"reply": "no " * 1000, "score": 0.5})]
        log.add(predictions_log.encoded(lines), 1)
    log.close()
    short, of_table, long = newest(tmp_path, 10)
    assert long["inputs"]["text"] == {"begins": "late " * 400, "characters": 250_000, "words": 50_000}
    assert long["inputs"]["x"] == 1.0
    assert (long["outputs"]["reply"]["characters"], long["outputs"]["score"]) == (3000, 0.5)
    assert of_table["inputs"] == {"text": {"begins": "é" * 2000, "characters": 2001, "words": 1}}
    assert short["inputs"] == {"text": "late"}


def test_files_are_for_their_owner_only(tmp_path):
    log = PredictionsLog(tmp_path / "log", ROOM)
    add(log, line(1))
    log.close()
    assert stat.S_IMODE(files(tmp_path / "log")[0].stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o700


def test_full_files_are_followed_by_new_ones_and_the_oldest_go_with_a_word(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(predictions_log, "FILE_BYTES", 138)  # a line has 139
    caplog.set_level("INFO")
    log = PredictionsLog(tmp_path, 550)
    for number in range(8):
        add(log, line(number))
        flushed(log)
    log.close()
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 550
    assert [found["row_id"] for found in newest(tmp_path, 100)] == ["7", "6", "5"]
    assert "deploy.log_gib" in caplog.text


def test_a_flush_returns_when_the_lines_are_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions_log, "FLUSH_S", 60)
    log = PredictionsLog(tmp_path, ROOM)
    add(log, line(1))
    flushed(log)
    assert [found["row_id"] for found in newest(tmp_path, 10)] == ["1"]
    log.close()


def test_a_torn_line_is_passed_over(tmp_path):
    whole = msgspec.json.encode(line(1))
    (tmp_path / "1.jsonl").write_bytes(whole + b"\n" + whole[:20])
    assert newest(tmp_path, 10) == [msgspec.to_builtins(line(1))]


def test_the_newest_come_out_of_several_files(tmp_path):
    for number in (9, 10, 11):
        lines = [msgspec.json.encode(line(f"{number}{half}")) for half in "ab"]
        (tmp_path / f"{number}.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    assert [found["row_id"] for found in newest(tmp_path, 3)] == ["11b", "11a", "10b"]


def test_lines_that_come_too_fast_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions_log, "MOST_WAITING", 10)
    monkeypatch.setattr(predictions_log, "FLUSH_S", 30)
    log = PredictionsLog(tmp_path, ROOM)
    for number in range(25):
        add(log, line(number))
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
            add(log, line(number))
        log.close()
    assert log.lost == 20
    assert [path.stat().st_size for path in files(tmp_path)] == [0]
