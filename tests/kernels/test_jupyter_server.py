"""A session through a real Jupyter server, as JupyterLab uses it: REST and the websocket."""

import asyncio
import json
import time
from collections.abc import Iterator

import pytest

from aiinfra_lab import gpu
from tests.conftest import PATIENCE_S, until
from tests.jupyter_server import Server, serving

KERNEL = "aiinfra-trainer"


@pytest.fixture
def server(kept, workspace) -> Iterator[Server]:
    fast = "--AsyncIOLoopKernelRestarter.time_to_dead=0.2"  # seconds between two looks at a kernel
    with serving(workspace, fast) as found:
        yield found


def test_a_notebooks_whole_life_in_a_session(server, run, kept):
    assert "trainer · cpu" in json.dumps(server.call("GET", "/api/kernelspecs"), ensure_ascii=False)
    run("x = 41")
    first, second = server.open("a.ipynb", KERNEL), server.open("b.ipynb", KERNEL)
    assert server.printed(first, "print(x); y = 1") == "41\n"
    server.call("DELETE", f"/api/kernels/{first}")
    assert server.printed(second, "print(y)") == "1\n"
    server.call("POST", f"/api/kernels/{second}/restart", {})
    assert server.printed(second, "print(y)") == "NameError"
    server.call("POST", f"/api/kernels/{second}/interrupt", {})
    server.call("DELETE", f"/api/kernels/{second}")
    assert kept.is_alive()
    assert run("print('still here')") == "still here\n"


def test_a_session_that_ends_is_reported_dead(server, kept):
    kernel = server.open("a.ipynb", KERNEL)
    gpu.stop("trainer")
    # It forgets a kernel that it gave up.
    until(lambda: all(known["id"] != kernel for known in server.call("GET", "/api/kernels")), "it never noticed")


def test_a_server_that_ends_leaves_the_session_alive(kept, run, server):
    assert server.printed(server.open("a.ipynb", KERNEL), "z = 3") == ""
    server.process.terminate()
    assert server.process.wait(PATIENCE_S) == 0
    assert run("print(z)") == "3\n"


def test_a_server_that_is_started_anew_shows_a_kernel_at_work_at_once(kept, workspace):
    with serving(workspace) as first:
        kernel = first.open("a.ipynb", KERNEL)
        assert first.printed(kernel, "print(1)") == "1\n"
        asyncio.run(_begin(first, kernel))
        first.process.kill()
    with serving(workspace) as second:
        kernel = second.open("a.ipynb", KERNEL)
        began = time.monotonic()
        asyncio.run(_see(second, kernel))
        assert time.monotonic() - began < 15  # it gives a kernel that does not answer 60 s


async def _begin(server: Server, kernel: str) -> None:
    async with server.page(kernel) as page:
        await page.execute("import time\nfor n in range(10_000): print(n, flush=True); time.sleep(0.1)")
        while "text" not in (await page.next())["content"]:
            pass


async def _see(server: Server, kernel: str) -> None:
    async with server.page(kernel) as page:
        while "text" not in (await page.next())["content"]:
            pass
