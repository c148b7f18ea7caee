"""What the noun tells of models to those who know none of them."""

import pytest

from aiinfra_lab import completion, nouns
from aiinfra_lab.errors import NotFound, UsageProblem
from aiinfra_lab.models.noun import NOUN
from aiinfra_lab.models.record import ModelAliases, ModelVersion
from aiinfra_lab.nouns import Reference
from aiinfra_lab.resolve import resolve, resolve_any
from aiinfra_lab.store import Record, open_store
from aiinfra_lab.verbs import find_verb
from tests import records


@pytest.fixture
def versions(workspace) -> None:
    """models:delay@1, @2 and @3, of which the last was removed; the champion is the first."""
    for number in (1, 2, 3):
        body = ModelVersion(run=f"train:late@{number}", removed_at=1.0 if number == 3 else None)
        open_store().commit([Record.new(f"delay@{number}", body)])
    open_store().commit([Record.new("delay", ModelAliases(aliases={"champion": 1}))])


def test_the_table_has_it():
    assert nouns.find("models") is NOUN


def test_it_lists_versions_that_are_there_and_no_aliases(versions):
    assert [thing.uri for thing in NOUN.things()] == ["models:delay@2", "models:delay@1"]
    assert list(NOUN.names()) == ["delay", "delay@2", "delay@1"]


@pytest.mark.parametrize(("text", "version"), [("delay", 2), ("delay@1", 1), ("models:delay@champion", 1)])
def test_a_version_is_found_by_number_alias_or_as_the_newest_that_is_there(versions, text, version):
    assert resolve(text, ModelVersion).version == version


def test_an_alias_that_nobody_holds_says_what_there_is(versions):
    with pytest.raises(NotFound) as caught:
        resolve("delay@candidate", ModelVersion)
    assert caught.value.fix == "there are: delay@champion, delay@2, delay@1"


def test_a_removed_version_is_found_by_whoever_asks_for_it(versions):
    with pytest.raises(NotFound):
        resolve("delay@3", ModelVersion)
    assert resolve_any("models:delay@3", removed=True).body.run == "train:late@3"


def test_the_first_model_is_made_of_a_run(workspace):
    with pytest.raises(NotFound) as caught:
        resolve("delay", ModelVersion)
    assert "%%train run delay" in caught.value.fix
    records.run("late@1")
    with pytest.raises(NotFound) as caught:
        resolve("delay", ModelVersion)
    assert caught.value.fix == "there is none yet: `%models add delay --run train:late` makes one"


def test_what_an_alias_points_at_must_stay(versions):
    release = "promote another version, or take it away: `%models rm delay@champion`"
    assert NOUN.references() == [Reference("models:delay@1", "models:delay@champion is", release)]


def test_a_model_does_not_live(versions):
    assert (NOUN.watched(), NOUN.spans()) == ([], [])
    with pytest.raises((UsageProblem, NotFound)):
        NOUN.stop("models:delay@1")


def test_where_nothing_is_there_is_nothing_to_reconcile(workspace):
    assert NOUN.reconcile() == []


def test_the_aliases_that_there_are_complete_the_flag(workspace):
    records.aliases("delay", champion=1, challenger=1)
    records.aliases("rain", spare=1)
    for verb in ("promote delay@1", "rollback delay"):
        assert completion.complete("models", f"{verb} --to ") == ["challenger", "champion", "spare"]
        assert completion.complete("models", f"{verb} --to=ch") == ["--to=challenger", "--to=champion"]
    assert "--to TEXT" in find_verb("models", "promote").usage()


def test_versions_with_the_same_files_and_figures_have_one_digest():
    def digest(**fields) -> str:
        return NOUN.digest(Record.new("delay@1", ModelVersion(**{"files": {"model": "1" * 64}, **fields})))

    assert digest() == digest(run="train:delay@7", created_at=5.0, note="x")
    assert (
        len({digest(), digest(files={"model": "2" * 64}), digest(metrics={"auc": 1.0}), digest(rows_digest="r")}) == 4
    )
    assert digest(files={}) == ""
