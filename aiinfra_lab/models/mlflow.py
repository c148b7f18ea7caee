"""Model versions in MLflow's registry: as ONNX, and as a function that answers rows as an endpoint does; no pickle."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..config import Settings
from ..errors import Failed, NotFound, UsageProblem
from ..leftovers import temporary
from ..modes import owner_only
from ..train.inputs import ArrayInputs
from ..train.mlflow import client, own_run
from ..train.saved_model import ONNX, SavedModel
from ..train.signature import FILE, Tensor, probabilities
from ..uris import Uri
from . import pyfunc
from .base import Entry

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

_URI = "lab.uri"
# MLflow's own URIs, which are none of ours.
_OF_RUN = re.compile(r"runs:/+([^/]+)/(.+)")
_OF_MODEL = re.compile(r"models:/+([^/@]+)(?:/(\d+)|@([^/]+))")


class Registry:
    """MLflow's model registry. See `ModelRegistry` for the contract."""

    def __init__(self, where: Settings) -> None:
        pass

    def register(self, entry: Entry) -> str:
        name = Uri.parse(entry.uri).name
        with client() as mlflow:
            _ensure(mlflow, name)
            if known := _version(mlflow, entry.uri):
                return known
            # Before anything is uploaded: for a run that MLflow does not know this raises NotFound.
            run = mlflow.get_run(entry.tracked_as) if entry.tracked_as else own_run(mlflow, name, entry.uri)
            run_id = run.info.run_id
            # With the run's artifacts: MLflow's own page then shows the model where it shows the run.
            target = f"models/{Uri.parse(entry.uri).label}"
            with temporary() as folder, owner_only():
                _write(entry.folder, folder / "model")
                mlflow.log_artifacts(run_id, str(folder / "model"), target)
            made = mlflow.create_model_version(
                name,
                f"{run.info.artifact_uri}/{target}",
                run_id,
                tags={**entry.tags, _URI: entry.uri},
                description=entry.note or None,
            )
            return str(made.version)

    def alias(self, name: str, alias: str, uri: str | None) -> None:
        with client() as mlflow:
            # MLflow is silent about an alias that it does not have.
            if uri is None:
                mlflow.delete_registered_model_alias(name, alias)
                return
            version = _version(mlflow, uri)
            if version is None:
                raise NotFound(f"MLflow's registry has no {uri}", "`%lab start` sends it")
            mlflow.set_registered_model_alias(name, alias, version)

    def aliases(self, name: str) -> Mapping[str, str]:
        try:
            with client() as mlflow:
                known = mlflow.get_registered_model(name).aliases
                return {alias: _uri(mlflow, name, version) for alias, version in known.items()}
        except NotFound:
            return {}

    def versions(self, name: str) -> set[str]:
        with client() as mlflow:
            return {found.tags[_URI] for found in _search(mlflow, name) if _URI in found.tags}

    def remove(self, uri: str) -> None:
        with client() as mlflow:
            if version := _version(mlflow, uri):
                mlflow.delete_model_version(Uri.parse(uri).name, version)


def fetched(uri: str, folder: Path) -> Path:
    """The folder of a model that MLflow has, `models:/NAME/VERSION`, `models:/NAME@ALIAS` or `runs:/ID/PATH`, brought
    into that one. NotFound where it has none.
    """
    with client() as mlflow:
        run_id, path = _place(mlflow, uri)
        if run_id:
            return Path(mlflow.download_artifacts(run_id, path, str(folder)))
        from mlflow import artifacts

        return Path(artifacts.download_artifacts(artifact_uri=path, dst_path=str(folder)))


def flavours_of(folder: Path) -> Mapping[str, Any]:
    """What MLflow's description of a model says of each library that can read it. Failed when it is none."""
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    try:
        return dict(Model.load(str(folder)).flavors)
    except (MlflowException, TypeError, ValueError, AttributeError) as problem:
        raise Failed(f"{folder} is no model of MLflow: {problem}", "log the model again") from None


def _place(mlflow: Any, uri: str) -> tuple[str, str]:
    """The run and the path in it; no run, and a place of artifacts, for a version of a registered model."""
    if of_run := _OF_RUN.fullmatch(uri):
        return of_run[1], of_run[2]
    if not (of_model := _OF_MODEL.fullmatch(uri)):
        raise UsageProblem(
            f"{uri} is no model of MLflow", "write models:/NAME/VERSION, models:/NAME@ALIAS or runs:/RUN/PATH"
        )
    name, version, alias = of_model.groups()
    version = version or mlflow.get_model_version_by_alias(name, alias).version
    return "", str(mlflow.get_model_version_download_uri(name, version))


def _ensure(mlflow: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        # Tried rather than asked for first: another process may make it in between.
        mlflow.create_registered_model(name)
    except MlflowException as problem:
        if problem.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _search(mlflow: Any, name: str) -> list[Any]:
    # Our names have no quotes, so that the filter needs no escaping.
    return list(mlflow.search_model_versions(f"name = '{name}'"))


def _version(mlflow: Any, uri: str) -> str | None:
    # MLflow numbers by itself, and after a removal or a repair its numbers are not ours: the tag decides.
    found = _search(mlflow, Uri.parse(uri).name)
    return next((str(item.version) for item in found if item.tags.get(_URI) == uri), None)


def _uri(mlflow: Any, name: str, version: str) -> str:
    """Our name of an MLflow version; MLflow's own when somebody else registered it."""
    return str(mlflow.get_model_version(name, version).tags.get(_URI, f"MLflow's {name} version {version}"))


def _write(source: Path, target: Path) -> None:
    """The version as an MLflow model, which answers there as an endpoint does: its files, what a row and an answer are,
    and the example.
    """
    import mlflow.onnx
    import onnx
    from mlflow.models import Model
    from mlflow.models.model import MLMODEL_FILE_NAME

    saved = SavedModel(source)
    mlflow.onnx.save_model(
        # In place of ours, which is copied below: a large one would be in memory twice, and bytes of its own.
        onnx.ModelProto(),
        str(target),
        signature=_signature(saved),
        input_example=_example(saved),
        # Named here, since MLflow would otherwise start a process that guesses them, and CUDA is no given.
        pip_requirements=_requirements(source),
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )
    made = Model.load(str(target))
    # MLflow's own would take the network's arrays, and a text as tokens. It is the whole folder that ours reads.
    made.flavors["python_function"]["loader_module"] = pyfunc.__name__
    del made.flavors["python_function"]["data"]
    made.save(str(target / MLMODEL_FILE_NAME))
    (target / FILE).write_text(saved.signature.to_json(), "utf-8")
    for file in (source / ONNX, *source.glob("*.data"), *(source / name for name in saved.row_files)):
        shutil.copyfile(file, target / file.name)


def _requirements(source: Path) -> list[str]:
    """What `python_function` needs, as it was where the model was made."""
    needed = ("msgspec", "numpy", "onnxruntime", "pandas", "tokenizers")
    lines = (source / "environment.txt").read_text("utf-8").splitlines()
    return [f"aiinfra-lab=={__version__}", *(line for line in lines if line.partition("==")[0] in needed)]


def _signature(saved: SavedModel) -> ModelSignature:
    """The signature of rows and answers as an endpoint has them.

    A number is of any type there: MLflow would refuse a column of whole numbers where it is told `double`, and our
    contract says better what is wrong with a row. So is a category where some of its values look like numbers or truth
    values, which a table may hold as such.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import Schema

    return ModelSignature(_taken(saved), Schema([*_answered(saved)]))


def _example(saved: SavedModel) -> Any:
    """The saved example, as MLflow's pages show how to ask the model."""
    import numpy as np
    import pandas as pd

    rows = saved.example.rows
    if not (tensors := _tensors(saved)):
        return pd.DataFrame(rows)
    return {item.name: np.array([row[item.name] for row in rows], item.dtype) for item in tensors}


def _taken(saved: SavedModel) -> Schema:
    import numpy as np
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec
    from mlflow.types.schema import AnyType

    if tensors := _tensors(saved):
        return Schema([TensorSpec(np.dtype(item.dtype), item.shape, item.name) for item in tensors])
    if saved.is_of_table:
        texts = {item.name for item in saved.columns.categories if not any(map(_is_odd, item.categories))}
        optional = {item.name for item in saved.columns if not item.required}
    else:
        texts = {item.name for item in saved.signature.inputs if item.is_text and item.is_scalar}
        optional = set()
    anything = AnyType()  # type: ignore[no-untyped-call]
    return Schema(
        [
            ColSpec(DataType.string if name in texts else anything, name, required=name not in optional)
            for name in saved.rows.names
        ]
    )


def _tensors(saved: SavedModel) -> list[Tensor]:
    """The arrays that it takes, where all of its inputs are some of one size; MLflow mixes them with nothing else."""
    inputs = saved.rows
    if not isinstance(inputs, ArrayInputs) or saved.encoders:
        return []
    are_alike = all(size >= 0 for item in inputs.asked for size in item.row_shape)
    return [*inputs.asked] if are_alike else []


def _is_odd(category: str) -> bool:
    return category in ("true", "false") or category.lstrip("-").isdecimal()


def _answered(saved: SavedModel) -> Iterator[ColSpec]:
    from mlflow.types import ColSpec, DataType
    from mlflow.types.schema import Array, Map

    for item in saved.signature.outputs:
        if saved.signature.has_labels(item):
            yield ColSpec(DataType.string, item.name)
            yield ColSpec(Map(DataType.double), probabilities(item.name))
            continue
        kind: Any = _type(item)
        for _ in item.row_shape:
            kind = Array(kind)
        yield ColSpec(kind, item.name)


def _type(item: Tensor) -> DataType:
    import numpy as np
    from mlflow.types import DataType

    kind = np.dtype(item.dtype).kind
    return {"f": DataType.double, "b": DataType.boolean, "O": DataType.string}.get(kind, DataType.long)
