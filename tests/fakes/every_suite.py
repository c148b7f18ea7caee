"""Every shipped suite as a stranger runs it: copied beside the provider template, away from this repository's tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import far_target
import kernel_cloud
import ledger
import memory_store
import pipe_executor
import pytest
import remote_data
import remote_features
import text_report
from lab_template import machines as template

from aiinfra_lab.config import settings
from aiinfra_lab.testing.data import SourceContract, VersionStoreContract, WorkingCopiesContract
from aiinfra_lab.testing.deploy import (
    DeployTargetContract,
    PacedTargetContract,
    PredictionLogContract,
    ReportingContract,
)
from aiinfra_lab.testing.drift import ReportContract
from aiinfra_lab.testing.features import OnlineStoreContract
from aiinfra_lab.testing.gpu import KernelHostContract, MachinesContract, PacedMachinesContract
from aiinfra_lab.testing.models import RegistryContract
from aiinfra_lab.testing.recipe import ExecutorContract
from aiinfra_lab.testing.store import Away, AwayStoreContract, HeadKeeperContract, StoreContract
from aiinfra_lab.testing.train import TrackerContract
from aiinfra_lab.testing.workspace import workspace

__all__ = ["workspace"]


class TestMachines(MachinesContract, PacedMachinesContract):
    patience_s, lead_s = 10.0, 1.0

    @pytest.fixture
    def machines(self, workspace: Path) -> template.Machines:
        return template.Machines(settings())


class TestKernels(KernelHostContract):
    @pytest.fixture
    def machines(self, workspace: Path) -> Iterator[kernel_cloud.Machines]:
        made = kernel_cloud.Machines(settings())
        yield made
        for handle in made.list_owned():
            made.terminate(handle)
            self.becomes(made, handle, "ended")


class TestTarget(DeployTargetContract, ReportingContract, PredictionLogContract, PacedTargetContract):
    @pytest.fixture
    def target(self, workspace: Path) -> Iterator[far_target.FarCounting]:
        yield far_target.FarCounting(settings())
        for service in far_target.CLOUD.values():
            if service.is_up:
                service.end()


class TestVersions(VersionStoreContract, WorkingCopiesContract):
    @pytest.fixture
    def content(self, workspace: Path) -> remote_data.Copying:
        return remote_data.Copying(settings())


class TestSource(SourceContract):
    @pytest.fixture
    def source(self, workspace: Path) -> remote_data.Numbers:
        return remote_data.Numbers(settings())

    @pytest.fixture
    def location(self) -> str:
        return "3"

    @pytest.fixture
    def nowhere(self) -> str:
        return "many"


class TestReport(ReportContract):
    @pytest.fixture
    def report(self, workspace: Path) -> text_report.TextReport:
        return text_report.TextReport(settings())


class TestOnlineStore(OnlineStoreContract):
    @pytest.fixture
    def store(self, workspace: Path) -> remote_features.Cache:
        return remote_features.Cache(settings())


@pytest.fixture
def server(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The ledger's server, for runs and for models."""
    with ledger.serving() as url:
        monkeypatch.setenv("AIINFRA_TRAIN_LEDGER_URL", url)
        yield


class TestRegistry(RegistryContract):
    @pytest.fixture
    def registry(self, server: None) -> ledger.Shelf:
        return ledger.Shelf(settings())


class TestTracker(TrackerContract):
    @pytest.fixture
    def tracker(self, server: None) -> ledger.Ledger:
        return ledger.Ledger(settings())


class TestExecutor(ExecutorContract):
    @pytest.fixture
    def executor(self, workspace: Path) -> pipe_executor.PipeExecutor:
        return pipe_executor.PipeExecutor(settings())


class TestStore(StoreContract, HeadKeeperContract, AwayStoreContract):
    @pytest.fixture
    def store(self, workspace: Path) -> memory_store.Memory:
        return memory_store.opened(settings())

    @pytest.fixture
    def away(self, store: memory_store.Memory) -> Away:
        @contextlib.contextmanager
        def cut_off() -> Iterator[None]:
            store.is_away = True
            yield
            store.is_away = False

        return cut_off
