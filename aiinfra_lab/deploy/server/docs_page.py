"""An endpoint's page for people: what a row has, a request to try, and the same as a command line."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import shlex
from collections.abc import Mapping
from typing import Any

from ...features.contract import ROW_ID
from ...train.saved_model import SavedModel
from . import openapi
from .inference_protocol import outputs_of

KIND = b"text/html; charset=utf-8"
_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; background: canvas; color: canvastext; }
a { color: inherit; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .25rem 1.25rem .25rem 0; vertical-align: top; }
tr { border-bottom: 1px solid color-mix(in srgb, currentcolor 15%, transparent); } thead { font-weight: 500; }
pre, textarea { font: 13px/1.5 ui-monospace, monospace; background: color-mix(in srgb, currentcolor 6%, transparent); }
pre { padding: .75rem; overflow-x: auto; } textarea { width: 100%; box-sizing: border-box; padding: .75rem; }
"""
_SCRIPT = """
document.getElementById("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = document.getElementById("answer");
  try {
    const body = document.getElementById("body").value;
    const began = performance.now();
    const found = await fetch("predict", { method: "POST", body });
    const text = await found.text();
    let shown = text;
    try { shown = JSON.stringify(JSON.parse(text), null, 1); } catch {}
    answer.textContent = `${found.status} in ${(performance.now() - began).toFixed(1)} ms\\n${shown}`;
  } catch (problem) {
    answer.textContent = `no answer: ${problem}`;
  }
});
"""


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# What is in the page runs, and nothing that a model's names could bring into it.
POLICY = (
    f"content-security-policy: default-src 'none'; connect-src 'self'; style-src {_digest(_STYLE)}; "
    f"script-src {_digest(_SCRIPT)}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
).encode()


def page(name: str, uri: str, saved: SavedModel, host: str) -> tuple[bytes, bytes, bytes]:
    """The page, its kind, and the header fields that keep it to itself. host: under which it was asked for."""
    row = openapi.row_schema(saved)
    body = json.dumps(openapi.example(saved) or {"rows": [dict.fromkeys(row["required"])]}, ensure_ascii=False)
    curl = f"curl -s http://{host or 'localhost'}/predict -H 'content-type: application/json' -d {shlex.quote(body)}"
    title = f"Endpoint {name}"
    outputs = "".join(f"<tr><th scope=row>{_text(item.name)}<td>{_text(item.type)}" for item in outputs_of(saved))
    text = f"""<!doctype html>
<html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width"><title>{_text(title)}</title>
<style>{_STYLE}</style>
<main>
<h1>{_text(title)}</h1>
<p>It serves <code>{_text(uri)}</code>, {_text(saved.signature.task.name)}. For programs:
<a href="openapi.json">openapi.json</a>, and the Open Inference Protocol at
<a href="v2/models/{_text(name)}">v2/models/{_text(name)}</a>.</p>
<h2>A row</h2>
<table><thead><tr><th scope=col>name<th scope=col>type<th scope=col>for example</thead><tbody>{_rows(row)}</table>
<h2>Its answer</h2>
<table><thead><tr><th scope=col>name<th scope=col>type</thead><tbody>{outputs}</table>
<h2>Try it</h2>
<form id=ask><p><label for=body>The body of POST /predict</label>
<textarea id=body rows=8 spellcheck=false>{_text(body)}</textarea>
<p><button>Send</button></form>
<pre id=answer role=status tabindex=0></pre>
<h2>From a terminal</h2>
<pre tabindex=0>{_text(curl)}</pre>
</main>
<script>{_SCRIPT}</script>
</html>
"""
    return text.encode(), KIND, POLICY


def _rows(row: Mapping[str, Any]) -> str:
    found = []
    for name, schema in row["properties"].items():
        kind = schema["type"] if isinstance(schema["type"], str) else " or ".join(schema["type"])
        kind = f"{kind}, may be left out" if name not in row["required"] else kind
        some = ", ".join(map(str, schema.get("examples", ())[:5])) or schema.get("description", "")
        found.append(f"<tr><th scope=row>{_text(name)}<td>{_text(kind)}<td>{_text(some)}")
    assert ROW_ID in row["properties"]
    return "".join(found)


def _text(text: str) -> str:
    return html.escape(text)
