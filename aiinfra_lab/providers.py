"""The one table of providers: noun → name → class, extra and what it is. Others enter by the entry point group
`aiinfra_lab.providers` (name `NOUN.NAME`, value `module:Class`), through the same door as our own."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

from .errors import Missing, NotFound, did_you_mean

GROUP = "aiinfra_lab.providers"


@dataclass(frozen=True, slots=True)
class Provider:
    """Where a provider's class is, what must be installed for it, and what it is in one line."""

    target: str
    extra: str
    needs: str
    what: str


TABLE: dict[str, dict[str, Provider]] = {
    "data": {
        "dvc": Provider("aiinfra_lab.data.dvc:Dvc", "", "dvc", "versions in DVC's own cache"),
    },
    "deploy": {
        "local": Provider("aiinfra_lab.deploy.local:Local", "", "onnxruntime", "our server on this machine"),
    },
    "features": {
        "feast": Provider("aiinfra_lab.features.feast:Feast", "", "feast", "Feast, local files and SQLite"),
    },
    "gpu": {
        "local": Provider("aiinfra_lab.gpu.local:Local", "", "ipykernel", "this machine"),
    },
    "models": {
        "mlflow": Provider("aiinfra_lab.models.mlflow:Registry", "", "mlflow", "MLflow's registry on SQLite"),
    },
    "recipe": {
        "local": Provider("aiinfra_lab.recipe.local:Local", "", "papermill", "papermill on this machine"),
    },
    "train": {
        "mlflow": Provider("aiinfra_lab.train.mlflow:Tracking", "", "mlflow", "MLflow tracking on SQLite"),
    },
}


def names(noun: str) -> list[str]:
    """The names of a noun's providers, third parties' included."""
    return sorted({*TABLE.get(noun, {}), *_foreign(noun)})


def foreign() -> dict[str, str]:
    """`NOUN.NAME` → the package that brings that provider, for all that are not ours."""
    return {point.name: point.dist.name if point.dist else point.module for point in _entry_points()}


def load(noun: str, name: str) -> Any:
    """The provider's class, imported now. NotFound for an unknown name, Missing when what it needs is not installed."""
    own = TABLE.get(noun, {}).get(name)
    target = own.target if own else _foreign(noun).get(name)
    if target is None:
        raise NotFound(f"{noun} has no provider {name!r}", did_you_mean(name, names(noun)))
    if own and not importable(own):
        extra = f"aiinfra-lab[{own.extra}]" if own.extra else own.needs
        raise Missing(f"{noun} on {name} needs {own.needs}, which is not installed", f"pip install '{extra}'")
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def importable(provider: Provider) -> bool:
    """Whether what the provider needs is installed; looks without importing it."""
    return not provider.needs or importlib.util.find_spec(provider.needs) is not None


def _foreign(noun: str) -> dict[str, str]:
    found = {point.name: point.value for point in _entry_points()}
    return {name.partition(".")[2]: value for name, value in found.items() if name.startswith(noun + ".")}


def _entry_points() -> Any:
    from importlib.metadata import entry_points  # reads every installed package's metadata

    return entry_points(group=GROUP)
