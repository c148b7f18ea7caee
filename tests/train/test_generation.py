"""A network that generates tokens: answered, logged and compared as the texts that its tokenizer makes of them."""

import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from aiinfra_lab.deploy.server import inference_protocol
from aiinfra_lab.deploy.server.answering import Answering
from aiinfra_lab.deploy.server.messages import RawRequest
from aiinfra_lab.deploy.server.model import load
from aiinfra_lab.deploy.server.predictions_log import PredictionsLog, newest
from aiinfra_lab.drift import values
from aiinfra_lab.errors import Failed
from aiinfra_lab.train import export
from aiinfra_lab.train.given import OfTexts
from aiinfra_lab.train.saved_model import SavedModel
from aiinfra_lab.train.signature import Tensor, as_answered, task_of

TEXTS = ["no crew", "the pilot is ill", "rain and storm", "crew"]


def words() -> Tokenizer:
    made = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.train_from_iterator(TEXTS, trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]"]))
    made.enable_truncation(8)
    return made


class Echo(torch.nn.Module):
    """Gives each token back, and how many there were."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(vocabulary, vocabulary)
        self.embed.weight.data = torch.eye(vocabulary)

    def forward(self, input_ids, attention_mask):
        tokens = self.embed(input_ids).argmax(2) * attention_mask
        return tokens, attention_mask.sum(1).float()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    tokenizer, path = words(), tmp_path_factory.mktemp("echo") / "model"
    given = OfTexts({"text": TEXTS}, tokenizer)
    export.save(Echo(tokenizer.get_vocab_size()), given, path, ["said", "length"], task_of("generation"))
    return path


def test_a_row_is_answered_with_the_text(folder):
    saved = SavedModel(folder)
    assert [item.type for item in saved.signature.outputs] == ["BYTES [rows]", "FP32 [rows]"]
    assert saved.answers([{"text": "the storm"}, {"text": "rain, a word not known"}]) == [
        {"said": "the storm", "length": 2.0}, {"said": "rain", "length": 6.0},
    ]  # fmt: skip


def test_its_network_gives_tokens(folder):
    saved = SavedModel(folder)
    assert [item.type for item in saved.given] == ["INT64 [rows, any]", "FP32 [rows]"]
    assert saved.run_network(saved.inputs([{"text": "crew"}]))["said"].dtype == np.int64


def test_the_endpoint_answers_and_logs_the_text(folder, tmp_path):
    answering, log = Answering(load("models:echo@1", folder)), PredictionsLog(tmp_path / "log", 1e9)
    body = json.dumps({"rows": [{"text": "crew"}, {"text": "rain and storm"}]}).encode()
    [reply] = answering.answer([RawRequest("r", 0.0, body)])
    assert [row["said"] for row in json.loads(reply.body)["predictions"]] == ["crew", "rain and storm"]
    log.add("champion", 1.0, body, reply.logged_answer or reply.body, reply.rows)
    log.close()
    assert [row["outputs"]["said"] for row in newest(tmp_path / "log", 2)] == ["rain and storm", "crew"]
    described = inference_protocol.outputs_of(SavedModel(folder))
    assert [(item.name, item.datatype) for item in described] == [("said", "BYTES"), ("length", "FP32")]


def test_drift_judges_the_text_by_its_characters_and_words(folder):
    answers = SavedModel(folder).answers([{"text": text} for text in TEXTS])
    frame = values.frame(["said", "length"], answers, ["said"])
    assert frame["said.characters"].to_list() == [float(len(text)) for text in TEXTS]
    assert frame["said.words"].to_list() == [2.0, 4.0, 3.0, 1.0]
    assert frame.columns == ["said.characters", "said.words", "said.new_words", "length"]


def test_tokens_of_another_task_stay_numbers():
    tokens = Tensor("ids", "INT64", (-1, 4))
    assert as_answered(tokens, task_of("custom"), "texts") == tokens
    assert as_answered(tokens, task_of("generation"), "arrays") == tokens
    assert as_answered(Tensor("n", "INT64", (-1,)), task_of("generation"), "texts").is_scalar


def test_a_place_that_is_empty_is_no_token(folder):
    encoder = SavedModel(folder).encoders[0]
    ids = encoder.encode(["rain"])["input_ids"][0].tolist()
    assert encoder.decoded(np.array([[*ids, -100], [*ids, encoder.input.padding]])).tolist() == ["rain", "rain"]
    assert encoder.decoded(np.zeros((0, 3), np.int64)).tolist() == []


def test_what_fills_up_must_not_be_generated(tmp_path):
    class Careless(Echo):
        def forward(self, input_ids, attention_mask):
            return torch.where(attention_mask == 1, self.embed(input_ids).argmax(2), 2)

    tokenizer = words()
    with pytest.raises(Failed, match="depends on the other rows of its batch"):
        export.save(
            Careless(tokenizer.get_vocab_size()), OfTexts({"text": TEXTS}, tokenizer), tmp_path / "model",
            ["said"], task_of("generation"),
        )  # fmt: skip
