"""A noun that nobody here knows: one folder and one row, and it is found everywhere."""

import pytest
from IPython.core.interactiveshell import InteractiveShell

from aiinfra_lab import cost, lab, nouns
from aiinfra_lab.alerts.record import AlertRecord
from aiinfra_lab.audit.references import refuse_referenced
from aiinfra_lab.cli import main
from aiinfra_lab.completion import complete
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Conflict, NotFound, UsageProblem
from aiinfra_lab.jobs import HomeRecord, JobRecord
from aiinfra_lab.jupyter import calls, items
from aiinfra_lab.resolve import resolve, resolve_any
from aiinfra_lab.signal_records import Signal
from aiinfra_lab.store import Body, open_store
from aiinfra_lab.verbs import find_verb, help_of


@pytest.fixture
def pets(workspace, monkeypatch):
    """The row, and one pet."""
    monkeypatch.setitem(nouns.TABLE, "pets", "tests.fakes.pets")
    find_verb("pets", "add").call(name="tom", sound="miaow")
    return nouns.find("pets")


def test_every_kind_of_record_belongs_to_a_noun_a_job_or_an_alert():
    known = {*nouns.kinds(), JobRecord, HomeRecord, Signal, AlertRecord}  # importing every noun's folder
    ours = [
        kind
        for kind in _below(Body)
        if kind.__module__.startswith("aiinfra_lab.") and ".testing" not in kind.__module__
    ]
    assert {kind for kind in ours if "kind" in vars(kind)} - known == set()


def _below(kind):
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


def test_its_verbs_are_the_languages(pets, capsys):
    assert main(["pets", "show", "tom"]) == 0
    assert "miaow" in capsys.readouterr().out
    assert "%pets" in help_of("pets").content


def test_it_is_a_magic(pets):
    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "aiinfra_lab")
    assert shell.run_line_magic("pets", "show tom").sound == "miaow"


def test_its_names_are_completed(pets):
    assert complete("pets", "show ") == ["tom", "tom@1"]


def test_its_uris_are_resolved(pets):
    kind = type(resolve_any("pets:tom").body)
    assert [resolve(text, kind).name for text in ("tom", "pets:tom@1", "tom@eldest")] == ["tom@1"] * 3


@pytest.mark.parametrize(("text", "problem"), [("tmo", NotFound), ("tom@9", NotFound), ("tom@youngest", NotFound),
    ("tom@1#ear", UsageProblem), ("data:tom", UsageProblem)])  # fmt: skip
def test_what_it_does_not_have_is_said_with_what_there_is(pets, text, problem):
    with pytest.raises(problem) as told:
        resolve(text, type(resolve_any("pets:tom").body))
    assert "tom" in told.value.fix or "pets" in told.value.fix


def test_the_workspace_lists_counts_and_prices_it(pets):
    assert [(thing.uri, thing.state) for thing in lab.ls()] == [("pets:tom@1", "purring")]
    shown = lab.show()
    assert (shown.exists, shown.lives, shown.spent_usd) == ({"pets": 1}, ("pets:tom@1 (purring)",), 1.0)
    assert cost.show("pets:tom").spent_usd == 1.0


def test_the_panel_shows_it_and_its_stop_is_its_own(pets):
    (item,) = items.ItemFeed(open_store()).look()
    assert (item.uri, item.noun, item.name, item.state, item.stoppable) == (
        "pets:tom@1",
        "pets",
        "tom@1",
        "purring",
        True,
    )
    assert calls.stop("pets", {"args": ["tom@1"]}) == ["pets:tom@1"]


def test_what_it_uses_cannot_be_removed(pets):
    with pytest.raises(Conflict, match="pets:tom@1 sits in data:cage@1") as problem:
        refuse_referenced(open_store(), "data:cage@1")
    assert problem.value.fix == "let it out"


def test_lab_check_says_what_it_has_to_say(pets):
    found = {item.what: (item.state, item.detail, item.fix) for item in lab.check(report=True).findings}
    assert found["pets:tom@1"] == ("off", "is hungry", "feed it")


def test_it_has_a_section_in_the_settings(pets, workspace):
    (workspace / "aiinfra.toml").write_text('[pets]\nfood = "fish"')
    assert settings().get("pets.food", "") == "fish"


def test_an_unknown_noun_is_an_error_with_a_suggestion():
    with pytest.raises(UsageProblem) as problem:
        nouns.find("gpus")
    assert problem.value.fix == "did you mean gpu?"
