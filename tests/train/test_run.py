import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file

from aiinfra_lab import features, jobs, train
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Conflict, Failed, LabError, NotFound, StoppedEarly, StoreUnavailable, UsageProblem
from aiinfra_lab.jobs import late
from aiinfra_lab.show import live
from aiinfra_lab.store import open_store
from aiinfra_lab.train import record, sync, worker
from aiinfra_lab.train.mlflow import Tracking
from aiinfra_lab.train.record import TrainingRun
from aiinfra_lab.verbs import help_of
from aiinfra_lab.words import understand
from tests.conftest import until

from ..following import follow
from .conftest import CODE

# One epoch a line: what is measured, kept, and done afterwards.
LOOP = """
import torch, time, os, signal
model = torch.nn.Linear(1, 1)
for epoch in range(run.resume(model), run.params.get("epochs", 3)):
    run.log(loss=1 / (epoch + 1))
    run.checkpoint(model, epoch=epoch)
    {then}
"""


def tracked(run: train.Run):
    return Tracking(settings()).read(run.tracked_as)


def weights(run: train.Run):
    return load_file(run.path / "model" / "weights.safetensors")


def test_what_was_printed_can_be_read_while_it_runs(rows):
    peek = "print('first')\nrun.log(seen=len(open({!r}).read()))"
    file = settings().home / "train" / "delay@1" / "output.txt"
    assert train.run("delay", rows=rows, code=peek.format(str(file))).metrics["seen"] == len("first\n")


def test_a_run_learns_and_is_recorded_with_all_it_was_given(rows):
    run = train.run("delay", rows=rows, code=CODE, params={"epochs": 4}, seed=7)
    assert (run.uri, run.state, run.params, run.seed, run.rows) == ("train:delay@1", "done", {"epochs": 4}, 7, rows)
    assert run.metrics["auc"] > 0.7
    assert (run.checkpoint, run.model) == (3, True)
    assert (run.path / "code.py").read_text() == CODE
    points = [point.value for point in run.points() if point.name == "loss"]
    assert sum(points[-5:]) < sum(points[:5])
    assert list(run.df().columns) == ["at", "name", "step", "value"]
    assert len(run.rows_df()) == 400


def test_one_event_tells_what_went_in_and_what_came_out(rows):
    train.run("delay", rows=rows, code="run.log(loss=1)")
    *_, logged = open_store().events()
    assert (logged.event.verb, logged.event.inputs, logged.event.outputs) == ("train run", (rows,), ("train:delay@1",))
    assert logged.event.detail["seed"] == 0
    assert len(logged.event.detail["code_digest"]) == 64


def test_the_record_stands_before_the_code_runs(rows):
    code = "from aiinfra_lab import train\nprint(train.show(run.uri).state, len(train.ls()))"
    run = train.run("delay", rows=rows, code=code)
    assert train.log(run).lines == ("running 1",)


def test_mlflow_has_all_of_it(rows):
    run = train.run(
        "delay", rows=rows, code="for n in range(2500):\n    run.log(loss=n)\nrun.log(auc=0.5)", params={"lr": 0.1}
    )
    found = tracked(run)
    assert (found.state, found.points, found.metrics) == ("done", 2501, {"loss": 2499.0, "auc": 0.5})
    assert found.params == {"lr": "0.1"}
    assert (found.tags["lab.uri"], found.tags["lab.data.uri"], found.tags["lab.seed"]) == (run.uri, rows, "0")
    assert found.tags["lab.code.digest"] == run.code_digest


def test_the_same_seed_gives_the_same_network_and_another_one_another(rows):
    first, again, other = (train.run("delay", rows=rows, code=CODE, params={"epochs": 1}, seed=s) for s in (1, 1, 2))
    name = "layers.0.weight"
    assert weights(first)[name].equal(weights(again)[name])
    assert not weights(first)[name].equal(weights(other)[name])


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(rows):
    straight = train.run("delay", rows=rows, code=CODE, params={"epochs": 4})
    train.run("half", rows=rows, code=CODE, params={"epochs": 2})
    resumed = train.run("half", rows=rows, code=CODE, params={"epochs": 4}, resume=True)
    assert resumed.resumed_from == "train:half@1"
    assert all(value.equal(weights(straight)[name]) for name, value in weights(resumed).items())
    assert resumed.points()[0].step == max(p.step for p in train.show("half@1").points() if p.name == "loss") + 1
    assert tracked(resumed).tags["lab.resumed_from"] == "train:half@1"


def test_stop_from_another_process_ends_it_and_keeps_the_last_checkpoint(rows):
    def stop():
        until(lambda: record.runs("delay") and train.show("delay").checkpoint is not None)
        name = record.runs("delay")[0].name
        subprocess.run([sys.executable, "-m", "aiinfra_lab.cli", "train", "stop", name], check=True)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(Failed, match=r"train:delay@1 was stopped; its checkpoint after epoch \d+ is kept\n.*--resume"):
        train.run("delay", rows=rows, code=LOOP.format(then="time.sleep(0.05)"), params={"epochs": 1000})
    thread.join()
    assert (train.show("delay").state, jobs.find("train:delay@1").state) == ("stopped", "stopped")
    assert tracked(train.show("delay")).state == "stopped"


def test_ctrl_c_records_it_as_stopped_and_says_how_to_go_on(rows):
    interrupt = "if epoch == 1 and run.resumed is None: os.kill(os.getpid(), signal.SIGINT); time.sleep(5)"
    with pytest.raises(Failed, match=r"stopped; its checkpoint after epoch 2 is kept"):
        train.run("delay", rows=rows, code=LOOP.format(then=interrupt))
    assert (train.show("delay").state, tracked(train.show("delay")).state) == ("stopped", "stopped")
    resumed = train.run("delay", rows=rows, code=LOOP.format(then=interrupt), resume=True)
    assert (resumed.state, resumed.checkpoint, len(resumed.points())) == ("done", 2, 1)


def test_stopped_before_a_checkpoint_it_says_so(rows):
    code = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(5)"
    with pytest.raises(StoppedEarly, match="stopped before its first checkpoint"):
        train.run("delay", rows=rows, code=code)


def killed(rows: str, workspace: Path) -> None:
    """Train in another process, and kill that in the middle of its second epoch."""
    code = LOOP.format(then="time.sleep(60) if epoch == 1 else None")
    program = f"from aiinfra_lab import train\ntrain.run('delay', rows={rows!r}, code={code!r})"
    child = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, env=os.environ)

    def checkpointed():
        assert child.poll() is None, child.stderr.read()
        return record.runs("delay") and train.show("delay").checkpoint == 1

    until(checkpointed)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stderr.close()


def test_a_killed_run_is_seen_as_killed_and_goes_on_from_its_checkpoint(rows, workspace):
    killed(rows, workspace)
    found = train.show("delay")
    assert (found.state, found.checkpoint, found.metrics) == ("killed", 1, {"loss": 0.5})
    assert found.duration_s == found.points()[-1].at - found.started_at > 0
    assert "from its checkpoint after epoch 2 with `%%train run delay --resume …`" in found.card().advice
    assert train.ls()[0].state == "killed"
    resumed = train.run("delay", rows=rows, code=LOOP.format(then=""), resume=True)
    assert (resumed.state, [point.step for point in resumed.points()]) == ("done", [2])
    first = record.runs("delay")[-1].body
    assert (first.state, tracked(train.show("delay@1")).state, first.is_open) == ("killed", "killed", False)
    assert tracked(train.show("delay@1")).points == 2
    assert "--from delay@1 …" in train.show("delay@1").card().advice


def test_a_run_with_no_epoch_left_takes_over_what_was_measured_up_to_the_checkpoint(rows):
    more = "run.log(loss=99, late=1)\nraise SystemExit"
    with pytest.raises(Failed):
        train.run("delay", rows=rows, code=LOOP.format(then="") + more)
    resumed = train.run("delay", rows=rows, code=LOOP.format(then=""), resume=True)
    assert (resumed.metrics, resumed.metrics_from) == ({"loss": 1 / 3}, "train:delay@1")
    assert tracked(resumed).metrics == resumed.metrics
    assert resumed.card().notes[:1] == [
        "no epoch was left to train: the metrics are those of train:delay@1 at its checkpoint"
    ]


@pytest.mark.parametrize("code", ["pass", LOOP.format(then="").replace("    run.log(loss=1 / (epoch + 1))\n", "")])
def test_a_resumed_run_that_is_another_network_takes_nothing_over(rows, code):
    train.run("delay", rows=rows, code=LOOP.format(then=""), params={"epochs": 2})
    resumed = train.run("delay", rows=rows, code=code, resume=True)
    assert (resumed.metrics, resumed.metrics_from) == ({}, "")


def test_what_the_tracking_server_missed_is_sent_later(rows):
    run = train.run("delay", rows=rows, code="run.log(loss=1)")
    record.change("delay@1", tracked=False)
    assert sync.behind() == ["the tracking server does not know how train:delay@1 ended"]
    assert sync.catch_up() == ["sent train:delay@1, which was done, to the tracking server"]
    assert (sync.behind(), tracked(run).points) == ([], 1)


def test_what_the_tracking_server_lost_is_sent_again_when_it_is_asked(rows, workspace, empty_mlflow):
    train.run("delay", rows=rows, code="run.log(loss=1)")
    shutil.copy(empty_mlflow, workspace / ".aiinfra" / "mlflow" / "mlflow.db")
    assert sync.behind() == []
    assert sync.behind(verify=True) == ["the tracking server does not know how train:delay@1 ended"]
    assert len(sync.catch_up(verify=True)) == 1
    assert sync.behind(verify=True) == []


def test_only_so_many_are_sent_before_a_run_and_the_newest_first(rows):
    for _ in range(3):
        train.run("delay", rows=rows, code="run.log(loss=1)")
    for run in record.runs():
        record.change(run.name, tracked=False)
    assert sync.catch_up(at_most=1) == ["sent train:delay@3, which was done, to the tracking server"]
    assert len(sync.behind()) == 2


@pytest.mark.parametrize(
    ("code", "what", "fix"),
    [
        ("x = 1\nprint(batch_size)", r"line 2, `print\(batch_size\)`: NameError", "-p batch_size="),
        ("run.log(loss=float('nan'))", "loss is NaN .* the training diverged", "learning rate"),
        ("range(run.params.epochs)", "TypeError", "-p epochs=many is a text"),
        ("run.params.lr", "the run has no parameter lr", "-p lr="),
        ("run.params.get('epochs', 3)", "-p epochs=many is no whole number", "like epochs=3"),
        ("import torch\nrun.save(torch.nn.Linear(1, 1))", "the model cannot be called", "forward"),
    ],
)
def test_an_error_in_the_code_is_raised_and_recorded(rows, code, what, fix):
    with pytest.raises(Failed, match=f"train:delay@1 failed in .*{what}") as problem:
        train.run("delay", rows=rows, code=code, params={"epochs": "many"})
    assert fix in problem.value.fix
    found = train.show("delay")
    assert (found.state, found.problem, found.model) == ("failed", problem.value.what, False)
    assert tracked(found).state == "failed"
    lines = train.log("delay").lines
    assert any("<train:delay@1>" in line for line in lines)
    assert (lines[-1], lines.count(lines[-1])) == (problem.value.what, 1)


@pytest.mark.parametrize(
    "given",
    [
        {"code": "x = ("},
        {"params": {"lr": "inf"}},
        {"name": "Delay!"},
        {"resume": True},
        {"from_": "train:other@1"},
        {"rows": "features:delay@1#000000000000"},
        {"on": "gpu:nobody"},
        {"on": "models:x"},
        {"seed": -1},
    ],
)
def test_bad_input_leaves_no_run(rows, given):
    with pytest.raises(LabError):
        train.run(**{"name": "delay", "rows": rows, "code": "run.log(loss=1)", **given})
    assert record.runs() == []


@pytest.mark.parametrize(("given", "flag"), [({"resume": True}, "--resume"), ({"from_": "train:delay@1"}, "--from")])
def test_where_no_checkpoint_is_the_fix_leaves_out_the_flag_that_was_given(rows, given, flag):
    train.run("delay", rows=rows, code="run.log(loss=1)")
    with pytest.raises(NotFound) as problem:
        train.run("delay", rows=rows, code="run.log(loss=1)", **given)
    assert problem.value.fix.startswith(f"start anew without {flag}; ")


def test_rows_without_a_label_are_refused_with_the_way_to_one(rows, workspace):
    features.add("bare", data="data:flights", timestamp="sched_dep", code="columns = ['temp']")
    bare = features.get("bare", rows="data:flights")
    with pytest.raises(Failed, match="has no label to learn from") as problem:
        train.run("delay", rows=bare, code="run.tensors()")
    (way,) = re.findall(r"`%%(features add bare .* --label) COLUMN`", problem.value.fix)
    noun, *words = f"{way} late".split()
    understand(noun, words, "columns = ['temp']").run()
    assert train.run("delay", rows=features.get("bare", rows="data:flights"), code="run.tensors()").state == "done"


def test_rows_that_lack_the_label_of_their_set_name_some_that_have_it(rows):
    unlabelled = features.get("delay", rows=features.open_rows("data:flights").df().drop(columns="late"))
    with pytest.raises(Failed, match="has no label to learn from") as problem:
        train.run("delay", rows=unlabelled, code="run.tensors()")
    assert train.run("delay", rows=follow(problem.value), code="run.tensors()").state == "done"


def test_the_help_says_what_a_model_answers():
    assert "one score a row" in " ".join(help_of("train", "run").content.split())


def test_nothing_is_resumed_while_it_goes_on(rows):
    code = LOOP.format(then="from aiinfra_lab import train; train.run('delay', rows=run.rows, code='1', resume=True)")
    with pytest.raises(Failed, match=r"train:delay@1 is still going on\n.*`%train stop delay@1`"):
        train.run("delay", rows=rows, code=code)


def test_a_run_that_has_not_begun_yet_is_stopped_when_it_does(rows):
    record.plan("delay", TrainingRun(state="starting", code="1 / 0", rows=rows), (rows,))
    assert train.stop("delay").state == "starting"
    with pytest.raises(Failed, match="was stopped before its first checkpoint"):
        worker.execute("train:delay@1")
    assert train.show("delay").state == "stopped"


def test_stop_of_what_is_over_changes_nothing(rows):
    train.run("delay", rows=rows, code="run.log(loss=1)")
    assert train.stop("delay").state == "done"


def test_diff_shows_what_differs_by_meaning(rows):
    old = train.run("delay", rows=rows, code="run.log(auc=0.7)\n", params={"lr": "0.1"})
    new = train.run("delay", rows=rows, code="run.log(auc=0.8)\n", params={"lr": "0.2"})
    found = train.diff(new, old)
    assert {what: (a, b) for what, a, b in found.changes if what != "code"} == {
        "parameter lr": ("0.1", "0.2"),
        "metric auc": ("0.7", "0.8"),
    }
    assert "+run.log(auc=0.8)" in found.code
    assert train.diff(new, new).card().lead == "Nothing differs."


def test_diff_against_a_champion_that_is_not_there_says_so(rows):
    run = train.run("delay", rows=rows, code="run.log(loss=1)")
    assert "nothing to compare with" in train.diff(run, "delay@champion").note
    with pytest.raises(NotFound):
        train.diff(run, "other@3")


def test_get_copies_a_runs_files(rows, tmp_path):
    train.run("delay", rows=rows, code="run.log(loss=1)")
    train.get("delay", into=tmp_path / "copy")
    assert {"code.py", "metrics.jsonl"} <= {path.name for path in (tmp_path / "copy").iterdir()}
    with pytest.raises(Conflict):
        train.get("delay", into=tmp_path / "copy")


def test_an_unknown_run_says_what_there_is(rows):
    with pytest.raises(NotFound, match="none yet: `%%train run delay --rows ROWS` trains one"):
        train.show("delay")
    train.run("delay", rows=rows, code="run.log(loss=1)")
    with pytest.raises(NotFound, match="there are: delay@1"):
        train.show("delay@7")
    with pytest.raises(NotFound, match="did you mean delay"):
        train.show("dealy")


def test_the_card_is_small_and_holds_the_curve(rows):
    run = train.run("delay", rows=rows, code="for n in range(1000):\n    run.log(loss=n, holdout_loss=n)")
    html = train.show(run).card().html()
    assert "data:image/svg+xml;base64," in html
    assert len(html) < 60_000
    assert json.dumps(run.as_json())


def test_rows_of_another_kind_are_refused_in_the_code(rows):
    with pytest.raises(Failed, match=r"is data: nothing says.*\n.*`X = %features get delay --rows data:flights@1`"):
        train.run("delay", rows="data:flights@1", code="run.tensors()")


@pytest.mark.slow
def test_what_a_view_gives_is_not_required_of_later_rows(rows):
    cell = """
import polars as pl
from aiinfra_lab.features import view

@view(entity="origin", timestamp="seen_at", ttl="900d")
def weather(flights: pl.LazyFrame) -> pl.LazyFrame:
    return flights.select("origin", pl.col("sched_dep").alias("seen_at"), wind=pl.col("hour").cast(pl.Float64))

columns = ["carrier", "origin"]
"""
    features.add("windy", data="data:flights@1", timestamp="sched_dep", label="late", id_="flight_id", code=cell)
    known = features.get("windy", rows="data:flights@1")
    run = train.run("windy", rows=known, code="print({item.name: item.required for item in run.columns})")
    assert train.log(run).lines == ("{'carrier': True, 'origin': True, 'wind': False}",)


def test_a_version_is_never_given_twice(rows):
    threads = [threading.Thread(target=plan, args=(rows,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found.name for found in record.runs()) == ["delay@1", "delay@2", "delay@3", "delay@4"]


def plan(rows: str) -> None:
    record.plan("delay", TrainingRun(state="starting"), (rows,))


def test_an_unreadable_parameter_word_is_a_usage_problem(rows):
    with pytest.raises(UsageProblem):
        train.run("delay", rows=rows, code="1", params={"lr": ""})


def test_the_curve_of_a_run_that_failed_stays_and_of_one_that_is_done_the_result_has_it(rows, monkeypatch):
    frames = []

    class Frame:
        def __init__(self, draw):
            frames.append(draw())

        def close(self, card):
            frames.append(card)

        def clear(self):
            frames.append(None)

    monkeypatch.setattr(worker, "TickingFrame", Frame)
    train.run("delay", rows=rows, code="run.log(loss=1)")
    assert frames[-1] is None
    with pytest.raises(Failed):
        train.run("delay", rows=rows, code="run.log(loss=1)\nraise ValueError('no')")
    assert (str(frames[-1].state), len(frames[-1].parts[0].pictures)) == ("✕ failed", 1)


def test_a_frame_shows_what_was_measured_last_while_the_code_is_busy(rows, monkeypatch):
    shown, cards = threading.Event(), []

    class Frame:
        def __init__(self, card):
            self.update(card)

        def update(self, card):
            cards.append(card)
            if [figure.value for figure in card.figures] == ["0.25"]:
                shown.set()

        def clear(self):
            cards.append(None)

    for name, value in {"LiveFrame": Frame, "in_notebook": lambda: True, "EVERY_S": 0.01}.items():
        monkeypatch.setattr(live, name, value)
    monkeypatch.setitem(sys.modules, "watching", SimpleNamespace(shown=shown))
    train.run("delay", rows=rows, code="import watching\nrun.log(loss=0.25)\nassert watching.shown.wait(20)")
    assert cards[-1] is None


def test_a_store_that_is_away_when_a_run_has_failed_hides_no_error(rows, monkeypatch):
    def away(uri):
        raise StoreUnavailable("the database does not answer", "start it")

    monkeypatch.setattr(worker, "run_of", away)
    with pytest.raises(Failed, match="ZeroDivisionError"):
        train.run("delay", rows=rows, code="run.log(loss=1)\n1 / 0")
    assert train.show("delay").state == "failed"


def test_a_run_whose_end_cannot_be_written_leaves_no_frame_that_says_it_runs(rows, monkeypatch):
    drawn = []

    class Frame(live.TickingFrame):
        def close(self, card):
            drawn.append(card)
            super().close(card)

    def away(name, **fields):
        raise StoreUnavailable("the database does not answer", "start it")

    monkeypatch.setattr(worker, "TickingFrame", Frame)
    monkeypatch.setattr(record, "end", away)
    with pytest.raises(StoreUnavailable):
        train.run("delay", rows=rows, code="run.log(loss=1)")
    assert [str(card.state) for card in drawn] == ["✓ done"]
    assert "could not be written down" in drawn[0].lead


def test_the_true_end_of_a_run_is_written_once_the_store_takes_it(rows, monkeypatch):
    away, real, now = threading.Event(), type(open_store()).commit, time.time()

    def commit(store, *args, **options):
        if away.is_set():
            raise StoreUnavailable("the database does not answer", "start it")
        return real(store, *args, **options)

    monkeypatch.setattr(type(open_store()), "commit", commit)
    monkeypatch.setattr("aiinfra_lab.store.AWAY_S", 0.1)
    monkeypatch.setattr(late, "EVERY_S", 0.1)
    monkeypatch.setitem(sys.modules, "stopping", SimpleNamespace(away=away))
    with pytest.raises(StoreUnavailable):
        train.run("delay", rows=rows, code="import stopping\nrun.log(loss=0.25)\nstopping.away.set()")
    ended_by = time.time()
    assert record.runs("delay")[0].body.state == "running"
    time.sleep(0.5)
    away.clear()
    until(lambda: record.runs("delay")[0].body.state == "done" and not jobs.find("train:delay@1").live)
    body = record.runs("delay")[0].body
    assert now < body.ended_at <= ended_by
    assert body.metrics == {"loss": 0.25}


@pytest.mark.parametrize("end", ["raise ValueError('mine')", "raise SystemExit(1)", "pass"])
def test_a_fork_in_the_code_does_not_end_its_parents_run(end, rows):
    """The child leaves the code on its own way: it must write no end, and not go on as a second notebook."""
    parent = "run.log(status=os.waitpid(child, 0)[1] >> 8)"
    code = f"import os\nchild = os.fork()\nif not child:\n    {end}\nelse:\n    {parent}"
    run = train.run("delay", rows=rows, code=code)
    assert (run.state, run.metrics["status"]) == ("done", 0 if end == "pass" else 1)
