"""The rows of the side panel against answers of a server that a test writes: what opens, what is asked, what stays."""

import time

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.lab import THEMES_FOR_AXE, Lab, faults, screenshot
from tests.browser.panel import looked, names, opener, row, shown, stopper
from tests.browser.things import MILDER, Server, flights, leave, thing
from tests.conftest import until

pytestmark = pytest.mark.browser
ARMED_MS = 500


# ---- what is listed ----


def test_sections_stand_in_order_with_their_count_and_their_worst_state(page: Page) -> None:
    panel = shown(page, Server(flights()))
    heads = panel.locator(".aiinfra-Section-toggle").all_text_contents()
    assert [" ".join(head.split()) for head in heads] == [
        *("Sessions 3 ▲ 1", "Endpoints 3 ✕ 1", "Training runs 2", "Recipes 1", "Data 1", "Recently ended 5")
    ]


def test_trouble_comes_first_and_then_the_newest(page: Page) -> None:
    at = time.time()
    things = [
        thing("deploy:old", since=at - 900),
        thing("deploy:new", since=at),
        thing("deploy:bad", "no answer", since=1),
    ]
    assert names(shown(page, Server(things))) == ["bad", "new", "old"]


def test_the_head_says_how_many_live_and_what_they_cost(page: Page) -> None:
    panel = shown(page, Server(flights()))
    expect(panel.get_by_role("heading", name="flights")).to_be_visible()
    expect(panel.get_by_role("status")).to_have_text("10 live")
    expect(panel.locator(".aiinfra-Panel-price")).to_have_text("1.23 USD an hour")
    expect(panel.get_by_role("searchbox")).to_have_attribute("placeholder", "Filter 15 things")


def test_a_price_that_is_partly_unknown_is_a_least(page: Page) -> None:
    panel = shown(page, Server(flights(), is_least=True))
    expect(panel.locator(".aiinfra-Panel-price")).to_have_text("≥ 1.23 USD an hour")


def test_a_closed_section_stays_closed_after_a_reload(page: Page) -> None:
    panel = shown(page, Server(flights()))
    toggle = panel.get_by_role("button", name="Endpoints")
    toggle.click()
    expect(toggle).to_have_attribute("aria-expanded", "false")
    expect(row(panel, "delay-eu")).to_be_hidden()
    page.reload()
    page.wait_for_function("() => window.jupyterapp?.commands.hasCommand('aiinfra-lab:open')")
    page.evaluate("() => window.jupyterapp.restored.then(() => true)")
    panel = shown(page, Server(flights()))
    expect(panel.get_by_role("button", name="Endpoints")).to_have_attribute("aria-expanded", "false")
    panel.get_by_role("button", name="Endpoints").click()
    expect(row(panel, "delay-eu")).to_be_visible()


def test_the_filter_leaves_what_has_its_words(page: Page) -> None:
    panel = shown(page, Server(flights()))
    panel.get_by_role("searchbox").fill("endpoint delay")
    assert sorted(names(panel)) == ["delay", "delay-eu", "deploy:delay-canary-eu-west-test-endpoint"]
    panel.get_by_role("searchbox").fill("")
    expect(row(panel, "trainer")).to_be_visible()


def test_the_arrow_keys_lead_from_row_to_row(page: Page) -> None:
    panel = shown(page, Server(flights()))
    opener(panel, "trainer").focus()
    page.keyboard.press("ArrowDown")
    expect(panel.locator(".aiinfra-Item-open").nth(1)).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(panel.get_by_role("button", name="Sessions")).to_be_focused()


def test_only_what_has_changed_travels(page: Page) -> None:
    server = Server(flights())
    panel = shown(page, server)
    server.sent = 0
    server.put(thing("train:rotation@3", figure="loss 0.4"))
    expect(row(panel, "rotation@3")).to_contain_text("loss 0.4")
    looked(page, server)
    assert server.sent == 1


# ---- what opens ----


def test_a_row_opens_with_its_facts_and_closes_the_one_before(page: Page) -> None:
    panel = shown(page, Server(flights()))
    opener(panel, "delay").click()
    expect(row(panel, "delay").get_by_role("table")).to_contain_text("delay@810 %41 ms")
    expect(row(panel, "delay")).to_contain_text("✓ holds")
    opener(panel, "rotation@3").click()
    expect(opener(panel, "delay")).to_have_attribute("aria-expanded", "false")
    expect(row(panel, "rotation@3").get_by_role("img", name="loss went from 0.9 to 0.4")).to_be_visible()
    assert panel.locator("[aria-expanded='true'].aiinfra-Item-open").count() == 1


def test_the_example_of_an_endpoint_can_be_copied(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    panel = shown(page, Server(flights()))
    opener(panel, "delay").click()
    panel.get_by_role("button", name="Copy curl").click()
    expect(panel.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "curl -s http://127.0.0.1:39170/predict -d '{}'"


def test_a_button_keeps_the_focus_when_the_facts_come_later(page: Page) -> None:
    panel = shown(page, Server(flights()))
    late: list[Route] = []

    def hold(route: Route) -> None:
        late.append(route)

    page.route("**/aiinfra/items/**", hold)
    opener(panel, "delay").press("Enter")
    until(lambda: page.wait_for_timeout(50) or late)
    promote = panel.get_by_role("button", name="Promote canary…")
    promote.focus()
    page.unroute("**/aiinfra/items/**")
    late[0].fallback()
    expect(panel.get_by_role("button", name="Copy curl")).to_be_visible()
    expect(promote).to_be_focused()
    buttons = row(panel, "delay").locator(".aiinfra-Item-body .aiinfra-Actions button")
    assert [buttons.first.text_content(), buttons.last.text_content()] == ["Copy curl", "Stop…"]


def test_an_ended_thing_says_why_it_failed_and_what_helps(page: Page) -> None:
    panel = shown(page, Server(flights()))
    opener(panel, "flight-delays@30").click()
    expect(row(panel, "flight-delays@30")).to_contain_text("KeyError: 'late'")
    expect(row(panel, "flight-delays@30").locator("code")).to_have_text("%recipe show flight-delays@30")
    expect(stopper(panel, "flight-delays@30")).to_be_hidden()


# ---- what is asked ----


def test_the_stop_of_an_endpoint_is_asked_about_and_keeping_it_is_focused(page: Page) -> None:
    server = Server(flights())
    panel = shown(page, server)
    stopper(panel, "rotation").press("Enter")
    asked = panel.get_by_role("alertdialog", name="Stop endpoint rotation?")
    expect(asked).to_have_accessible_description("It has answered 48,210 requests since its start.")
    expect(asked.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Enter")
    expect(asked).to_have_count(0)
    expect(stopper(panel, "rotation")).to_be_focused()
    assert server.called == []


@pytest.mark.parametrize("key", ["Escape", "Enter", "Space"])
def test_every_quick_key_keeps_it(page: Page, key: str) -> None:
    server = Server(flights())
    panel = shown(page, server)
    stopper(panel, "rotation").press("Enter")
    page.keyboard.press(key)
    expect(panel.get_by_role("alertdialog")).to_have_count(0)
    assert server.called == []


def test_the_act_repeats_its_verb_and_is_done(page: Page) -> None:
    server = Server(flights())
    panel = shown(page, server)
    stopper(panel, "rotation").click()
    page.wait_for_timeout(ARMED_MS)
    panel.get_by_role("button", name="Stop endpoint", exact=True).click()
    expect(panel.get_by_role("button", name="Stopping endpoint rotation")).to_be_focused()
    assert server.called == [("deploy/stop", "rotation")]


def test_the_milder_action_can_be_chosen_instead(page: Page) -> None:
    server = Server(flights())
    panel = shown(page, server)
    stopper(panel, "delay").click()
    page.wait_for_timeout(ARMED_MS)
    panel.get_by_role("button", name="Roll back canary").click()
    until(lambda: page.wait_for_timeout(50) or server.called)
    assert server.called == [("deploy/rollback", "delay")]


def test_a_promotion_that_is_refused_says_why(page: Page) -> None:
    server = Server(flights())
    panel = shown(page, server)
    page.route("**/aiinfra/jobs/*", lambda route: route.fulfill(json={"state": "failed", "error": REFUSED}))
    opener(panel, "delay").click()
    panel.get_by_role("button", name="Promote canary…").click()
    page.wait_for_timeout(ARMED_MS)
    panel.get_by_role("button", name="Promote canary", exact=True).click()
    expect(panel.get_by_role("alert")).to_contain_text("it was not found good")
    assert server.called == [("deploy/promote", "delay")]


REFUSED = {"error": "Conflict", "what": "it was not found good", "fix": "check it"}


def test_what_cannot_be_stopped_can_still_be_promoted(page: Page) -> None:
    server = Server([thing("deploy:delay", actions=MILDER, stoppable=False)])
    panel = shown(page, server)
    opener(panel, "delay").press("Enter")
    expect(panel.get_by_role("button", name="Stop", exact=False)).to_have_count(
        1
    )  # that of the row, which does nothing
    stopper(panel, "delay").press("Enter")
    panel.get_by_role("button", name="Promote canary…").press("Enter")
    asked = panel.get_by_role("alertdialog", name="Promote the canary of delay?")
    server.put(thing("deploy:delay", actions=MILDER, stoppable=False, figure="40 ms p95"))
    expect(row(panel, "delay")).to_contain_text("40 ms p95")
    expect(asked).to_be_visible()
    asked.get_by_role("button", name="Promote canary").press("Enter")
    until(lambda: page.wait_for_timeout(50) or server.called)
    assert server.called == [("deploy/promote", "delay")]


def test_a_run_stops_at_once(page: Page) -> None:
    server = Server(flights())
    panel = shown(page, server)
    stopper(panel, "rotation@3").click()
    expect(panel.get_by_role("alertdialog")).to_have_count(0)
    until(lambda: page.wait_for_timeout(50) or server.called)
    assert server.called == [("train/stop", "rotation@3")]


def test_only_one_question_stands_at_a_time(page: Page) -> None:
    panel = shown(page, Server(flights()))
    stopper(panel, "rotation").click()
    stopper(panel, "delay-eu").click()
    expect(panel.get_by_role("alertdialog")).to_have_count(1)
    expect(panel.get_by_role("alertdialog", name="Stop endpoint delay-eu?")).to_be_visible()


def test_a_question_about_what_has_ended_goes_away(page: Page) -> None:
    server = Server(flights())
    panel = shown(page, server)
    stopper(panel, "rotation").click()
    server.put(thing("deploy:rotation", "stopped"))
    expect(panel.get_by_role("alertdialog")).to_have_count(0)
    expect(panel.get_by_role("button", name="Stopped endpoint rotation")).to_be_focused()


# ---- what happened by itself ----


def test_a_signal_is_a_notification_of_jupyterlab_that_stays_and_leads_to_the_panel(page: Page) -> None:
    server = Server(flights())
    shown(page, server)
    told = page.locator(".Toastify__toast")
    expect(told).to_have_count(0)
    what = "models:delay@8 was rolled back by rule: errors 4.9 % against the champion's 0.5 % since 14:03"
    signal = {"subject": "deploy:delay", "what": what, "fix": "look: `%deploy show delay`", "at": time.time()}
    server.answer["signals"] = [signal]
    server.put(thing("deploy:delay"))
    expect(told.first).to_contain_text(f"deploy:delay: {what}")
    server.answer["signals"] = []
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    told.first.get_by_role("button", name="Show").click()
    expect(page.locator("#aiinfra-lab-panel")).to_be_visible()


def test_candidates_and_a_shadow_are_drawn_apart(page: Page) -> None:
    server = Server(flights())
    cells = ["–", "40 ms", "80 ms", "0 %"]
    roles = (("champion", 0.6), ("canary", 0.1), ("candidate", 0.3), ("shadow", 1.0))
    arms = [{"uri": f"models:delay@{at}", "role": role, "share": share, "cells": cells} for at, (role, share) in
            enumerate(roles)]  # fmt: skip
    server.details["deploy:delay"] = {"arms": arms}
    panel = shown(page, server)
    opener(panel, "delay").click()
    expect(panel.locator(".aiinfra-Arms tbody tr")).to_have_count(4)
    expect(panel.locator(".aiinfra-Split > *")).to_have_count(3)  # a shadow answers nobody
    backgrounds = panel.locator(".aiinfra-Key").evaluate_all(
        "keys => keys.map(key => { const s = getComputedStyle(key); return s.background + s.border; })"
    )
    assert len(set(backgrounds)) == 4


# ---- nothing moves ----


def test_a_double_click_on_stop_stops_no_endpoint(page: Page) -> None:
    server = Server(flights())
    panel = shown(page, server)
    for name in ("delay-eu", "delay", "rotation"):
        stopper(panel, name).dblclick()
        page.wait_for_timeout(1000)
    opener(panel, "rotation").click()
    panel.get_by_role("button", name="Stop…").dblclick()
    page.wait_for_timeout(1000)
    assert server.called == []
    expect(panel.get_by_role("alertdialog")).to_have_count(1)


def test_nothing_moves_under_the_pointer_and_what_is_new_comes_last(page: Page) -> None:
    server = Server(flights())
    panel = shown(page, server)
    opener(panel, "notebook-gpu").hover()
    before = names(panel)
    top = opener(panel, "notebook-gpu").bounding_box()
    server.put(thing("gpu:fresh", "no answer"), thing("gpu:trainer", "stopped"), thing("train:rotation@3", "failed"))
    expect(panel.get_by_role("status")).to_contain_text("new: session fresh")
    assert names(panel) == [*before, "fresh"]
    assert opener(panel, "notebook-gpu").bounding_box() == top
    assert panel.locator(".aiinfra-Section-toggle").last.inner_text().split() == ["New", "1", "✕", "1"]
    leave(page)
    expect(panel.locator(".aiinfra-Item-name").first).to_have_text("fresh")
    assert names(panel).index("gpu:trainer") > names(panel).index("weather")


def test_nothing_moves_while_the_focus_is_in_the_list(page: Page) -> None:
    server = Server(flights())
    panel = shown(page, server)
    opener(panel, "notebook-gpu").focus()
    before = names(panel)
    server.put(thing("gpu:notebook-gpu", "stopped"), thing("gpu:first", "no answer"))
    expect(panel.get_by_role("status")).to_contain_text("new: session first")
    expect(opener(panel, "notebook-gpu")).to_be_focused()
    assert names(panel) == [*before, "first"]


def test_what_is_no_item_any_more_stays_where_it_was_until_nobody_points_there(page: Page) -> None:
    server = Server(flights())
    panel = shown(page, server)
    opener(panel, "notebook-gpu").hover()
    before = names(panel)
    server.drop("gpu:trainer")
    expect(panel.get_by_role("status")).to_contain_text("9 live")
    expect(stopper(panel, "trainer")).to_have_attribute("aria-disabled", "true")
    assert names(panel) == before
    leave(page)
    expect(row(panel, "trainer")).to_have_count(0)


def test_a_server_that_was_started_anew_is_asked_for_everything(page: Page) -> None:
    server = Server(flights(), feed="one")
    panel = shown(page, server)
    del server.items["gpu:trainer"]  # while nobody answered
    server.answer["feed"] = "two"
    expect(row(panel, "trainer")).to_have_count(0)
    expect(row(panel, "notebook-gpu")).to_be_visible()


def test_a_banner_moves_no_row_under_the_pointer(page: Page) -> None:
    server = Server(flights())
    panel = shown(page, server)
    opener(panel, "rotation@3").hover()
    top = opener(panel, "rotation@3").bounding_box()
    page.unroute_all()
    page.route("**/aiinfra/**", lambda route: route.abort())
    expect(panel.get_by_role("alert")).to_contain_text("does not answer")
    assert opener(panel, "rotation@3").bounding_box() == top
    leave(page)
    expect(panel.locator(".aiinfra-floating")).to_have_count(0)


def test_a_click_on_what_has_moved_under_the_resting_pointer_is_not_let_through(page: Page) -> None:
    server = Server(flights())
    panel = shown(page, server)
    opener(panel, "delay").click()
    expect(row(panel, "delay").get_by_role("table")).to_be_visible()
    box = opener(panel, "rotation").bounding_box()
    assert box
    page.mouse.move(box["x"] + 60, box["y"] + 10)
    page.mouse.click(box["x"] + 60, box["y"] + 10)  # `delay` above it closes, and `rotation` moves up
    expect(opener(panel, "rotation")).to_have_attribute("aria-expanded", "true")
    expect(row(panel, "rotation").locator("dl")).to_be_visible()
    page.mouse.click(box["x"] + 60, box["y"] + 10)
    expect(opener(panel, "rotation")).to_have_attribute("aria-expanded", "true")
    assert panel.locator("[aria-expanded='true'].aiinfra-Item-open").count() == 1
    page.mouse.move(box["x"] + 60, 5)  # it moves, and comes back: now it means what is there
    box = stopper(panel, "rotation@3").bounding_box()
    assert box
    page.mouse.click(box["x"] + 10, box["y"] + 10)
    until(lambda: page.wait_for_timeout(50) or server.called)
    assert server.called == [("train/stop", "rotation@3")]


# ---- how it looks to everybody ----


@pytest.mark.parametrize("theme", THEMES_FOR_AXE)  # mark.slow, all but the first
def test_axe_finds_nothing_in_any_state(lab: Lab, theme: str) -> None:
    with lab.page(theme, height=1100) as page:
        server = Server(flights())
        panel = shown(page, server)
        found = judged(page)
        for name in ("delay", "rotation@3", "flight-delays@30", "trainer"):
            opener(panel, name).click()
            expect(row(panel, name).locator("dl")).to_be_visible()
            found += judged(page)
        stopper(panel, "delay").click()
        found += judged(page)
        server.put(thing("gpu:fresh"), thing("train:rotation@3", "stopping", stoppable=False))
        expect(panel.get_by_role("button", name="New 1")).to_be_visible()
        found += judged(page)
        leave(page)
        page.unroute_all()
        page.route("**/aiinfra/**", lambda route: route.abort())
        expect(panel.get_by_role("alert")).to_contain_text("does not answer")
        assert found + judged(page) == []


def judged(page: Page) -> list[str]:
    """What axe finds wrong, for people who want more contrast too."""
    found = faults(page, "#aiinfra-lab-panel")
    page.emulate_media(contrast="more")
    found += faults(page, "#aiinfra-lab-panel")
    page.emulate_media(contrast="no-preference")
    return found


WIDE_LOG = "Traceback (most recent call last):\n" + "x" * 300
WORDY = "ValueError: " + "the input has 12 columns and the model was made for 11 of them, " * 3
BEYOND = """node => [...node.querySelectorAll('*')]
    .filter(each => !each.closest('pre, .aiinfra-hidden') && each.scrollWidth > each.clientWidth + 1)
    .filter(each => getComputedStyle(each).textOverflow !== 'ellipsis' && getComputedStyle(each).display !== 'inline')
    .map(each => each.className || each.tagName)"""


@pytest.mark.parametrize("width", [250, 260, 300, 360, 400])
def test_nothing_is_wider_than_the_panel(page: Page, width: int) -> None:
    panel = shown(page, Server(flights()), width)
    for name in ("delay", "flight-delays@30", "rotation@3"):
        opener(panel, name).click()
        expect(row(panel, name).locator("dl")).to_be_visible()
        assert panel.evaluate("node => node.scrollWidth - node.clientWidth") == 0
        assert panel.locator(".aiinfra-Item-body").evaluate(BEYOND) == []


@pytest.mark.parametrize("width", [250, 260, 300, 360])
def test_a_failure_is_read_whole_and_its_log_scrolls_by_itself(page: Page, width: int) -> None:
    server = Server([thing("train:bad@1", "failed")])
    server.details["train:bad@1"] = {"problem": WORDY, "fix": f"`%train show bad@1 --code {'y' * 80}`", "log": WIDE_LOG}
    panel = shown(page, server, width)
    opener(panel, "bad@1").press("Enter")  # a click here may be the second of a double click: of the test before
    log = panel.locator(".aiinfra-Log")
    assert log.evaluate("node => node.scrollWidth > node.clientWidth && node.tabIndex === 0")
    assert panel.locator(".aiinfra-Item-body").evaluate(BEYOND) == []
    edge = panel.evaluate("node => node.getBoundingClientRect().right")
    for part in (log, *panel.locator(".aiinfra-Item-why").all()):
        assert part.evaluate("node => node.getBoundingClientRect().right") <= edge


LONG_VALUES = [
    thing("recipe:fails@1", figure="first-step-with-a-long-name", facts=["1 of 3 steps"], progress=[1, 3]),
    thing("train:delay-transformer-distilled-with-weather@3", figure="validation_macro_f1 0.412", facts=["step 7"]),
    thing("deploy:delay", figure="1,204 ms p95", facts=["canary 10 %"]),
]


@pytest.mark.parametrize("width", [250, 260, 300])
def test_a_long_value_leaves_the_name_half_of_the_row(page: Page, width: int) -> None:
    panel = shown(page, Server(LONG_VALUES), width)
    for item in LONG_VALUES:
        name, value = (row(panel, item["name"]).locator(f".aiinfra-Item-{part}") for part in ("name", "value"))
        name_box, value_box = name.bounding_box(), value.bounding_box()
        assert name_box is not None
        assert value_box is not None
        assert name_box["width"] >= 0.45 * (name_box["width"] + value_box["width"])
        expect(value).to_have_attribute("title", item["figure"])


def test_what_has_ended_is_told_apart_by_its_noun_on_one_line(page: Page) -> None:
    ended = [thing("train:stay@2", "done"), thing("recipe:stay@2", "failed"), thing("deploy:stay", "stopped")]
    panel = shown(page, Server(ended), 250)
    assert sorted(names(panel)) == ["deploy:stay", "recipe:stay@2", "train:stay@2"]
    for one in panel.locator(".aiinfra-Item-open").all():
        box = one.bounding_box()
        assert box is not None
        assert box["height"] <= 28
        assert one.locator(".aiinfra-Item-name").evaluate("node => node.scrollWidth <= node.clientWidth")


def test_forced_colours_keep_edges_and_reduced_motion_turns_nothing(page: Page) -> None:
    page.emulate_media(forced_colors="active", reduced_motion="reduce")
    panel = shown(page, Server(flights()))
    opener(panel, "delay").click()
    edge = "node => getComputedStyle(node, '::before').borderTopStyle"
    assert stopper(panel, "delay").evaluate(edge) == "solid"
    turning = "node => getComputedStyle(node.querySelector('.aiinfra-Item-glyph')).animationName"
    assert row(panel, "rotation@3").evaluate(turning) == "none"
    screenshot(page, "panel-forced-colours")
    page.emulate_media(reduced_motion="no-preference")
    assert row(panel, "rotation@3").evaluate(turning) == "aiinfra-turn"


def test_five_hundred_things_are_all_there_at_last(page: Page) -> None:
    things = [thing(f"train:run-{number}@1", since=time.time() - number) for number in range(500)]
    panel = shown(page, Server(things))
    expect(panel.locator(".aiinfra-Item")).to_have_count(500)
    assert names(panel) == [f"run-{number}@1" for number in range(500)]


# ---- a session ----


def test_a_session_is_given_more_time_and_its_outputs_are_fetched_by_the_keyboard(page: Page) -> None:
    more = {"verb": "start", "title": "Give it 2h", "question": "Let trainer live for 2h from now?"}
    more |= {"consequence": "It ends by itself after that.", "instead": "", "flags": {"for": "2h"}}
    server = Server([thing("gpu:trainer", "ends soon", actions=[more], deadline=time.time() + 300)])
    server.details["gpu:trainer"] = {"code": "%gpu get trainer"}
    panel = shown(page, server)
    opener(panel, "trainer").press("Enter")
    expect(panel.get_by_role("button", name="Get outputs")).to_be_visible()
    panel.get_by_role("button", name="Give it 2h…").press("Enter")
    page.wait_for_timeout(ARMED_MS)
    with page.expect_request("**/aiinfra/gpu/start*") as asked:
        panel.get_by_role("alertdialog").get_by_role("button", name="Give it 2h").press("Enter")
    assert asked.value.post_data_json["flags"] == {"for": "2h"}
    assert asked.value.post_data_json["args"] == ["trainer"]
    panel.get_by_role("button", name="Get outputs").press("Enter")
    expect(panel.get_by_role("button", name="Copied")).to_be_visible()  # no notebook is open to insert it
