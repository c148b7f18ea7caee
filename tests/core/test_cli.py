import json
import os
import re
import subprocess
import sys

import pytest

from aiinfra_lab import cli
from aiinfra_lab.errors import LabError
from aiinfra_lab.show import Card, Fold, Quote, Table


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["lab", "ls"], 0),
        ([], 0),
        (["--version"], 0),
        (["labb"], 2),
        (["lab", "sho"], 2),
        (["lab", "log", "data:x"], 1),
    ],
)
def test_exit_codes(workspace, words, code, capsys):
    assert cli.main(words) == code


def test_python_runs_the_package_as_the_command(workspace):
    command = [sys.executable, "-m", "aiinfra_lab", "lab", "sho"]
    done = subprocess.run(command, cwd=workspace, capture_output=True, text=True, check=False)
    assert (done.returncode, "aiinfra lab has no verb 'sho'" in done.stderr) == (2, True)


def test_no_workspace_is_the_users_error(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["lab", "ls"]) == 1
    assert "aiinfra lab start DIR" in capsys.readouterr().err


def test_unavailable_is_three(workspace, capsys):
    (workspace / ".aiinfra").mkdir()
    (workspace / ".aiinfra" / "audit.head").write_text("5 abc\n")
    assert cli.main(["lab", "ls"]) == 3


def test_json_answers_in_json_also_when_it_fails(workspace, capsys):
    assert cli.main(["lab", "ls", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"] == []
    assert cli.main(["lab", "log", "data:x", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"] == "NotFound"


@pytest.mark.parametrize(("flag", "code"), [("--json=yes", 0), ("--json=no", 0), ("--json=please", 2)])
def test_its_own_flags_take_yes_and_no(workspace, flag, code, capsys):
    assert cli.main(["lab", "ls", flag]) == code
    assert (capsys.readouterr().out.strip()[:1] == "{") == (flag != "--json=no")


def test_debug_gives_the_traceback(workspace):
    with pytest.raises(LabError):
        cli.main(["lab", "log", "data:x", "--debug"])


def test_help_of_everything(workspace, capsys):
    for words in (["--help"], ["lab", "--help"], ["lab", "start", "--help"]):
        assert cli.main(words) == 0
    assert "put back the newest sound copy" in capsys.readouterr().out


@pytest.mark.parametrize("line", ["lab start -h", "lab -h start", "--help lab start", "lab start x --from y --help"])
def test_help_may_be_asked_for_anywhere(line, capsys):
    assert cli.main(line.split()) == 0
    assert capsys.readouterr().out.startswith("aiinfra lab start [FOLDER]")


def test_an_example_with_code_is_one_with_a_file(capsys):
    cli.main(["train", "run", "--help"])
    usage, *_, example = re.findall("aiinfra train run .*", capsys.readouterr().out)
    assert (usage.count("--code FILE"), example) == (1, "aiinfra train run delay --rows $rows -p epochs=3 --code FILE")


@pytest.mark.parametrize("line", ["data get x", "gpu --help", "deploy ls", "train run --help"])
def test_commands_are_written_as_a_shell_takes_them(workspace, line, capsys):
    cli.main(line.split())
    said = "".join(capsys.readouterr())
    assert "aiinfra " in said
    assert not re.search(r"%(lab|gpu|data|features|train|models|deploy)", said)


def test_what_a_card_quotes_stays_as_it_is(capsys):
    table = Table(("what", "fix"), [("x", "`%lab start`")])
    card = Card(kind="", uri="x", parts=[table, Fold("printed", Quote("%data add"))], notes=["`%%train run x`"])
    text = card.text(cli._in_shell)
    for shown in ("`aiinfra lab start`", "`aiinfra train run x --code FILE`", "%data add"):
        assert shown in text


def test_its_own_flags_are_suggested(workspace, capsys):
    assert cli.main(["data", "ls", "--jso"]) == 2
    assert "did you mean --json?" in capsys.readouterr().err


def test_a_closed_pipe_is_no_traceback(workspace):
    reader, writer = os.pipe()
    os.close(reader)  # nobody reads: whatever is written fails
    command = [sys.executable, "-m", "aiinfra_lab.cli", "lab", "--help"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert "Traceback" not in done.stderr
