"""A model of images and ten labels, from its training to its drift, as one of a table goes."""

import time

import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_digits

from aiinfra_lab import data, deploy, drift, models, train
from aiinfra_lab.deploy import client
from aiinfra_lab.errors import Failed, UsageProblem
from aiinfra_lab.files import until

CODE = """
import numpy as np, torch
df = run.rows.df()
images = torch.tensor(np.array([np.stack(image) for image in df["image"]]), dtype=torch.float32)
labels = sorted(df["digit"].unique())
y = torch.tensor([labels.index(digit) for digit in df["digit"]])
network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
optimizer = torch.optim.Adam(network.parameters(), 0.05)
for epoch in range(40):
    loss = torch.nn.functional.cross_entropy(network(images), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
run.log(loss=loss, accuracy=(network(images).argmax(1) == y).float().mean())
run.save(network, inputs={"image": images[:4]}, outputs=["digit"], task="classification", labels=labels)
"""


@pytest.fixture(scope="module")
def digits():
    found = load_digits()
    return (found.images / 16).astype(np.float32), [str(digit) for digit in found.target]


def table(images, digits):
    return pl.DataFrame({"image": images.tolist(), "digit": digits})


@pytest.fixture(scope="module")
def model(module_workspace, digits):
    images, names = digits
    # In another order than they were written by their thirteen writers, one after the other.
    order = np.random.default_rng(0).permutation(len(images))
    data.add("digits", table(images[order[:1000]], [names[at] for at in order[:1000]]))
    data.add("later", table(images[order[1000:]], [names[at] for at in order[1000:]]))
    return models.add("digits", run=train.run("digits", rows="data:digits", code=CODE).uri)


@pytest.fixture(scope="module")
def endpoint(model):
    models.check(model)
    deploy.start("digits", model=model.uri)
    until(lambda: deploy.show("digits").champion == model.uri, TimeoutError("it never serves"), within_s=60)
    yield deploy.show("digits")
    deploy.stop("digits")


def test_a_version_says_what_it_takes_and_answers(model):
    shown = models.show(model.uri)
    assert ("signature", "image → digit · classification, 10 labels") in shown.card().facts
    assert "classification of 10 labels" in shown.model_card
    assert shown.row_names == ("image",)


def test_it_answers_here_as_the_endpoint_does(model, endpoint, digits):
    rows = [{"image": image.tolist()} for image in digits[0][:3]]
    here, there = model.answers(rows), endpoint.predict(rows)
    assert [row["digit"] for row in here] == [row["digit"] for row in there]
    for one, other in zip(here, there, strict=True):
        assert other["digit_probabilities"] == pytest.approx(one["digit_probabilities"], abs=1e-5)


def test_a_row_of_another_form_is_refused_by_its_name(endpoint):
    with pytest.raises(Failed, match=r"row 0, column image: an array of FP32 \[8, 8\] is needed"):
        client.predict(endpoint.url, [{"image": [1.0, 2.0]}])


def test_the_log_has_the_label_and_how_sure_it_is(endpoint):
    load = deploy.run("digits", rows="data:later", rate=200, for_="4s")
    assert (load.ok, load.errors) == (load.sent, 0)
    row = deploy.log("digits").rows[0]
    assert row["outputs"]["digit"] in row["outputs"]["digit_probabilities"]
    cells = deploy.log("digits").card().parts[0].rows[0]
    assert any(str(cell).startswith(f"{row['outputs']['digit']} (0.") for cell in cells)


def test_rows_like_those_of_training_do_not_drift_and_others_do(endpoint, digits):
    quiet = drift.check("digits", against="data:digits@1", rows="data:later@1", report=True)
    assert {change.column for change in quiet.columns} == {"image", "digit", "digit_probabilities"}
    assert quiet.state == "no drift"
    assert quiet.projected == ("image", "digit_probabilities")
    assert "(their first principal component): image, digit_probabilities." in " ".join(quiet.card().text().split())
    data.add("negative", table(1 - digits[0][:600], digits[1][:600]))
    loud = drift.check("digits", against="data:digits@1", rows="data:negative@1", report=True)
    assert {"digit", "digit_probabilities"} <= {*loud.drifted}
    assert loud.outputs == ("digit", "digit_probabilities")


def test_the_log_is_judged_too(endpoint):
    deploy.run("digits", rows="data:later", rate=200, for_="4s")
    found = drift.check("digits", against="data:digits@1", since=f"{time.time() - 3600:.0f}", report=True)
    assert found.rows_now >= 700
    assert found.state == "no drift"


def test_rows_without_the_array_are_refused(endpoint):
    data.add("none", pl.DataFrame({"imag": [1.0, 2.0]}))
    with pytest.raises(UsageProblem, match="data:none@1 has no column 'image'"):
        drift.check("digits", against="data:none@1")
