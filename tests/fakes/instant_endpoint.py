"""`python -m tests.fakes.instant_endpoint PREDICTIONS DELAY_S`: an endpoint that answers all with the same bytes.

Our endpoint's socket without a model behind it, so that whoever asks it is the slower one. It prints its port.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator

import uvloop

from aiinfra_lab.deploy.ports import bind
from aiinfra_lab.deploy.server.protocol import Request, Server

MODEL = "models:instant@1"


@contextlib.contextmanager
def running(predictions: int = 1, delay_s: float = 0.0) -> Iterator[str]:
    """Its URL, while it runs."""
    command = [sys.executable, "-m", "tests.fakes.instant_endpoint", str(predictions), str(delay_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


async def _serve(predictions: int, delay_s: float) -> None:
    rows = [{"row_id": f"r-{at}", "score": 0.5} for at in range(predictions)]
    answer = json.dumps({"request_id": "r", "model": MODEL, "predictions": rows}).encode()
    loop, listener = asyncio.get_running_loop(), bind(0)

    def handle(request: Request) -> None:
        if delay_s:
            loop.call_later(delay_s, request.respond, 200, answer)
        else:
            request.respond(200, answer)

    server = Server(handle, loop)
    print(listener.getsockname()[1], flush=True)  # noqa: T201  # its parent reads it
    await (await loop.create_server(server.connect, sock=listener)).serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
