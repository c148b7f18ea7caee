"""What sentence-transformers runs around the network of a folder: how texts are read, and what is made of its vectors.

`modules.json` names the modules in their order. Those that are known are built here of JSON and safetensors; another
one, or a setting that is not done here, is refused by its name: left out, it would give other vectors.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ...errors import Damaged, Failed, UsageProblem

CONFIG, MODULES, WEIGHTS = "config.json", "modules.json", "model.safetensors"
PROMPTS = "config_sentence_transformers.json"
_AGAIN = "take the folder again from where it came from, all of it"
_EXPORT = "export it to ONNX with all its modules, and add that file"
# In the order in which several are put together. The older form has a switch for each.
_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_USUAL = "mean"
# Those that are a function of nothing but their input, by the names under which their classes are found.
_ACTIVATIONS = {
    f"torch.nn.modules.{module}.{name}": name
    for module, names in {
        "linear": ("Identity",),
        "activation": (
            *("ELU", "GELU", "Hardtanh", "LeakyReLU", "Mish", "ReLU", "ReLU6", "SELU", "SiLU"),
            *("Sigmoid", "Softplus", "Softsign", "Tanh"),
        ),
    }.items()
    for name in names
}
_ANY, _OF_SENTENCE = None, ("sentence_embedding",)
# By module, what it may be set to, so that it is what is built here.
_DONE: Mapping[str, Mapping[str, Sequence[Any] | None]] = {
    "Transformer": {
        "max_seq_length": _ANY,
        "do_lower_case": _ANY,
        "transformer_task": ("feature-extraction", "sequence-classification"),
        "modality_config": _ANY,
        "module_output_name": ("token_embeddings", "scores"),
    },
    "Pooling": {
        **dict.fromkeys(("word_embedding_dimension", "embedding_dimension", "pooling_mode", *_POOLINGS), _ANY),
        "include_prompt": _ANY,  # of a text without a prompt it says nothing
    },
    "Dense": {
        **dict.fromkeys(("in_features", "out_features", "bias"), _ANY),
        "activation_function": (*_ACTIVATIONS,),
        "module_input_name": _OF_SENTENCE,
        "module_output_name": _OF_SENTENCE,
    },
    "Dropout": {"dropout": _ANY},
    "LayerNorm": {"dimension": _ANY},
    "Normalize": {"module_input_name": _OF_SENTENCE, "module_output_name": _OF_SENTENCE},
}
_FIRST, _WITH_WEIGHTS = ("Transformer", "Pooling"), ("Dense", "LayerNorm")


@dataclass(frozen=True)
class _Module:
    kind: str
    folder: Path
    config: Mapping[str, Any]


@dataclass(frozen=True)
class SentenceModules:
    """most_tokens: where texts are cut, if the folder says so. is_lowercase: whether they are read so.

    poolings: how the tokens' vectors become a text's, one behind the other, as far as the folder says it. layers:
    what follows. most_numbers: so many of a vector are kept, if the folder says so.
    """

    most_tokens: int | None = None
    is_lowercase: bool = False
    poolings: tuple[str, ...] = ()
    layers: tuple[_Module, ...] = ()
    most_numbers: int | None = None

    def lower(self, tokenizer: Any) -> None:
        """Have a tokenizer of tokenizers read texts as the folder says."""
        from tokenizers import normalizers

        known = tokenizer.normalizer
        several: Any = normalizers.Sequence  # its stubs do not know that it can be iterated over
        parts = [*known] if isinstance(known, several) else [] if known is None else [known]
        if self.is_lowercase and not any(isinstance(part, normalizers.Lowercase) for part in parts):
            tokenizer.normalizer = several([normalizers.Lowercase(), *parts])

    def network(self) -> Any:
        """A module that makes a text's vector of those of its tokens and their mask."""
        import torch

        poolings, most = self.poolings or (_USUAL,), self.most_numbers
        layers = torch.nn.Sequential(*map(_built, self.layers))

        class Pooling(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layers = layers

            def forward(self, vectors: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
                pooled = torch.cat([_pooled(name, vectors, mask) for name in poolings], 1)
                answer: torch.Tensor = self.layers(pooled)[:, :most]
                return answer

        return Pooling().eval()


def read(path: Path) -> SentenceModules:
    """What a folder says. UsageProblem for what is not done here; Failed or Damaged where something of it lacks."""
    if not (path / MODULES).is_file():
        if lost := sorted(folder.name for folder in path.glob("*_Pooling")):
            raise Failed(f"{path.name} has {lost[0]}, and no {MODULES}, which says what becomes of it", _AGAIN)
        return SentenceModules()
    modules = [_read(path, item) for item in read_json(path / MODULES, [])]
    for place, module in enumerate(modules):
        if module.kind not in (_FIRST[place : place + 1] or _DONE.keys() - {*_FIRST}):
            what = f"{MODULES} of {path.name} has {module.kind} as module {place}"
            raise UsageProblem(f"{what}, and this reads Transformer, Pooling and what follows these", _EXPORT)
        _refuse_setting(module)
    if not modules:
        raise Damaged(f"{MODULES} of {path.name} names no module", _AGAIN)
    texts, general = modules[0].config, read_json(path / PROMPTS, {})
    _refuse_prompt(path, general)
    return SentenceModules(
        texts.get("max_seq_length"),
        bool(texts.get("do_lower_case")),
        _poolings(modules[1].config) if len(modules) > 1 else (),
        tuple(module for module in modules[2:] if module.kind != "Dropout"),
        general.get("truncate_dim"),
    )


def read_json(path: Path, default: Any = None) -> Any:
    """An object, or whatever the default is one of, which is what a file says that is not there."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        if default is None:
            raise Failed(f"there is no {path.name} in {path.parent}", "give the folder that has one") from None
        return default
    except ValueError as problem:
        raise Damaged(f"{path.name} is no JSON: {problem}", "take the folder again from where it came from") from None
    if not isinstance(found, dict if default is None else type(default)):
        raise Damaged(f"{path.name} holds no object", "take the folder again from where it came from")
    return found


def _read(path: Path, item: Any) -> _Module:
    name = str(item.get("type", "")) if isinstance(item, Mapping) else ""
    kind = name.rpartition(".")[2]
    if not name.startswith("sentence_transformers.") or kind not in _DONE:
        raise UsageProblem(f"{path.name} has the module {name or item!r}, which is not done here", _EXPORT)
    below = PurePosixPath(str(item.get("path") or ""))
    if below.is_absolute() or ".." in below.parts or (kind == "Transformer" and below.parts):
        raise UsageProblem(
            f"{path.name} has its {kind} in {below}", f"save it again by sentence-transformers; or {_EXPORT}"
        )
    file = path / below / CONFIG
    if kind == "Transformer":
        # Named after the kind of network, which it is no more.
        file = next(iter(sorted(path.glob("sentence_*_config.json"))), path / "sentence_bert_config.json")
    elif kind == "Pooling" and not file.is_file():
        raise Failed(f"{path.name} has no {below}/{CONFIG}, which says how it pools", _AGAIN)
    module = _Module(kind, file.parent, read_json(file, {}))
    if kind in _WITH_WEIGHTS:
        _refuse_pickle(module)
    return module


def _refuse_pickle(module: _Module) -> None:
    wanted, pickle = module.folder / WEIGHTS, module.folder / "pytorch_model.bin"
    if wanted.is_file():
        return
    if not pickle.is_file():
        raise Failed(f"{module.folder.name} has no {WEIGHTS}", _AGAIN)
    line = (
        "import torch; from safetensors.torch import save_file; "
        f"save_file(torch.load({str(pickle)!r}, weights_only=True), {str(wanted)!r})"
    )
    raise UsageProblem(
        f"{module.folder.name}/{pickle.name} is a pickle, which may run code",
        f'where you trust it, write {WEIGHTS}: `python -c "{line}"`',
    )


def _refuse_setting(module: _Module) -> None:
    done = _DONE[module.kind]
    for name, value in module.config.items():
        allowed = done.get(name, ())
        if value and allowed is not _ANY and value not in allowed:
            raise UsageProblem(f"its {module.kind} has {name} = {json.dumps(value)}, which is not done here", _EXPORT)
    text = (module.config.get("modality_config") or {}).get("text", {})
    if text and (text.get("method"), text.get("method_output_name")) not in (
        ("forward", "last_hidden_state"),
        ("forward", "logits"),
    ):
        raise UsageProblem(f"its {module.kind} gives {json.dumps(text)} of texts, which is not done here", _EXPORT)


def _refuse_prompt(path: Path, general: Mapping[str, Any]) -> None:
    if prompt := (general.get("prompts") or {}).get(general.get("default_prompt_name")):
        raise UsageProblem(
            f"{path.name} puts {prompt!r} before every text (default_prompt_name)",
            f"make default_prompt_name null in {path / PROMPTS}, and write the prompt before each text that is asked",
        )


def _poolings(config: Mapping[str, Any]) -> tuple[str, ...]:
    given = config.get("pooling_mode") or [name for switch, name in _POOLINGS.items() if config.get(switch)]
    found = (given,) if isinstance(given, str) else tuple(given or (_USUAL,))
    if unknown := [name for name in found if name not in _POOLINGS.values()]:
        raise UsageProblem(f"its Pooling has pooling_mode = {json.dumps(unknown[0])}, which is not done here", _EXPORT)
    return found


def _pooled(name: str, vectors: Any, mask: Any) -> Any:
    """Of vectors with nothing but padding behind them. A text without tokens has zeros."""
    import torch

    there = mask.unsqueeze(2).to(vectors.dtype)
    count = there.sum(1)
    if name == "cls":
        return vectors[:, 0]
    if name == "max":
        least = torch.finfo(vectors.dtype).min
        return vectors.masked_fill(there == 0, least).amax(1) * (count > 0)
    if name == "lasttoken":
        last = (mask.sum(1) - 1).clamp(min=0)
        return vectors.gather(1, last[:, None, None].expand(-1, 1, vectors.shape[2])).squeeze(1)
    if name == "weightedmean":
        there = there * there.cumsum(1)
        count = there.sum(1)
    total = (vectors * there).sum(1)
    return total / (count.sqrt() if name == "mean_sqrt_len_tokens" else count).clamp(min=1)


def _built(module: _Module) -> Any:
    import torch

    if module.kind == "Normalize":

        class Normalize(torch.nn.Module):
            def forward(self, vectors: torch.Tensor) -> torch.Tensor:
                return torch.nn.functional.normalize(vectors, dim=1)

        return Normalize()
    from safetensors.torch import load_file

    config = module.config
    try:
        if module.kind == "Dense":
            activation = _ACTIVATIONS.get(config.get("activation_function") or "", "Tanh")
            linear = torch.nn.Linear(config["in_features"], config["out_features"], bias=bool(config.get("bias", True)))
            made = torch.nn.Sequential(OrderedDict(linear=linear, activation=getattr(torch.nn, activation)()))
        else:
            made = torch.nn.Sequential(OrderedDict(norm=torch.nn.LayerNorm(config["dimension"])))
        made.load_state_dict(load_file(module.folder / WEIGHTS))
    except Exception as problem:  # of files that somebody else wrote, it may raise anything
        reason = " ".join(str(problem).split())[:300]
        raise Failed(f"{module.folder.name} cannot be read: {reason}", _AGAIN) from problem
    return made
