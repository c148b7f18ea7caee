"""What may follow in a line, on a verb of the tests' own."""

from collections.abc import Sequence
from typing import Annotated, Literal

import pytest

from aiinfra_lab import nouns, verbs
from aiinfra_lab.completion import _values, complete, live_names
from aiinfra_lab.errors import Unavailable
from aiinfra_lab.verbs import Choices, Code, FilePath, Live, Name, Parameter, Params, Rows, verb


class Things(nouns.Noun):
    """Whatever noun is asked."""

    name = "train"

    def names(self) -> Sequence[str]:
        return ["delay", "delay@1", "rotation"]

    def aliases(self) -> Sequence[str]:
        return ["delay@champion"]


@pytest.fixture(autouse=True)
def run(monkeypatch, workspace):
    """`%train run` with one parameter of each sort."""
    monkeypatch.setitem(verbs._registry, "train", {})
    monkeypatch.setattr(verbs.importlib, "import_module", lambda name: verbs)
    monkeypatch.setattr(nouns, "find", lambda noun: Things())

    @verb("train")
    def run(
        name: Annotated[Name, Live("train")],
        other: Annotated[Name, Live("models")] | None = None,
        *,
        mode: Literal["fast", "slow"] = "fast",
        gpu: Annotated[str, Choices(lambda: ["A10G", "T4"])] | None = None,
        wait: bool = True,
        dry: bool = False,
        epochs: int = 3,
        rows: Rows = None,
        into: FilePath | None = None,
        param: Params = {},  # noqa: B006
        code: Code = "",
    ) -> None:
        """Do it."""

    @verb("train")
    def show(name: str) -> None:
        """Show it."""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["run", "show"]),
        ("r", ["run"]),
        ("x", []),
        ("x y", []),
        ("run ", ["delay", "delay@1", "delay@champion", "rotation"]),
        ("run r", ["rotation"]),
        ("run train:de", ["train:delay", "train:delay@1", "train:delay@champion"]),
        ("run delay@c", ["delay@champion"]),
        ("run delay --rows data:r", ["data:rotation"]),
        ("run delay --rows=features:r", ["--rows=features:rotation"]),
        ("run delay --rows tr", ["trips.csv"]),
        ("run delay --into ", ["old/", "trips.csv"]),
        ("run delay --into old/", ["old/a.csv"]),
        ("run delay --into old/.", ["old/.hidden"]),
        ("run delay --code tr", ["trips.csv"]),
        ("run delay --into nowhere/", []),
        ("run delay --rows $", ["$table", "$x"]),
        ("run $t", ["$table"]),
        ("run delay -p lr=$x", ["lr=$x"]),
        ("run delay --mode ", ["fast", "slow"]),
        ("run delay --mode=s", ["--mode=slow"]),
        ("run delay --gpu ", ["A10G", "T4"]),
        ("run delay --gpu=T", ["--gpu=T4"]),
        ("run delay --m", ["--mode"]),
        ("run delay --no", ["--no-wait"]),
        ("run delay --dry ro", ["rotation"]),
        ("run delay -p a=1 ro", ["rotation"]),
        ("run delay --epochs 3 ro", ["rotation"]),
        ("run delay --epochs ", []),
        ("run delay x y", []),
        ("show ", []),
    ],
)
def test_what_may_follow(text, words, workspace):
    (workspace / "old").mkdir()
    for name in ("trips.csv", "old/a.csv", "old/.hidden"):
        (workspace / name).touch()
    assert [word for word in complete("train", text, ["x", "table"]) if "toml" not in word] == words


def test_after_all_words_come_the_flags_that_are_left():
    found = complete("train", "run delay x --mode fast --dry ")
    assert found == sorted(["--gpu", "--no-wait", "--epochs", "--rows", "--into", "-p", "-o", "--help"])


def test_the_code_is_no_flag_that_is_offered():
    assert "--code" not in complete("train", "run delay x ")


def test_a_store_that_cannot_be_read_offers_nothing_and_raises_nothing(monkeypatch):
    def refuse(self) -> Sequence[str]:
        raise Unavailable("the store is busy", "wait")

    monkeypatch.setattr(Things, "names", refuse)
    assert live_names("train") == complete("train", "run ") == []


def test_values_that_nobody_can_give_now_are_none(run):
    def find() -> list[str]:
        raise Unavailable("there is no workspace", "make one")

    item = Parameter("gpu", "choice", None, False, "", find=find)
    assert list(_values(verbs._registry["train"]["run"], item)) == []
