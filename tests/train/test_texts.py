"""A network of texts: its tokenizer goes with it, and what it cannot take is refused, at once or by its row."""

import json
import shutil
import sys

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from aiinfra_lab.errors import Damaged, Failed, Missing, Unavailable, UsageProblem
from aiinfra_lab.features.contract import BadRow
from aiinfra_lab.train import export, signature, texts
from aiinfra_lab.train.given import OfArrays, OfTexts
from aiinfra_lab.train.saved_model import SavedModel
from aiinfra_lab.train.texts import TextEncoder

WORDS = ["the flight is late", "rain and snow tonight", "no crew for the flight", "late"]
TASK = signature.task_of("classification", ["late", "weather", "crew"])


class Bag(torch.nn.Module):
    """The mean of its tokens' embeddings."""

    def __init__(self, vocabulary, positions=1000):
        super().__init__()
        torch.manual_seed(0)
        self.embed = torch.nn.Embedding(vocabulary, 8)
        self.place = torch.nn.Embedding(positions, 8)
        self.last = torch.nn.Linear(8, 3)

    def forward(self, input_ids, attention_mask):
        there = attention_mask.unsqueeze(2).float()
        places = torch.arange(input_ids.shape[1])
        found = (self.embed(input_ids) + self.place(places)) * there
        return self.last(found.sum(1) / there.sum(1).clamp(min=1))


@pytest.fixture(scope="module")
def tokenizer():
    made = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.train_from_iterator(WORDS, trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]"]))
    made.enable_truncation(6)
    return made


@pytest.fixture(scope="module")
def network(tokenizer):
    return Bag(tokenizer.get_vocab_size())


@pytest.fixture(scope="module")
def saved(tokenizer, network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts") / "model"
    export.save(network, OfTexts({"text": WORDS}, tokenizer), folder, ["about"], TASK)
    return SavedModel(folder)


def rows_of(*given):
    return [{"text": text} for text in given]


def test_the_signature_has_texts_and_the_network_takes_tokens(saved):
    assert [str(item) for item in saved.signature.inputs] == ["text BYTES [rows]"]
    assert saved.rows.names == ("text",)
    assert saved.rows.arrays == ("input_ids", "attention_mask")
    assert {item.name for item in saved.session.get_inputs()} == {"input_ids", "attention_mask"}
    assert saved.example.rows == rows_of(*WORDS)


def test_it_answers_as_torch_does_whatever_else_is_in_the_batch(saved, network, tokenizer):
    for text in [*WORDS, "late late late late late", "unknown word", ""]:
        ids = torch.tensor([tokenizer.encode(text).ids or [0]])
        mask = torch.full_like(ids, 1 if text else 0)
        wanted = network(ids, mask).softmax(1)[0].detach().numpy()
        for rows in (rows_of(text), rows_of(text, *WORDS)):
            found = saved.answers(rows)[0]["about_probabilities"]
            assert np.allclose([*found.values()], wanted, atol=1e-6)


def test_the_tokenizer_that_was_given_stays_as_it_is(tokenizer):
    own = Tokenizer.from_str(tokenizer.to_str())
    own.enable_padding(pad_id=3, pad_token="late")
    before = own.to_str()
    encoder = TextEncoder.of(own, "text")
    assert own.to_str() == before
    assert encoder.input.padding == 3
    assert encoder.filled([[7], [7, 8]])["input_ids"].tolist() == [[7, 3], [7, 8]]


def test_without_a_length_of_its_own_texts_are_cut_at_512_tokens(tokenizer):
    own = Tokenizer.from_str(tokenizer.to_str())
    own.no_truncation()
    encoder = TextEncoder.of(own, "text")
    assert encoder.input.most_tokens == 512
    assert encoder.encode(["late " * 2000])["input_ids"].shape == (1, 512)
    assert "the first 512 tokens" in encoder.input.detail


def test_a_text_that_is_too_long_is_answered_by_its_beginning(saved):
    beginning, long = saved.answers(rows_of("late " * 6, "late " * 200_000 + "snow"))
    assert beginning == long


def test_a_tokenizer_that_cuts_on_the_left_reads_the_end(tokenizer):
    own = Tokenizer.from_str(tokenizer.to_str())
    own.enable_truncation(2, direction="left")
    ids = TextEncoder.of(own, "text").encode(["late " * 1000 + "rain snow"])["input_ids"][0]
    assert [own.id_to_token(at) for at in ids] == ["rain", "snow"]


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (None, "it is missing; a text is needed"),
        (7, r"it is 7 \(int\); a text is needed"),
        (["late"], "a text is needed"),
        ({"text": "late"}, "a text is needed"),
        (float("nan"), "a text is needed"),
        (b"late", "a text is needed"),
        ("late \ud800", "no text of Unicode at character 5"),
    ],
)
def test_a_row_that_is_no_text_is_named(saved, value, what):
    with pytest.raises(BadRow, match=what) as problem:
        saved.rows.validate([{"text": "late"}, {"text": value}])
    assert (problem.value.row, problem.value.column) == (1, "text")


def test_an_embedding_without_the_last_tokens_is_refused(tokenizer, tmp_path):
    small = Bag(tokenizer.get_vocab_size() - 1)
    with pytest.raises(UsageProblem, match=r"does not take the last of them\n.*get_vocab_size"):
        export.save(small, OfTexts({"text": ["late"]}, tokenizer), tmp_path / "model", ["about"], TASK)
    assert not (tmp_path / "model").exists()


def test_positions_that_end_before_the_texts_do_are_refused(tokenizer, tmp_path):
    short = Bag(tokenizer.get_vocab_size(), positions=5)
    with pytest.raises(UsageProblem, match=r"a text may have 6 tokens, .*not take so many\n.*enable_truncation"):
        export.save(short, OfTexts({"text": ["late"]}, tokenizer), tmp_path / "model", ["about"], TASK)


def test_a_network_that_divides_by_nothing_is_refused(tokenizer, tmp_path):
    class Mean(Bag):
        def forward(self, input_ids, attention_mask):
            there = attention_mask.unsqueeze(2).float()
            return self.last((self.embed(input_ids) * there).sum(1) / there.sum(1))

    given = OfTexts({"text": WORDS}, tokenizer)
    with pytest.raises(UsageProblem, match=r"no answer to a text without tokens\n.*clamp\(min=1\)"):
        export.save(Mean(tokenizer.get_vocab_size()), given, tmp_path / "model", ["about"], TASK)


def test_a_network_to_which_padding_counts_is_refused(tokenizer, tmp_path):
    class Unmasked(Bag):
        def forward(self, input_ids, attention_mask):
            return self.last(self.embed(input_ids).mean(1))

    given = OfTexts({"text": WORDS}, tokenizer)
    with pytest.raises(Failed, match="a row's answer depends on the other rows of its batch"):
        export.save(Unmasked(tokenizer.get_vocab_size()), given, tmp_path / "model", ["about"], TASK)


def test_a_network_may_take_no_mask(tokenizer, tmp_path):
    class Embedded(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bag = torch.nn.Embedding(tokenizer.get_vocab_size(), 3, padding_idx=0)

        def forward(self, input_ids):
            return self.bag(input_ids).sum(1)

    network = Embedded()
    assert not export.takes(network, 2)
    given = OfTexts({"text": WORDS}, tokenizer, has_mask=False)
    export.save(network, given, tmp_path / "model", ["about"], TASK)
    assert SavedModel(tmp_path / "model").rows.arrays == ("input_ids",)


def test_numbers_may_stand_beside_a_text(tokenizer, tmp_path):
    class Mixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bag = Bag(tokenizer.get_vocab_size())

        def forward(self, price, input_ids, attention_mask):
            return self.bag(input_ids, attention_mask).sum(1) + price

    given = OfTexts({"price": [1.0, 2.0], "text": ["late", "the flight"]}, tokenizer)
    export.save(Mixed(), given, tmp_path / "model")
    saved = SavedModel(tmp_path / "model")
    assert saved.rows.names == ("price", "text")
    cheap, dear = saved.answers([{"price": 0, "text": "late"}, {"price": 5, "text": "late"}])
    assert dear["score"] - cheap["score"] == pytest.approx(5, abs=1e-5)
    with pytest.raises(BadRow, match="price: an array of FP32"):
        saved.answers([{"text": "late", "price": "5"}])


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"numbers": [1.0]}, "none of the inputs is texts"),
        ({"text": "late"}, "none of the inputs is texts"),
        ({}, "none of the inputs is texts"),
        ({"text": ["late", 7]}, "row 1, column text"),
        ({"text": ["late"], "input_ids": [1]}, "an input is called 'input_ids'"),
    ],
)
def test_texts_that_are_none_are_refused(tokenizer, given, what):
    with pytest.raises((UsageProblem, BadRow), match=what):
        OfTexts(given, tokenizer)


class Two(torch.nn.Module):
    """A bag for each of two texts, and a price between them."""

    def __init__(self, titles, bodies):
        super().__init__()
        self.titles, self.bodies = Bag(titles), Bag(bodies)

    def forward(self, title_ids, title_mask, price, body_ids, body_mask):
        return self.titles(title_ids, title_mask) + 2 * self.bodies(body_ids, body_mask) + price.unsqueeze(1)


GIVEN = {"title": WORDS, "price": [0.0, 1.0, 2.0, 3.0], "body": [*reversed(WORDS)]}


@pytest.fixture(scope="module")
def short(tokenizer):
    made = Tokenizer.from_str(tokenizer.to_str())
    made.enable_truncation(3)
    return made


@pytest.fixture(scope="module")
def of_two(tokenizer, short, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two") / "model"
    network = Two(short.get_vocab_size(), tokenizer.get_vocab_size())
    assert export.takes_masks(network, GIVEN)
    given = OfTexts(GIVEN, {"title": short, "body": tokenizer})
    export.save(network, given, folder, ["about"], TASK)
    return SavedModel(folder), network


def test_two_texts_have_a_tokenizer_each(of_two):
    saved, _ = of_two
    assert saved.rows.names == ("title", "price", "body")
    assert saved.rows.arrays == (
        "title_input_ids", "title_attention_mask", "price", "body_input_ids", "body_attention_mask",
    )  # fmt: skip
    assert [(item.input.name, item.input.file, item.input.most_tokens) for item in saved.encoders] == [
        ("title", "tokenizer.json", 3),
        ("body", "tokenizer-2.json", 6),
    ]
    assert {*saved.row_files} == {"texts.json", "tokenizer.json", "tokenizer-2.json"}
    assert all((saved.folder / name).is_file() for name in saved.row_files)


def test_two_texts_are_answered_as_torch_does(of_two, tokenizer, short):
    saved, network = of_two
    rows = [dict(zip(GIVEN, row, strict=True)) for row in zip(*GIVEN.values(), strict=True)]
    rows.append({"title": "", "price": 0.5, "body": "late " * 20})
    for row, found in zip(rows, saved.answers(rows), strict=True):
        tokens = []
        for name, by in (("title", short), ("body", tokenizer)):
            ids = torch.tensor([by.encode(row[name]).ids or [0]])
            tokens += [ids, torch.full_like(ids, 1 if row[name] else 0)]
        wanted = network(*tokens[:2], torch.tensor([row["price"]]), *tokens[2:]).softmax(1)[0].tolist()
        assert [*found["about_probabilities"].values()] == pytest.approx(wanted, abs=1e-5)


def test_one_tokenizer_may_read_both(tokenizer, tmp_path):
    network = Two(tokenizer.get_vocab_size(), tokenizer.get_vocab_size())
    export.save(network, OfTexts(GIVEN, tokenizer), tmp_path / "model", ["about"], TASK)
    saved = SavedModel(tmp_path / "model")
    assert {*saved.row_files} == {"texts.json", "tokenizer.json"}
    assert [row["about"] for row in saved.example.answers] == [
        row["about"] for row in saved.answers(saved.example.rows)
    ]


def test_what_the_network_does_not_take_names_its_text(tokenizer, short, tmp_path):
    network = Two(short.get_vocab_size(), tokenizer.get_vocab_size() - 1)
    given = OfTexts({"title": ["late"], "price": [1.0], "body": ["late"]}, tokenizer)
    with pytest.raises(UsageProblem, match=r"the tokenizer of `body` has .* not take the last of them"):
        export.save(network, given, tmp_path / "model", ["about"], TASK)


def test_a_tokenizer_for_each_text_is_needed(tokenizer):
    with pytest.raises(UsageProblem, match="tokenizer has title, and the texts are title, body"):
        OfTexts(GIVEN, {"title": tokenizer})


def test_a_row_without_one_of_its_texts_is_named(of_two):
    with pytest.raises(BadRow, match="column body: it is missing; a text is needed"):
        of_two[0].answers([{"title": "late", "price": 1.0}])


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_a_data_frame_may_have_more_columns_and_lacks_none(of_two, frame):
    df = frame({**GIVEN, "more": ["x"] * 4})
    assert of_two[0].answers(df) == of_two[0].answers(of_two[0].example.rows)
    with pytest.raises(BadRow, match="column body: it is missing"):
        of_two[0].answers(frame({"title": WORDS, "price": [0.0] * 4}))
    with pytest.raises(BadRow, match="column title: it is missing"):
        of_two[0].answers(frame({"more": WORDS}))


def test_the_second_tokenizer_is_checked_too(of_two, tmp_path):
    copied = shutil.copytree(of_two[0].folder, tmp_path / "copied")
    shutil.copyfile(copied / "tokenizer.json", copied / "tokenizer-2.json")
    with pytest.raises(Damaged, match=r"tokenizer-2\.json is not the one"):
        SavedModel(copied).answers(GIVEN)
    (copied / "tokenizer-2.json").unlink()
    with pytest.raises(Unavailable, match=r"there is no tokenizer-2\.json"):
        SavedModel(copied).answers(GIVEN)


def test_a_tokenizers_file_lies_in_the_models_folder(of_two, tmp_path):
    copied = shutil.copytree(of_two[0].folder, tmp_path / "copied")
    listed = json.loads((copied / texts.TEXTS).read_text())
    (copied / texts.TEXTS).write_text(json.dumps([{**item, "file": "../tokenizer.json"} for item in listed]))
    with pytest.raises(Damaged, match="no file of a tokenizer"):
        SavedModel(copied).answers(GIVEN)


def test_a_model_of_one_text_that_was_saved_without_a_list_is_read(saved, copied):
    (item,) = json.loads((copied.folder / texts.TEXTS).read_text())
    del item["file"]
    (copied.folder / texts.TEXTS).write_text(json.dumps(item))
    assert copied.answers(rows_of("late")) == saved.answers(rows_of("late"))


def test_texts_without_a_tokenizer_are_refused():
    with pytest.raises(UsageProblem, match=r"the input text is texts\n.*tokenizer=tokenizer"):
        OfArrays({"text": ["late"]})


def test_what_is_no_tokenizer_is_refused(tokenizer):
    with pytest.raises(UsageProblem, match="a str is no tokenizer"):
        TextEncoder.of("tokenizer.json", "text")
    random = Tokenizer(models.BPE(dropout=0.1))
    with pytest.raises(UsageProblem, match=r"at random\n.*dropout = None"):
        TextEncoder.of(random, "text")


@pytest.fixture
def copied(saved, tmp_path):
    return SavedModel(shutil.copytree(saved.folder, tmp_path / "copied"))


@pytest.mark.parametrize("name", [texts.TOKENIZER, texts.TEXTS])
def test_a_file_that_lacks_is_named(copied, name):
    (copied.folder / name).unlink()
    with pytest.raises(Unavailable, match=f"there is no {name}"):
        copied.answers(rows_of("late"))


def test_a_tokenizer_that_was_replaced_is_not_used(copied):
    path = copied.folder / texts.TOKENIZER
    body = json.loads(path.read_text())
    body["model"]["vocab"]["late"], body["model"]["vocab"]["the"] = 2, 3
    path.write_text(json.dumps(body))
    with pytest.raises(Damaged, match="not the one that the model was saved with"):
        copied.answers(rows_of("late"))


def test_what_is_no_file_of_texts_is_damaged(copied):
    (copied.folder / texts.TEXTS).write_text("{}")
    with pytest.raises(Damaged, match=r"texts\.json is of no texts"):
        copied.answers(rows_of("late"))


def test_without_the_library_it_says_what_to_install(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(Missing, match=r"pip install 'aiinfra-lab\[text\]'"):
        SavedModel(saved.folder).answers(rows_of("late"))


def test_a_text_becomes_numbers_and_its_words():
    assert texts.measures("The rain, the RAIN!") == (19, 4, ["rain", "the"])
    assert texts.measures("") == (0, 0, [])
    assert texts.measures(None) is texts.measures(7) is None


def test_a_long_text_is_logged_by_its_beginning_and_measured_alike():
    long = "late " * 1000
    logged = msgspec.to_builtins(texts.as_logged(long))
    assert (len(logged["begins"]), logged["characters"], logged["words"]) == (2000, 5000, 1000)
    assert texts.measures(long) == texts.measures(logged)
    assert texts.beginning(logged).endswith("late …")
    assert texts.as_logged("late") == texts.beginning("late") == "late"
