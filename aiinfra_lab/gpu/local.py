"""This machine: its accelerators are those that `nvidia-smi` lists."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from ..config import Settings
from ..cost import machine_usd_per_hour
from ..kernels import KeptKernel, MachineSource, Standing, keeper
from . import driver
from .base import AcceleratorUse, Offer
from .keeping import KeepingMachines


class LocalMachines(KeepingMachines):
    """See `KeepingMachines`."""

    name = "local"

    def __init__(self, where: Settings) -> None:
        pass

    def offers(self) -> Sequence[Offer]:
        price, taken = machine_usd_per_hour(), self.taken()
        return [Offer("cpu", price), *(_offer(each, price, taken) for each in driver.accelerators(_run(driver.QUERY)))]

    def use_of(self, device: str) -> AcceleratorUse | None:
        return driver.use(_run([*driver.USE, "-i", device])) if device else None

    def source(self, kernel: KeptKernel, offer: Offer, handle: str) -> MachineSource:
        return Standing(keeper.here(kernel))

    def environment(self, offer: Offer) -> Mapping[str, str]:
        """A session sees the accelerator that it asked for and no other."""
        return {**super().environment(offer), "CUDA_VISIBLE_DEVICES": offer.device}

    def may_live(self, kernel: KeptKernel) -> bool:
        return kernel.is_hosted()

    def end_alone(self, kernel: KeptKernel, offer: Offer, handle: str) -> None:
        kernel.end_host()


def _offer(found: driver.ListedAccelerator, price: float, taken: Mapping[str, str]) -> Offer:
    return Offer(found.name, price, found.memory_gib, found.uuid, taken_by=taken.get(found.uuid, ""))


def _run(command: Sequence[str]) -> str:
    """What the driver says; nothing where there is none, or it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20, check=True).stdout
    except (FileNotFoundError, PermissionError, subprocess.SubprocessError):
        return ""
