"""A model of texts, from its training to its drift: judged by numbers that anybody can compute of a text."""

import random
import re
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper

from aiinfra_lab import data, deploy, drift, models, train
from aiinfra_lab.deploy import client
from aiinfra_lab.deploy.server.model import load
from aiinfra_lab.drift import values
from aiinfra_lab.errors import Failed, UsageProblem
from aiinfra_lab.files import until
from aiinfra_lab.train import signature
from aiinfra_lab.train.mlflow import client as client_of_mlflow
from aiinfra_lab.train.saved_model import SavedModel
from aiinfra_lab.train.signature import Signature, Tensor

ABOUT = {
    "crew": ["no crew", "the pilot is ill", "cabin staff is missing"],
    "weather": ["snow on the runway", "rain and storm", "thick fog"],
}
TAILS = ["at the gate", "since this morning", "we wait", "so the flight is late", "and nobody knows why"]

CODE = """
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
df = run.rows.df()
tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
trainer = trainers.WordLevelTrainer(min_frequency=20, special_tokens=["[PAD]", "[UNK]"])
tokenizer.train_from_iterator(df["text"], trainer)
tokenizer.enable_truncation(32)
labels = sorted(df["about"].unique())
y = torch.tensor([labels.index(label) for label in df["about"]])


class Bag(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(tokenizer.get_vocab_size(), 8)
        self.last = torch.nn.Linear(8, len(labels))

    def forward(self, input_ids, attention_mask):
        there = attention_mask.unsqueeze(2).float()
        return self.last((self.embed(input_ids) * there).sum(1) / there.sum(1).clamp(min=1))


network = Bag()
ids = [torch.tensor(tokenizer.encode(text).ids) for text in df["text"]]
x = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)
optimizer = torch.optim.Adam(network.parameters(), 0.05)
for epoch in range(40):
    loss = torch.nn.functional.cross_entropy(network(x, mask), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
run.log(loss=loss, accuracy=(network(x, mask).argmax(1) == y).float().mean())
run.save(network, inputs={"text": df["text"][:4]}, tokenizer=tokenizer, outputs=["about"],
         task="classification", labels=labels)
"""


def sentences(count, seed, more=""):
    draw = random.Random(seed)
    labels = [draw.choice(sorted(ABOUT)) for _ in range(count)]
    texts = [f"{draw.choice(ABOUT[label])} {draw.choice(TAILS)} {draw.randrange(500)}{more}" for label in labels]
    return pl.DataFrame({"text": texts, "about": labels})


@pytest.fixture(scope="module")
def model(module_workspace):
    data.add("letters", sentences(800, 0))
    data.add("later", sentences(800, 1))
    return models.add("letters", run=train.run("letters", rows="data:letters", code=CODE).uri)


@pytest.fixture(scope="module")
def endpoint(model):
    models.check(model)
    deploy.start("letters", model=model.uri)
    until(lambda: deploy.show("letters").champion == model.uri, TimeoutError("it never serves"), within_s=60)
    yield deploy.show("letters")
    deploy.stop("letters")


def test_a_version_says_what_it_reads(model):
    shown = models.show(model.uri)
    assert ("signature", "text → about · classification, 2 labels") in shown.card().facts
    assert "Of `text` it reads the first 32 tokens" in shown.model_card
    assert "| text | BYTES [rows] |" in shown.model_card


def test_two_versions_differ_in_how_much_they_read(model):
    run = train.run("letters", rows="data:letters", code=CODE.replace("truncation(32)", "truncation(16)"))
    changes = {what: sides for what, *sides in models.diff(models.add("letters", run=run.uri), model).changes}
    assert changes["texts"][0].startswith("32 tokens of ")
    assert changes["texts"][1].startswith("16 tokens of ")
    assert "file tokenizer.json" in changes


def test_mlflow_loads_it_with_its_tokenizer_and_takes_texts(model):
    import mlflow

    with client_of_mlflow() as mlflow_client:
        source = Path(mlflow_client.get_model_version("letters", "1").source.removeprefix("file://"))
    assert (source / "tokenizer.json").read_bytes() == (model.path / "tokenizer.json").read_bytes()
    rows = [{"text": "no crew"}, {"text": "thick fog at the gate"}]
    loaded = mlflow.pyfunc.load_model(str(source))
    assert loaded.predict(pl.DataFrame(rows).to_pandas()).to_dict("records") == model.answers(rows)
    assert loaded.metadata.get_output_schema().input_names() == ["about", "about_probabilities"]


def test_a_whole_table_is_answered(model):
    found = models.run(model.uri, rows="data:later@1").df()
    assert (found["about"] == data.get("later").df()["about"]).mean() > 0.95


def test_it_answers_here_as_the_endpoint_does(model, endpoint):
    rows = [{"text": text} for text in ("no crew we wait", "fog", "", "late " * 20_000)]
    here, there = model.answers(rows), endpoint.predict(rows)
    for one, other in zip(here, there, strict=True):
        assert other["about"] == one["about"]
        assert other["about_probabilities"] == pytest.approx(one["about_probabilities"], abs=1e-6)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (7, r"row 1, column text: it is 7 \(int\); a text is needed"),
        (None, "row 1, column text: it is missing"),
        ("x" * (1 << 20), "a body may have at most"),
    ],
)
def test_what_is_no_text_is_refused_by_its_row(endpoint, text, what):
    with pytest.raises(Failed, match=what):
        client.predict(endpoint.url, [{"text": "fog"}, {"text": text}])


@pytest.mark.parametrize(
    ("text", "what"),
    [(b"sp\xe4t", "invalid"), (rb"sp\ud800t", "truncated")],
    ids=["latin-1", "half a pair"],
)
def test_bytes_that_are_no_unicode_are_refused(endpoint, text, what):
    asked = urllib.request.Request(f"{endpoint.url}/predict", b'{"rows": [{"text": "' + text + b'"}]}')
    with pytest.raises(urllib.error.HTTPError) as problem:
        urllib.request.urlopen(asked, timeout=10)
    assert problem.value.code == 400
    assert re.search(what, problem.value.read().decode())


def test_the_log_has_the_beginning_of_a_long_text(endpoint):
    client.predict(endpoint.url, [{"text": "late " * 20_000, "row_id": "long"}])
    until(lambda: deploy.log("letters").rows[0]["row_id"] == "long", TimeoutError("it is never logged"), within_s=20)
    row = deploy.log("letters").rows[0]
    assert row["inputs"]["text"]["characters"] == 100_000
    assert len(row["inputs"]["text"]["begins"]) == 2000


def test_the_log_is_judged_by_numbers_of_its_texts(endpoint):
    since = f"{time.time():.0f}"
    load = deploy.run("letters", rows="data:later", rate=200, for_="4s")
    assert (load.ok, load.errors) == (load.sent, 0)
    found = drift.check("letters", against="data:letters@1", since=since, report=True)
    names = {"text.characters", "text.words", "text.new_words"}
    assert {change.column for change in found.columns} == names | {"about", "about_probabilities"}
    assert found.outputs == ("about", "about_probabilities")
    # How many rows a busy machine sends varies, and whether they are enough to tell.
    assert found.state != "drift", [(one.column, one.why) for one in found.columns]


def test_texts_of_other_words_drift(endpoint):
    other = sentences(600, 2).with_columns(pl.col("text").str.replace_all("the flight is late", "der Flug ist spät"))
    data.add("german", other.with_columns(pl.col("text") + " und niemand weiß warum"))
    found = drift.check("letters", against="data:letters@1", rows="data:german@1", report=True)
    assert {"text.words", "text.characters", "text.new_words"} <= {*found.drifted}


def test_a_text_says_nothing_of_which_rows_belong_together(endpoint):
    with pytest.raises(UsageProblem, match="has no column 'text' for --by"):
        drift.check("letters", against="data:letters@1", by="text")


@pytest.fixture
def replies(tmp_path):
    """A model that answers a text: it gives back what it was asked."""
    text = helper.make_tensor_value_info("text", TensorProto.STRING, ["rows"])
    reply = helper.make_tensor_value_info("reply", TensorProto.STRING, ["rows"])
    graph = helper.make_graph([helper.make_node("Identity", ["text"], ["reply"])], "replies", [text], [reply])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "model.onnx"
    )
    side = [(Tensor(name, "BYTES", (-1,)),) for name in ("text", "reply")]
    made = Signature(*side, signature.task_of("generation"), "arrays")
    (tmp_path / signature.FILE).write_text(made.to_json())
    return SavedModel(tmp_path)


def test_texts_are_answered_as_texts(replies):
    rows = [{"text": "schön"}, {"text": ""}]
    assert replies.answers(rows) == [{"reply": "schön"}, {"reply": ""}]
    served = load("models:replies@1", replies.folder)
    assert served.predict([(np.array("late", object),)]).rows() == [{"reply": "late"}]


def test_generated_texts_are_compared_by_their_numbers():
    texts = values.frame(["reply"], [{"reply": "it is late"}, {"reply": None}], ["reply"])
    assert texts.columns == ["reply.characters", "reply.words", "reply.new_words"]
    assert texts["reply.words"].to_list() == [3, None]
    none = values.frame(["reply"], [], ["reply"])
    assert none.schema == texts.schema
    assert values.projected(texts, none)[0]["reply.new_words"].to_list() == [1, None]


def test_a_word_is_new_where_no_other_text_of_the_reference_has_it():
    reference, current = (
        values.frame(["text"], [{"text": text} for text in given], ["text"])
        for given in (["late today", "late now", ""], ["late", "late, now", "spät now", ""])
    )
    both = values.projected(reference, current)
    assert [side["text.new_words"].to_list() for side in both] == [[0.5, 0.5, None], [0, 0.5, 0.5, None]]
