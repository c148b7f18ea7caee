"""Secrets that no machine has: made here, so that no scanner takes these files for what holds one."""

import pytest

from aiinfra_lab.secrets import known

VALUE = "zq" + "7Kx-93hLp_4mTw"


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    """What another test has resolved is known to the process until its end."""
    monkeypatch.setattr(known, "_resolved", {})
