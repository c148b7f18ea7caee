import json
import math

import pytest
import torch

from aiinfra_lab.errors import Failed, UsageProblem
from aiinfra_lab.train import history, rendering
from aiinfra_lab.train.history import MetricLog
from aiinfra_lab.train.metrics import Epochs


@pytest.fixture
def written(tmp_path):
    history = MetricLog(tmp_path / "m")
    yield history
    history.close()


def test_every_metric_counts_its_own_steps(written, tmp_path):
    written.add(None, {"loss": 3})
    written.add(None, {"loss": torch.tensor(2.0, requires_grad=True), "auc": 0.5})
    written.add(9, {"loss": 1})
    found = [(point.name, point.step, point.value) for point in history.read(tmp_path / "m")]
    assert found == [("loss", 0, 3.0), ("loss", 1, 2.0), ("auc", 0, 0.5), ("loss", 9, 1.0)]


def test_a_resumed_run_counts_on(tmp_path):
    resumed = MetricLog(tmp_path / "m", {"loss": 40})
    assert resumed.add(None, {"loss": 1})[0].step == 40
    resumed.close()


@pytest.mark.parametrize(
    ("value", "word"), [(math.nan, "NaN"), (math.inf, "infinite"), (torch.tensor(math.nan), "NaN")]
)
def test_a_loss_that_is_no_number_ends_the_run_and_says_so(written, tmp_path, value, word):
    with pytest.raises(Failed, match=f"loss is {word}.*at step 0: the training diverged"):
        written.add(None, {"auc": 1.0, "loss": value})
    assert history.read(tmp_path / "m") == []


@pytest.mark.parametrize("value", ["a", None, torch.ones(2), [1]])
def test_what_is_no_single_number_is_refused(written, value):
    with pytest.raises(UsageProblem, match="loss is no number"):
        written.add(None, {"loss": value})


def test_a_line_that_was_cut_off_is_left_out(written, tmp_path):
    written.add(None, {"loss": 1})
    with (tmp_path / "m").open("a") as file:
        file.write(json.dumps({"at": 1})[:-3])
    assert [point.value for point in history.read(tmp_path / "m")] == [1.0]


@pytest.mark.parametrize("torn", ['{"at": 1.0, "na', "\x00" * 40, "3", '{"at": 1.0}', "\udcff"])
def test_a_line_that_was_torn_in_the_middle_hides_no_other(written, tmp_path, torn):
    written.add(None, {"loss": 1.0})
    with (tmp_path / "m").open("ab") as file:
        file.write(torn.encode("utf-8", "surrogateescape") + b"\n")
    written.add(None, {"loss": 0.5})
    assert [point.value for point in history.read(tmp_path / "m")] == [1.0, 0.5]


def test_losses_share_one_plot_and_each_other_metric_has_its_own(written):
    for step in range(960):
        written.add(None, {"loss": step % 2})
        if step % 96 == 95:
            written.add(None, {"auc": 0.5 + step / 10_000, "holdout_loss": 1})
    losses, auc = rendering.plots(written.points, Epochs())
    assert losses.alt.startswith(
        "loss went from 0 to 1; holdout_loss went from 1 to 1; best is holdout_loss 1 at step 96"
    )
    assert auc.alt == "auc went from 0.5095 to 0.5959; best is 0.5959 at step 10"
    assert max(len(picture.svg) for picture in (losses, auc)) < 5_000


def test_long_lines_are_averaged(written):
    assert history.averaged([(float(x), x % 2) for x in range(1000)], most=50)[-1] == (999.0, 0.5)
    assert rendering.plots([], Epochs()) == []


def test_whatever_was_measured_is_drawn_but_no_more_than_six_plots(written):
    written.add(None, {f"metric{at}": 1 for at in range(9)})
    assert [picture.alt.split()[0] for picture in rendering.plots(written.points, Epochs())] == [
        f"metric{at}" for at in range(6)
    ]


def test_the_axis_of_an_epoch_spans_all_of_them_from_the_start(written):
    written.add(None, {"auc": 0.7})
    assert ">20<" in rendering.plots(written.points, Epochs(20, 1))[0].svg
