"""What the verbs return of a run: read from its record and its files alone."""

import json
import time

import pytest

from aiinfra_lab import train
from aiinfra_lab.errors import NotFound
from aiinfra_lab.store import Record, open_store
from aiinfra_lab.train import checkpoint, record, rendering
from aiinfra_lab.train.history import FILE, MetricLog, Point
from aiinfra_lab.train.record import RunProblem, TrainingRun


def put(label: str, *, epoch: int | None = None, losses: tuple[float, ...] = (), **fields) -> Record:
    """A run with its folder; killed unless something else is given."""
    body = TrainingRun(**{"state": "killed", "started_at": 10.0, "ended_at": 15.0, **fields})
    folder = record.folder(label)
    folder.mkdir(parents=True)
    history = MetricLog(folder / FILE)
    for loss in losses:
        history.add(None, {"loss": loss})
    history.close()
    if epoch is not None:
        checkpoint.save(folder / checkpoint.FILE, {}, epoch)
    return open_store().commit([Record.new(label, body)])[0]


def test_a_run_is_what_its_record_and_its_folder_have(workspace):
    put("delay@1", epoch=3, losses=(2, 1), metrics={"loss": 1.0}, seed=4, params={"lr": 0.1})
    run = train.show("delay")
    assert (run.uri, run.duration_s, run.checkpoint, run.model) == ("train:delay@1", 5.0, 3, False)
    assert (run.metrics, run.seed, run.params, str(run)) == ({"loss": 1.0}, 4, {"lr": 0.1}, run.uri)
    assert list(run.df()["value"]) == [2.0, 1.0]


def test_the_fields_of_the_answer_are_those_of_the_first_version_and_what_was_added(workspace):
    put("delay@1")
    assert set(json.loads(json.dumps(train.show("delay").as_json()))) == {
        *("uri", "state", "metrics", "params", "rows", "seed", "started_at", "duration_s", "code_digest"),
        *("checkpoint", "model", "rows_digest", "on", "resumed_from", "metrics_from", "problem", "tracked_as"),
        *("machine", "path", "holdout", "checkpoint_step"),
    }


@pytest.mark.parametrize(
    ("fields", "flag"),
    [({"state": "stopped"}, "--resume"), ({"state": "failed"}, "--resume"), ({}, "--resume"), ({"state": "done"}, "")],
)
def test_a_run_that_did_not_come_to_its_end_names_the_command_that_goes_on(workspace, fields, flag):
    put("delay@1", epoch=2, **fields)
    advice = train.show("delay").card().advice
    assert (f"`%%train run delay {flag}" in advice) if flag else advice == ""


def test_an_older_run_is_named_and_one_without_a_checkpoint_cannot_go_on(workspace):
    put("delay@1", epoch=2)
    put("delay@2")
    assert "--from delay@1" in train.show("delay@1").card().advice
    assert train.show("delay@2").card().advice == ""


def test_a_card_holds_what_helps_a_reader_and_the_curve(workspace):
    put("delay@1", losses=(2, 1), machine={"torch": "2"}, tracked_as="x", code_digest="c" * 64)
    card = train.show("delay").card()
    labels = [label for label, _ in card.facts]
    assert not {"machine", "tracked as", "path", "code digest"} & set(labels)
    assert dict(card.facts)["code"] == "c" * 12
    (picture,) = card.parts[0].pictures
    assert (picture.alt, picture.svg.startswith("<svg")) == ("loss went from 2 to 1", True)


def test_a_log_ends_with_what_ended_the_run(workspace):
    put("delay@1", losses=(2, 1), state="failed", trace="line 1\nline 2", problem=RunProblem("it failed", "fix it"))
    (record.folder("delay@1") / "output.txt").write_text("hello\nthere\n")
    log = train.log("delay")
    assert log.lines == ("hello", "there", "line 1", "line 2", "it failed")
    assert [line.split("  ")[1] for line in log.measured] == ["loss[0] = 2", "loss[1] = 1"]
    assert (train.log("delay", lines=1).lines, [part.summary for part in log.card().parts]) == (
        *(("it failed",), ["printed", "measured"]),
    )


def test_runs_differ_in_what_they_were_given_and_what_came_of_it(workspace):
    put("delay@1", params={"lr": 0.1, "old": 1}, metrics={"auc": 0.7}, rows="data:a@1", machine={"torch": "1"})
    put("delay@2", params={"lr": 0.2}, metrics={"auc": 0.8}, rows="data:a@2", machine={"torch": "2"}, seed=1)
    changes = {what: (old, new) for what, old, new in train.diff("delay@2", "delay@1").changes}
    assert changes == {
        "parameter lr": ("0.1", "0.2"), "parameter old": ("1", "–"), "metric auc": ("0.7", "0.8"), "seed": ("0", "1"),
        "rows": ("data:a@1", "data:a@2"), "torch": ("1", "2"),
    }  # fmt: skip


def test_what_is_there_is_not_compared_with_what_is_not(workspace):
    put("delay@1")
    with pytest.raises(NotFound, match="train:delay@7"):
        train.diff("delay", "delay@7")
    assert "nothing to compare with" in train.diff("delay", "delay@champion").note


def test_a_frame_of_a_run_that_goes_on_has_its_last_numbers():
    points = [Point(float(step), "loss", step, 1.0 / (step + 1)) for step in range(4)]
    card = rendering.frame("train:delay@1", points, {}, time.time())
    assert (card.uri, str(card.state), card.figures[0].value) == ("train:delay@1", "◐ running", "0.25")
    assert "step **4**" in card.progress.text
    assert rendering.frame("train:delay@1", [], {}, time.time()).parts[0].pictures == []


def test_a_frame_counts_epochs_and_says_how_long_the_rest_takes():
    now = time.time()
    # Twenty seconds of imports, and then ten an epoch, of which the third has just ended.
    points = [Point(now - 20 + 10 * step, name, step, 0.5) for step in range(3) for name in ("loss", "loss", "auc")]
    progress = rendering.frame("train:delay@1", points, {"epochs": 9}, now - 50).progress
    assert (progress.value, progress.most, progress.text) == (3, 9, "epoch **3** of 9 · 50 s · about **1 min** left")


def test_batches_are_no_epochs_however_few_were_measured():
    points = [Point(float(step), "loss", step, 0.5) for step in range(11)]
    progress = rendering.frame("train:delay@1", points, {"epochs": 20}, time.time()).progress
    assert progress.text.startswith("step **11** · ")
    # What was measured once tells nothing either; the first of the held-out rows does.
    once = [Point(0.0, "n_params", 0, 1e6), *points]
    assert "step **11**" in rendering.frame("train:delay@1", once, {"epochs": 20}, time.time()).progress.text
    first = [*once, Point(12.0, "val_loss", 0, 0.4)]
    assert "epoch **1** of 20" in rendering.frame("train:delay@1", first, {"epochs": 20}, time.time()).progress.text


def test_a_frame_says_truly_what_ends_it():
    here, far = (rendering.frame("train:delay@1", [], {}, time.time(), on).next[0] for on in ("", "gpu:far"))
    assert here.startswith("Interrupt the kernel")
    assert "It goes on in gpu:far when this kernel is interrupted." in far
    assert "`%train stop delay@1`" in far


def test_a_run_that_ended_as_good_as_it_was_did_not_get_worse(workspace):
    put("delay@1", state="done", losses=(0.5, 0.5, 0.5), metrics={"loss": 0.5}, params={"epochs": 3})
    assert train.show("delay").card().lead == "**Best at epoch 1 of 3:** loss 0.5."


@pytest.mark.parametrize(
    ("measured", "left"),
    [
        ([], None),
        ([(10, "val_auc")], None),  # when its first epoch began is not known
        ([(19, "loss"), (10, "loss"), (9, "auc")], "about **21 s** left"),
        ([(45, "val_auc"), (25, "val_auc"), (5, "val_auc")], "about **15 s** left"),
        ([(60, "val_auc"), (50, "val_auc")], "about **10 s** left"),  # the third epoch takes longer than both
        ([(30, "val_auc"), (20, "val_auc"), (10, "val_auc"), (1, "val_auc")], None),  # all are over
    ],
)
def test_what_is_left_is_estimated_from_the_epochs_alone(monkeypatch, measured, left):
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    names = [name for _, name in measured]
    points = [Point(1000.0 - ago, name, names[:at].count(name), 0.5) for at, (ago, name) in enumerate(measured)]
    text = rendering.frame("train:delay@1", points, {"epochs": 4}, 500.0).progress.text
    assert text.partition(" · ")[2].partition(" · ")[2] == (left or "")


@pytest.mark.parametrize(
    ("state", "metrics", "lead"),
    [
        (
            "done",
            {"holdout_loss": (0.5, 0.4, 0.6)},
            "**Best at epoch 2 of 3:** holdout_loss 0.4. After that it got worse",
        ),
        ("done", {"auc": (0.5, 0.6)}, "**Best at epoch 2 of 2:** auc 0.6. It was still getting better"),
        ("done", {"accuracy": (0.5, 0.6)}, "**Best at measurement 2 of 2:** accuracy 0.6."),
        ("done", {"accuracy": (0.9, 1.0, 1.0)}, "**Best at epoch 2 of 3:** accuracy 1."),
        (
            "done",
            {"loss": (0.9, 0.8, 0.7), "val_auc": (0.6,) * 2},
            "**Best at measurement 1 of 2:** val_auc 0.6.",
        ),
        ("done", {"loss": (0.5, 0.4, 0.3, 0.2)}, "**Done:** loss 0.2 at its end."),
        ("done", {}, "**Done.** It measured nothing."),
        ("failed", {}, "**It failed:** no memory"),
        ("killed", {}, "**Its process vanished"),
    ],
)
def test_a_run_begins_with_what_came_of_it(workspace, state, metrics, lead):
    put("delay@1", state=state, params={"epochs": 3}, problem=RunProblem("no memory\nmore", "buy some"))
    with (record.folder("delay@1") / FILE).open("a") as file:
        for name, values in metrics.items():
            for step, value in enumerate(values):
                file.write(json.dumps({"at": 1.0, "name": name, "step": step, "value": value}) + "\n")
    last = {name: values[-1] for name, values in metrics.items()}
    record.change("delay@1", metrics=last)
    assert train.show("delay").card().lead.startswith(lead)


@pytest.mark.parametrize(
    ("state", "epoch", "advice"),
    [
        ("failed", 2, "buy some; then go on from its checkpoint after epoch 3 with `%%train run delay --resume …`."),
        ("failed", None, "buy some."),
        (
            "stopped",
            2,
            "go on from its checkpoint after epoch 3 with `%%train run delay --resume …` and the same code.",
        ),
        ("stopped", None, ""),
    ],
)
def test_a_failed_run_says_first_what_mends_it(workspace, state, epoch, advice):
    problem = RunProblem("no memory", "buy some") if state == "failed" else RunProblem()
    put("delay@1", state=state, epoch=epoch, problem=problem)
    assert train.show("delay").card().advice == advice


def test_two_runs_are_compared_by_their_metrics_first(workspace):
    params = {"epochs": 2, "lr": 0.1}
    put("delay@1", losses=(3, 2), metrics={"auc": 0.7, "loss": 2.0, "size": 5.0}, params=params)
    put("delay@2", losses=(3, 1), metrics={"auc": 0.6, "loss": 1.0, "size": 6.0}, params={**params, "lr": 0.2})
    card = train.diff("delay@2", "delay@1").card()
    assert card.lead.startswith("delay@2 is **better in loss** and **worse in auc** than delay@1.")
    assert [row[3] for row in card.parts[0].rows] == ["↓ −0.1 worse", "↓ −1 better", "↑ +1"]
    assert "loss of delay@1 ended at 2; loss of delay@2 ended at 1" in card.text()
    assert card.notes[0].startswith("In the metrics, **bold** is the better value: ")
    (picture,) = card.parts[1].pictures
    assert ">epoch<" in picture.svg


def test_runs_are_compared_by_their_best_epochs(workspace):
    """As a run's own card says, whatever came after."""
    put("delay@1", losses=(3, 2, 2.5), metrics={"loss": 2.5}, params={"epochs": 3})
    put("delay@2", losses=(3, 1, 4), metrics={"loss": 4.0}, params={"epochs": 3})
    found = train.diff("delay@2", "delay@1")
    assert train.show("delay@2").card().figures[0].value == "1"
    assert found.changes == (("metric loss", "2", "1"),)
    assert found.card().lead == "delay@2 is **better in loss** than delay@1."


def test_the_last_batch_makes_no_run_the_better_one(workspace):
    put("delay@1", losses=(3, 2, 1, 2), metrics={"loss": 2.0}, params={"epochs": 2})
    put("delay@2", losses=(3, 2, 1, 0.5), metrics={"loss": 0.5}, params={"epochs": 2})
    card = train.diff("delay@2", "delay@1").card()
    assert card.lead == "delay@2 and delay@1 differ in loss."
    assert "loss: the last value, of one batch, which says nothing of the run." in card.notes
    assert ">step<" in card.parts[1].pictures[0].svg


@pytest.mark.parametrize(
    ("changed", "lead"),
    [
        ({"metrics": {"auc": 0.7}}, "delay@2 and delay@1 share no metric. They differ in the code alone."),
        ({"metrics": {}}, "delay@2 and delay@1 share no metric. They differ in the code alone."),
        ({"metrics": {"loss": 1.0, "size": 6.0}}, "delay@2 and delay@1 differ in size. They differ in the code alone."),
        ({"seed": 1}, "delay@2 and delay@1 measured the same. They differ in the code and 1 other thing."),
        (
            {"seed": 1, "on": "gpu:a", "code": "a = 1", "code_digest": "a" * 64},
            "delay@2 and delay@1 measured the same. They differ in 2 things.",
        ),
        ({"code": "a = 1", "code_digest": "a" * 64}, "Nothing differs."),
    ],
)
def test_a_comparison_says_no_more_than_what_was_measured_and_counts_each_difference_once(workspace, changed, lead):
    same = {"metrics": {"loss": 1.0, "size": 5.0}}
    put("delay@1", **same, code="a = 1", code_digest="a" * 64)
    put("delay@2", **{**same, "code": "a = 2", "code_digest": "b" * 64, **changed})
    card = train.diff("delay@2", "delay@1").card()
    assert (card.lead, bool(card.notes)) == (lead, "share no" not in lead)


def test_metrics_of_another_run_are_not_passed_off_as_its_own():
    assert rendering.about_metrics("") == ""
    assert "train:delay@1" in rendering.about_metrics("train:delay@1")


def test_codes_differ_by_lines():
    text = rendering.code_diff("a = 1\nb = 2", "a = 1\nb = 3", ("old", "new"))
    assert text.splitlines()[-2:] == ["-b = 2", "+b = 3"]


def test_a_list_shows_the_curve_of_what_says_most_of_each_run(workspace):
    put("delay@1", losses=(2, 1, 0.5), metrics={"loss": 0.5}, params={"epochs": 3})
    put("delay@2", metrics={"loss": 4.0})
    table = train.ls().card().parts[0]
    at = [*table.titles].index("loss ↓")
    assert [row[at - 1] for row in table.rows] == ["4", "0.5"]
    assert [getattr(row[at], "alt", row[at]) for row in table.rows] == ["", "loss from 2 to 0.5"]


def test_a_list_of_many_runs_reads_the_curves_of_those_that_it_shows(workspace, monkeypatch):
    for number in range(1, 24):
        put(f"delay@{number}", losses=(2, 1), metrics={"loss": 1.0})
    read, real = [], train.results.history.read
    listed = train.ls()
    monkeypatch.setattr("aiinfra_lab.train.history.read", lambda path: read.append(path) or real(path))
    assert listed.card().parts[0].hidden == 3
    assert len(read) == 20
