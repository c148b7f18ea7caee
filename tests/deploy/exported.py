"""Models whose export is tested: one with columns that Python has no names for, and one of texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import onnx

from aiinfra_lab.features.contract import Columns

from .conftest import DF, model

NAMES = {"carrier": "class", "temp": "rows", "distance": "departure delay"}
WORDS = ["the flight is late", "rain and snow tonight", "no crew for the flight", "late"]


def odd_table(folder: Path) -> Path:
    """The folder of the plain model with other names of columns."""
    folder.mkdir(parents=True)
    onnx.save(model("plain", 0.5), folder / "model.onnx")
    columns = Columns.fit(DF.rename(columns=NAMES), [*NAMES.values()], "late", features_uri="features:delay@1")
    (folder / "columns.json").write_text(columns.to_json())
    row = {"class": "AA", "rows": 3.0, "departure delay": 250}
    (folder / "example.json").write_text(json.dumps({"rows": [row]}))
    return folder


def of_texts(folder: Path, inputs: Sequence[str] = ("text",)) -> Path:
    """The folder of a model that tells which of three things a text is about, or several."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    from aiinfra_lab.train import export, signature
    from aiinfra_lab.train.given import OfTexts

    class Bag(torch.nn.Module):
        def __init__(self, vocabulary: int) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.embed = torch.nn.Embedding(vocabulary, 8)
            self.last = torch.nn.Linear(8, 3)

        def forward(self, *tokens: torch.Tensor) -> torch.Tensor:
            pairs = zip(tokens[::2], tokens[1::2], strict=True)
            return sum(at * self.bag(*pair) for at, pair in enumerate(pairs, start=1))

        def bag(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            there = attention_mask.unsqueeze(2).float()
            return self.last((self.embed(input_ids) * there).sum(1) / there.sum(1).clamp(min=1))

    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(WORDS, trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]"]))
    tokenizer.enable_truncation(6)
    task = signature.task_of("classification", ["late", "weather", "crew"])
    shorter = Tokenizer.from_str(tokenizer.to_str())
    shorter.enable_truncation(3)
    each = {name: tokenizer if at == 0 else shorter for at, name in enumerate(inputs)}
    given = OfTexts(dict.fromkeys(inputs, WORDS), each)
    export.save(Bag(tokenizer.get_vocab_size()), given, folder, ["about"], task)
    return folder


def of_labels(folder: Path) -> Path:
    """The folder of a model of an array that answers two things, each with labels of its own, and a number."""
    import torch

    from aiinfra_lab.train import export, signature
    from aiinfra_lab.train.given import OfArrays

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.each = torch.nn.ModuleList(torch.nn.Linear(4, size) for size in (3, 2, 1))

        def forward(self, sizes: torch.Tensor) -> tuple[torch.Tensor, ...]:
            grape, colour, price = (each(sizes) for each in self.each)
            return grape, colour, price.squeeze(1)

    task = signature.task_of("classification", {"grape": ["a", "b", "c"], "colour": ["red", "white"]})
    given = OfArrays({"sizes": torch.randn(5, 4, generator=torch.Generator().manual_seed(0))})
    export.save(Net(), given, folder, ["grape", "colour", "price"], task)
    return folder
