"""Endpoints on this machine keep the contract."""

import pytest

from aiinfra_lab.config import settings
from aiinfra_lab.deploy import orders
from aiinfra_lab.deploy.local import Local
from aiinfra_lab.store import Record, open_store
from tests.contract.deploy import DeployContract

from .conftest import server_pid


class TestLocal(DeployContract):
    @pytest.fixture
    def place(self, workspace):
        return Local(settings())

    @pytest.fixture
    def commit(self, workspace, register):
        def together(claim, records):
            wish = orders.Wish(register(1), None, "")
            log = str(workspace / ".aiinfra" / "deploy" / "delay" / "log")
            body, _ = orders.fresh(None, wish, on="local", job=claim, url="", port=0, log_dir=log)
            open_store().commit([*records, Record.new("deploy", "delay", body)], None)

        return together

    def pid(self, claim):
        return server_pid(claim)
