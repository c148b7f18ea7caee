"""Every shipped suite as a stranger runs it: copied beside the provider template, away from this repository's tests.

Each provider is the one that a verb gets, with the guard around it that is around every stranger's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import far_target
import ledger
import memory_store
import numpy as np
import onnx
import price_list
import pytest
import remote_data
from numpy.typing import NDArray
from onnx import TensorProto, helper

from aiinfra_lab import files, providers
from aiinfra_lab.alerts import Sink
from aiinfra_lab.config import Settings, settings
from aiinfra_lab.cost.base import PricesSource
from aiinfra_lab.data.base import Source, VersionStore
from aiinfra_lab.deploy.base import Exporter, Target, artifact
from aiinfra_lab.drift.base import SampleReport
from aiinfra_lab.features.base import OnlineStore
from aiinfra_lab.gpu import Machines
from aiinfra_lab.models.base import Importer, ModelRegistry
from aiinfra_lab.recipe.base import Executor
from aiinfra_lab.store import Store
from aiinfra_lab.testing.alerts import SinkContract
from aiinfra_lab.testing.artifacts import model_version
from aiinfra_lab.testing.cost import PricesSourceContract
from aiinfra_lab.testing.data import RepairingContract, SourceContract, VersionStoreContract, WorkingCopiesContract
from aiinfra_lab.testing.deploy import (
    DeployTargetContract,
    ExporterContract,
    PacedTargetContract,
    PredictionLogContract,
    ReportingContract,
    ServingOthersContract,
)
from aiinfra_lab.testing.drift import ReportContract
from aiinfra_lab.testing.features import OnlineStoreContract
from aiinfra_lab.testing.gpu import KernelHostContract, MachinesContract, PacedMachinesContract, RentedMachinesContract
from aiinfra_lab.testing.models import ImporterContract, RegistryContract
from aiinfra_lab.testing.recipe import ExecutorContract
from aiinfra_lab.testing.store import (
    Away,
    AwayStoreContract,
    EventIndexContract,
    HeadCopierContract,
    HeadKeeperContract,
    NameIndexContract,
    SealedContract,
    StoreContract,
)
from aiinfra_lab.testing.train import TrackerContract
from aiinfra_lab.testing.workspace import workspace
from aiinfra_lab.train.base import Tracker

__all__ = ["workspace"]


class TestMachines(MachinesContract, PacedMachinesContract):
    patience_s, lead_s = 10.0, 1.0

    @pytest.fixture
    def machines(self, make: Callable[[Settings], Machines]) -> Machines:
        return make(settings())

    @pytest.fixture
    def make(self, workspace: Path) -> Callable[[Settings], Machines]:
        return lambda where: providers.make("gpu.machines", "template", where)


class TestKernels(KernelHostContract):
    @pytest.fixture
    def machines(self, workspace: Path) -> Iterator[Machines]:
        made = providers.make("gpu.machines", "kernels")
        yield made
        for handle in made.list_owned():
            made.terminate(handle)
            self.becomes(made, handle, "ended")


class TestRented(RentedMachinesContract):
    lead_s = 3.0

    @pytest.fixture
    def machines(self, workspace: Path) -> Machines:
        return providers.make("gpu.machines", "sim")


class TestTarget(
    DeployTargetContract, ReportingContract, PredictionLogContract, ServingOthersContract, PacedTargetContract
):
    @pytest.fixture
    def target(self, workspace: Path) -> Iterator[Target]:
        yield providers.make("deploy.target", "far_counting")
        for service in far_target.CLOUD.values():
            if service.is_up:
                service.end()


class TestVersions(VersionStoreContract, WorkingCopiesContract, RepairingContract):
    @pytest.fixture
    def content(self, workspace: Path) -> VersionStore:
        return providers.make("data.versions", "copying")

    @pytest.fixture
    def damage(self, content: VersionStore) -> Callable[[str], None]:
        objects = remote_data.BUCKETS[str(settings().home)]

        def alter(text: str) -> None:
            objects.update({digest: b"x" for digest, held in objects.items() if held == text.encode()})

        return alter


class TestSink(SinkContract):
    @pytest.fixture
    def sink(self, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Sink:
        monkeypatch.setenv("AIINFRA_ALERTS_TIMEOUT_S", "1")
        return providers.make("alerts.sink", "file")

    @pytest.fixture
    def address(self) -> str:
        return "alerts.jsonl"

    @pytest.fixture
    def received(self, workspace: Path) -> Callable[[], list[str]]:
        return lambda: (workspace / "alerts.jsonl").read_text().splitlines()

    @pytest.fixture
    def refuses(self, workspace: Path) -> str:
        (workspace / "folder").mkdir()
        return "folder"

    @pytest.fixture
    def away(self, workspace: Path) -> Iterator[str]:
        held = files.take_lock(workspace / ".held.jsonl.lock")
        assert held
        with held:
            yield "held.jsonl"

    @pytest.fixture
    def no_address(self) -> str:
        return "folder/"

    @pytest.fixture
    def secrets(self) -> list[str]:
        return []


class TestPrices(PricesSourceContract):
    @pytest.fixture
    def source(self, workspace: Path) -> PricesSource:
        return providers.make("cost.prices_source", "listed")

    @pytest.fixture
    def region(self) -> str:
        return price_list.REGION


class TestSource(SourceContract):
    @pytest.fixture
    def source(self, workspace: Path) -> Source:
        return providers.make("data.source", "numbers")

    @pytest.fixture
    def location(self) -> str:
        return "3"

    @pytest.fixture
    def nowhere(self) -> str:
        return "many"


class TestReport(ReportContract):
    @pytest.fixture
    def report(self, workspace: Path) -> SampleReport:
        return providers.make("drift.report", "text")


class TestOnlineStore(OnlineStoreContract):
    @pytest.fixture
    def store(self, workspace: Path) -> OnlineStore:
        return providers.make("features.store", "cache")


@pytest.fixture
def server(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The ledger's server, for runs and for models."""
    with ledger.serving() as url:
        monkeypatch.setenv("AIINFRA_TRAIN_LEDGER_URL", url)
        yield


class TestRegistry(RegistryContract):
    @pytest.fixture
    def registry(self, server: None) -> ModelRegistry:
        return providers.make("models.registry", "ledger")


class TestExporter(ExporterContract):
    @pytest.fixture
    def exporter(self, workspace: Path) -> Exporter:
        return providers.make("deploy.exporter", "fastapi")

    @pytest.fixture
    def folder(self, workspace: Path) -> Path:
        return artifact(model_version("delay@1", 0.5))


class TestImporter(ImporterContract):
    @pytest.fixture
    def importer(self, workspace: Path) -> Importer:
        return providers.make("models.importer", "onnx")

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        sides = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 2])] for name in "xy"]
        graph = helper.make_graph([helper.make_node("Sigmoid", ["x"], ["y"])], "made", *sides)
        onnx.save(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "a.onnx"
        )
        return tmp_path / "a.onnx"

    @pytest.fixture
    def example(self) -> dict[str, object]:
        return {"example": {"x": np.eye(2, dtype=np.float32)}}

    @pytest.fixture
    def rows(self) -> list[dict[str, object]]:
        return [{"x": [0.0, 2.0]}, {"x": [-1.0, 0.5]}]

    @pytest.fixture
    def expected(self) -> NDArray[np.float64]:
        return 1 / (1 + np.exp(-np.array([[0.0, 2.0], [-1.0, 0.5]])))


class TestTracker(TrackerContract):
    @pytest.fixture
    def tracker(self, server: None) -> Tracker:
        return providers.make("train.tracker", "ledger")


class TestExecutor(ExecutorContract):
    @pytest.fixture
    def executor(self, workspace: Path) -> Executor:
        return providers.make("recipe.executor", "pipe")


class TestStore(
    StoreContract,
    HeadKeeperContract,
    HeadCopierContract,
    EventIndexContract,
    NameIndexContract,
    SealedContract,
    AwayStoreContract,
):
    @pytest.fixture
    def store(self, workspace: Path) -> Store:
        return providers.make("store", "memory")

    @pytest.fixture
    def kept(self, workspace: Path) -> memory_store.Memory:
        return memory_store.opened(settings())

    @pytest.fixture
    def away(self, kept: memory_store.Memory) -> Away:
        @contextlib.contextmanager
        def cut_off() -> Iterator[None]:
            kept.is_away = True
            yield
            kept.is_away = False

        return cut_off

    @pytest.fixture
    def spoiled(self, kept: memory_store.Memory) -> Callable[[int], object]:
        return kept.index.pop

    @pytest.fixture
    def edited(self, kept: memory_store.Memory) -> Callable[[str], object]:
        return kept.edit

    @pytest.fixture
    def lost(self, kept: memory_store.Memory) -> Callable[[str], object]:
        return kept.lose
