"""Models of texts out of a Hugging Face folder: `config.json`, `model.safetensors` and `tokenizer.json`.

Only transformers' own classes are built, out of JSON and numbers: no pickle is opened, no code that came with the model
runs, and nothing is asked of a network.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ...errors import Failed, LabError, Missing, UsageProblem
from ...train import signature
from ...train.texts import TOKENIZER, USUAL_TOKENS, TextEncoder
from ...units import counted
from ..examples import TEXTS
from . import hugging_face_modules
from .hugging_face_modules import CONFIG, MODULES, WEIGHTS, SentenceModules, read_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...config import Settings
    from ...train.inputs import Arrays
    from ...train.signature import Task

SHARDS = "model.safetensors.index.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
INPUT = "text"
TOLERANCE = 1e-5
_PICKLES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
_CLASSIFIER, _ENCODER = "ForSequenceClassification", "Model"
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


@dataclass(frozen=True)
class _Folder:
    """What the JSON of a folder says."""

    path: Path
    config: Mapping[str, Any]
    tokenizer: Mapping[str, Any]

    @functools.cached_property
    def sentences(self) -> SentenceModules:
        """What sentence-transformers runs around the network."""
        return hugging_face_modules.read(self.path)

    @property
    def architecture(self) -> str:
        """The class of transformers that it is of."""
        return str(next(iter(self.config.get("architectures") or ()), ""))

    @property
    def is_classifier(self) -> bool:
        """Whether it has a number for each label of a text, or one for the text; else a vector."""
        return self.architecture.endswith(_CLASSIFIER) and not self.sentences.poolings

    @property
    def has_many_labels(self) -> bool:
        """Whether a text may have several labels at once."""
        return self.config.get("problem_type") == "multi_label_classification"


class HuggingFaceFolder:
    """See `Importer` for the contract."""

    def __init__(self, where: Settings) -> None:
        pass

    def suits(self, path: Path) -> bool:
        return suits(path)

    def read(self, path: Path) -> HuggingFaceModel:
        return HuggingFaceModel(path)


class HuggingFaceModel:
    """See `Original`."""

    tolerance = TOLERANCE

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = _read(path)
        self._answer = original(path)

    @property
    def task(self) -> Task:
        return _task(self._folder)

    def encoder(self) -> TextEncoder:
        most = _most_tokens(self._folder, _network(self._folder))
        return TextEncoder.of(_own_tokenizer(self._folder, most), INPUT)

    def predict(self, given: Any) -> Arrays:
        return self._answer([*given])

    def convert(self, path: Path) -> None:
        made = path.parent / "made"
        to_onnx(self._path, made)
        for file in (made / path.name, *made.glob("*.data")):
            shutil.copyfile(file, path.parent / file.name)
        shutil.rmtree(made)


def suits(path: Path) -> bool:
    """Whether it is a folder of that form. Reads `config.json` only, and imports no library."""
    config = path / CONFIG
    if not config.is_file():
        return False
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(config.read_bytes())
        return isinstance(found, dict) and "model_type" in found
    return False


def original(path: Path) -> Callable[[Sequence[str]], dict[str, NDArray[np.floating[Any]]]]:
    """The model as transformers runs it: texts → its outputs by name, each text for itself.

    UsageProblem or Failed for a folder that needs trust or is damaged, with what to do; Missing without transformers.
    """
    import torch

    folder = _read(path)
    network, tokenizer = _network(folder), _tokenizer(folder)
    most = _most_tokens(folder, network)

    def answer(texts: Sequence[str]) -> dict[str, NDArray[np.floating[Any]]]:
        found = []
        with torch.no_grad():
            for text in texts:
                tokens = tokenizer(text, truncation=True, max_length=most, return_tensors="pt")
                found.append(network(tokens["input_ids"], tokens["attention_mask"]))
        return {_output(folder): torch.cat(found).numpy()}

    return answer


def to_onnx(path: Path, into: Path, example: Sequence[str] = TEXTS) -> None:
    """Write the folder of a model that can be served: ONNX, tokenizer, signature and example, whole or not at all.

    Failed when it would answer the example otherwise than transformers does, by more than 1e-5; otherwise as
    `original`.
    """
    from ...train import export
    from ...train.given import OfTexts
    from ...train.saved_model import SavedModel

    folder = _read(path)
    network = _network(folder)
    given = OfTexts({INPUT: [*example]}, _own_tokenizer(folder, _most_tokens(folder, network)))
    task = _task(folder)
    export.save(network, given, into, [_output(folder)], task)
    saved = SavedModel(into)
    wanted = saved.signature.answers(original(path)(example), len(example))
    off = signature.difference(wanted, saved.answers([{INPUT: text} for text in example]))
    if not off <= TOLERANCE:
        shutil.rmtree(into)
        raise Failed(
            f"what would be served answers otherwise than {path.name} in transformers (by {off:.2g})",
            f"make {TOKENIZER} anew: {_python('AutoTokenizer', path, '')}",
        )


def _read(path: Path) -> _Folder:
    """What the folder says. UsageProblem or Failed where it needs trust, or is of no kind that is known."""
    folder = _Folder(path, read_json(path / CONFIG), read_json(path / TOKENIZER_CONFIG, {}))
    _refuse_code(folder)
    if not folder.architecture.endswith((_CLASSIFIER, _ENCODER)):
        raise UsageProblem(
            f"{path.name} is a {folder.architecture or 'model of no architecture'}, and this reads classifiers and "
            "encoders of texts",
            f"take a folder whose {CONFIG} names …{_CLASSIFIER} or …{_ENCODER}, or export it to ONNX and add that file",
        )
    _refuse_pickle(folder)
    if (path / MODULES).is_file() and not (folder.sentences.poolings or folder.is_classifier):
        raise UsageProblem(
            f"{MODULES} of {path.name} names no Pooling, so that it gives no vector of a text",
            "add one where it was trained: `SentenceTransformer(modules=[transformer, Pooling(…)]).save(…)`",
        )
    if not (path / TOKENIZER).is_file():
        raise Failed(f"{path.name} has no {TOKENIZER}", f"write it: {_python('AutoTokenizer', path, '')}")
    return folder


def _refuse_code(folder: _Folder) -> None:
    onnx = "where its code may run, export it to ONNX, and add that file"
    if "auto_map" in folder.config or "auto_map" in folder.tokenizer:
        raise UsageProblem(f"{folder.path.name} is run by code of its own (auto_map)", onnx)
    if code := sorted(file.relative_to(folder.path).as_posix() for file in folder.path.rglob("*.py")):
        raise UsageProblem(f"{folder.path.name} holds code: {code[0]}", f"delete it when nothing needs it; else {onnx}")


def _refuse_pickle(folder: _Folder) -> None:
    # A pickle beside safetensors is of other programs, and is never opened.
    if (folder.path / WEIGHTS).is_file() or (folder.path / SHARDS).is_file():
        return
    pickles = sorted(file.name for file in folder.path.iterdir() if file.suffix in _PICKLES)
    what = f"{pickles[0]} is a pickle, which may run code" if pickles else f"{folder.path.name} has no {WEIGHTS}"
    again = _python(folder.architecture, folder.path, ", use_safetensors=False")
    raise UsageProblem(what, f"where you trust it, write {WEIGHTS}: {again}")


def _python(name: str, path: Path, more: str) -> str:
    """A line that loads something of the folder by transformers and saves it there again."""
    call = f"{name}.from_pretrained({str(path)!r}{more}).save_pretrained({str(path)!r})"
    return f'`python -c "from transformers import {name}; {call}"`'


def _network(folder: _Folder) -> Any:
    """A module that gives one tensor for tokens and their mask: probabilities, scores or vectors."""
    import torch

    transformers = _transformers()
    maker = transformers.AutoModelForSequenceClassification if folder.is_classifier else transformers.AutoModel
    model, info = _loaded(
        maker,
        folder,
        output_loading_info=True,
        use_safetensors=True,
        dtype=torch.float32,
        attn_implementation="eager",
    )
    # The layers behind the tokens' vectors have no part in a vector of all of them.
    lacking = sorted(name for name in info["missing_keys"] if folder.is_classifier or not name.startswith("pooler."))
    if lacking or info["mismatched_keys"]:
        raise Failed(
            f"the weights lack {lacking[0]}" if lacking else f"the weights do not fit {CONFIG}",
            f"save the trained {folder.architecture} again, by `model.save_pretrained(…)`: what lacks would be random",
        )

    class Answering(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.pooling = None if folder.is_classifier else folder.sentences.network()

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            found = self.model(input_ids=input_ids, attention_mask=attention_mask)
            if self.pooling is None:
                answer: torch.Tensor = _classified(folder, found.logits)
            else:
                answer = self.pooling(found.last_hidden_state, attention_mask)
            return answer

    return Answering().eval()


def _classified(folder: _Folder, logits: Any) -> Any:
    if logits.shape[1] == 1:
        return logits.squeeze(1)
    return logits.sigmoid() if folder.has_many_labels else logits.softmax(1)


def _output(folder: _Folder) -> str:
    if not folder.is_classifier:
        return "embedding"
    return "scores" if folder.has_many_labels else "score" if len(_labels(folder)) == 1 else "label"


def _task(folder: _Folder) -> Task:
    if not folder.is_classifier:
        return signature.task_of("embedding")
    if folder.has_many_labels:
        return signature.CUSTOM
    labels = _labels(folder)
    return signature.task_of("classification", labels) if len(labels) > 1 else signature.task_of("regression")


def _labels(folder: _Folder) -> list[str]:
    """In the order of the numbers; transformers names two that the folder does not."""
    known = folder.config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    return [str(known[at]) for at in sorted(known, key=int)]


def _most_tokens(folder: _Folder, network: Any) -> int:
    """How many tokens of a text it takes, 512 at most."""
    import torch

    # What sentence-transformers is told takes the place of what its tokenizer says.
    own = folder.sentences.most_tokens or folder.tokenizer.get("model_max_length")
    limits = (folder.config.get("max_position_embeddings"), own)
    most = int(min([USUAL_TOKENS, *(limit for limit in limits if limit)]))
    padding = int(folder.config.get("pad_token_id") or 0)
    # Some count their positions from behind that of the padding.
    for count in (most, most - padding - 1):
        # Of some other token than the padding: its positions are the first.
        tokens = torch.full((1, count), 1 if padding == 0 else 0)
        with contextlib.suppress(IndexError, RuntimeError), torch.no_grad():
            network(tokens, torch.ones_like(tokens))
            return count
    raise Failed(
        f"{folder.path.name} takes no text of {counted(most, 'token')}",
        f"write in {TOKENIZER_CONFIG} how many it takes: model_max_length",
    )


def _own_tokenizer(folder: _Folder, most: int) -> Any:
    """`tokenizer.json`, with the length and the padding that the model has."""
    from tokenizers import Tokenizer

    try:
        found = Tokenizer.from_file(str(folder.path / TOKENIZER))
    except Exception as problem:  # noqa: BLE001  # the library raises nothing narrower
        _damaged(folder, problem)
    folder.sentences.lower(found)
    found.enable_truncation(most, direction=folder.tokenizer.get("truncation_side") or "right")
    padding = folder.config.get("pad_token_id")
    if padding is not None:
        found.enable_padding(pad_id=int(padding), pad_token=found.id_to_token(int(padding)) or "")
    return found


def _tokenizer(folder: _Folder) -> Any:
    found = _loaded(_transformers().AutoTokenizer, folder)
    folder.sentences.lower(found.backend_tokenizer)
    return found


def _loaded(maker: Any, folder: _Folder, **more: Any) -> Any:
    """What transformers makes of the folder, alone with it."""
    try:
        with _offline(), contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            return maker.from_pretrained(folder.path, trust_remote_code=False, local_files_only=True, **more)
    except LabError:
        raise
    except Exception as problem:  # noqa: BLE001  # of a folder that somebody else wrote, it may raise anything
        _damaged(folder, problem)


def _damaged(folder: _Folder, problem: Exception) -> NoReturn:
    first = str(problem).strip().partition("\n")[0]
    raise Failed(
        f"{folder.path.name} cannot be read: {first[:300]}", "take the folder again from where it came from, all of it"
    ) from problem


def _transformers() -> Any:
    try:
        with _offline():
            import transformers
    except ImportError:
        raise Missing(
            "a Hugging Face folder needs the package transformers, which is not installed",
            "pip install 'aiinfra-lab[hugging-face]'",
        ) from None
    return transformers


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Nothing is asked of a network meanwhile; what the user does there before and afterwards stays possible."""
    before = {name: os.environ.get(name) for name in _OFFLINE}
    os.environ.update(dict.fromkeys(_OFFLINE, "1"))
    try:
        from huggingface_hub import constants

        # Read from the environment once, when it is imported.
        was, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = was if before[_OFFLINE[0]] else False
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
