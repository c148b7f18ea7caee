"""One JupyterLab and one browser for all browser tests."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Playwright, expect, sync_playwright

from tests.browser.lab import Lab, chromium, command, end_all, started
from tests.browser.panel import look
from tests.browser.things import Server, leave


@pytest.fixture(scope="package")  # it keeps an event loop running in this thread while it lives, and bears no other
def playwright() -> Iterator[Playwright]:
    """What drives Chromium."""
    if chromium() is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="package")
def lab(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab on a fresh workspace. Open a notebook file in its `root`, run all, wait, take a picture."""
    root = tmp_path_factory.mktemp("root")
    (root / "aiinfra.toml").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIINFRA_WORKSPACE", str(root))
        with started(playwright, tmp_path_factory.mktemp("lab"), root) as running:
            yield running
            end_all()


@pytest.fixture
def in_lab(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """The same, with this process in its workspace; whatever lives there is ended afterwards."""
    monkeypatch.setenv("AIINFRA_WORKSPACE", str(lab.root))
    yield lab
    end_all()


@pytest.fixture
def own_lab(
    playwright: Playwright, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lab]:
    """One of a test's own, for what leaves a champion or other things that the tests after it would go on from."""
    root = tmp_path_factory.mktemp("own-root")
    (root / "aiinfra.toml").touch()
    monkeypatch.setenv("AIINFRA_WORKSPACE", str(root))
    with started(playwright, tmp_path_factory.mktemp("own-lab"), root) as running:
        yield running
        end_all()


@pytest.fixture(scope="module")
def one_page(lab: Lab) -> Iterator[Page]:
    with lab.page(height=1100) as page:
        yield page


@pytest.fixture
def page(one_page: Page) -> Iterator[Page]:
    """The page with an empty panel: what the test before has opened or asked is gone."""
    Server().serve(one_page)
    command(one_page, "aiinfra-lab:open")
    leave(one_page)
    look(one_page)
    expect(one_page.locator(".aiinfra-Item")).to_have_count(0)
    yield one_page
    one_page.emulate_media(forced_colors="none", reduced_motion="no-preference")
