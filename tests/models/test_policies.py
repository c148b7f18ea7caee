"""What a model must satisfy: it is stored with the model, and only made weaker on purpose."""

import threading

import pytest

from aiinfra_lab import models
from aiinfra_lab.errors import Conflict, Failed, Inconclusive, NotFound, UsageProblem
from aiinfra_lab.models import judging, policies, promotion, record
from aiinfra_lab.models.policies import Policy, beyond, in_force, joined, required, stated, tightened
from aiinfra_lab.models.record import LastCheck, ModelAliases, ModelVersion
from aiinfra_lab.rules import parse
from aiinfra_lab.show import Number
from aiinfra_lab.store import Record, open_store
from tests import records


def asked(require: str | None = None, margin: float | None = None, source: str = "") -> Policy:
    return stated(required(require), margin, source)


def test_nothing_may_be_required():
    assert (required(None), asked(), asked().allowed) == (None, Policy(), 0.0)


@pytest.mark.parametrize("text", ["", " ", "auc", "auc > ", "auc = 1", "auc > 1 or loss < 1", "> 1", "auc > 1 and"])
def test_what_is_no_bound_is_refused_with_a_fix(text):
    with pytest.raises(UsageProblem) as caught:
        required(text)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("auc > 0.7", "auc > 0.8", "auc > 0.8"),
        ("auc > 0.8", "auc > 0.7", "auc > 0.8"),
        ("auc > 0.7", "auc >= 0.7", "auc > 0.7"),
        ("auc >= 0.7 and loss < 1", "auc > 0.7", "auc > 0.7 and loss < 1"),
        ("auc > 0.7", "auc < 0.99 and loss < 1", "auc > 0.7 and auc < 0.99 and loss < 1"),
        ("auc > 0.7 and auc > 0.8", None, "auc > 0.8"),
        (None, "auc > 70%", "auc > 70%"),
    ],
)
def test_of_two_policies_the_stricter_holds_bound_by_bound(one, other, both):
    assert str(joined(asked(one), asked(other)).rule) == both


@pytest.mark.parametrize(
    ("one", "other", "both"), [(None, 0.1, 0.1), (0.1, None, 0.1), (0.1, 0.0, 0.0), (0.1, 0.2, 0.1)]
)
def test_of_two_margins_the_smaller_holds_and_what_nobody_stated_is_none(one, other, both):
    assert joined(asked(margin=one), asked(margin=other)).margin == both


def test_its_digest_tells_what_is_asked_and_not_who_asked():
    assert asked("auc > 0.7", 0.1, "x").digest == asked("auc > 70%", 0.1, "y").digest
    different = [asked(), asked("auc > 0.7"), asked("auc >= 0.7"), asked("auc > 0.7", 0.1), asked(margin=0.1)]
    assert len({policy.digest for policy in different}) == len(different)


@pytest.mark.parametrize(
    ("margins", "holds"),
    [
        ([None, 0.1], 0.0),
        ([0.1, None], 0.1),
        ([0.1, 0.2], 0.1),
        ([0.1, 0.05, 0.2], 0.05),
        ([0.1, 0.0, 0.1], 0.0),
    ],
)
def test_only_the_first_check_states_a_margin_and_later_ones_lower_it(workspace, margins, holds):
    stored = None
    for margin in margins:
        stored = tightened(stored, asked(margin=margin))
    assert in_force(stored).allowed == holds


def test_what_is_compared_with_the_champion_does_not_change_by_a_bound_that_is_added(workspace):
    assert tightened(tightened(None, asked()), asked("loss < 100")).measure == ""
    assert tightened(tightened(None, asked("auc > 0")), asked("loss < 100")).measure == "auc"


def settings(workspace, text: str) -> None:
    (workspace / "aiinfra.toml").write_text(f"[models]\n{text}\n")


def test_the_settings_require_of_every_model_as_long_as_they_stand_there(workspace):
    settings(workspace, 'require = "auc > 0.7"\nmargin = "2%"')
    policy = in_force(asked("auc > 0.6 and loss < 1"))
    assert [(str(one.term), one.source) for one in policy.requirements] == [
        *(("auc > 0.7", "aiinfra.toml"), ("loss < 1", "--require")),
    ]
    assert (policy.allowed, policy.margin_source) == (0.02, "aiinfra.toml")
    settings(workspace, "margin = 0.01")
    assert (str(in_force(None)), in_force(asked("auc > 0.6")).allowed) == ("margin 0.01", 0.01)


@pytest.mark.parametrize("text", ['require = "auc >"', 'margin = "many"', "margin = true", "require = 1"])
def test_a_setting_that_is_no_policy_is_named(workspace, text):
    settings(workspace, text)
    with pytest.raises(UsageProblem, match=r"models\.(require|margin) .*aiinfra.toml|models.require: "):
        in_force(None)


def test_an_unknown_setting_of_models_is_refused(workspace):
    settings(workspace, 'requires = "auc > 0.7"')
    with pytest.raises(UsageProblem) as problem:
        in_force(None)
    assert problem.value.fix == "did you mean require?"
    settings(workspace, "")  # whoever cleans up reads them too


def test_a_bound_of_a_recipe_says_so(workspace, monkeypatch):
    monkeypatch.setenv("AIINFRA_CONTEXT", "recipe:nightly@3/train")
    policy = asked("auc > 0.7", 0.1)
    assert {policy.requirements[0].source, policy.margin_source} == {"recipe nightly"}


def test_what_a_policy_asks_beyond_a_check_is_told_with_its_source():
    policy = joined(asked("auc > 0.9", 0.01), asked("loss < 1", source="aiinfra.toml"))
    assert beyond(policy, asked("auc > 0.95", 0.0)) == "loss < 1 (aiinfra.toml)"
    assert beyond(policy, asked("loss < 1", 0.1)) == "auc > 0.9 (--require) and margin 0.01 (--margin)"
    assert beyond(policy, policy) == ""


# ---- checks of a real version ----


def test_a_weaker_check_does_not_undo_a_stricter_one(model):
    with pytest.raises(Failed):
        models.check(model, require="auc > 0.999")
    for weaker in ({}, {"require": "auc > 0.1"}, {"require": "loss < 5", "margin": 1}):
        with pytest.raises(Failed, match=r"auc > 0\.999 \(--require\)"):
            models.check(model, **weaker)
        with pytest.raises(Failed, match="the verdict was: bad"):
            models.promote(model)
    assert record.aliases("delay") == {}


def test_what_one_version_had_to_satisfy_the_next_has_to_as_well(model, run):
    models.check(model, require="auc > 0.999", report=True)
    again = models.add("delay", run=run, note="the same run, with another name")
    found = models.check(again, report=True)
    assert (found.state, "auc > 0.999 (--require)" in found.note) == ("bad", True)


def test_a_check_that_asks_for_more_says_what_holds_from_now_on(model):
    note = models.check(model, require="auc > 0.6").note
    assert "from now on models:delay must satisfy auc > 0.6, margin 0: `%models policy delay`" in note
    assert models.check(model, require="auc > 0.6").note == ""


def test_a_policy_is_loosened_on_purpose_and_says_what_it_replaced(model):
    models.check(model, require="auc > 0.999 and loss < 5", report=True)
    loosened = models.policy("delay", require="auc > 0.5", margin="2%")
    assert (loosened.require, loosened.margin) == ("auc > 0.5", 0.02)
    assert "auc > 0.999 and loss < 5, margin 0" in loosened.said
    *_, logged = open_store().events()
    assert (logged.event.verb, logged.event.subject) == ("models policy", "models:delay")
    assert logged.event.detail["before"] == "auc > 0.999 and loss < 5, margin 0"
    assert models.check(model).state == "good"


def test_a_policy_keeps_what_is_not_replaced(model):
    models.policy("delay", require="auc > 0.5", margin=0.1)
    assert models.policy("delay", margin=0.2).require == "auc > 0.5"
    assert (models.policy("delay", require="none").require, models.policy("delay").margin) == ("", 0.2)


def test_a_policy_is_shown_with_where_it_comes_from(model):
    assert "unless stated otherwise" in models.policy("delay").card().text()
    card = models.policy("delay", require="auc > 0.5", margin=0.1).card()
    assert "satisfy **auc > 0.5** and be **at most 0.1 worse** than the champion" in card.lead
    (bound, margin) = card.parts[0].rows
    assert (bound[:2], margin) == (("auc > 0.5", "models policy"), ("margin 0.1 of auc", "models policy", ""))


def test_looking_at_a_policy_writes_nothing(model):
    before = list(open_store().events())
    models.policy("delay")
    assert list(open_store().events()) == before


@pytest.mark.parametrize(("name", "kind"), [("delay@1", UsageProblem), ("dely", NotFound)])
def test_a_policy_is_that_of_a_model_that_there_is(model, name, kind):
    with pytest.raises(kind) as problem:
        models.policy(name, margin=1)
    assert "delay" in problem.value.fix


@pytest.mark.parametrize(
    "ask",
    [
        lambda: models.check("delay", require="acu > 0.5"),
        lambda: models.check("delay", require="auc > 0.5 and acu > 0.5", report=True),
        lambda: models.policy("delay", require="acu > 0.5"),
    ],
)
def test_a_bound_on_what_no_run_logged_is_the_callers_error_and_leaves_nothing(model, ask):
    before = list(open_store().events())
    with pytest.raises(UsageProblem) as problem:
        ask()
    assert problem.value.fix == "did you mean auc?"
    assert (models.show(model).checked, models.policy("delay").require, list(open_store().events())) == ("", "", before)


def test_so_is_one_of_the_settings_which_are_named(model, workspace):
    settings(workspace, 'require = "acu > 0.5"')
    with pytest.raises(UsageProblem, match=r"'acu' \(aiinfra.toml\)"):
        models.check(model)


def test_what_another_run_logged_and_this_one_did_not_cannot_be_told(model):
    records.run("delay@9", metrics={"f1": 0.5})
    with pytest.raises(Inconclusive):
        models.check(model, require="f1 > 0.4")
    with pytest.raises(Inconclusive):
        models.promote(model)
    assert models.show(model).checked == "cannot tell"


def test_show_has_what_the_last_check_found_also_when_it_raised(model):
    with pytest.raises(Failed) as problem:
        models.check(model, require="auc > 0.999")
    assert "`%models show delay@1`" in problem.value.fix
    found = models.show("delay@1")
    assert [item.what for item in found.findings if item.state == "bad"] == ["auc > 0.999"]
    assert "auc > 0.999" in found.card().text()
    assert len(found.card().html()) < 5000


def test_the_card_of_a_check_says_what_did_not_pass_and_what_helps(model):
    card = models.check(model, require="auc > 0.999", report=True).card()
    assert (str(card.state), card.uri) == ("✕ not passed", "models:delay@1")
    assert card.lead.startswith("**1 of 4 checks did not pass.** auc > 0.999 is required: it is ")
    assert "`%models policy delay --require 'auc >= " in card.advice
    assert [str(row[1]) for row in card.parts[0].rows] == ["✕ not passed", "✓ passed", "✓ passed", "✓ passed"]


def test_a_check_beside_a_champion_shows_the_measures_of_both(model, another):
    models.check(model, margin=1)
    models.promote(model)
    card = models.check(models.add("delay", run=another)).card()
    measures = card.parts[1]
    assert (card.when, card.next) == (
        "against champion models:delay@1",
        ["Next: `%models promote delay@2` makes it the champion"],
    )
    assert [row[0] for row in measures.rows] == ["auc", "loss"]
    assert [isinstance(title, Number) for title in measures.titles] == [False, True, True, True, False]
    assert str(measures.rows[0][4]) in ("✓ better", "✓ holds")


def test_a_verdict_names_what_it_was_judged_by(model):
    models.check(model, require="auc > 0.5", margin=0.1)
    checked = open_store().get(ModelVersion, "delay@1").body.checked
    policy = in_force(record.of_model("delay").body.policy)
    assert (checked.policy, checked.require, checked.margin) == (policy.digest, parse("auc > 0.5"), 0.1)
    assert (bool(checked.files), len(checked.findings)) == (True, 4)


# ---- promote ----


def test_a_policy_that_changed_since_the_check_is_checked_first(model):
    models.check(model)
    models.policy("delay", require="auc > 0.5")
    assert "the policy of models:delay changed since" in models.show(model).outdated
    with pytest.raises(Failed, match="the policy of models:delay changed since") as problem:
        models.promote(model)
    assert problem.value.fix.startswith("`%models check delay@1`")
    models.check(model)
    assert models.promote(model).aliases == ("champion",)


def test_a_rollback_goes_back_to_what_the_policy_refuses_by_now_and_says_so(model, run):
    for version in (model, models.add("delay", run=run, note="again")):
        models.check(version)
        models.promote(version)
    models.policy("delay", require="auc > 0.999")
    assert "models:delay@1 was checked, and the policy of models:delay changed since" in models.rollback("delay").said


def test_so_are_settings_that_changed(model, workspace):
    models.check(model)
    settings(workspace, 'require = "auc > 0.999"')
    with pytest.raises(Failed, match="the policy of models:delay changed since"):
        models.promote(model)


def test_a_version_is_compared_with_the_champion_of_now_before_it_is_promoted(model, run, another):
    worse = models.add("delay", run=another)
    models.check(worse)
    models.check(model)
    models.promote(model)
    with pytest.raises(Failed, match="models:delay@1 became the champion since"):
        models.promote(worse)
    with pytest.raises(Failed, match="champion delay@1"):
        models.check(worse)


@pytest.fixture
def worse(model, another):
    """models:delay@2, which is worse than models:delay@1, from which the alias of the champion was taken away."""
    models.check(model)
    models.promote(model)
    found = models.add("delay", run=another)
    models.rm("delay@champion")
    return found


def test_without_a_champion_a_version_is_compared_with_the_last_one(model, worse):
    with pytest.raises(Failed, match=r"last champion delay@1: .* the last champion's is"):
        models.check(worse)
    with pytest.raises(Failed, match="the verdict was: bad"):
        models.promote(worse)
    assert models.check(model).state == "good"
    assert models.promote(model).aliases == ("champion",)


def test_a_check_against_the_champion_still_counts_when_the_alias_is_taken_away(model, another):
    models.check(model)
    models.promote(model)
    close = models.add("delay", run=another)
    models.check(close, margin=1, report=True)
    models.policy("delay", margin=1)
    models.check(close)
    models.rm("delay@champion")
    assert models.promote(close).aliases == ("champion",)


def test_a_check_before_the_last_champion_is_repeated(model, another):
    late = models.add("delay", run=another)
    models.check(late)
    models.check(model)
    models.promote(model)
    models.rm("delay@champion")
    with pytest.raises(Failed, match="it was not compared with models:delay@1, the last champion"):
        models.promote(late)
    with pytest.raises(Failed, match="last champion delay@1"):
        models.check(late)


def test_a_last_champion_that_was_removed_is_compared_with_no_more(model, worse):
    models.rm("delay@1")
    assert models.check(worse).state == "good"
    assert models.promote(worse).aliases == ("champion",)


def test_files_that_changed_since_the_check_are_not_promoted_and_can_be_added_again(model):
    models.check(model)
    (model.path / "columns.json").write_text("{}")
    with pytest.raises(Failed, match=r"columns\.json was changed") as problem:
        models.promote(model)
    assert "`%models add delay --run train:delay@1`" in problem.value.fix
    again = models.add("delay", run="train:delay@1")
    assert again.uri == "models:delay@2"
    assert models.check(again).state == "good"
    assert models.promote(again).uri == again.uri


def test_a_check_of_an_earlier_version_of_the_package_is_to_be_repeated_by_its_bounds(model):
    earlier = LastCheck("good", parse("auc > 0.6"), 0.02)
    record.change("delay@1", checked=earlier)
    with pytest.raises(Failed, match="an earlier version of this package") as problem:
        models.promote(model)
    assert problem.value.fix.startswith("`%models check delay@1 --require 'auc > 0.6' --margin 0.02`")
    models.check(model)
    assert models.policy("delay").require == "auc > 0.6"


def test_a_policy_that_becomes_stricter_while_an_alias_moves_is_not_passed_by(model, monkeypatch):
    models.check(model)
    real = promotion.admit

    def admit(version, known):
        real(version, known)
        if known.policy == Policy():
            models.policy("delay", require="auc > 0.999")

    monkeypatch.setattr(promotion, "admit", admit)
    with pytest.raises(Failed, match="changed since"):
        models.promote(model)
    assert record.aliases("delay") == {}


def test_a_check_that_finds_it_bad_while_an_alias_moves_is_not_passed_by(model, monkeypatch):
    models.check(model)
    real = promotion.admit

    def admit(version, known):
        real(version, known)
        record.change("delay@1", checked=LastCheck("bad", policy=in_force(known.policy).digest))

    monkeypatch.setattr(promotion, "admit", admit)
    with pytest.raises(Failed):
        models.promote(model)
    assert record.aliases("delay") == {}


def test_a_check_whose_policy_changes_meanwhile_judges_once_more(model, monkeypatch):
    real, count = judging.checks.judge, []

    def judge(*given):
        count.append(given)
        if len(count) == 1:
            models.policy("delay", require="auc > 0.999")
        return real(*given)

    monkeypatch.setattr(judging.checks, "judge", judge)
    assert (models.check(model, report=True).state, len(count)) == ("bad", 2)


def test_checks_at_once_lose_no_bound(model):
    texts = ["auc > 0.5", "loss < 5", "auc > 0.55", "loss < 4"]
    threads = [
        threading.Thread(target=models.check, args=(model,), kwargs={"require": text, "report": True}) for text in texts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(models.policy("delay").require.split(" and ")) == {"auc > 0.55", "loss < 4"}
    assert promotion.objection(open_store().get(ModelVersion, "delay@1")) is None or models.show(model).outdated


def test_a_policy_that_changes_all_the_time_ends_in_a_conflict(model, monkeypatch):
    monkeypatch.setattr(type(open_store()), "commit", lambda *_: (_ for _ in ()).throw(Conflict("x", "y")))
    with pytest.raises(Conflict) as problem:
        models.policy("delay", margin=1)
    assert problem.value.fix == "repeat in a moment"


def test_a_model_of_before_has_no_policy(workspace):
    open_store().commit([Record.new("delay", ModelAliases(aliases={"champion": 1}))])
    assert in_force(record.of_model("delay").body.policy) == policies.Policy()


def states(name: str = "delay") -> tuple[str, str, str]:
    """What `ls`, `show` and `get` say of the newest version of that model."""
    return models.ls(name)[0].checked, models.show(name).checked, models.get(name).checked


def test_a_version_that_the_policy_in_force_would_refuse_is_not_called_good(model):
    models.check(model)
    assert states() == ("good",) * 3
    models.policy("delay", require="auc > 0.99")
    assert states() == ("outdated",) * 3
    card = models.show(model).card()
    assert (str(card.state), "the policy of models:delay changed since" in card.lead) == ("▲ outdated", True)
    assert card.advice == "`%models check delay@1` judges it again."
    with pytest.raises(Failed):
        models.promote(model)


def test_a_version_that_was_not_compared_with_the_champion_is_not_called_good(model, another):
    models.check(models.add("delay", run=another), margin=1)
    models.check(model, margin=1)
    models.promote(model)
    assert (*states(), models.ls("delay")[1].checked) == (*("outdated",) * 3, "good")


def test_a_check_of_an_earlier_version_of_the_package_is_shown_as_it_was(model):
    record.change("delay@1", checked=LastCheck("good", parse("auc > 0.6"), 0.02))
    assert states() == ("good",) * 3
    with pytest.raises(Failed, match="kept no policy"):
        models.promote(model)


def test_a_version_whose_files_were_altered_is_shown_as_outdated(model):
    models.check(model)
    with (model.path / "model.onnx").open("ab") as file:
        file.write(b"!")
    shown = models.show(model)
    assert (shown.checked, "model.onnx was changed" in shown.outdated) == ("outdated", True)
