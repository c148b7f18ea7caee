"""A model of a title and a body, from its training to its drift: each text has a tokenizer and numbers of its own."""

import random
import time

import polars as pl
import pytest

from aiinfra_lab import data, deploy, drift, models, train
from aiinfra_lab.files import until
from tests.drift.test_texts import ABOUT, TAILS

CODE = """
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
_, _ = run.split()
df = run.rows.df()


def reader(name, most):
    made = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(min_frequency=20, special_tokens=["[PAD]", "[UNK]"])
    made.train_from_iterator(df[name], trainer)
    made.enable_truncation(most)
    return made


readers = {"title": reader("title", 8), "body": reader("body", 32)}
labels = sorted(df["about"].unique())
y = torch.tensor([labels.index(label) for label in df["about"]])


class Bags(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.ModuleList(torch.nn.Embedding(each.get_vocab_size(), 8) for each in readers.values())
        self.last = torch.nn.Linear(16, len(labels))

    def forward(self, title, title_mask, body, body_mask):
        pairs = ((title, title_mask), (body, body_mask))
        return self.last(torch.cat([self.mean(at, *pair) for at, pair in enumerate(pairs)], 1))

    def mean(self, at, ids, mask):
        there = mask.unsqueeze(2).float()
        return (self.embed[at](ids) * there).sum(1) / there.sum(1).clamp(min=1)


network = Bags()
given = []
for name, each in readers.items():
    ids = [torch.tensor(each.encode(text).ids) for text in df[name]]
    given.append(torch.nn.utils.rnn.pad_sequence(ids, batch_first=True))
    given.append(torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in ids], batch_first=True))
optimizer = torch.optim.Adam(network.parameters(), 0.05)
for epoch in range(40):
    loss = torch.nn.functional.cross_entropy(network(*given), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
run.save(network, inputs={name: df[name][:4] for name in readers}, tokenizer=readers, outputs=["about"],
         task="classification", labels=labels)
"""


def letters(count, seed):
    draw = random.Random(seed)
    labels = [draw.choice(sorted(ABOUT)) for _ in range(count)]
    # Which it is can be read off the title alone in one half, and off the body alone in the other.
    half = [draw.random() < 0.5 for _ in labels]
    telling = [draw.choice(ABOUT[label]) for label in labels]
    title = [text if first else draw.choice(TAILS) for text, first in zip(telling, half, strict=True)]
    body = [draw.choice(TAILS) if first else text for text, first in zip(telling, half, strict=True)]
    return pl.DataFrame({"title": title, "body": body, "about": labels})


@pytest.fixture(scope="module")
def model(module_workspace):
    data.add("mail", letters(800, 0))
    data.add("later", letters(800, 1))
    return models.add("mail", run=train.run("mail", rows="data:mail", label="about", code=CODE).uri)


@pytest.fixture(scope="module")
def endpoint(model):
    models.check(model)
    deploy.start("mail", model=model.uri)
    until(lambda: deploy.show("mail").champion == model.uri, TimeoutError("it never serves"), within_s=60)
    yield deploy.show("mail")
    deploy.stop("mail")


def test_a_version_says_what_it_reads_of_each(model):
    assert ("signature", "title, body → about · classification, 2 labels") in models.show(model.uri).card().facts
    assert "Of `title` it reads the first 8 tokens" in model.model_card
    assert "Of `body` it reads the first 32 tokens" in model.model_card
    assert {"tokenizer.json", "tokenizer-2.json", "texts.json"} <= {path.name for path in model.path.iterdir()}


def test_it_is_measured_on_the_hold_out(model):
    assert train.show(model.run).metrics["holdout_accuracy"] > 0.9


def test_two_versions_differ_in_what_they_read_of_one_of_them(model):
    run = train.run("mail", rows="data:mail", label="about", code=CODE.replace('"body", 32', '"body", 16'))
    changes = {what: sides for what, *sides in models.diff(models.add("mail", run=run.uri), model).changes}
    assert changes["texts of body"][0].startswith("32 tokens of ")
    assert changes["texts of body"][1].startswith("16 tokens of ")
    assert "texts of title" not in changes


def test_a_table_is_answered_by_both_texts(model):
    found = models.run(model.uri, rows="data:later@1").df()
    assert (found["about"] == data.get("later").df()["about"]).mean() > 0.95


def test_the_log_is_judged_by_the_numbers_of_each(model, endpoint):
    since = f"{time.time():.0f}"
    load = deploy.run("mail", rows="data:later", rate=200, for_="4s")
    assert (load.ok, load.errors) == (load.sent, 0)
    found = drift.check("mail", against="data:mail@1", since=since, report=True)
    numbers = {f"{name}.{what}" for name in ("title", "body") for what in ("characters", "words", "new_words")}
    assert {change.column for change in found.columns} == numbers | {"about", "about_probabilities"}


def test_other_words_in_one_of_them_drift(endpoint):
    data.add("german", letters(600, 2).with_columns(pl.col("body") + " und niemand weiß warum"))
    found = drift.check("mail", against="data:mail@1", rows="data:german@1", report=True)
    assert "body.new_words" in found.drifted
    assert not {"title.words", "title.characters", "title.new_words"} & {*found.drifted}
