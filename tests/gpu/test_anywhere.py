"""One notebook, wherever its kernel is: the same outputs on a page and by papermill, and not a byte of it changed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import v4

from aiinfra_lab import gpu
from tests.gpu.test_kubernetes import kube
from tests.gpu.test_slurm import cluster, one
from tests.gpu.test_ssh import far
from tests.jupyter_server import Page, serving
from tests.slurm import slurm_cluster

pytest.importorskip("moto")

from tests.gpu.test_aws_machines import cloud, plane  # its cloud is moto

__all__ = ["cloud", "cluster", "far", "kube", "one", "plane", "slurm_cluster"]  # fixtures
pytestmark = pytest.mark.slow  # a machine of each provider, and a server and papermill for each

CELLS = (
    "total = sum(range(10))\nprint(total)",
    "import sys\nprint('to stderr', file=sys.stderr)\ntotal * 2",
    "from IPython.display import HTML, display\ndisplay(HTML('<b>bold</b>'))\nshown = display('one', display_id='d')",
    "shown.update('two')\nfor number in range(200):\n    print('line', number)",
    "import hashlib\n[hashlib.sha256(str(n).encode()).hexdigest()[:8] for n in range(3)]",
)
# provider: what makes its machines here, and what is asked for
PROVIDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "local": ("workspace", {}),
    "ssh": ("far", {}),
    "slurm": ("one", {"gpu": "A100", "for_": "1h"}),
    "aws": ("plane", {"gpu": "A10G", "for_": "1h"}),
    "kubernetes": ("kube", {"gpu": "L4", "for_": "1h"}),
}
Outputs = list[list[tuple[str, Any]]]
_plain: list[Outputs] = []  # what a kernel of no session shows, once it is known


@pytest.fixture(params=PROVIDERS)
def kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name by which Jupyter knows the kernel of a session there."""
    fixture, wanted = PROVIDERS[request.param]
    request.getfixturevalue(fixture)
    yield gpu.start("anywhere", on=request.param, **wanted).kernel
    gpu.stop("anywhere")


def test_the_same_notebook_shows_the_same_wherever_its_kernel_is(kernel: str, workspace: Path) -> None:
    path = workspace / "small.ipynb"
    nbformat.write(v4.new_notebook(cells=list(map(v4.new_code_cell, CELLS))), path)
    before = path.read_bytes()
    plain = _plain[0] if _plain else by_papermill(path, "python3")
    _plain[:] = [plain]
    assert [len(outputs) for outputs in plain] == [1, 2, 2, 1, 1]
    assert by_papermill(path, kernel) == plain
    assert on_a_page(path, kernel) == plain
    assert path.read_bytes() == before


def by_papermill(path: Path, kernel: str) -> Outputs:
    done = path.with_name(f"{kernel}.ipynb")
    command = [sys.executable, "-m", "papermill", str(path), str(done), "-k", kernel, "--no-progress-bar"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return [joined(cell.outputs) for cell in nbformat.read(done, 4).cells]


def on_a_page(path: Path, kernel: str) -> Outputs:
    """As JupyterLab runs it: by the server's REST and its websocket. A session of a page gets a fresh kernel first."""
    with serving(path.parent) as server:
        kernel_id = server.open(path.name, kernel)
        server.call("POST", f"/api/kernels/{kernel_id}/restart", {})

        async def run() -> list[list[nbformat.NotebookNode]]:
            async with server.page(kernel_id) as page:
                displays: dict[str, list[nbformat.NotebookNode]] = {}
                return [await cell_outputs(page, cell.source, displays) for cell in nbformat.read(path, 4).cells]

        return [joined(each) for each in asyncio.run(run())]


async def cell_outputs(
    page: Page, code: str, displays: dict[str, list[nbformat.NotebookNode]]
) -> list[nbformat.NotebookNode]:
    """What a cell shows; displays: by their ids, which later cells may change."""
    asked, outputs, missing = await page.execute(code), [], {"reply", "idle"}
    while missing:
        got = await page.next()
        if got["parent_header"].get("msg_id") != asked:
            continue
        kind, content = got["msg_type"], got["content"]
        missing -= {kind.removeprefix("execute_"), content.get("execution_state")}
        shown = displays.setdefault(content.get("transient", {}).get("display_id", ""), [])
        if kind == "update_display_data":
            for each in shown:
                each["data"] = content["data"]
        elif kind in ("stream", "display_data", "execute_result", "error"):
            outputs.append(v4.output_from_msg(got))
            shown.append(outputs[-1])
    return outputs


def joined(outputs: list[nbformat.NotebookNode]) -> list[tuple[str, Any]]:
    """Kind and content of each; what comes by one stream is one text, in however many pieces it came."""
    found: list[tuple[str, Any]] = []
    for each in outputs:
        name = each.get("name", each.output_type)
        content = each.text if each.output_type == "stream" else dict(each.get("data", {}))
        if found and found[-1][0] == name and each.output_type == "stream":
            content = found.pop()[1] + content
        found.append((name, content))
    return sorted(found, key=lambda each: each[0] != "stderr")  # the two streams race
