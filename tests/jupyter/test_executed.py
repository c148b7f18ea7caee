"""The executed notebook of a run's step as a page of the Jupyter server."""

from collections.abc import Iterator

import nbformat
import pytest
from nbformat import v4

from aiinfra_lab.config import settings
from aiinfra_lab.recipe.record import RunRecord, StepRecord
from aiinfra_lab.store import Record, open_store
from tests.browser.serving import Served, serve

SCRIPT = "<script>document.title = 'taken'</script>"
SECRET = "s3cr3t-that-is-known-by-now"
PAGE = "/aiinfra/notebooks/two%401/a"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With a run of which one step has an executed notebook, which put out a script and a secret."""
    root = tmp_path_factory.mktemp("root")
    (root / "aiinfra.toml").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIINFRA_WORKSPACE", str(root))
        archive = settings().home / "recipe" / "two@1" / "a.ipynb"
        archive.parent.mkdir(parents=True)
        shown = [v4.new_output("display_data", {"text/html": f"<b>{SECRET}</b>{SCRIPT}"})]
        nbformat.write(v4.new_notebook(cells=[v4.new_code_cell("6 * 7  # asked", outputs=shown)]), archive)
        steps = (StepRecord(name="a", state="done", archive=str(archive)), StepRecord(name="b", state="blocked"))
        open_store().commit([Record.new("two@1", RunRecord(state="done", started_at=1.0, ended_at=2.0, steps=steps))])
        patch.setenv("OLD_API_KEY", SECRET)
        served = serve("jupyter_server", tmp_path_factory.mktemp("server"), root)
    yield served
    served.stop()


def test_the_executed_notebook_of_a_step_is_a_page_in_either_theme(server: Served) -> None:
    status, page, headers = server.call("GET", PAGE)
    assert (status, headers["Content-Type"], headers["Cache-Control"]) == (200, "text/html; charset=utf-8", "no-store")
    assert "# asked" in page
    assert "<title>recipe:two@1/a</title>" in page
    assert "%recipe get two@1/a --into FILE.ipynb" in page
    dark = server.call("GET", f"{PAGE}?theme=dark")[1]
    assert ["JupyterLab Dark" in text for text in (page, dark)] == [False, True]


def test_what_is_known_to_be_secret_is_not_in_it(server: Served) -> None:
    page = server.call("GET", PAGE)[1]
    assert (SECRET in page, "[secret OLD_API_KEY]" in page) == (False, True)


def test_what_it_put_out_can_only_be_looked_at(server: Served) -> None:
    _, page, headers = server.call("GET", PAGE)
    assert page.count("<script") == page.count(SCRIPT) == 1
    policy = headers["Content-Security-Policy"].partition(", ")[2].split("; ")
    assert policy[:2] == ["sandbox", "default-src 'none'"]
    assert [part for part in policy if "script" in part or "http" in part or "allow" in part] == []


@pytest.mark.parametrize(
    ("path", "status", "what"),
    [
        ("two%401/b", 404, "b has no executed notebook in recipe:two@1: blocked"),
        ("two%401/c", 404, "has no step"),
        ("two%409/a", 404, "there is no"),
        ("two%401/..%2f..%2faiinfra.toml", 404, "has no step"),
        ("..%2f..%2fetc/passwd", 400, "../"),
        ("two%401/%3Cscript%3E", 404, "&lt;script&gt;"),
    ],
)
def test_one_that_is_not_there_is_a_page_that_says_why(server: Served, path: str, status: int, what: str) -> None:
    found, page, headers = server.call("GET", f"/aiinfra/notebooks/{path}")
    assert (found, headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert what in page
    assert "<b>Do:</b>" in page
    assert ("sandbox" in headers["Content-Security-Policy"], "<script" in page) == (True, False)
