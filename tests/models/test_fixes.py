"""What a fix of `models` says is done to the letter, and then the verb works or says honestly what is bad."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from aiinfra_lab import models, train
from aiinfra_lab.errors import Failed, LabError, UsageProblem
from aiinfra_lab.models import record
from aiinfra_lab.models.record import LastCheck
from aiinfra_lab.rules import parse
from aiinfra_lab.store import open_store
from tests import records
from tests.following import COMMAND, MEANT, follow, provoked, run
from tests.models.importers.made import ROWS, linear
from tests.train.conftest import NETWORK


def followed(problem: LabError) -> None:
    """Every command of the fix, typed as it stands there."""
    assert COMMAND.search(problem.fix)
    for command in COMMAND.findall(problem.fix):
        run(command)


@pytest.fixture
def champion(model):
    """models:delay@1, which holds the alias; models:delay@2 learned less."""
    models.check(model)
    models.promote(model)
    models.add("delay", run="train:delay@2")
    return model


CHECKED = {
    "a bound": "auc > 0.9999",
    "a bound from above": "loss < 1e-9 and auc > 0.1",
    "a share": "auc > 99%",
    "two bounds": "loss < 0.001 and auc > 0.99",
    "a metric of others": "f1 > 0.1",
    "that and two bounds": "f1 > 0.1 and loss < 0.001 and auc > 0.99",
}


@pytest.mark.parametrize("case", CHECKED)
def test_a_bound_that_refuses_is_lowered_so_that_it_holds(model, case):
    records.run("delay@9", metrics={"f1": 0.5})
    followed(provoked(f"models check delay@1 --require '{CHECKED[case]}'"))
    assert str(run("models promote delay@1")) == "models:delay@1"


def test_one_command_lowers_every_bound_and_the_margin_that_refuse(champion):
    problem = provoked("models check delay@2 --require 'auc > 0.9999 and loss < 1e-9'")
    [command] = {command for command in COMMAND.findall(problem.fix) if "policy" in command}
    assert re.search("--require 'auc >= .* and loss <= .*' --margin ", command)
    followed(problem)
    assert str(run("models promote delay@2")) == "models:delay@2"


def test_what_a_fix_lowers_to_has_few_digits(champion):
    problem = provoked("models check delay@2 --require 'auc > 0.9999 and loss < 1e-9'")
    [command] = {command for command in COMMAND.findall(problem.fix) if "policy" in command}
    numbers = re.findall(r"[0-9]*\.[0-9]+", command)
    assert len(numbers) == 3
    assert all(len(number.lstrip("0.")) <= 4 for number in numbers)


def test_a_laxer_bound_behind_that_of_the_settings_is_lowered_at_once(model, workspace):
    models.check(model, require="auc > 0.99", report=True)
    (workspace / "aiinfra.toml").write_text('[models]\nrequire = "auc > 0.999"\n')
    problem = provoked("models check delay@1")
    settings_as_advised(problem, workspace)
    followed(problem)


def settings_as_advised(problem: LabError, workspace: Path) -> None:
    require = re.search(r"change `require` \(aiinfra\.toml\) to '([^']*)'", problem.fix)[1]
    (workspace / "aiinfra.toml").write_text(f'[models]\nrequire = "{require}"\n')


def contradiction(line: str) -> LabError:
    problem = provoked(line, UsageProblem)
    assert "cannot both hold" in problem.what
    return problem


@pytest.mark.parametrize("verb", ["check delay@1", "policy delay"])
def test_bounds_of_one_request_that_contradict_each_other_are_refused(model, verb):
    fix = contradiction(f"models {verb} --require 'auc > 0.9 and auc < 0.7'").fix
    assert "leave out auc > 0.9 or auc < 0.7" in fix
    assert models.policy("delay").require == ""


def test_a_bound_that_contradicts_a_stored_one_names_it_and_how_to_take_it_away(model):
    models.check(model, require="auc > 0.5")
    problem = contradiction("models check delay@1 --require 'auc < 0.4'")
    assert "auc > 0.5 (--require) and auc < 0.4 (--require)" in problem.what
    assert models.policy("delay").require == "auc > 0.5"
    followed(problem)
    assert run("models check delay@1 --require 'auc < 0.4' --report").state == "bad"


@pytest.mark.parametrize("line", ["models check delay@1", "models policy delay"])
def test_a_bound_that_contradicts_the_settings_names_the_key(model, workspace, line):
    (workspace / "aiinfra.toml").write_text('[models]\nrequire = "auc > 0.5"\n')
    problem = contradiction(f"{line} --require 'auc <= 0.5'")
    assert "auc > 0.5 (aiinfra.toml)" in problem.what
    assert "change `require` (aiinfra.toml)" in problem.fix
    (workspace / "aiinfra.toml").write_text('[models]\nrequire = "auc >= 0.5"\n')
    assert models.check(model, require="auc <= 0.5", report=True).state == "bad"


PROMOTED: dict[str, Callable[[], object]] = {
    "not checked": lambda: None,
    "another policy": lambda: (models.check("delay@1"), models.policy("delay", require="auc > 0.5")),
    "a check of before": lambda: record.change("delay@1", checked=LastCheck("good", parse("auc > 0.5"), 0.1)),
}


@pytest.mark.parametrize("case", PROMOTED)
def test_what_was_not_promoted_is_once_it_was_checked_as_the_fix_says(model, case):
    PROMOTED[case]()
    followed(provoked("models promote delay@1"))
    assert str(run("models promote delay@1")) == "models:delay@1"


def test_a_version_that_is_worse_than_the_champion_passes_by_the_margin_that_is_named(champion):
    problem = provoked("models check delay@2")
    assert "--margin" in problem.fix
    followed(problem)
    assert str(run("models promote delay@2")) == "models:delay@2"


def test_a_champion_that_changed_since_is_compared_with(champion):
    models.policy("delay", margin=1)
    for version in ("delay@2", "delay@1"):
        models.check(version)
    models.promote("delay@2")
    models.add("delay", run="train:delay@1", note="once more")
    models.check("delay@3")
    models.rollback("delay")
    followed(provoked("models promote delay@3"))
    assert str(run("models promote delay@3")) == "models:delay@3"


def test_what_is_bad_is_called_so_when_its_fix_is_followed(model):
    models.check(model, require="auc > 0.999", report=True)
    shown, again = COMMAND.findall(provoked("models promote delay@1").fix)
    assert "auc > 0.999" in run(shown).card().text()
    assert "auc > 0.999" in provoked(again).what


@pytest.mark.parametrize("line", ["models check delay@1", "models promote delay@1"])
def test_changed_files_are_replaced_by_a_new_version_that_is_good(model, line):
    models.check(model)
    (model.path / "example.json").unlink()
    followed(provoked(line))
    assert models.check("delay@2").state == "good"


def test_so_is_a_folder_that_is_gone(model):
    for path in model.path.iterdir():
        path.unlink()
    model.path.rmdir()
    followed(provoked("models check delay@1"))
    assert models.check("delay@2").state == "good"


def test_a_setting_that_refuses_is_named_and_can_be_changed(model, workspace):
    (workspace / "aiinfra.toml").write_text('[models]\nrequire = "auc > 0.999"\n')
    problem = provoked("models check delay@1")
    settings_as_advised(problem, workspace)
    assert models.check(model).state == "good"
    assert str(run("models promote delay@1")) == "models:delay@1"


def test_a_margin_of_the_settings_that_refuses_is_named_with_the_one_that_would_do(champion, workspace):
    models.policy("delay", margin=1)
    (workspace / "aiinfra.toml").write_text("[models]\nmargin = 0.0\n")
    problem = provoked("models check delay@2")
    named = re.search(r"raise `margin` \(aiinfra\.toml\) to ([0-9.]+)", problem.fix)
    (workspace / "aiinfra.toml").write_text(f"[models]\nmargin = {named[1]}\n")
    followed(problem)
    assert models.show("delay@2").checked == "good"


def test_what_both_the_settings_and_the_policy_require_is_changed_in_both(model, workspace):
    (workspace / "aiinfra.toml").write_text('[models]\nrequire = "auc > 0.999"\n')
    problem = provoked("models check delay@1 --require 'auc > 0.999'")
    assert "' and `%models policy delay --require 'auc >= " in problem.fix
    settings_as_advised(problem, workspace)
    followed(problem)


def test_a_margin_of_both_is_raised_in_both(champion, workspace):
    models.policy("delay", margin=0)
    (workspace / "aiinfra.toml").write_text("[models]\nmargin = 0.0\n")
    problem = provoked("models check delay@2")
    assert "raise `margin` (aiinfra.toml)" in problem.fix
    (workspace / "aiinfra.toml").write_text("")
    followed(problem)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("models check delay@1 --require 'acu > 0.5'", "acu"),
        ("models policy delay --require 'acu > 0.5'", "acu"),
        ("models policy dely --require 'auc > 0.5'", "dely"),
        ("models policy delay --requires 'auc > 0.5'", "--requires"),
    ],
)
def test_a_word_that_was_meant_is_the_right_one(model, line, wrong):
    meant = MEANT.search(provoked(line).fix)[1]
    assert str(run(line.replace(wrong, meant))).startswith("models:delay")


@pytest.mark.parametrize("line", ["models policy delay@1", "models rollback delay@2"])
def test_the_command_that_was_meant_is_named(champion, line):
    models.policy("delay", margin=1)
    models.check("delay@2")
    models.promote("delay@2")
    followed(provoked(line))


def test_an_alias_that_is_a_number_is_the_usual_one(model):
    models.check(model)
    words = provoked("models promote delay@1 --to 3").fix.removeprefix("write ")
    assert run(f"models promote delay@1 --to {words.partition(',')[0]}").as_json()["aliases"] == ["champion"]


def test_of_several_versions_one_is_named_to_be_removed(champion):
    followed(provoked("models rm delay"))
    assert [item.uri for item in models.ls()] == ["models:delay@1"]


def test_what_an_alias_holds_is_removed_once_the_alias_is_gone(champion):
    followed(provoked("models rm delay@1"))
    assert str(run("models rm delay@1")) == "models:delay@1"


def test_where_nothing_held_the_alias_before_what_there_is_is_listed(model):
    problem = provoked("models rollback delay")
    assert [item.uri for item in follow(problem)] == ["models:delay@1"]


LOADS = """
model = Delay(len(run.columns.numbers), run.columns.sizes)
model.load_state_dict(torch.load(PATH))
run.save(model)
"""


@pytest.mark.parametrize("name", ["model.pt", "./model.pt"])
def test_a_model_that_was_trained_elsewhere_is_added_through_a_run(model, workspace, name):
    weights = load_file(train.show("delay@1").path / "model" / "weights.safetensors")
    Path(name).parent.mkdir(exist_ok=True)
    torch.save(weights, name)
    fix = provoked(f"models add mine --run {name}").fix
    code = NETWORK + LOADS.replace("PATH", re.search(r"torch.load\(('[^']+')\)", fix)[1])
    (workspace / "cell.py").write_text(code)
    trains, adds = COMMAND.findall(fix)
    run(f"{trains} --code cell.py")
    assert str(run(adds)) == "models:mine@1"


def test_a_whole_model_in_the_place_of_a_run_is_added_from_its_file(workspace):
    linear(workspace / "net.onnx")
    np.savez("x.npz", x=ROWS)
    fix = provoked("models add net --run net.onnx").fix
    assert str(run(f"{COMMAND.findall(fix)[0]} --example x.npz")) == "models:net@1"


def test_a_run_that_did_not_end_names_one_that_did(model):
    records.run("delay@9", state="failed")
    fix = provoked("models add other --run train:delay@9").fix
    assert str(run(f"models add other {re.search('--run [^ ]+', fix)[0]}")) == "models:other@1"


def test_nothing_is_left_behind_by_what_was_refused(model):
    before = len(list(open_store().events()))
    provoked("models check delay@1 --require 'acu > 0.5'")
    provoked("models promote delay@1")
    assert len(list(open_store().events())) == before


def test_a_fix_names_each_command_once(model, another):
    models.check(model)
    models.promote(model)
    models.add("delay", run=another)
    with pytest.raises(Failed) as problem:
        models.check("delay@2", require="auc > 0.99")
    assert problem.value.fix.count("`%models policy") == 1
    assert ("lower what is required" in problem.value.fix, "allow it" in problem.value.fix) == (True, True)
