"""What JupyterLab is told of a kernel that is gone, by a real server with the settings that it has by itself."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.jupyter_server import Server, serving

DIES = """
import os, signal, time
print('at', time.time(), flush=True)
time.sleep(0.2)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def server(session, module_workspace) -> Iterator[Server]:
    with serving(module_workspace) as found:
        yield found


def test_a_page_shows_within_two_seconds_that_its_kernel_was_killed_and_goes_on_with_the_next(server, session):
    kernel = server.open("killed.ipynb", "aiinfra-trainer")
    took_s, shown = asyncio.run(_death(server, kernel))
    assert shown == "restarting"
    assert took_s <= 2
    assert server.printed(kernel, "print(6 * 7)") == "42\n"
    assert session.state().crash == "its kernel ended by SIGKILL"


async def _death(server: Server, kernel: str) -> tuple[float, str]:
    """Seconds until a page sees that the kernel was killed, and as what."""
    async with server.page(kernel) as page:
        await page.execute(DIES)
        at = 0.0
        while True:
            content = (await page.next())["content"]
            if content.get("text", "").startswith("at "):
                at = float(content["text"].split()[1]) + 0.2
            if content.get("execution_state") in ("restarting", "dead"):
                return time.time() - at, content["execution_state"]
