"""A pool of sessions in the side panel: its row, those of its sessions below it, and what an opened row knows."""

import time

import pytest
from playwright.sync_api import Page, expect

from tests.browser.lab import Lab, faults, screenshot
from tests.browser.panel import looked, names, opener, row, shown, stopper
from tests.browser.things import Server, leave, thing
from tests.conftest import until

pytestmark = pytest.mark.browser
ARMED_MS = 500

MORE = {
    "verb": "start",
    "title": "Give it 2h",
    "question": "Let pool sweep live for 2h from now?",
    "consequence": "All of its sessions end after that. They cost 3.00 USD an hour now.",
    "instead": "",
    "flags": {"for": "2h"},
}
STOP = {
    "verb": "stop",
    "title": "Stop pool",
    "question": "Stop pool sweep?",
    "consequence": "2 sessions end with it, 1 of them at work. 3 in its queue get none. Files and records stay.",
    "instead": "",
    "flags": {},
}
WHY = "4 wanted: a load of 7, 2 each, wants 4"
FACTS = ["2 of 8 × L4 on sim", "1 at work", "3 in the queue"]


def pool(state: str = "running", **fields):
    plain = {"figure": "3.00 USD/h", "facts": FACTS, "detail": WHY, "actions": [MORE, STOP], "kind": "pool"}
    return thing("gpu:sweep", state, **{**plain, **fields})


def member(number: int, state: str = "running", **fields):
    return thing(f"gpu:sweep-{number}", state, figure="1.50 USD/h", group="gpu:sweep", **fields)


def sweep() -> list[dict]:
    at = time.time()
    return [
        pool(since=at - 600),
        member(1, since=at - 300, facts=["sim L4", "tune"]),
        member(2, since=at - 10, facts=["sim L4", "free"]),
        thing("gpu:trainer", since=at - 5),
        thing("gpu:old", since=at - 9000),
    ]


def fact(label: str, value: str, share: float | None = None) -> dict:
    return {"label": label, "value": value, "mark": None, "share": share}


def test_a_pool_is_a_row_with_its_sessions_below_it(page: Page) -> None:
    panel = shown(page, Server(sweep()))
    assert names(panel) == ["trainer", "sweep", "sweep-2", "sweep-1", "old"]
    expect(row(panel, "sweep")).to_contain_text("2 of 8 × L4 on sim · 1 at work · 3 in the queue")
    expect(row(panel, "sweep").locator(".aiinfra-Item-facts")).to_have_attribute("title", re_of(WHY))
    expect(row(panel, "sweep").locator(".aiinfra-Item-value")).to_have_text("3.00 USD/h")
    own = panel.locator(".aiinfra-Item-member .aiinfra-Item-name").all_text_contents()
    assert own == ["sweep-2", "sweep-1"]
    screenshot(page, "panel-pool")


def re_of(text: str):
    import re

    return re.compile(re.escape(text))


def test_a_session_in_trouble_takes_its_pool_along(page: Page) -> None:
    panel = shown(page, Server([*sweep()[2:], pool(since=1.0), member(3, "no answer", since=1.0)]))
    assert names(panel)[:3] == ["sweep", "sweep-3", "sweep-2"]


def test_sessions_that_the_filter_leaves_alone_stand_by_themselves(page: Page) -> None:
    panel = shown(page, Server(sweep()))
    panel.get_by_role("searchbox").fill("sweep-1")
    assert names(panel) == ["sweep-1"]
    expect(panel.locator(".aiinfra-Item-member")).to_have_count(0)
    panel.get_by_role("searchbox").fill("")
    expect(panel.locator(".aiinfra-Item-member")).to_have_count(2)


def test_its_money_is_a_meter_and_its_buttons_ask_first(page: Page) -> None:
    server = Server(sweep())
    server.details["gpu:sweep"] = {"facts": [fact("spent", "4.20 USD of 5.00 USD", 0.84)], "log": ""}
    panel = shown(page, server)
    opener(panel, "sweep").press("Enter")
    meter = panel.get_by_role("meter", name="spent: 4.20 USD of 5.00 USD")
    expect(meter).to_be_visible()
    assert meter.evaluate("node => [node.value, node.max, node.high]") == [0.84, 1, 0.8]
    panel.get_by_role("button", name="Give it 2h…").press("Enter")
    asked = panel.get_by_role("alertdialog", name="Let pool sweep live for 2h from now?")
    expect(asked.get_by_role("button", name="Keep it")).to_be_focused()
    page.wait_for_timeout(ARMED_MS)
    with page.expect_request("**/aiinfra/gpu/start*") as sent:
        asked.get_by_role("button", name="Give it 2h").press("Enter")
    assert sent.value.post_data_json["flags"] == {"for": "2h"}
    stopper(panel, "sweep").press("Enter")
    asked = panel.get_by_role("alertdialog", name="Stop pool sweep?")
    expect(asked).to_have_accessible_description(STOP["consequence"])
    page.wait_for_timeout(ARMED_MS)
    asked.get_by_role("button", name="Stop pool").press("Enter")
    expect(panel.get_by_role("button", name="Stopping pool sweep")).to_be_visible()
    until(lambda: page.wait_for_timeout(50) or len(server.called) == 2)
    assert server.called == [("gpu/start", "sweep"), ("gpu/stop", "sweep")]


def test_an_open_row_is_read_again_when_it_has_become_something_else(page: Page) -> None:
    """Also while the pointer is over another row: what it shows is wrong now."""
    server = Server(sweep())
    server.details["gpu:trainer"] = {"facts": [fact("ends", "in 2 h")], "log": ""}
    panel = shown(page, server)
    opener(panel, "trainer").press("Enter")
    expect(row(panel, "trainer")).to_contain_text("in 2 h")
    opener(panel, "old").hover()
    server.details["gpu:trainer"] = {"facts": [fact("ended", "its budget was spent")], "log": ""}
    server.put(thing("gpu:trainer", "stopped", detail="budget"))
    expect(row(panel, "trainer")).to_contain_text("its budget was spent", timeout=4000)
    looked(page, server)
    leave(page)


# ---- a session of ssh ----


def test_a_session_of_ssh_is_given_more_time_and_is_stopped_after_asking(page: Page) -> None:
    busy = "Its kernel is busy: what it computes is lost, with all in its memory. Files and records stay."
    more = {**MORE, "question": "Let lab1 live for 2h from now?", "consequence": "It ends by itself after that."}
    stop = {**STOP, "title": "Stop", "question": "Stop lab1?", "consequence": busy}
    server = Server([thing("gpu:lab1", facts=["ssh A100"], actions=[more, stop])])
    server.details["gpu:lab1"] = {"facts": [fact("machine", "ssh A100")], "code": "%gpu get lab1", "log": ""}
    panel = shown(page, server)
    opener(panel, "lab1").press("Enter")
    expect(panel.get_by_role("button", name="Get outputs")).to_be_visible()
    buttons = row(panel, "lab1").locator(".aiinfra-Item-body .aiinfra-Actions button")
    assert buttons.all_text_contents() == ["Get outputs", "Give it 2h…", "Stop…"]
    buttons.nth(2).press("Enter")
    expect(panel.get_by_role("alertdialog", name="Stop lab1?")).to_have_accessible_description(busy)
    page.keyboard.press("Escape")
    assert server.called == []
    buttons.nth(1).press("Enter")
    page.wait_for_timeout(ARMED_MS)
    panel.get_by_role("alertdialog").get_by_role("button", name="Give it 2h").press("Enter")
    until(lambda: page.wait_for_timeout(50) or server.called)
    assert server.called == [("gpu/start", "lab1")]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_wrong_with_a_pool(lab: Lab, theme: str) -> None:
    with lab.page(theme) as page:
        server = Server(sweep())
        server.details["gpu:sweep"] = {"facts": [fact("spent", "4.20 USD of 5.00 USD", 0.84)], "log": ""}
        panel = shown(page, server)
        opener(panel, "sweep").click()
        expect(panel.get_by_role("meter")).to_be_visible()
        screenshot(page, f"panel-pool-{theme}")
        assert faults(page, "#aiinfra-lab-panel") == []
