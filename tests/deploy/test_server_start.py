"""How the process of an endpoint comes up."""

import logging

from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.deploy.server import __main__ as server
from aiinfra_lab.errors import Denied, StoreUnavailable
from aiinfra_lab.store import Record, open_store


def test_while_nothing_can_be_written_it_waits_and_says_why_once(workspace, monkeypatch, caplog):
    refused = [Denied("read-only", "wait"), Denied("read-only", "wait"), StoreUnavailable("away", "wait")]
    open_store().commit([Record.new("delay", EndpointRecord())])
    update = server.update

    def refuse_first(*how):
        if refused:
            raise refused.pop(0)
        return update(*how)

    monkeypatch.setattr(server, "update", refuse_first)
    monkeypatch.setattr(server, "AGAIN_S", 0.0)
    with caplog.at_level(logging.WARNING):
        written = server._write_address(open_store(), "delay", 8000)
    assert (written.body.url, len(caplog.records)) == ("http://127.0.0.1:8000", 2)
