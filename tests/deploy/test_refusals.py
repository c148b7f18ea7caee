"""What clients do wrong is in the log, and never fills it."""

import logging

import pytest

from aiinfra_lab.deploy.server import refusals
from aiinfra_lab.deploy.server.refusals import RefusalLog


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "aiinfra_lab")
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_refusal_is_one_short_line_of_printable_ascii(lines):
    RefusalLog().add(422, b"POST", b"/x\x1b[31m\r\n" + b"y" * 9999, "zeile\u2028\n日本\x00".encode() + b"z" * 99_999)
    (line,) = lines()
    assert line.startswith("422 POST /x\\x1b[31m\\r\\nyyy")
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 1000


def test_a_flood_of_refusals_is_a_line_a_second_that_counts(lines, monkeypatch):
    log = RefusalLog()
    for _ in range(1000):
        log.add(400, b"POST", b"/predict", b"{}")
        log.add(413, b"POST", b"/predict", b"{}")
    assert len(lines()) == 2
    monkeypatch.setattr(refusals, "EVERY_S", 0.0)
    log.add(400, b"POST", b"/predict", b"{}")
    assert lines()[-1] == "400 POST /predict: {} (and 999 more before)"


def test_a_fault_of_the_endpoint_is_a_warning(lines, caplog):
    RefusalLog().add(500, b"POST", b"/predict", b"{}")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
