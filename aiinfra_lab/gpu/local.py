"""This machine: its accelerators are those that `nvidia-smi` lists."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from ..config import Settings
from ..cost import machine_usd_per_hour
from ..kernels import KeptKernel, Place
from . import driver
from .base import Offer
from .keeping import KeepingMachines


class LocalMachines(KeepingMachines):
    """See `KeepingMachines`."""

    name = "local"

    def __init__(self, where: Settings) -> None:
        pass

    def offers(self) -> Sequence[Offer]:
        price, taken = machine_usd_per_hour(), self.taken()
        return [Offer("cpu", price), *(_offer(each, price, taken) for each in driver.accelerators(_listed()))]

    def place(self, kernel: KeptKernel, device: str, handle: str) -> Place:
        return Place.here(kernel)

    def environment(self, offer: Offer) -> Mapping[str, str]:
        """A session sees the accelerator that it asked for and no other. Jupyter's folder is that of who asks: its
        launcher is where the session shall appear."""
        from jupyter_core.paths import jupyter_data_dir

        return {"CUDA_VISIBLE_DEVICES": offer.device, "JUPYTER_DATA_DIR": jupyter_data_dir()}

    def may_live(self, kernel: KeptKernel) -> bool:
        return kernel.is_hosted()

    def end_alone(self, kernel: KeptKernel, place: Place) -> None:
        kernel.end_host()


def _offer(found: driver.ListedAccelerator, price: float, taken: Mapping[str, str]) -> Offer:
    return Offer(found.name, price, found.memory_gib, found.uuid, taken_by=taken.get(found.uuid, ""))


def _listed() -> str:
    """What the driver says; nothing where there is none, or it fails."""
    try:
        return subprocess.run(driver.QUERY, capture_output=True, text=True, timeout=20, check=True).stdout
    except (FileNotFoundError, PermissionError, subprocess.SubprocessError):
        return ""
