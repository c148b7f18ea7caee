"""What may follow in a line, on a verb of the tests' own."""

import threading
import time
from collections.abc import Sequence
from typing import Annotated, Literal

import pytest

from aiinfra_lab import completion, nouns, verbs
from aiinfra_lab.completion import complete, live_names, values
from aiinfra_lab.errors import Unavailable, UsageProblem
from aiinfra_lab.files import until
from aiinfra_lab.suggestions import quoted, sample
from aiinfra_lab.units import Duration, Share
from aiinfra_lab.verbs import Choices, Code, Destination, FilePath, Live, Name, Parameter, Params, Rows, Suggested, verb
from aiinfra_lab.words import split, understand

COLUMNS = ["stay", "stay days", "smoker?", "Größe", "it's", 'a"b', "$5", "#1"]


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
        copy: Destination | None = None,
        for_: Duration | None = None,
        canary: Share | None = None,
        columns: Annotated[Sequence[str], Suggested(lambda typed: ["at", typed.get("name", "")])] = (),
        label: Annotated[str, Suggested(lambda typed: COLUMNS)] = "",
        param: Annotated[Params, Suggested(lambda typed: ["lr=0.1", "note=a b", f"seed={len(typed)}"])] = {},  # noqa: B006
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
        ("run delay --into ", ["'my file.csv'", "old/", "trips.csv"]),
        ("run delay --into old/", ["old/a.csv"]),
        ("run delay --into old/.", ["old/.hidden"]),
        ("run delay --code tr", ["trips.csv"]),
        ("run delay --into nowhere/", []),
        ("run delay --rows $", ["$table", "$x"]),
        ("run $t", ["$table"]),
        ("run delay -p lr=$t", ["lr=$table"]),
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
        ("run delay --for ", ["10m", "1d", "1h", "2h", "30s", "8h"]),
        ("run delay --for 3", ["3d", "3h", "3m", "3s"]),
        ("run delay --canary 7", ["7%"]),
        ("run delay --columns ", ["at", "delay"]),
        ("run delay --columns at,", ["at,delay"]),
        ("run delay -p ", ["lr=0.1", "note='a b'", "seed=1"]),
        ("run delay -p lr=1 -p ", ["note='a b'", "seed=2"]),
        ("run delay -p note=", ["note='a b'"]),
        ("run delay --label st", ["'stay days'", "stay"]),
        ("run delay --label=st", ["--label='stay days'", "--label=stay"]),
        ("run delay --label 'stay d", ["'stay days'"]),
        ('run delay --label "st', ['"stay days"', '"stay"']),
        ('run delay --label="st', ['--label="stay days"', '--label="stay"']),
        ("run delay --label s", ["'smoker?'", "'stay days'", "stay"]),
        ("run delay --label G", ["Größe"]),
        ("run delay --label i", ['"it\'s"']),
        ("run delay --label a", ["'a\"b'"]),
        (
            "run delay --label '",
            ["'#1'", "'$$5'", "'Größe'", "'a\"b'", "'it'\"'\"'s'", "'smoker?'", "'stay days'", "'stay'"],
        ),
        ("run delay --copy ", ["old/"]),
        ("run delay --copy old/", []),
        ("run delay --into my", ["'my file.csv'"]),
        ("run delay -o ", []),
        ("run delay --for -", []),
        ("run delay --wait=", []),
        ("run delay --into 'old/", ["'old/a.csv'"]),
        ("run delay --mode 'fast' --dr", ["--dry"]),
        ("run delay --help ", []),
        ("run delay # --", []),
        ("run delay --mode fast", []),
        ("run delay --mode fast --mode", []),
        ("run delay --no-wait --no", []),
        ("run --name delay ro", ["rotation"]),
        ("run --mode fast de", ["delay", "delay@1", "delay@champion"]),
        ("run delay@1", []),
        ("--h", ["--help"]),
        ("run", []),
        ("show x $", []),
        ("run delay x y", []),
        ("show ", []),
    ],
)
def test_what_may_follow(text, words, workspace):
    (workspace / "old").mkdir()
    for name in ("trips.csv", "my file.csv", "old/a.csv", "old/.hidden"):
        (workspace / name).touch()
    assert [word for word in complete("train", text, ["x", "table"]) if "toml" not in word] == words


def test_after_all_words_come_the_flags_that_are_left():
    found = complete("train", "run delay x --mode fast --dry ")
    names = ("gpu", "no-wait", "epochs", "rows", "into", "for", "canary", "columns", "copy", "label", "help")
    assert found == sorted(["-p", "-o", *(f"--{name}" for name in names)])


def test_an_example_of_a_destination_is_free(workspace):
    item = verbs._registry["train"]["run"].flags
    copy = next(one for one in item if one.name == "copy")
    (workspace / "out").touch()
    assert sample(verbs._registry["train"]["run"], copy) == "out-2"


@pytest.mark.parametrize("column", COLUMNS)
def test_what_is_offered_is_read_as_what_was_meant(column):
    for word in complete("train", "run delay --label "):
        assert split(f"show {word} x", {})[1] in COLUMNS
    assert split(f"show {quoted(column)}", {}) == ["show", column]


def test_a_value_of_two_words_that_was_not_quoted_is_offered_quoted():
    with pytest.raises(UsageProblem) as problem:
        understand("train", split("run delay --label stay days --dry"))
    assert problem.value.fix == "did you mean --label 'stay days'?"


def test_the_code_is_a_flag_of_a_line_and_the_body_of_a_cell():
    assert "--code" in complete("train", "run delay x ", percent="%")
    assert "--code" not in complete("train", "run delay x ", percent="%%")


def test_behind_two_percent_signs_stands_only_what_takes_a_body():
    assert (complete("train", "", percent="%%"), complete("train", "", percent="%")) == (["run"], ["run", "show"])


def test_a_store_that_cannot_be_read_offers_nothing_and_raises_nothing(monkeypatch):
    def refuse(self) -> Sequence[str]:
        raise Unavailable("the store is busy", "wait")

    monkeypatch.setattr(Things, "names", refuse)
    monkeypatch.setattr(Things, "aliases", refuse)
    assert live_names("train") == complete("train", "run ") == []


def test_values_that_nobody_can_give_now_are_none(run):
    def find() -> list[str]:
        raise Unavailable("there is no workspace", "make one")

    item = Parameter("gpu", "choice", None, False, "", find=find)
    assert values(verbs._registry["train"]["run"], item) == []


def test_a_parameter_may_take_names_alone_versions_alone_or_what_lives(monkeypatch):
    asked = []
    monkeypatch.setattr(Things, "beginning", lambda self, *words, is_live: asked.append(is_live) or ["a", "a@1", "b@c"])

    def offered(only: str) -> list[str]:
        item = Parameter("x", "text", None, True, "", live=Live("train", only))
        return values(verbs._registry["train"]["run"], item)

    assert [offered(only) for only in ("names", "versions")] == [["a"], ["a@1", "b@c"]]
    assert offered("live") == ["a", "a@1", "b@c"]
    assert asked == [False, False, True]


def test_of_two_that_are_compared_the_first_is_not_offered_again():
    @verb("train")
    def diff(run: Annotated[Name, Live("train")], other: Annotated[Name, Live("train")]) -> Parameter:
        """Compare.

        run: one
        other: another

        Example:
            %train diff a b
        """
        raise AssertionError

    assert "delay@1" in complete("train", "diff ")
    assert "delay@1" not in complete("train", "diff delay@1 ")
    assert "delay" in complete("train", "diff delay@1 ")


@pytest.fixture
def looks(monkeypatch):
    """Looks of the test's own: what others left behind is none of it."""
    monkeypatch.setattr(completion, "_looks", completion._Looks())
    monkeypatch.setattr(completion, "LOOK_S", 0.2)


def test_a_look_that_hangs_is_not_waited_for_and_not_repeated_at_once(looks, monkeypatch):
    goes_on, asked = threading.Event(), []

    def beginning(_self, starts, most, *, is_live=False):
        asked.append(starts)
        goes_on.wait(30)
        return ["delay"]

    monkeypatch.setattr(Things, "beginning", beginning)
    began = time.monotonic()
    assert complete("train", "run de") == []
    assert complete("train", "run d") == []
    assert time.monotonic() - began < 5
    assert asked == ["de"]
    goes_on.set()
    monkeypatch.setattr(completion, "AGAIN_S", 0.0)
    completion._looks._not_before = 0.0
    assert until(lambda: complete("train", "run de"), TimeoutError("no names"), within_s=20) == [
        "delay",
        "delay@champion",
    ]


def test_what_a_look_raises_is_raised(looks, monkeypatch):
    monkeypatch.setattr(Things, "beginning", lambda *_args, **_named: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        complete("train", "run de")
