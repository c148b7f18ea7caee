"""A classification of a label column: its classes are known, whatever the model takes, and it is measured on them."""

import numpy as np
import pandas as pd
import pytest

from aiinfra_lab import models, train
from aiinfra_lab.errors import Failed
from aiinfra_lab.train import heldout
from aiinfra_lab.train.saved_model import SavedModel
from aiinfra_lab.train.signature import Task

GRAPES = ("Barbera", "Dolcetto", "Grignolino")
NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(1, 3)

    def forward(self, numbers, codes):
        return self.linear(numbers)

run.split(0.25)
"""
TEXTS = """
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

made = Tokenizer(models.WordLevel(unk_token="[UNK]"))
made.pre_tokenizer = pre_tokenizers.Whitespace()
sentences = run.rows.df()["sentence"].tolist()
made.train_from_iterator(sentences, trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]"]))

class Bag(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(made.get_vocab_size(), 3)

    def forward(self, input_ids, attention_mask):
        there = attention_mask.unsqueeze(2).float()
        return (self.embed(input_ids) * there).sum(1) / there.sum(1).clamp(min=1)

run.split(0.25)
run.save(Bag(), inputs={"sentence": sentences[:4]}, tokenizer=made, task="classification"LABELS)
"""


BOTH = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.grape, self.colour = torch.nn.Linear(1, 3), torch.nn.Linear(1, 2)

    def forward(self, numbers, codes):
        return FORM

net = Net()
(numbers, codes, y), _ = run.split(0.25)
optimizer = torch.optim.Adam(net.parameters(), 0.1)
for epoch in range(100):
    loss = sum(torch.nn.functional.cross_entropy(each(numbers), y[:, at]) for at, each in enumerate(net.children()))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""
COLOURS = ("red", "white")


def wine() -> pd.DataFrame:
    place = np.arange(120) % 3
    return pd.DataFrame({"alcohol": place + np.linspace(0, 1, 120), "grape": np.array(GRAPES)[place], "place": place})


def learned(
    code: str, label: str | list[str] = "grape", rows: pd.DataFrame | None = None, column: str = "alcohol"
) -> train.Run:
    return train.run("wine", rows=wine() if rows is None else rows, label=label, columns=[column], code=code)


@pytest.mark.parametrize("given", ["", ", task='classification'", ", task='classification', labels=run.labels"])
def test_a_number_for_each_class_is_the_label(workspace, empty_mlflow, given):
    run = learned(f"{NET}run.save(Net(){given})")
    signature = SavedModel(run.path / "model").signature
    assert (signature.task.name, signature.task.labels) == ("classification", GRAPES)
    assert [item.name for item in signature.outputs] == ["grape"]
    assert "holdout_accuracy" in run.metrics


def coloured() -> pd.DataFrame:
    return wine().assign(colour=lambda rows: np.where(rows["place"] == 2, "white", "red"))


TUPLE = "self.grape(numbers), self.colour(numbers)"
DICT = "{'grape': self.grape(numbers), 'colour': self.colour(numbers)}"


@pytest.mark.parametrize(("form", "given"), [(TUPLE, ""), (DICT, ", task='classification'")])
def test_several_labels_of_texts_have_classes_each(workspace, empty_mlflow, form, given):
    run = learned(f"{BOTH.replace('FORM', form)}run.save(net{given})", ["grape", "colour"], coloured())
    saved = SavedModel(run.path / "model")
    assert saved.signature.task == Task("classification", (), {"grape": GRAPES, "colour": COLOURS})
    (answer,) = saved.answers([{"alcohol": 2.9}])
    assert [*answer["grape_probabilities"]] == [*GRAPES]
    assert [*answer["colour_probabilities"]] == [*COLOURS]
    assert (answer["grape"], answer["colour"]) == ("Grignolino", "white")
    assert sum(answer["grape_probabilities"].values()) == pytest.approx(1)
    assert run.metrics["holdout_accuracy_colour"] > 0.7
    each = [run.metrics[f"holdout_log_loss_{name}"] for name in ("grape", "colour")]
    assert run.metrics["holdout_log_loss"] == pytest.approx(np.mean(each))
    assert {*heldout.read(run.stored)["colour"]} == {*COLOURS}


def test_outputs_of_arrays_have_labels_of_their_own(workspace, empty_mlflow):
    code = BOTH.replace("FORM", TUPLE).replace(", codes):", "):")
    end = "run.save(net, inputs={'alcohols': numbers[:4]}, outputs=['grape', 'colour'], labels=run.labels)"
    run = learned(code + end, ["grape", "colour"], coloured())
    task = SavedModel(run.path / "model").signature.task
    assert (task.name, task.labels_of("colour"), task.labels_of("grape")) == ("classification", COLOURS, GRAPES)


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        ("{'grape': run.labels['grape'], 'color': ['red', 'white']}", "labels names color, and forward gives grape, c"),
        ("{'grape': run.labels['grape'], 'colour': ['red']}", "a classification has two labels or more"),
        ("{'grape': run.labels['grape'], 'colour': ['a', 'b', 'c']}", "colour has 2 classes, red, white, and labels"),
        ("{'grape': run.labels['grape'], 'colour': ['red', 'white', 'rosé']}", "colour has 2 numbers a row, and"),
    ],
)
def test_labels_that_fit_no_output_are_refused(workspace, empty_mlflow, labels, what):
    code = BOTH.replace("FORM", TUPLE)
    with pytest.raises(Failed, match=what):
        learned(f"{code}run.save(net, task='classification', labels={labels})", ["grape", "colour"], coloured())


def test_of_several_labels_all_or_none_are_texts(workspace, empty_mlflow):
    with pytest.raises(Failed, match=r"grape is texts, and the label place is not.*\n.*--label grape"):
        learned("run.tensors()", ["grape", "place"])


def test_a_version_of_several_labels_is_judged_and_compared_by_each(workspace, empty_mlflow):
    code = BOTH.replace("FORM", TUPLE)
    runs = [
        learned(f"{code.replace('range(100)', f'range({epochs})')}run.save(net)", ["grape", "colour"], coloured())
        for epochs in (1, 300)
    ]
    bad, good = (models.add("wine", run=run.uri) for run in runs)
    assert "of 3 labels: `Barbera`" in good.model_card
    assert "`colour` of 2 labels: `red`, `white`" in good.model_card
    assert ("signature", "1 column → grape, colour · classification, 3 and 2 labels") in good.card().facts
    models.check(bad)
    models.promote(bad, to="champion")
    models.check(good)
    models.promote(good, to="champion")
    compared = train.diff(*runs).paired
    assert {"holdout_accuracy_grape", "holdout_log_loss_colour"} <= {one.name for one in compared.metrics}
    answered = models.run(good, rows=coloured()).df()
    assert (answered["colour"] == coloured()["colour"]).mean() > 0.7


def test_another_label_of_one_output_is_another_task(workspace, empty_mlflow):
    code = BOTH.replace("FORM", TUPLE) + "run.save(net)"
    other = coloured().assign(colour=lambda rows: rows["colour"].replace("red", "rosé"))
    pair = [models.add("wine", run=learned(code, ["grape", "colour"], rows).uri) for rows in (coloured(), other)]
    changes = {what: sides for what, *sides in models.diff(*reversed(pair)).changes}
    assert changes["labels of colour"] == ["2, with red", "2, with rosé"]
    assert "labels of grape" not in changes


def test_classes_that_are_numbers_are_named_by_the_fix_that_works(workspace, empty_mlflow):
    with pytest.raises(Failed, match=r"labels=\['0', '1', '2'\]"):
        learned(f"{NET}run.save(Net(), task='classification')", "place")
    with pytest.raises(Failed, match=r"task='classification', labels=\['0', '1', '2'\]"):
        learned(f"{NET}run.save(Net())", "place")
    run = learned(f"{NET}run.save(Net(), task='classification', labels=['0', '1', '2'])", "place")
    assert [item.name for item in SavedModel(run.path / "model").signature.outputs] == ["place"]


def test_a_model_of_texts_knows_its_classes_and_is_measured_on_its_hold_out(workspace, empty_mlflow):
    rows = wine().assign(sentence=lambda frame: [f"row {at} is {name}" for at, name in enumerate(frame["grape"])])
    run = learned(TEXTS.replace("LABELS", ""), rows=rows, column="sentence")
    signature = SavedModel(run.path / "model").signature
    assert (signature.task.labels, [item.name for item in signature.outputs]) == (GRAPES, ["grape"])
    assert "holdout_accuracy" in run.metrics
    assert run.stored.rows == 30
    named = TEXTS.replace('{"sentence":', '{"text":').replace("LABELS", "")
    assert (
        "the model takes text, and the rows that run.split() holds out"
        in learned(named, rows=rows, column="sentence").notes[0]
    )


def test_a_text_that_differs_in_every_row_is_no_category_and_the_card_says_so(workspace, empty_mlflow):
    net = NET.replace("self.linear(numbers)", "self.linear(codes.float())")
    rows = wine().assign(sentence=[f"row {at}" for at in range(120)], colour=["red", "white", "rosé"] * 40)
    run = learned(f"{net}run.save(Net())", rows=rows, column="sentence")
    assert run.notes[0].startswith("sentence is learned as a category, and has 90 values in 120 rows")
    assert "run.save(model, inputs={'sentence': texts[:4]}, tokenizer=tokenizer)" in run.notes[0]
    assert not any("category" in note for note in learned(f"{net}run.save(Net())", rows=rows, column="colour").notes)
