"""Answers of the server as a test wants them: rows of every look, as many as it takes, without anything that lives."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from playwright.sync_api import Page, Route

from aiinfra_lab.show.states import mark_of

STOP = {"verb": "stop", "instead": "", "flags": {}, "consequence": "It has answered 48,210 requests since its start."}
MILDER = [
    {
        "verb": "promote",
        "title": "Promote canary",
        "question": "Promote the canary of delay?",
        "consequence": "models:delay@8 then answers every request and becomes the champion of its model.",
        "instead": "",
        "flags": {},
    },
    {
        "verb": "rollback",
        "title": "Roll back canary",
        "question": "Roll back the canary of delay?",
        "consequence": "models:delay@8 then answers no request. Both models stay.",
        "instead": "",
        "flags": {},
    },
]


def thing(uri: str, state: str = "running", **fields: Any) -> dict[str, Any]:
    """One item, as `Item` of `aiinfra_lab.jupyter.items` is sent; an endpoint that lives is asked about."""
    noun, _, name = uri.partition(":")
    mark = mark_of(state, noun)
    is_live = state in ("running", "starting", "stopping", "reconnecting", "ends soon", "no answer", "cannot tell")
    asks = [{**STOP, "title": "Stop endpoint", "question": f"Stop endpoint {name}?"}] if noun == "deploy" else []
    plain = {
        "uri": uri,
        "noun": noun,
        "name": name,
        "state": state,
        "is_live": is_live,
        "stoppable": is_live,
        "job": uri,
        "word": mark.word,
        "glyph": mark.glyph,
        "tone": mark.tone,
        "detail": "",
        "figure": "",
        "facts": [],
        "progress": None,
        "deadline": None,
        "since": time.time() - 4000,
        "actions": asks if is_live else [],
        "kind": "",
        "group": "",
    }
    return {**plain, **fields}


def flights() -> list[dict[str, Any]]:
    """The workspace of the design, as far as what it shows exists."""
    now = time.time()
    canary = [*MILDER, {**STOP, "title": "Stop endpoint", "question": "Stop endpoint delay?", "instead": "rollback"}]
    return [
        thing("gpu:trainer", "ends soon", figure="0.41 USD/h", facts=["AWS A10G spot"], deadline=now + 1210),
        thing("gpu:notebook-gpu", figure="0.41 USD/h", facts=["AWS A10G"]),
        thing("gpu:sweep-3", "reconnecting", figure="0.41 USD/h", facts=["try 4"]),
        thing("deploy:delay-eu", "no answer", detail="port 39170 is taken"),
        thing("deploy:delay", figure="38 ms p95", facts=["canary 10 %", "48,210 requests"], actions=canary),
        thing("deploy:rotation", figure="9 ms p95", facts=["1,204 requests"], since=now - 90_000),
        thing("train:rotation@3", figure="loss 0.412", facts=["step 1,204"]),
        thing("train:delay-transformer-distilled-with-weather@2", figure="loss 0.429", facts=["step 7"]),
        thing("recipe:flight-delays@31", figure="train", facts=["3 of 6 steps"], progress=[3, 6]),
        thing("data:weather", "starting", detail="waiting for its process"),
        thing("train:delay@12", "done", since=now - 600),
        thing("gpu:sweep-2", "stopped", since=now - 3000),
        thing("recipe:flight-delays@30", "failed", since=now - 40_000, detail="exit code 3"),
        thing("train:delay@11", "done", since=now - 80_000),
        thing("deploy:delay-canary-eu-west-test-endpoint", "stopped", since=now - 81_000),
    ]


def details(uri: str) -> dict[str, Any]:
    """What an opened row shows."""
    holds = {"glyph": "✓", "word": "holds", "tone": "good"}
    unsure = {"glyph": "?", "word": "cannot tell", "tone": "unsure"}
    plain = {
        "facts": [{"label": "started", "value": "2026-09-14 10:22:03", "mark": None}],
        "problem": "",
        "fix": "",
        "columns": [],
        "arms": [],
        "url": "",
        "example": "",
        "picture": "",
        "picture_alt": "",
        "log": "line 1\nline 2",
    }
    if uri == "deploy:delay":
        return {
            **plain,
            "columns": ["share", "p95", "p99", "errors"],
            "arms": [
                {
                    "uri": "models:delay@7",
                    "role": "champion",
                    "share": 0.9,
                    "cells": ["90 %", "38 ms", "71 ms", "0.04 %"],
                },
                {
                    "uri": "models:delay@8",
                    "role": "canary",
                    "share": 0.1,
                    "cells": ["10 %", "41 ms", "93 ms", "0.06 %"],
                },
            ],
            "facts": [
                {"label": "rolls back if", "value": "p95_ms > 80", "mark": holds},
                {"label": "", "value": "about 2,600 more requests are needed", "mark": unsure},
                {"label": "answered", "value": "48,210 requests in 3 h 40 min", "mark": None},
            ],
            "url": "http://127.0.0.1:39170",
            "example": "curl -s http://127.0.0.1:39170/predict -d '{}'",
        }
    if uri.startswith("train:"):
        picture = (
            '<svg xmlns="http://www.w3.org/2000/svg" width="420" height="160" viewBox="0 0 420 160">'
            '<path d="M10 10 L400 140" stroke="#2f7fc1" fill="none"/></svg>'
        )
        return {**plain, "picture": picture, "picture_alt": "loss went from 0.9 to 0.4"}
    if "flight-delays@30" in uri:
        return {
            **plain,
            "problem": "train: KeyError: 'late'",
            "fix": "`%recipe show flight-delays@30` shows its notebook",
        }
    return plain


class Server:
    """Answers the panel of a page instead of the server; `rev` grows with every change, as the store's does.

    Each begins below the one before, so that a panel that knows that one is told everything.
    """

    first_rev = 1_000_000

    def __init__(self, things: Sequence[Mapping[str, Any]] = (), **answer: Any) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.revs: dict[str, int] = {}
        Server.first_rev -= 1000
        self.rev = self.first_rev
        self.asked: list[str] = []
        self.called: list[tuple[str, str]] = []
        self.sent = 0
        self.gone: dict[str, int] = {}
        self.details: dict[str, dict[str, Any]] = {}
        self.planned: list[str] = []
        self.plan: tuple[int, dict[str, str]] = (404, {})
        self.answer = {"workspace": "flights", "usd_per_hour": 1.23, "is_least": False, **answer}
        self.on_call: Callable[[str, str], None] = lambda noun, verb: None
        self.put(*things)

    def put(self, *things: Mapping[str, Any]) -> None:
        """Write these, in one revision."""
        self.rev += 1
        for item in things:
            self.items[item["job"]] = dict(item)
            self.revs[item["job"]] = self.rev

    def drop(self, job: str) -> None:
        """Let it be no item any more."""
        self.rev += 1
        del self.items[job], self.revs[job]
        self.gone[job] = self.rev

    def serve(self, page: Page) -> None:
        """Answer that page from now on."""
        page.unroute_all()
        page.route("**/aiinfra/**", self._route)

    def _route(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        path = unquote(url.path.partition("/aiinfra/")[2])
        if route.request.method == "POST":
            noun, _, verb = path.partition("/")
            self.called.append((path, json.loads(route.request.post_data or "{}")["args"][0]))
            self.on_call(noun, verb)
            route.fulfill(json={"stopping": []} if verb == "stop" else {"job": "j"})
        elif path.startswith("jobs/"):
            route.fulfill(json={"state": "done", "error": None})
        elif path.startswith("plans/"):
            self.planned.append(path.removeprefix("plans/"))
            status, answer = self.plan
            route.fulfill(status=status, json=answer)
        elif path.startswith("items/"):
            uri = path.removeprefix("items/")
            route.fulfill(json={**details(uri), **self.details.get(uri, {})})
        else:
            since = int(parse_qs(url.query)["since"][0])
            since = 0 if since > self.rev else since
            self.asked.append(url.query)
            new = [item for key, item in self.items.items() if self.revs[key] > since]
            gone = [key for key, rev in self.gone.items() if rev > since]
            self.sent += len(new)
            route.fulfill(json={"rev": self.rev, "now": time.time(), "items": new, "gone": gone, **self.answer})


def widen(page: Page, width: int) -> None:
    """Give the side panel that width."""
    page.evaluate(
        "width => window.jupyterapp.shell._hsplitPanel.setRelativeSizes([width, window.innerWidth - width])", width
    )


def leave(page: Page) -> None:
    """Point at the list neither by the pointer nor by the focus: it may be put in order."""
    page.mouse.move(page.viewport_size["width"] - 20 if page.viewport_size else 900, 300)
    page.evaluate("() => document.activeElement?.blur()")


def shot(page: Page, path: Path) -> None:
    """A picture of the panel alone."""
    page.locator("#aiinfra-lab-panel").screenshot(path=path)
