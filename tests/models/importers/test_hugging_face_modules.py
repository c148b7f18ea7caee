"""Folders of sentence-transformers: what is served is what they say, computed here from its documentation alone."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from aiinfra_lab import models
from aiinfra_lab.errors import Damaged, Failed, UsageProblem
from aiinfra_lab.models.importers import hugging_face
from aiinfra_lab.train.saved_model import SavedModel

from .test_hugging_face import TEXTS, edit, follow, make

MODES = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
# Of the vectors of one text's tokens, as the documentation of sentence-transformers says each.
POOLED = {
    "cls": lambda found: found[0],
    "max": lambda found: found.max(0),
    "mean": lambda found: found.mean(0),
    "mean_sqrt_len_tokens": lambda found: found.sum(0) / math.sqrt(len(found)),
    "weightedmean": lambda found: np.average(found, axis=0, weights=np.arange(1, len(found) + 1)),
    "lasttoken": lambda found: found[-1],
}
# Each exports a network, which takes five seconds of a core; those without it show that folders are read at all.
EXPORTED = pytest.mark.slow
SHORT = ("late", "no crew for the flight", "rain and snow tonight, and fog")


def write(folder, *modules, texts=None, **pooling):
    """The files of sentence-transformers beside a network. modules: pairs of a type and its config, or a type."""
    listed = [("Transformer", {}), ("Pooling", {"word_embedding_dimension": 16, **pooling}), *modules]
    (folder / "sentence_bert_config.json").write_text(json.dumps(texts or {}))
    for place, (kind, config) in enumerate(listed):
        path = folder / (f"{place}_{kind}" if place else "")
        path.mkdir(exist_ok=True)
        if place:
            (path / "config.json").write_text(json.dumps(config))
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {"idx": at, "name": str(at), "path": f"{at}_{kind}" if at else "",
                 "type": kind if "." in kind else f"sentence_transformers.models.{kind}"}
                for at, (kind, _) in enumerate(listed)
            ]
        )
    )  # fmt: skip
    return folder


def older(*modes):
    return {switch: mode in modes for mode, switch in MODES.items()}


def vectors(folder, text, most=40):
    """Of a text's tokens, as transformers gives them."""
    import transformers

    tokens = transformers.AutoTokenizer.from_pretrained(folder)(
        text, truncation=True, max_length=most, return_tensors="pt"
    )
    with torch.no_grad():
        model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager")
        return model(tokens["input_ids"], tokens["attention_mask"]).last_hidden_state[0].numpy()


def served(folder, into, texts=SHORT):
    hugging_face.to_onnx(folder, into, TEXTS)
    saved = SavedModel(into)
    assert saved.signature.task.name == "embedding"
    return np.array([row["embedding"] for row in saved.answers([{"text": text} for text in texts])])


@pytest.fixture
def folder(tmp_path):
    found = make(tmp_path / "encoder", head="Model")
    # Such folders mostly have none of the layers that are not needed for it.
    weights = load_file(found / "model.safetensors")
    kept = {name: values for name, values in weights.items() if not name.startswith("pooler.")}
    save_file(kept, found / "model.safetensors", {"format": "pt"})
    return found


def test_a_folder_of_transformers_alone_is_pooled_by_the_mean(folder, tmp_path):
    found = served(folder, tmp_path / "model")
    assert np.allclose(found, [POOLED["mean"](vectors(folder, text)) for text in SHORT], atol=1e-5)


@pytest.mark.parametrize("is_older", [pytest.param(True, marks=EXPORTED), False])
def test_each_pooling_is_its_own_and_several_lie_behind_each_other(folder, tmp_path, is_older):
    modes = [*MODES] if is_older else ["lasttoken", "max"]
    said = older(*reversed(modes)) if is_older else {"pooling_mode": modes}
    found = served(write(folder, **said), tmp_path / "model").reshape(len(SHORT), len(modes), -1)
    for text, given in zip(SHORT, found, strict=True):
        wanted = [POOLED[mode](vectors(folder, text)) for mode in modes]
        assert np.allclose(given, wanted, atol=1e-5)
    assert all(np.abs(one - other).max() > 0.01 for one, other in itertools.combinations(found[1], 2))


@EXPORTED
@pytest.mark.parametrize(
    ("activation", "function", "is_normal_first"),
    [("activation.Tanh", np.tanh, False), ("linear.Identity", lambda found: found, True)],
)
def test_a_dense_layer_and_a_length_of_one_are_done_in_their_order(
    folder, tmp_path, activation, function, is_normal_first
):
    dense = {
        "in_features": 16,
        "out_features": 4,
        "bias": True,
        "activation_function": f"torch.nn.modules.{activation}",
    }
    behind = [("Dense", dense), ("Normalize", {})]
    write(folder, *(reversed(behind) if is_normal_first else behind), **older("mean"))
    torch.manual_seed(1)
    weights = {"linear.weight": torch.randn(4, 16), "linear.bias": torch.randn(4)}
    save_file(weights, folder / f"{3 if is_normal_first else 2}_Dense" / "model.safetensors")
    found = served(folder, tmp_path / "model")

    def meant(pooled):
        if is_normal_first:
            pooled = pooled / np.linalg.norm(pooled)
        given = function(weights["linear.weight"].numpy() @ pooled + weights["linear.bias"].numpy())
        return given if is_normal_first else given / np.linalg.norm(given)

    assert np.allclose(found, [meant(vectors(folder, text).mean(0)) for text in SHORT], atol=1e-5)


@EXPORTED
def test_a_layer_norm_and_fewer_numbers(folder, tmp_path):
    write(folder, ("Dropout", {"dropout": 0.5}), ("LayerNorm", {"dimension": 16}), **older("mean"))
    weights = {"norm.weight": torch.rand(16), "norm.bias": torch.rand(16)}
    save_file(weights, folder / "3_LayerNorm" / "model.safetensors")
    edit(folder / "config_sentence_transformers.json", truncate_dim=5)
    found = served(folder, tmp_path / "model")

    def meant(pooled):
        even = (pooled - pooled.mean()) / np.sqrt(pooled.var() + 1e-5)
        return (even * weights["norm.weight"].numpy() + weights["norm.bias"].numpy())[:5]

    assert np.allclose(found, [meant(vectors(folder, text).mean(0)) for text in SHORT], atol=1e-5)


@EXPORTED
def test_texts_are_read_in_lower_case_and_cut_as_the_folder_says(folder, tmp_path):
    write(folder, texts={"max_seq_length": 7, "do_lower_case": True}, **older("mean"))
    edit(folder / "tokenizer_config.json", model_max_length=5)
    texts = ("NO Crew", "The flight is LATE " * 9)
    found = served(folder, tmp_path / "model", texts)
    assert np.allclose(found, [vectors(folder, text.lower(), 7).mean(0) for text in texts], atol=1e-5)


@EXPORTED
def test_texts_are_cut_on_the_side_that_the_tokenizer_says(folder, tmp_path):
    write(folder, texts={"max_seq_length": 7}, **older("mean"))
    edit(folder / "tokenizer_config.json", truncation_side="left")
    text = "rain and snow tonight, and fog, no crew for the flight"
    assert np.allclose(served(folder, tmp_path / "model", [text]), [vectors(folder, text, 7).mean(0)], atol=1e-5)


@EXPORTED
def test_a_classifiers_network_with_a_pooling_gives_vectors(tmp_path):
    folder = write(make(tmp_path / "tuned", num_labels=3), **older("max"))
    found = served(folder, tmp_path / "model")
    assert np.allclose(found, [vectors(folder, text).max(0) for text in SHORT], atol=1e-5)


def test_a_version_is_what_its_folder_says(folder, workspace):
    made = models.add("sentences", from_=write(folder, **older("lasttoken")))
    [found] = made.answers([{"text": "no crew"}])
    assert np.allclose(found["embedding"], vectors(folder, "no crew")[-1], atol=1e-5)
    assert models.check(made).state == "good"


def test_sentence_transformers_itself_gives_the_same(folder, tmp_path):
    library = pytest.importorskip("sentence_transformers")
    dense = {
        "in_features": 96,
        "out_features": 8,
        "bias": False,
        "activation_function": "torch.nn.modules.activation.GELU",
    }
    texts = {"max_seq_length": 7, "do_lower_case": True}
    write(folder, ("Dense", dense), ("Normalize", {}), texts=texts, **older(*MODES))
    save_file({"linear.weight": torch.randn(8, 96)}, folder / "2_Dense" / "model.safetensors")
    asked = [*SHORT, "The flight is LATE " * 9]
    wanted = library.SentenceTransformer(str(folder), device="cpu").encode(asked)
    assert np.allclose(served(folder, tmp_path / "model", asked), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("modules", "pooling", "what"),
    [
        ([("WeightedLayerPooling", {})], {}, "WeightedLayerPooling"),
        ([("mine.Layer", {})], {}, r"mine\.Layer"),
        ([("Pooling", {})], {}, "Pooling as module 2"),
        ([], {"pooling_mode": "median"}, 'pooling_mode = "median"'),
        ([("Normalize", {"module_input_name": "token_embeddings"})], {}, 'module_input_name = "token_embeddings"'),
        ([("Dense", {"activation_function": "mine.Steps"})], {}, r'activation_function = "mine\.Steps"'),
        ([("Dense", {"use_residual": True})], {}, "use_residual = true"),
    ],
)
def test_what_is_not_done_is_refused_by_its_name(folder, tmp_path, modules, pooling, what):
    write(folder, *modules, **pooling)
    for path in folder.glob("2_Dense"):
        save_file({}, path / "model.safetensors")
    with pytest.raises(UsageProblem, match=rf"{what}.*\n.*export it to ONNX"):
        hugging_face.to_onnx(folder, tmp_path / "model")


@EXPORTED
def test_a_prompt_before_every_text_is_refused_and_the_way_out_works(folder, tmp_path):
    write(folder, **older("mean"))
    file = folder / "config_sentence_transformers.json"
    edit(file, prompts={"query": "find: "}, default_prompt_name="query")
    with pytest.raises(UsageProblem, match=r"'find: ' before every text .*\n.*make default_prompt_name null"):
        hugging_face.to_onnx(folder, tmp_path / "model")
    edit(file, default_prompt_name=None)
    assert served(folder, tmp_path / "model").shape == (3, 16)


@EXPORTED
def test_pickled_weights_of_a_layer_are_refused_and_the_line_that_converts_them_works(folder, tmp_path):
    write(folder, ("Dense", {"in_features": 16, "out_features": 4}), **older("mean"))
    torch.save({"linear.weight": torch.ones(4, 16), "linear.bias": torch.zeros(4)},
               folder / "2_Dense" / "pytorch_model.bin")  # fmt: skip
    with pytest.raises(UsageProblem, match=r"2_Dense/pytorch_model\.bin is a pickle") as problem:
        hugging_face.to_onnx(folder, tmp_path / "model")
    follow(problem.value.fix)
    # Where nothing is said, it is the tangent that follows.
    wanted = [np.tanh([vectors(folder, text).mean(0).sum()] * 4) for text in SHORT]
    assert np.allclose(served(folder, tmp_path / "model"), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("lost", "what"),
    [
        ("modules.json", r"has 1_Pooling, and no modules\.json"),
        ("1_Pooling/config.json", r"has no 1_Pooling/config\.json"),
        ("2_LayerNorm/model.safetensors", r"2_LayerNorm has no model\.safetensors"),
    ],
)
def test_a_file_that_lacks_is_named(folder, tmp_path, lost, what):
    write(folder, ("LayerNorm", {"dimension": 16}), **older("mean"))
    save_file({"norm.weight": torch.ones(16), "norm.bias": torch.ones(16)}, folder / "2_LayerNorm/model.safetensors")
    (folder / lost).unlink()
    with pytest.raises(Failed, match=what):
        hugging_face.to_onnx(folder, tmp_path / "model")


def test_weights_that_do_not_fit_are_not_drawn_at_random(folder, tmp_path):
    write(folder, ("LayerNorm", {"dimension": 16}), **older("mean"))
    save_file({"norm.weight": torch.ones(16)}, folder / "2_LayerNorm/model.safetensors")
    with pytest.raises(Failed, match=r"2_LayerNorm cannot be read: .*norm\.bias"):
        hugging_face.to_onnx(folder, tmp_path / "model")


@pytest.mark.parametrize(
    ("modules", "problem", "what"),
    [
        ([], Damaged, "names no module"),
        ([{"type": "sentence_transformers.models.Transformer", "path": ""}], UsageProblem, "names no Pooling"),
        ([{"type": "sentence_transformers.models.Pooling", "path": "../of/another"}], UsageProblem, "in ../of/another"),
        (["Pooling"], UsageProblem, "the module 'Pooling'"),
    ],
)
def test_modules_that_say_nothing_of_a_text_are_refused(folder, tmp_path, modules, problem, what):
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(problem, match=what):
        hugging_face.to_onnx(folder, tmp_path / "model")
