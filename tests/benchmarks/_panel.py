"""The side panel in a real JupyterLab, with a list that moves all the time, and with 500 things in it.

`presses` is for face.3, `five_hundred` for face.7; both answer plain numbers.
"""

import json
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect, sync_playwright

from tests.browser.lab import Lab, chromium, command, started
from tests.browser.serving import ROOT
from tests.browser.things import Server, leave, thing, widen

from .rows import Cannot

KEYS = ("Tab", "Shift+Tab", "Enter", "Space", "ArrowDown", "ArrowUp", "Escape", "Enter")
# What a press hits, as it reaches the list; what stands there belongs to a thing, or to the heading of a section.
_WATCH = """() => {
  window.owner = node => {
    const item = node?.closest?.('.aiinfra-Item');
    return item ? item.dataset.key : node?.closest?.('.aiinfra-Section')?.querySelector('ul')?.ariaLabel ?? '';
  };
  window.hits = [];
  document.querySelector('.aiinfra-Panel-list').addEventListener('click', event => {
    const pressed = event.target.closest('button');
    if (pressed) window.hits.push([window.owner(pressed), pressed.classList.contains('aiinfra-Button-sure')]);
  }, true);
}"""
# A key is meant for what has the focus; where that is elsewhere in JupyterLab, some row gets it.
_FOCUS = """number => {
  const all = document.querySelectorAll('.aiinfra-Panel-list button');
  if (!document.activeElement?.closest('.aiinfra-Panel-list')) all[number % all.length]?.focus();
  return window.owner(document.activeElement);
}"""
_AT = "([x, y]) => window.owner(document.elementFromPoint(x, y))"
_LOOK = """async () => {
  const panel = [...window.jupyterapp.shell.widgets('left')].find(each => each.id === 'aiinfra-lab-panel');
  await panel.poll.refresh(); await panel.poll.tick;
}"""


@dataclass(frozen=True)
class Presses:
    """What came of them. another: hit another thing than the one that was meant. unasked: endpoints that were stopped
    without an answer to the question. asked: those that were stopped by one.
    """

    done: int
    another: int
    unasked: int
    asked: int


@dataclass(frozen=True)
class Smoothness:
    """first_paint_ms: from the data's arrival to the first painted rows. longest_ms: CPU time of the longest task of
    script, until all rows are there and after changes. sent: items that travelled for one change of one.
    """

    first_paint_ms: float
    longest_ms: float
    rows: int
    sent: int
    bundle_kb: float


@contextmanager
def lab_page() -> Iterator[tuple[Lab, Page]]:
    """A page with JupyterLab. Cannot where there is no browser."""
    if chromium() is None:
        raise Cannot("no Chromium on this machine")
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        root, folder = Path(place, "root"), Path(place, "lab")
        root.mkdir()
        folder.mkdir()
        with started(playwright, folder, root) as lab, lab.page(height=900) as page:
            yield lab, page


def presses(many: int = 1000, seed: int = 3) -> Presses:
    """Random double clicks and keys while things come, end and change between the pointer's rest and the press."""
    rng = random.Random(seed)
    with lab_page() as (_, page):
        server = Server(_crowd(rng))
        server.serve(page)
        command(page, "aiinfra-lab:open")
        widen(page, 300)
        expect(page.locator(".aiinfra-Item").first).to_be_visible()
        page.evaluate(_WATCH)
        another, sure = 0, 0
        for _ in range(many):
            found = _key(page, server, rng) if rng.random() < 0.3 else _double_click(page, server, rng)
            another += sum(hit != found[0] for hit, _ in found[1])
            sure += sum(is_sure for hit, is_sure in found[1] if str(hit).startswith("deploy:"))
            if rng.random() < 0.1:
                leave(page)
        stopped = sum(path == "deploy/stop" for path, _ in server.called)
    return Presses(many, another, max(0, stopped - sure), min(stopped, sure))


def _double_click(page: Page, server: Server, rng: random.Random) -> tuple[str, list[tuple[str, bool]]]:
    """What lay under the pointer when it came to rest, and what the two presses hit."""
    box = page.locator("#aiinfra-lab-panel").bounding_box()
    assert box
    # Half of them go to where Stop is.
    x = box["x"] + (box["width"] - 18 if rng.random() < 0.5 else rng.uniform(8, box["width"] - 20))
    y = box["y"] + rng.uniform(120, box["height"] - 8)
    page.mouse.move(x, y - 9)
    page.mouse.move(x, y)
    meant = page.evaluate(_AT, [x, y])
    _change(server, rng)
    page.evaluate(_LOOK)
    page.mouse.dblclick(x, y)
    return meant, _hits(page)


def _key(page: Page, server: Server, rng: random.Random) -> tuple[str, list[tuple[str, bool]]]:
    meant = page.evaluate(_FOCUS, rng.randrange(1000))
    _change(server, rng)
    page.evaluate(_LOOK)
    page.keyboard.press(rng.choice(KEYS))
    return meant, _hits(page)


def _hits(page: Page) -> list[tuple[str, bool]]:
    found: list[tuple[str, bool]] = page.evaluate("() => window.hits.splice(0)")
    return found


def _crowd(rng: random.Random) -> list[dict[str, Any]]:
    nouns = ("gpu", "deploy", "deploy", "train", "recipe")
    return [
        thing(_uri(noun, number), since=time.time() - rng.uniform(1, 9999)) for number in range(4) for noun in nouns
    ]


def _uri(noun: str, number: int) -> str:
    return f"{noun}:a{number}" if noun in ("gpu", "deploy") else f"{noun}:a{number}@1"


def _change(server: Server, rng: random.Random) -> None:
    """Something comes, ends, comes back or gets into trouble."""
    for _ in range(rng.randrange(3)):
        uri = _uri(rng.choice(("gpu", "deploy", "train", "recipe")), rng.randrange(12))
        state = rng.choice(("running", "running", "stopped", "failed", "no answer", "starting"))
        if state == "failed" and uri in server.items:
            server.drop(uri)
        else:
            server.put(thing(uri, state, since=time.time() - rng.uniform(0, 9999)))


def five_hundred() -> Smoothness:
    """500 things of every kind in a fresh panel, then changes of some of them."""
    with lab_page() as (_, page):
        at = time.time()
        server = Server([thing(f"{noun}:run-{number}@1", since=at - number) for number, noun in enumerate(_nouns(500))])
        server.serve(page)
        browser = page.context.browser
        assert browser
        page.evaluate(_PAINT)
        browser.start_tracing(page=page, categories=["devtools.timeline", "toplevel"])
        command(page, "aiinfra-lab:open")
        expect(page.locator(".aiinfra-Item")).to_have_count(500)
        paint_ms = page.evaluate("() => window.painted")
        server.sent = 0
        server.put(thing("data:run-2@1", figure="loss 0.4", since=at - 2))
        page.evaluate(_LOOK)
        sent = server.sent
        server.put(*(thing(f"{noun}:run-{n}@1", "failed", since=at) for n, noun in enumerate(_nouns(20))))
        page.evaluate(_LOOK)
        page.wait_for_timeout(1000)
        longest_ms = _longest_ms(browser.stop_tracing())
        rows = page.locator(".aiinfra-Item").count()
    return Smoothness(paint_ms, longest_ms, rows, sent, bundle_kb())


def bundle_kb() -> float:
    """What a browser loads of ours: scripts and styles as they are built, in kB."""
    return sum(path.stat().st_size for path in (ROOT / "aiinfra_lab/labextension/static").glob("*.js")) / 1000


def _nouns(many: int) -> list[str]:
    return [("train", "recipe", "data")[number % 3] for number in range(many)]


# From the end of the answer to the first frame with a row in it.
_PAINT = """() => {
  new MutationObserver((_, observer) => {
    if (!document.querySelector('.aiinfra-Item')) return;
    observer.disconnect();
    requestAnimationFrame(() => { const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => {
        const all = performance.getEntriesByType('resource').filter(each => each.name.includes('/aiinfra/items'));
        window.painted = performance.now() - all.at(-1).responseEnd; };
      port2.postMessage(0); });
  }).observe(document.body, { childList: true, subtree: true });
}"""
_SCRIPT = ("FunctionCall", "RunMicrotasks", "TimerFire", "EventDispatch", "FireAnimationFrame", "EvaluateScript")


def _longest_ms(trace: bytes) -> float:
    """CPU milliseconds of the longest piece of script in a trace of the browser."""
    events = json.loads(trace)["traceEvents"]
    return (
        max((event.get("tdur", event.get("dur", 0)) for event in events if event["name"] in _SCRIPT), default=0) / 1000
    )
