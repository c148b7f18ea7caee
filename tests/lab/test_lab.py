import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest

from aiinfra_lab import data, features, gpu, jobs, lab, providers
from aiinfra_lab.cli import main
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Conflict, Failed, NotFound, UsageProblem
from aiinfra_lab.jobs import JobRecord
from aiinfra_lab.lab import checks
from aiinfra_lab.lab.noun import WorkspaceRecord
from aiinfra_lab.models.record import LastCheck, ModelFinding
from aiinfra_lab.providers import Provider
from aiinfra_lab.recipe.record import StepRecord
from aiinfra_lab.show import Code, mark_of
from aiinfra_lab.store import Event, Record, open_store
from aiinfra_lab.testing.store import Note
from aiinfra_lab.train.record import RunProblem
from tests import records
from tests.conftest import end_supervisor, until


@pytest.fixture
def empty(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.delenv("AIINFRA_WORKSPACE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_start_makes_a_workspace_and_again_changes_nothing(empty):
    lab.start()
    first = (empty / "aiinfra.toml").read_text()
    (empty / "aiinfra.toml").write_text(first + "[deploy]\nlog_days = 80\n")
    lab.start()
    assert "log_days = 80" in (empty / "aiinfra.toml").read_text()
    assert len(list(open_store().events())) == 1


def test_start_in_another_folder(empty):
    made = lab.start(empty / "new")
    assert made.path == str(empty / "new")
    assert (empty / "new" / "aiinfra.toml").exists()


def test_start_from_an_example_writes_what_is_missing_only(empty):
    (empty / "notebooks").mkdir()
    (empty / "notebooks" / "00-tour.ipynb").write_text("mine")
    made = lab.start(from_="example:flights")
    assert (empty / "notebooks" / "00-tour.ipynb").read_text() == "mine"
    assert "recipes/flight-delays.toml" in made.wrote
    assert "notebooks/02-data.ipynb" in made.wrote
    assert "left as it was, though the example's differs: notebooks/00-tour.ipynb" in made.notes
    assert lab.start(from_="example:flights").wrote == ()


def test_an_unknown_example_leaves_nothing(empty):
    with pytest.raises(NotFound, match="did you mean example:flights"):
        lab.start(empty / "new", from_="example:flihgts")
    assert not (empty / "new").exists()


def test_show_counts_what_exists(workspace):
    for number in (1, 2):
        records.data(f"flights@{number}")
    records.data("gone@1", removed_at=1.0)
    assert lab.show().exists == {"data": 2}


def test_check_is_well_here(workspace):
    lab.start()
    found = {item.what: item.state for item in lab.check(report=True).findings}
    assert found["store"] == found["workspace"] == found["data.versions on dvc"] == "ok"


def test_the_card_of_check_begins_with_what_is_not_well_and_cuts_none_of_it():
    found = [checks.HealthFinding("ok", f"setting {number}", "") for number in range(30)]
    found += [checks.HealthFinding("off", f"old {number}", "", "`%lab rm --expired`") for number in range(25)]
    found.append(checks.HealthFinding("bad", "store", "it is damaged"))
    card = lab.Checkup("lab:check", False, tuple(found)).card()
    wrong, passed = card.parts
    assert [str(row[1]) for row in wrong.shown] == ["✕ not passed", *["▲ needs a look"] * 25]
    assert (passed.summary, passed.is_open) == ("✓ 30 passed", False)
    assert (str(card.state), card.lead) == (
        "✕ not passed",
        "**1 of 56 checks did not pass.** store: it is damaged.",
    )


def test_an_extra_that_is_not_installed_is_no_cause_to_look():
    found = (checks.OptionalFinding("off", "store on postgres", "psycopg is not installed", "`pip install psycopg`"),)
    card = lab.Checkup("lab:check", True, found).card()
    assert card.lead == "**All that is needed works.** 1 that nothing needs is not installed."
    assert str(card.parts[0].rows[0][1]) == "○ not installed"


def test_a_workspace_shows_what_needs_a_look_and_the_newest_of_each_noun(workspace):
    records.run("delay@1", state="failed", ended_at=2.0)
    records.run("delay@2", state="done", ended_at=3.0)
    records.run("other@1", state="failed", ended_at=4.0, problem=RunProblem("loss is NaN"))
    records.session("trainer", provider="moon", handle="x")
    card = lab.show().card()
    looks, there = card.parts
    assert [(str(row[0]), row[1]) for row in looks.rows] == [
        ("✕ failed", "train:other@1"),
        ("? cannot tell", "gpu:trainer"),
    ]
    assert looks.rows[0][2] == "loss is NaN"
    assert card.lead == "**train:other@1** failed: loss is NaN. 1 more needs a look."
    assert looks.rows[0][3] == Code("%train show other@1")
    assert (str(card.state), card.uri) == ("▲ 2 need a look", workspace.name)
    assert [row[0] for row in there.rows] == ["gpu", "train"]
    assert there.rows[1][2:5] == ("3", "train:other@1", mark_of("failed"))


def test_a_version_that_did_not_pass_its_check_needs_a_look(workspace):
    finding = ModelFinding("auc >= 0.7", "bad", "it is 0.6")
    records.model("delay@1", checked=LastCheck("bad", findings=(finding,)))
    records.model("delay@2")
    records.model("other@1", checked=LastCheck("bad", findings=(finding,)))
    looks, there = lab.show().card().parts
    assert [(str(row[0]), row[1], row[2]) for row in looks.rows] == [
        ("✕ not passed", "models:other@1", "auc >= 0.7: it is 0.6")
    ]
    assert there.rows[0][4] == mark_of("not passed")


def test_of_a_recipe_that_failed_the_run_is_named_with_its_error(workspace):
    (workspace / "recipes").mkdir(exist_ok=True)
    (workspace / "recipes/chain.toml").write_text('[steps.a]\nnotebook = "a.ipynb"\n')
    steps = (StepRecord(name="a", state="failed", error="no memory\nmore"),)
    records.recipe_run("chain@1", state="failed", ended_at=2.0, steps=steps)
    (look,) = [look for look in lab.show().overview.looks if look.uri == "recipe:chain"]
    assert (look.why, look.command) == ("a: no memory", "%recipe show chain@1")


def test_all_that_is_to_be_said_of_an_endpoint_is_shown(workspace):
    records.model("delay@1", checked=LastCheck("bad"))
    records.aliases("delay", champion=8)
    records.endpoint("delay", champion="models:delay@1")
    found = [look.why for look in lab.show().overview.looks if look.uri == "deploy:delay"]
    assert len(found) == 3
    assert any("was to serve models:delay@1, while the champion is models:delay@8" in why for why in found)
    assert "was to serve models:delay@1, which was checked and found bad" in found


def test_a_session_that_ends_soon_needs_a_look(workspace):
    now = time.time()
    records.session("trainer", started_at=now - 5400, deadline_at=now + 600, handle="gpu-trainer-1")
    records.put("gpu-trainer-1", JobRecord(subject="gpu:trainer", state="running", started_at=now, home="another"))
    found = {look.uri: look for look in lab.show().overview.looks}
    assert str(found["gpu:trainer"].mark) in ("▲ ends soon", "✕ lost")


def test_an_empty_workspace_says_what_is_first(workspace):
    card = lab.show().card()
    assert (card.state, "`%data add NAME PATH`" in card.lead) == (None, True)


def test_check_names_the_line_that_mends_a_missing_default(workspace, monkeypatch):
    broken = {"default": Provider("x:Y", "", "no_such_package", "what it is")}
    monkeypatch.setitem(providers.TABLE, "data.versions", broken)
    with pytest.raises(Failed, match="`pip install 'no_such_package'`"):
        lab.check()


def test_of_several_things_that_are_bad_each_fix_says_what_it_is_for(workspace):
    Path("aiinfra.toml").write_text('[gpu]\nmachines = "azure"\n[deploy]\nlog_days = "many"\n')
    with pytest.raises(Failed) as problem:
        lab.check()
    first, second = problem.value.fix.split("; for ")
    assert first.startswith("for gpu.machines on azure: choose another in aiinfra.toml: known: ")
    assert second.startswith("retention: give it a float, e.g. log_days = ")


def test_a_missing_extra_is_no_fault(workspace, monkeypatch):
    extra = {**providers.TABLE["data.versions"], "other": Provider("x:Y", "other", "no_such_package", "what it is")}
    monkeypatch.setitem(providers.TABLE, "data.versions", extra)
    found = {item.what: item for item in lab.check(report=True).findings}["data.versions on other"]
    assert (found.state, found.fix) == ("off", "`pip install 'aiinfra-lab[other]'`")


def test_check_names_an_endpoint_that_does_not_serve_the_champion(workspace):
    records.aliases("delay", champion=8)
    records.endpoint("delay", champion="models:delay@7")
    found = {item.what: item for item in lab.check(report=True).findings}["deploy:delay"]
    assert "while the champion is models:delay@8" in found.detail
    assert found.fix == "`%deploy start delay --model models:delay@8`"


def test_check_names_a_supervisor_that_is_gone_and_lab_start_brings_it_back(workspace):
    lab.start()
    job = jobs.start("deploy:delay", ["sleep", "600"])
    until(lambda: jobs.poll(job.id).state == "running")
    assert "lab:supervisor" not in {item.what for item in lab.check(report=True).findings}
    end_supervisor(workspace)
    found = {item.what: item for item in lab.check(report=True).findings}["lab:supervisor"]
    assert (found.state, found.fix) == ("off", "`%lab start` brings it back")
    assert lab.start().notes != ()
    assert jobs.is_watched()


def test_the_supervisor_of_another_folder_is_not_missed_here(workspace):
    lab.start()
    records.put("deploy-delay-1", JobRecord(subject="deploy:delay", state="running", started_at=1.0, home="another"))
    assert "lab:supervisor" not in {item.what for item in lab.check(report=True).findings}
    assert (lab.start().notes, jobs.is_watched()) == ((), False)


def test_a_session_whose_machines_cannot_be_asked_is_a_finding(workspace):
    records.session("trainer", provider="moon", handle="x")
    found = {item.what: item for item in lab.check(report=True).findings}["gpu:trainer"]
    assert (found.detail.startswith("cannot tell: "), found.fix) == (True, "`%gpu show trainer` says what helps")


def test_a_damaged_store_is_a_finding_with_the_command_that_mends_it(workspace):
    lab.start()
    open_store().close()
    (workspace / ".aiinfra" / "store.sqlite").write_bytes(b"no database" * 1000)
    found = {item.what: item for item in lab.check(report=True).findings}["store"]
    assert (found.state, "lab start --restore`" in found.fix) == ("bad", True)
    lab.start(restore=True)
    assert lab.check().ok


def damage() -> None:
    """As if a disk had lost the store: what was done since its copy is unknown."""
    open_store().close()
    for path in Path(".aiinfra").glob("store.sqlite*"):
        path.unlink()


def test_a_proof_says_what_it_does_not_cover(workspace):
    """Its records say what a run measured last; the file with its curve is not in the chain."""
    lab.start()
    found = {item.what: item for item in lab.check(audit=True).findings}["audit log"]
    assert found.detail.endswith("not covered: files beside them, such as the curves of a run")
    note = "`%lab check --audit` proves that neither these events nor their records were altered"
    assert note in lab.log().card().text()


def test_restore_says_which_events_are_lost_and_is_an_event_itself(workspace):
    lab.start()
    for _ in range(2):
        open_store().commit([], Event("data add", "data:flights@1"))
    damage()
    (made, lost) = lab.start(restore=True).notes
    assert lost == "events 2 to 3, recorded after that copy, are lost"
    (folder,) = workspace.glob(".aiinfra/store-damaged-*")
    assert made.endswith(f"the damaged store is kept in {folder.name}")
    assert lab.log().events[0].endswith(f": {made.partition(';')[0]}; {lost}")
    found = {item.what: item for item in lab.check(audit=True).findings}["audit log"]
    assert (found.state, found.detail) == (
        "ok",
        f"2 events and their records, every hash holds; {lost}; {checks.UNCOVERED}",
    )


def test_restore_that_loses_nothing_says_so(workspace):
    lab.start()
    damage()
    assert lab.start(restore=True).notes[1] == "no event is known to be lost"


def test_restore_ends_the_session_that_the_copy_does_not_know(workspace):
    lab.start()
    gpu.start("trainer")
    damage()
    made = lab.start(restore=True)
    assert made.notes[-1] == "ended 1 process that the copy knows nothing of: gpu:trainer"
    assert (made.lives, "lab start" in lab.log("gpu:trainer").events[-1]) == ((), True)
    assert gpu.start("trainer").state == "running"


def test_a_restored_workspace_gives_no_number_again(workspace):
    lab.start()
    frame = pd.DataFrame({"id": [1, 2], "at": pd.to_datetime(["2024-01-01", "2024-01-02"], utc=True), "late": [0, 1]})
    options = {"timestamp": "at", "label": "late", "id_": "id", "code": "columns = ['id']"}
    rows = data.add("flights", frame)
    features.add("delay", data=rows, **options)
    features.get("delay", rows=rows)
    before = [path.read_bytes() for path in rows.path.rglob("*.parquet")]
    damage()
    lab.start(restore=True)
    again = data.add("flights", frame.assign(late=1))
    assert (again.uri, features.add("delay", data=again, **options).uri) == ("data:flights@2", "features:delay@2")
    assert [path.read_bytes() for path in rows.path.rglob("*.parquet")] == before != []


def test_restore_is_refused_within_a_job_that_it_might_have_to_end(workspace, monkeypatch):
    monkeypatch.setenv("AIINFRA_JOB", "gpu-trainer-0a")
    with pytest.raises(Conflict, match="this runs in the job gpu-trainer-0a"):
        lab.start(restore=True)


def test_a_missing_side_panel_names_what_brings_it(workspace, monkeypatch):
    monkeypatch.setattr(checks.sys, "prefix", str(workspace))
    for builder, fix in ((__file__, "`make front` in the checkout"), ("none", "--no-deps aiinfra-lab`")):
        monkeypatch.setattr(checks, "_BUILDER", Path(builder))
        found = {item.what: item for item in lab.check(report=True).findings}["JupyterLab"]
        assert (found.state, found.fix.endswith(fix)) == ("off", True)


@pytest.fixture
def busy(workspace) -> None:
    """Forty events about data:flights@1, which led to twenty-five versions."""
    for number in range(1, 41):
        made = (f"data:made@{number}",) if number <= 25 else ()
        open_store().commit([], Event("data add", "data:flights@1", ("data:flights@1",), made))


def test_the_log_shows_as_many_events_as_asked_for_and_says_how_to_see_all(busy, capsys):
    assert [len(lab.log(uri).events) for uri in (None, "data:flights@1")] == [30, 30]
    assert lab.log(events=2).more == "these are the latest 2 of 40 events: `%lab log --events 40` shows all"
    assert "`%lab log data:flights@1 --events 40`" in lab.log("data:flights@1").card().next[0]
    assert (len(lab.log("data:flights@1", events=40).events), lab.log(events=40).more) == (40, "")
    assert main(["lab", "log", "--events", "35", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["events"]) == 35
    with pytest.raises(UsageProblem):
        lab.log(events=0)


def test_a_long_lineage_is_shown_to_its_end(busy):
    text = lab.log("data:flights@1").card().text()
    assert all(re.search(rf"data:made@{number}\b", text) for number in range(1, 26))


def test_a_lineage_says_what_a_thing_was_made_from_and_draws_the_way(workspace):
    for verb, used, made in [
        ("data add", "file:x.csv", "data:flights@1"),
        ("features add", "data:flights@1", "features:delay@1"),
        ("features get", "features:delay@1", "features:delay@1#0123"),
        ("train run", "features:delay@1#0123", "train:delay@1"),
        ("models add", "train:delay@1", "models:delay@1"),
        ("models promote", "models:delay@1", "models:delay@champion"),
    ]:
        open_store().commit([], Event(verb, made, (used,), (made,)))
    card = lab.log("train:delay@1").card()
    plots, table = card.parts
    assert card.lead == (
        "It was made from **features:delay@1**, which goes back to **data:flights@1**. 1 thing came of it: "
        "**models:delay@1**."
    )
    assert plots.pictures[0].alt.endswith("train:delay@1 → models:delay@1")
    assert (table.rows[0][1:4], table.rows[-1][1:4]) == (
        ("models promote", "models:delay@champion", "models:delay@1"),
        ("data add", "data:flights@1", "file:x.csv"),
    )


def test_a_name_alone_was_made_from_what_its_newest_version_was_made_from(workspace):
    for number in range(9, 12):
        made = f"data:flights@{number}"
        open_store().commit([], Event("data add", made, (f"file:{number}.csv",), (made,)))
    assert lab.log("data:flights").card().lead == "It was made from **file:11.csv**."


def test_what_nothing_is_linked_to_says_so(workspace):
    open_store().commit([], Event("data add", "data:alone@1"))
    assert lab.log("data:alone@1").card().lead == "**No event links it to anything else.**"


def test_check_names_records_that_nobody_here_knows_or_can_read(workspace):
    class Newer(WorkspaceRecord, frozen=True, kw_only=True):
        schema_version: ClassVar[int] = 99

    open_store().commit([Record.new("a", Note()), Record.new("other", Newer(path="x", made_at=1.0))])
    found = {item.what: item for item in lab.check(report=True).findings if item.what.startswith("record")}
    assert {name: item.state for name, item in found.items()} == {
        "records testing.note": "off",
        "record lab other": "bad",
    }
    assert "upgrade with" in found["record lab other"].fix


def test_check_names_what_a_restored_store_has_forgotten_with_the_line_that_removes_it(workspace):
    lab.start()
    frame = pd.DataFrame({"id": [1, 2], "at": pd.to_datetime(["2024-01-01", "2024-01-02"], utc=True), "late": [0, 1]})
    rows = data.add("flights", frame)
    features.add("delay", data=rows, timestamp="at", label="late", id_="id", code="columns = ['id']")
    features.get("delay", rows=rows)
    gpu.start("trainer")
    gpu.stop("trainer")
    assert forgotten() == {}
    damage()
    lab.start(restore=True)
    kinds = {"/".join(name.split("/")[:-1]) for name in forgotten()}
    assert kinds == {"data/versions", "features/rows", "jobs"}
    for fix in forgotten().values():
        subprocess.run(fix.split("`")[1], shell=True, check=True)
    assert forgotten() == {}


def forgotten() -> dict[str, str]:
    """Where it lies → the fix."""
    return {item.what: item.fix for item in lab.check(report=True).findings if "no record names it" in item.detail}


@pytest.mark.parametrize("first", [lab.start, lambda: data.add("a", Path("a.csv")), lambda: jobs.prepare("gpu:a", [])])
def test_the_toolkits_own_folder_is_for_its_owner_only_whatever_makes_it(workspace, first):
    (workspace / "a.csv").write_text("x\n1\n")
    before = os.umask(0)
    try:
        first()
    finally:
        os.umask(before)
    assert (workspace / ".aiinfra").stat().st_mode & 0o777 == 0o700


def test_check_names_a_folder_that_others_may_open_and_what_closes_it(workspace):
    lab.start()
    (workspace / ".aiinfra").chmod(0o755)
    found = {item.what: item for item in lab.check(report=True).findings}["workspace"]
    subprocess.run(found.fix.split("`")[1], shell=True, check=True)
    now = {item.what: item for item in lab.check(report=True).findings}["workspace"]
    assert (found.state, now.state) == ("off", "ok")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cost.machine_usd_per_hour", '"x"'),
        ("cost.machine_usd_per_hour", "-1"),
        ("cost.prices", '"none.csv"'),
        ("cost.compare", '"none"'),
        ("models.require", "0.7"),
        ("models.margin", '"abc"'),
        ("jobs.log_mib", "0"),
    ],
)
def test_a_setting_that_cannot_be_used_is_bad(workspace, key, value):
    section, _, name = key.partition(".")
    (workspace / "aiinfra.toml").write_text(f"[{section}]\n{name} = {value}\n")
    (found,) = [one for one in checks.run(settings(), with_audit=False) if one.what == f"setting {key}"]
    assert (found.state, bool(found.fix)) == ("bad", True)


def test_a_setting_that_can_be_used_is_ok(workspace):
    (workspace / "aiinfra.toml").write_text(
        '[models]\nrequire = "auc > 0.7"\nmargin = "2%"\n[cost]\nmachine_usd_per_hour = 1\n'
    )
    assert {one.state for one in checks.run(settings(), with_audit=False) if one.what.startswith("setting ")} == {"ok"}
