"""A fix that names a command is followed to the letter: no word of it may be wrong."""

import re
import shutil
from pathlib import Path

import polars as pl
import pytest

from aiinfra_lab import data, features
from aiinfra_lab.errors import LabError, UsageProblem
from aiinfra_lab.models.record import LastCheck
from aiinfra_lab.store import open_store
from tests import records
from tests.following import COMMAND, MEANT, provoked, run
from tests.train.conftest import empty_mlflow

__all__ = ["empty_mlflow"]

WRONG = re.compile(r"~\S+")


def commands(line: str, fix: str) -> list[str]:
    """What the fix says to type: its commands, and the line again with what was meant in the place of what was not."""
    meant = MEANT.search(fix)
    return [*COMMAND.findall(fix), *([WRONG.sub(meant[1], line)] if meant else [])]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Path:
    """Something of most nouns: real data and features, and records of runs and models without their files."""
    home = tmp_path_factory.mktemp("made")
    (home / "aiinfra.toml").touch()
    (home / ".aiinfra" / "mlflow").mkdir(parents=True)
    shutil.copy(empty_mlflow, home / ".aiinfra" / "mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIINFRA_WORKSPACE", str(home))
        days = pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2024, 1, 5), "1d", time_zone="UTC", eager=True)
        flown = data.add("flights", pl.DataFrame({"at": days, "carrier": list("ABABA"), "late": [0, 1, 0, 1, 0]}))
        features.add("delay", data=flown, timestamp="at", label="late", code='columns = ["carrier"]')
        for number, state, verdict in ((1, "done", "good"), (2, "done", "bad"), (3, "failed", "bad")):
            records.run(f"delay@{number}", state=state, rows="data:flights@1")
            made = {"run": f"train:delay@{number}", "metrics": {"auc": 0.7}, "files": {"model.onnx": "0a"}}
            records.model(f"delay@{number}", checked=LastCheck(verdict), **made)
        records.aliases("delay", champion=1)
        open_store().close()
    return home


@pytest.fixture
def world(workspace: Path, made: Path) -> None:
    shutil.copytree(made, workspace, dirs_exist_ok=True)


# The wrong word stands behind a `~`, where one was meant to be another.
LINES = [
    "data get ~flihgts",
    "data diff flights ~flihgts",
    "data ls ~flihgts",
    "data rm flights",
    "features get delay",
    "features get delay --rows data:flights --online carrier=A",
    "features get delay@1#00",
    "features get delay --online at=2000-01-01",
    "features get delay --rows ~flihgts",
    "features get ~dleay --rows data:flights",
    "features rm ~dleay",
    "features diff delay ~dleay",
    "train show ~dleay",
    "train ls ~dleay",
    "train show other@champion",
    "train diff delay ~dely@champion",
    "models show ~dely",
    "models show ~delay@champ",
    "models show other",
    "models ls ~dely",
    "models rm delay",
    "models rm delay@1",
    "models promote delay@2",
    "models promote delay@1 ~--alias champion",
    "models rollback delay",
    "models rollback delay@1",
    "models rollback delay ~--alias champion",
    "models add other --run train:delay@3",
    "models check delay ~--requires 'auc > 0.5'",
    "models check delay@1 --require 'auc > 0.9'",
    "models policy ~dely",
    "models policy delay@1 --margin 1%",
    "deploy start d --model ~models:dely",
    "deploy start d --model delay@2",
    "deploy show d",
    "deploy ~strat d --model delay@1",
    "drift check d --against data:flights",
    "drift show d",
    "drift ls d",
    "cost show deploy:d",
    "gpu show d",
    "gpu start d --gpu ~A10",
    "lab rm",
    "lab ~sho",
    "lab log ~data:flihgts@1",
    "lab start --from ~exmaple:flights",
    "lab start --restore",
    "deploy log d",
    "deploy stop d",
    "deploy promote d",
    "deploy rollback d",
    "deploy run d --rows data:flights@1",
    "deploy start d ~--modle delay@1",
    "gpu stop d",
    "gpu start d ~--fro 2h",
    "recipe run ~flihgt",
    "recipe show d",
]


@pytest.mark.parametrize("line", LINES)
def test_what_a_fix_says_can_be_typed_as_it_stands(world, line):
    problem = provoked(line.replace("~", ""))
    for command in commands(line, problem.fix):
        try:
            run(command)
        except UsageProblem as refused:
            pytest.fail(f"{line}: {command}: {refused}")
        except LabError:
            pass  # its words were understood; what it asks for is not in this workspace


def test_most_of_these_name_a_command_or_the_word_that_was_meant(world):
    named = [line for line in LINES if commands(line, provoked(line.replace("~", "")).fix)]
    assert len(named) >= 0.9 * len(LINES)
