"""A classification of a label column: its classes are known, whatever the model takes, and it is measured on them."""

import numpy as np
import pandas as pd
import pytest

from aiinfra_lab import train
from aiinfra_lab.errors import Failed
from aiinfra_lab.train.saved_model import SavedModel

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


def wine() -> pd.DataFrame:
    place = np.arange(120) % 3
    return pd.DataFrame({"alcohol": place + np.linspace(0, 1, 120), "grape": np.array(GRAPES)[place], "place": place})


def learned(code: str, label: str = "grape", rows: pd.DataFrame | None = None, column: str = "alcohol") -> train.Run:
    return train.run("wine", rows=wine() if rows is None else rows, label=label, columns=[column], code=code)


@pytest.mark.parametrize("given", ["", ", task='classification'", ", task='classification', labels=run.labels"])
def test_a_number_for_each_class_is_the_label(workspace, empty_mlflow, given):
    run = learned(f"{NET}run.save(Net(){given})")
    signature = SavedModel(run.path / "model").signature
    assert (signature.task.name, signature.task.labels) == ("classification", GRAPES)
    assert [item.name for item in signature.outputs] == ["grape"]
    assert "holdout_accuracy" in run.metrics


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
