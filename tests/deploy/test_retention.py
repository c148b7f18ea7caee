"""How long predictions are kept: the settings, and the files that may be deleted."""

import os
from types import MappingProxyType

import pytest

from aiinfra_lab.config import Setting, Settings
from aiinfra_lab.deploy import retention
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.store import Record, open_store


def given(workspace, **values):
    found = {f"deploy.{name}": Setting(value, "aiinfra.toml") for name, value in values.items()}
    return Settings(workspace, workspace, MappingProxyType(found))


def test_a_log_keeps_ten_gib_unless_the_settings_say_otherwise(workspace):
    assert retention.log_bytes(given(workspace)) == 10 * 2**30
    assert retention.log_bytes(given(workspace, log_gib="0.5")) == 2**29


@pytest.mark.parametrize("value", [0, -1, "much"])
def test_a_size_that_keeps_nothing_is_refused(workspace, value):
    with pytest.raises(UsageProblem) as problem:
        retention.log_bytes(given(workspace, log_gib=value))
    assert "deploy.log_gib" in problem.value.what


@pytest.mark.parametrize(("outcome", "listed"), [("stopped", ["1", "2"]), ("", ["1"])])
def test_files_are_listed_with_size_and_last_time_but_not_the_one_that_is_written(workspace, outcome, listed):
    folder = workspace / "log"
    folder.mkdir()
    for number in (1, 2):
        (folder / f"{number}.jsonl").write_text("x" * number)
        os.utime(folder / f"{number}.jsonl", (number, number))
    records = [
        Record.new("delay", EndpointRecord(log_dir=str(folder), outcome=outcome)),
        Record.new("far", EndpointRecord()),
    ]
    open_store().commit(records)
    found = retention.log_files()
    assert [file.path.stem for file in found] == listed
    assert (found[0].uri, found[0].last_at, found[0].size_bytes) == ("deploy:delay", 1.0, 1)
