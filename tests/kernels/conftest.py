"""A living session, made by the verb as a user makes it, and Jupyter's own kernel managers on it."""

from collections.abc import Callable, Iterator

import pytest
from jupyter_client import KernelManager

from aiinfra_lab import gpu, kernels
from aiinfra_lab.kernels import KeptKernel


@pytest.fixture
def kept(workspace) -> KeptKernel:
    gpu.start("trainer")
    return KeptKernel.of("gpu:trainer")


@pytest.fixture
def run(kept) -> Callable[[str], str]:
    """Run code in the session and return what it prints."""

    def run(code: str) -> str:
        outputs: list[kernels.Output] = []
        kernels.execute("gpu:trainer", code, outputs.append)
        return "".join(output["content"].get("text", "") for output in outputs)

    return run


@pytest.fixture
def attach(kept) -> Iterator[Callable[[], KernelManager]]:
    """Attach as Jupyter does; whoever is still attached afterwards lets go."""
    attached: list[KernelManager] = []

    def attach() -> KernelManager:
        km = KernelManager(kernel_name="aiinfra-trainer")
        km.start_kernel()
        attached.append(km)
        return km

    yield attach
    for km in attached:
        km.shutdown_kernel(now=True)
