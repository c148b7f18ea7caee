"""What accelerators are: vendor, memory, and the slices into which NVIDIA's larger ones can be cut.

Memory is what the vendor names, 24 GiB of an L4, of which a driver shows up to a tenth less: datasheets of NVIDIA, AMD,
AWS Neuron and Google Cloud TPU. Slices are those of NVIDIA's MIG user guide, "Supported MIG profiles"
(docs.nvidia.com/datacenter/tesla/mig-user-guide); memory there is rounded as the profile's name has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class MigProfile:
    """A slice with memory of its own. compute: its share of the multiprocessors. instances: how many a GPU can hold."""

    name: str
    memory_gib: float
    compute: Fraction
    instances: int


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One kind of accelerator, under the name that the price table uses. also: how else people write it."""

    name: str
    vendor: str
    memory_gib: float
    profiles: tuple[MigProfile, ...] = ()
    also: tuple[str, ...] = ()

    def profile(self, name: str) -> MigProfile | None:
        """Its slice of that name."""
        return next((profile for profile in self.profiles if profile.name == name.lower()), None)


def _mig(*gib: int) -> tuple[MigProfile, ...]:
    """The profiles of a GPU with seven compute slices, by the memory of one, two, four and all eight memory slices."""
    one, two, four, whole = gib
    rows = [
        (f"1g.{one}gb", one, 1, 7),
        # With the media engines, of which there is one set.
        (f"1g.{one}gb+me", one, 1, 1),
        (f"1g.{two}gb", two, 1, 4),
        (f"2g.{two}gb", two, 2, 3),
        (f"3g.{four}gb", four, 3, 2),
        (f"4g.{four}gb", four, 4, 1),
        (f"7g.{whole}gb", whole, 7, 1),
    ]
    return tuple(MigProfile(name, memory, Fraction(slices, 7), most) for name, memory, slices, most in rows)


ACCELERATORS = (
    Accelerator("A10", "NVIDIA", 24),
    Accelerator("A100-40GB", "NVIDIA", 40, _mig(5, 10, 20, 40)),
    Accelerator("A100-80GB", "NVIDIA", 80, _mig(10, 20, 40, 80)),
    Accelerator("A10G", "NVIDIA", 24),
    Accelerator("A6000", "NVIDIA", 48),
    Accelerator("B200", "NVIDIA", 180, _mig(23, 45, 90, 180)),
    Accelerator("GH200", "NVIDIA", 96),
    Accelerator("H100", "NVIDIA", 80, _mig(10, 20, 40, 80)),
    Accelerator("H200", "NVIDIA", 141, _mig(18, 35, 71, 141)),
    Accelerator("Inferentia2", "AWS", 32, also=("Inferentia 2",)),
    Accelerator("L4", "NVIDIA", 24),
    Accelerator("L40S", "NVIDIA", 48),
    Accelerator("MI300X", "AMD", 192),
    Accelerator("T4", "NVIDIA", 16),
    Accelerator("T4g", "NVIDIA", 16),
    Accelerator("TPU-v5e", "Google", 16, also=("v5e",)),
    Accelerator("TPU-v5p", "Google", 95, also=("v5p",)),
    Accelerator("TPU-v6e", "Google", 32, also=("v6e",)),
    Accelerator("Trainium", "AWS", 32, also=("Trainium1", "Trainium 1")),
    Accelerator("Trainium2", "AWS", 96, also=("Trainium 2",)),
    Accelerator("V100-16GB", "NVIDIA", 16),
    Accelerator("V100-32GB", "NVIDIA", 32),
)


def names() -> Sequence[str]:
    """All of their names."""
    return [each.name for each in ACCELERATORS]
