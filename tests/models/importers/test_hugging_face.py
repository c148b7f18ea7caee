"""Hugging Face folders: tiny ones, made here by transformers itself, and what is not to be trusted in them."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from aiinfra_lab import data
from aiinfra_lab import models as models_noun
from aiinfra_lab.config import settings
from aiinfra_lab.errors import Damaged, Failed, Missing, UsageProblem
from aiinfra_lab.models.importers import hugging_face
from aiinfra_lab.testing.models import ImporterContract
from aiinfra_lab.train.saved_model import SavedModel

TEXTS = ["the flight is late", "rain and snow tonight, and fog", "no crew for the flight", "late", ""]
# Exports a further network, or starts a program with transformers in it: some five seconds of a core each.
LONG = pytest.mark.slow
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def tokenizer_of(transformers):
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    made.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=80, special_tokens=special))
    made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, **names)


def make(folder, kind="Bert", head="ForSequenceClassification", **more):
    import transformers

    torch.manual_seed(0)
    tokenizer = tokenizer_of(transformers)
    positions = 40 if kind == "Bert" else 41
    config = getattr(transformers, f"{kind}Config")(
        **{**SIZES, "vocab_size": len(tokenizer), "max_position_embeddings": positions, "pad_token_id": 0, **more}
    )
    model = getattr(transformers, f"{kind}{head}")(config).eval()
    with torch.no_grad():
        for name, values in model.named_parameters():
            # As they begin, all answers are nearly alike.
            if name.endswith("weight") and values.ndim == 2:
                values.mul_(10)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hugging") / "late-or-not"
    return make(folder, id2label={0: "crew", 1: "late", 2: "weather"}, label2id={"crew": 0, "late": 1, "weather": 2})


@pytest.fixture
def copied(classifier, tmp_path):
    return shutil.copytree(classifier, tmp_path / "copied")


class TestHuggingFace(ImporterContract):
    @pytest.fixture
    def importer(self, workspace):
        return hugging_face.HuggingFaceFolder(settings())

    @pytest.fixture
    def file(self, classifier):
        return classifier

    @pytest.fixture
    def example(self):
        return {"example": TEXTS}

    @pytest.fixture
    def rows(self):
        return [{"text": text} for text in ("fog tonight", "a late crew", "rain")]

    @pytest.fixture
    def expected(self, classifier, rows):
        found = hugging_face.original(classifier)([row["text"] for row in rows])["label"]
        return [["crew", "late", "weather"][at] for at in found.argmax(axis=1)]

    def test_a_version_answers_other_rows_as_the_original(self, file, example, rows, expected, workspace):
        made = models_noun.add("imported", from_=file, **example)
        assert models_noun.check(made).state == "good"
        version = models_noun.get(made)
        answers = version.answers(rows)
        wanted = hugging_face.original(file)([row["text"] for row in rows])["label"]
        assert [row["label"] for row in answers] == expected
        found = [[*row["label_probabilities"].values()] for row in answers]
        assert np.allclose(found, wanted, atol=1e-5)


@pytest.mark.slow  # three networks are converted
def test_texts_may_come_from_rows_or_a_file_and_need_not_be_given(classifier, workspace, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    rows = data.add("letters", pd.DataFrame({"text": TEXTS, "id": range(len(TEXTS))}))
    first = models_noun.add("late", from_=classifier)
    for flags in ({"example": tmp_path / "texts.txt"}, {"rows": rows}):
        made = models_noun.add("late", from_=classifier, **flags)
        assert made.signature == first.signature
    with pytest.raises(UsageProblem, match="no column 'text'"):
        models_noun.add("late", from_=classifier, rows=data.add("numbers", pd.DataFrame({"x": [1, 2]})))


def edit(path, **changes):
    path.write_text(json.dumps({**(json.loads(path.read_text()) if path.exists() else {}), **changes}))


def test_a_folder_is_known_by_its_config(classifier, tmp_path):
    assert hugging_face.suits(classifier)
    assert not hugging_face.suits(tmp_path)
    assert not hugging_face.suits(classifier / "config.json")
    (tmp_path / "config.json").write_text("{")
    assert not hugging_face.suits(tmp_path)


def test_a_classifier_is_served_as_transformers_runs_it(classifier, tmp_path):
    hugging_face.to_onnx(classifier, tmp_path / "model")
    saved = SavedModel(tmp_path / "model")
    assert saved.signature.summary == "text → label"
    assert saved.signature.task.labels == ("crew", "late", "weather")
    wanted = hugging_face.original(classifier)(TEXTS)["label"]
    found = saved.answers([{"text": text} for text in TEXTS])
    assert np.allclose([[*row["label_probabilities"].values()] for row in found], wanted, atol=1e-5)
    assert np.ptp(wanted, axis=0).max() > 0.05
    assert saved.encoders[0].input.most_tokens == 40
    long = saved.answers([{"text": "late " * 500}])[0]["label_probabilities"]
    assert np.allclose([*long.values()], hugging_face.original(classifier)(["late " * 500])["label"][0], atol=1e-5)


@LONG
def test_positions_that_begin_behind_the_padding_are_counted(tmp_path):
    folder = make(tmp_path / "roberta", "Roberta", num_labels=1, problem_type="regression")
    hugging_face.to_onnx(folder, tmp_path / "model", TEXTS)
    saved = SavedModel(tmp_path / "model")
    assert saved.encoders[0].input.most_tokens == 40
    assert (saved.signature.task.name, saved.signature.answered) == ("regression", ("score",))


@LONG
def test_several_labels_at_once_are_a_share_each(tmp_path):
    folder = make(tmp_path / "many", num_labels=3, problem_type="multi_label_classification")
    hugging_face.to_onnx(folder, tmp_path / "model", TEXTS)
    saved = SavedModel(tmp_path / "model")
    scores = saved.answers([{"text": "late"}])[0]["scores"]
    assert len(scores) == 3
    assert abs(sum(scores) - 1) > 1e-3


def test_nothing_is_asked_of_a_network(classifier, tmp_path, monkeypatch):
    import huggingface_hub

    def refuse(*args, **kwargs):
        raise AssertionError("it asks a network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    before = dict(os.environ)
    hugging_face.original(classifier)(["late"])
    assert dict(os.environ) == before
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


@LONG
def test_pickled_weights_are_refused_and_the_line_that_converts_them_works(copied):
    weights = load_file(copied / "model.safetensors")
    torch.save(weights, copied / "pytorch_model.bin")
    wanted = hugging_face.original(copied)(TEXTS)  # beside safetensors it is of no interest
    (copied / "model.safetensors").unlink()
    with pytest.raises(UsageProblem, match=r"pytorch_model\.bin is a pickle") as problem:
        hugging_face.original(copied)
    follow(problem.value.fix)
    assert np.allclose(hugging_face.original(copied)(TEXTS)["label"], wanted["label"], atol=1e-6)


@LONG
def test_a_folder_without_its_tokenizer_is_refused_and_the_line_that_writes_it_works(tmp_path):
    folder = make(tmp_path / "bert")
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.get)))
    edit(folder / "tokenizer_config.json", tokenizer_class="BertTokenizer")
    with pytest.raises(Failed, match=r"bert has no tokenizer\.json") as problem:
        hugging_face.to_onnx(folder, tmp_path / "model")
    follow(problem.value.fix)
    assert (folder / "tokenizer.json").is_file()


def follow(fix):
    words = shlex.split(re.search("`(.+)`", fix)[1])
    assert words[0] == "python"
    done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_of_its_own_is_refused(copied, name):
    edit(copied / name, auto_map={"AutoModel": "modeling_mine.Mine"})
    with pytest.raises(UsageProblem, match=r"run by code of its own \(auto_map\)\n.*ONNX"):
        hugging_face.original(copied)


def test_a_file_of_code_is_refused(copied):
    (copied / "src").mkdir()
    (copied / "src" / "modeling.py").write_text("raise SystemExit")
    with pytest.raises(UsageProblem, match=r"holds code: src/modeling\.py\n.*delete it"):
        hugging_face.to_onnx(copied, copied / "model")


def test_weights_that_lack_are_not_drawn_at_random(copied):
    weights = load_file(copied / "model.safetensors")
    save_file({name: values for name, values in weights.items() if "classifier" not in name},
              copied / "model.safetensors", {"format": "pt"})  # fmt: skip
    with pytest.raises(Failed, match="the weights lack classifier"):
        hugging_face.original(copied)


def test_another_kind_of_model_is_refused(copied):
    edit(copied / "config.json", architectures=["BertForMaskedLM"])
    with pytest.raises(UsageProblem, match=r"is a BertForMaskedLM, .*\n.*ForSequenceClassification"):
        hugging_face.original(copied)


@pytest.mark.parametrize(
    ("name", "body", "what"),
    [
        ("config.json", "{", "no JSON"),
        ("config.json", "[]", "holds no object"),
        ("model.safetensors", "nothing", "copied cannot be read"),
        ("tokenizer.json", "{}", "copied cannot be read"),
    ],
)
def test_a_damaged_file_is_named(copied, tmp_path, name, body, what):
    (copied / name).write_text(body)
    with pytest.raises((Damaged, Failed), match=what):
        hugging_face.to_onnx(copied, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_tokenizer_of_another_model_is_refused(copied, tmp_path):
    path = copied / "tokenizer.json"
    body = json.loads(path.read_text())
    body["model"]["vocab"]["gate"] = 5000
    path.write_text(json.dumps(body))
    with pytest.raises(UsageProblem, match="the tokenizer has 5,001 tokens, and the network does not take the last"):
        hugging_face.to_onnx(copied, tmp_path / "model")


def test_without_transformers_it_says_what_to_install(classifier, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(Missing, match=r"pip install 'aiinfra-lab\[hugging-face\]'"):
        hugging_face.original(classifier)
