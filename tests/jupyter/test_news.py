"""What happened by itself is shown below the next cell, once."""

from collections.abc import Iterator

import pytest
from IPython.core.interactiveshell import InteractiveShell

from aiinfra_lab import lab, signal_records
from aiinfra_lab.jupyter import news
from aiinfra_lab.store import open_store
from tests.cost.test_budgets import session


@pytest.fixture
def shell(workspace, monkeypatch) -> Iterator[InteractiveShell]:
    monkeypatch.setattr(news, "LOOK_S", 0.0)
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "aiinfra_lab")
    yield shell
    shell.run_line_magic("unload_ext", "aiinfra_lab")
    InteractiveShell.clear_instance()


def shown(shell: InteractiveShell, capsys, line: str = "%cost ls --gpu T4") -> list[str]:
    """The notices below a cell."""
    capsys.readouterr()
    shell.run_cell(f"_ = 0\n{line}\nNone", store_history=False)
    return [text for text in capsys.readouterr().out.splitlines() if text.startswith("Notice ")]


def test_a_signal_is_shown_once_and_what_was_sent_before_the_notebook_is_old(shell, capsys):
    lab.start()
    signal_records.send(open_store(), "deploy:late", "it was rolled back", "look")
    assert shown(shell, capsys) == []
    signal_records.send(open_store(), "deploy:late", "it was rolled back again", "`%deploy show late`")
    assert shown(shell, capsys) == ["Notice deploy:late  ▲ needs a look"]
    assert shown(shell, capsys) == []


def test_a_budget_that_is_half_spent_is_shown_below_the_very_cell_that_finds_it(shell, capsys):
    lab.start()
    session(2.6)
    assert shown(shell, capsys) == ["Notice gpu:trainer  ▲ needs a look"]
    assert shown(shell, capsys) == []
    session(4.2)
    assert shown(shell, capsys) == ["Notice gpu:trainer  ▲ needs a look"]


def test_without_a_workspace_there_is_no_news(shell, capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("AIINFRA_WORKSPACE")
    monkeypatch.chdir(tmp_path)
    assert shown(shell, capsys, "%cost --help") == []
