"""The side panel with a server that a test writes: have it look, and find its rows."""

from collections.abc import Sized

from playwright.sync_api import Locator, Page, expect

from tests.browser.lab import command
from tests.browser.things import Server, leave, widen
from tests.conftest import until


def look(page: Page) -> None:
    """Have the panel ask at once: it does when it is shown."""
    for _ in range(2):
        command(page, "application:toggle-left-area")


def shown(page: Page, server: Server, width: int = 320) -> Locator:
    """The panel with what that server has."""
    server.serve(page)
    command(page, "aiinfra-lab:open")
    look(page)
    panel = page.locator("#aiinfra-lab-panel")
    widen(page, width)
    expect(panel.get_by_role("searchbox")).to_have_attribute("placeholder", f"Filter {counted(server.items)}")
    leave(page)
    return panel


def counted(items: Sized) -> str:
    return f"{len(items)} thing{'' if len(items) == 1 else 's'}"


def row(panel: Locator, name: str) -> Locator:
    """The row of that name, or of a URI with that name."""
    return panel.locator(f".aiinfra-Item:has(.aiinfra-Item-name:is([title='{name}'], [title$=':{name}']))")


def names(panel: Locator) -> list[str]:
    return panel.locator(".aiinfra-Item-name").all_text_contents()


def opener(panel: Locator, name: str) -> Locator:
    return row(panel, name).locator(".aiinfra-Item-open")


def stopper(panel: Locator, name: str) -> Locator:
    return row(panel, name).locator(".aiinfra-Item-stop")


def looked(page: Page, server: Server) -> None:
    """Wait until the panel has taken in what was written by now."""
    before = len(server.asked)
    until(lambda: page.wait_for_timeout(50) or len(server.asked) > before + 1, "the panel asks no more")
