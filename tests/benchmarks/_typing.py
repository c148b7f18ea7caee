"""`python -m tests.benchmarks._typing fill THINGS` and `… ask`: how long Tab takes among so many things.

The workspace is the one of the environment. `ask` prints, as JSON, the milliseconds of the first and of later calls by
line, and every suggestion that is none.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

from aiinfra_lab import nouns
from aiinfra_lab.data.record import DataVersion
from aiinfra_lab.data.tables import DataTable
from aiinfra_lab.deploy.record import EndpointRecord
from aiinfra_lab.errors import LabError
from aiinfra_lab.features.record import FeatureSetVersion
from aiinfra_lab.gpu.record import SessionRecord
from aiinfra_lab.models.record import ModelAliases, ModelVersion
from aiinfra_lab.recipe.record import RunRecord
from aiinfra_lab.resolve import exists
from aiinfra_lab.store import Event, Record, open_store
from aiinfra_lab.train.record import TrainingRun
from aiinfra_lab.verbs import verbs_of
from aiinfra_lab.words import split, understand

BATCH, TIMES = 500, 7
RECIPE = '[parameters]\nmonths = "2013-01"\nepochs = 3\n'
# `|` is the cursor. Those of STARTS are typed for every noun.
STARTS = """
%NOUN |
%NOUN s|
%NOUN show |
%NOUN show a|
%NOUN show NOUN:|
%NOUN show NOUN:name-1|
%NOUN show name-12@|
%NOUN log |
%NOUN ls |
x = %NOUN show |
%NOUN show name-1 |
%NOUN show name-1 -|
%NOUN --|
%NOUN show $|
"""
NOUNS = ("lab", "gpu", "data", "features", "train", "models", "deploy", "drift", "cost", "recipe")
LINES = """
%gpu start t |
%gpu start t --|
%gpu start t --for |
%gpu start t --for 3|
%gpu start t --for=|
%gpu start t --for 2h |
%gpu start t --for 2h --|
%gpu start t --gpu |
%gpu start t --budget |
%gpu start t --spot |
%gpu start t --on |
%gpu start t -o |
%gpu start t --help |
%gpu stop name-|
%data add t |
%data add t fl|
%data add t --text |
%data rm |
%data rm name-1|
%data check name-1 --key |
%data check name-1 --key a,|
%data check name-1 --max-missing |
%data check name-1 --like |
%data diff name-1@1 |
%features get name-1 --rows |
%features get name-1 --rows data:name-1|
%features get name-1 --rows $|
%features get name-1 --rows=|
%features get name-1 --rows=data:name-2|
%features get name-1 --into |
%%features add x --data data:name-1 --timestamp |
%%features add x --data |
%%features add x --data data:name-1 --timestamp at --label |
%%features |
%%train |
%%train run name-1 -p |
%%train run name-1 -p e|
%%train run name-1 -p epochs=3 -p |
%%train run name-1 --on |
%%train run name-1 --rows data:|
%%train run name-1 --from |
%train run name-1 --co|
%train diff name-1 |
%train diff name-1 name-1@|
%models add m --run |
%models add m --run name-2|
%models check name-1 --|
%models check name-1 --require |
%models check name-1 --margin |
%models policy |
%models rollback na|
%models promote name-1 --to |
%models promote name-1@1 --to ch|
%models show name-1@c|
%deploy start d --model |
%deploy start d --model models:|
%deploy start d --model name-33@|
%deploy start d --canary |
%deploy start d --canary 1|
%deploy start d --rollback-if |
%deploy run d --rows |
%deploy run d --for |
%drift check d --against |
%drift check d --against data:name-1 --by |
%drift check d --alpha |
%drift get name-1 --as |
%cost show |
%cost show tr|
%cost show train:name-1|
%cost ls --gpu |
%lab log |
%lab log d|
%lab log models:name-1|
%lab start --from |
%lab rm --|
%recipe run |
%recipe run fl|
%recipe run flights -p |
%recipe run flights -p m|
%recipe run flights -p months=1 -p |
%recipe run flights --|
%recipe run flights --no-keep --|
# %gpu start|
%gpu ls  # show |
%%gpu ls|
"""


def contexts() -> list[str]:
    """Every line whose end is completed."""
    starts = [line.replace("NOUN", noun) for noun in NOUNS for line in STARTS.split("\n")]
    return [line[:-1] for line in dict.fromkeys([*starts, *LINES.split("\n")]) if line]


def fill(things: int) -> None:
    """So many records, most of them versions of a tenth as many names; some were removed."""
    Path("recipes").mkdir(exist_ok=True)
    Path("recipes/flights.toml").write_text(RECIPE)
    Path("flights.csv").touch()
    store, made = open_store(), list(_records(things))
    for start in range(0, len(made), BATCH):
        store.commit(made[start : start + BATCH], Event("data add", "data:name-0"))


def _records(things: int) -> Iterator[Record[Any]]:
    for number in range(things // 8):
        name, at = f"name-{number // 10}", 1.0 + number
        label = f"{name}@{number % 10 + 1}"
        gone = at if number % 7 == 3 else None
        table = DataTable(name, f"{name}.csv", 1, (("at", "datetime"), ("a", "int"), ("b", "text")))
        yield Record.new(label, DataVersion(
            name=name, version=number % 10 + 1, key="k", digest="d", rows=1, files=1, size_bytes=1, source="file:x",
            only="", described=(table,), added_at=at, removed_at=gone))  # fmt: skip
        yield Record.new(label, TrainingRun(
            state="done", started_at=at, ended_at=at, params={"epochs": 3, "lr": 0.1}, code="run.log(auc=1)\n" * 40,
            metrics={"auc": 0.712}, tracked=True))  # fmt: skip
        gone = None if number % 10 < 2 else gone  # an alias holds it
        model = ModelVersion(run=f"train:{label}", metrics={"auc": 0.712}, created_at=at, removed_at=gone)
        yield Record.new(label, model)
        yield Record.new(f"name-{number}", SessionRecord(
            provider="local", gpu="cpu", usd_per_hour=0.0, started_at=at, ended_at=at, ended_by="stopped"))  # fmt: skip
        yield Record.new(f"name-{number}", EndpointRecord(champion=f"models:{label}", started_at=at, stopped_at=at))
        yield Record.new(f"flights@{number + 1}", RunRecord(state="done", started_at=at, steps=()))
        features = FeatureSetVersion(
            name=name, version=number % 10 + 1, code="columns = ['a']", timestamp="at", label="", row_id="",
            columns=(("a", "int"),), views=(), digest="d", data_uri=f"data:{label}", created_at=at,
        )  # fmt: skip
        yield Record.new(label, features)
        if number % 10 == 0:
            yield Record.new(name, ModelAliases(aliases={"champion": 1, "challenger": 2}))


def ask() -> dict[str, Any]:
    """What each line takes, and its phantoms."""
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "aiinfra_lab")
    shell.user_ns["table"] = 1
    began = time.perf_counter()
    for noun in NOUNS:  # what any call in the notebook has done before
        verbs_of(noun)
        nouns.find(noun)
    open_store().changed(sys.maxsize)
    loaded_ms = (time.perf_counter() - began) * 1000
    first, later, phantoms, offered = {}, {}, [], 0
    for line in contexts():
        first[line], found = _timed(shell, line)
        later[line] = statistics.median(_timed(shell, line)[0] for _ in range(TIMES))
        offered += len(found)
        phantoms += [f"{line!r}: {word!r}" for word in found if _is_phantom(line, word)]
    return {"first": first, "later": later, "phantoms": phantoms, "offered": offered, "loaded": loaded_ms}


def _timed(shell: InteractiveShell, line: str) -> tuple[float, list[str]]:
    cell = line if line.startswith("%%") else f"a = 1\n{line}"
    began = time.perf_counter()
    with provisionalcompleter():
        found = list(shell.Completer.completions(cell, len(cell)))
    took = (time.perf_counter() - began) * 1000
    if "#" in line:  # IPython's own completion of Python is not ours
        return 0.0, [each.text for each in found if each.type == "magic"]
    return took, [each.text for each in found]


def _is_phantom(line: str, word: str) -> bool:
    """Whether a suggestion repeats what stands there, or the line with it could not be understood."""
    words = line.split()
    typed = "" if line.endswith(" ") else words[-1]
    if word == typed or (word.startswith("-") and word != "-p" and word in words):
        return True
    whole = line[: len(line) - len(typed)] + word
    return not (_can_be_read(whole) and _is_there(whole.split()[-1], words))


def _can_be_read(line: str) -> bool:
    noun, _, rest = line.lstrip("x =").lstrip("%").partition(" ")
    try:
        understand(noun, split(rest, {"table": 1}), "pass" if line.startswith("%%") else None)
    except LabError as problem:
        return problem.what.endswith("needs a value")  # the next word is that
    return True


def _is_there(word: str, words: list[str]) -> bool:
    """Whether the thing is there that a URI names, or a label without its noun: one of those that the verb takes."""
    value = word.rpartition("=")[2] if word.startswith("--") else word
    if "name-" not in value or value.startswith("-"):
        return True
    if ":" in value:
        # These two look for what is recorded under that very URI.
        is_alias = "@" in value and not value.partition("@")[2].isdigit()
        return exists(value) and not (is_alias and {*words} & {"%lab", "%cost"})
    noun, verb = next((each.strip("%"), name) for each, name in itertools.pairwise(words) if each.startswith("%"))
    taken = {item.live.noun for item in verbs_of(noun)[verb].parameters if item.live} or {noun}
    return any(exists(f"{each}:{value}") for each in taken if "@" not in value or nouns.find(each).has_versions)


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        fill(int(sys.argv[2]))
    else:
        print(json.dumps(ask()))
