"""An endpoint's own page: what is tried there is predicted, and nothing else may run in it."""

import json
from pathlib import Path

import pytest

from tests.deploy import serving
from tests.deploy.conftest import artifact

from .lab import chromium, faults

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(chromium() is None, reason="there is no Chromium")]


def test_a_request_is_tried_by_keyboard_and_answered_on_the_page(tmp_path: Path) -> None:
    problems: list[str] = []
    with (
        serving.endpoint(tmp_path / "log", artifact(tmp_path / "model")) as served,
        playwright.sync_playwright() as started,
        started.chromium.launch(executable_path=chromium(), args=["--no-sandbox"]) as browser,
    ):
        page = browser.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"http://127.0.0.1:{served.address[1]}/docs")
        body = page.get_by_label("The body of POST /predict")
        assert json.loads(body.input_value())["rows"]
        page.get_by_role("button", name="Send").press("Enter")
        answer = page.get_by_role("status")
        playwright.expect(answer).to_contain_text('"score"')
        assert answer.inner_text().startswith("200 in ")
        body.fill('{"rows": []}')
        page.get_by_role("button", name="Send").click()
        playwright.expect(answer).to_contain_text("422 in ")
        assert not [text for text in problems if "422" not in text]
        # Its policy lets no script in, that of the check neither.
        checked = browser.new_page(bypass_csp=True)
        checked.goto(page.url)
        for scheme in ("light", "dark"):
            checked.emulate_media(color_scheme=scheme)
            assert faults(checked, "body") == []
