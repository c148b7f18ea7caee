"""The executed notebook of a run's step as a page: what nbconvert makes of it, without scripts of its own."""

from __future__ import annotations

from ..config import settings
from ..errors import NotFound
from ..show import Card, mark_of
from ..store import has_store

POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; media-src data:; "
    "base-uri 'none'; form-action 'none'"
)
"""What its outputs may do: be looked at. They are what any code put out, and come from the server's own address."""

_KIND = "Executed notebook"
# nbconvert's page fetches its scripts from elsewhere, and only draws formulas, diagrams and live widgets with them.
_TEMPLATE = """{% extends 'lab/index.html.j2' %}
{% block html_head_js %}{% endblock %}
{% block jupyter_widgets %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block body_header %}{{ super() }}<div class="jp-RenderedHTMLCommon">{{ resources.head }}</div>{% endblock %}"""
_PROBLEM = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Executed notebook</title>
<style>:root { color-scheme: %s; } body { margin: 2rem; font: 14px system-ui, sans-serif; }</style></head>
<body><main>%s</main></body></html>"""


def page_of(run: str, step: str, *, is_dark: bool) -> str:
    """The whole page. NotFound where a run's record names no such notebook, or that is gone."""
    import nbformat
    from nbconvert import HTMLExporter

    from ..recipe.step_output import executed

    if not has_store(settings()):  # looking must not make one
        raise NotFound(f"there is no run {run}", "`%recipe ls` lists what there is")
    found, text = executed(run, step)
    copy = f"`%recipe get {run}/{step} --into FILE.ipynb` writes a copy that can be edited"
    uri = f"{found.uri}/{step}"
    head = Card(kind=_KIND, uri=uri, state=mark_of(found.state), notes=found.card().notes, next=[copy])
    theme = "dark" if is_dark else "light"
    exporter = HTMLExporter(raw_template=_TEMPLATE, theme=theme, exclude_anchor_links=True)  # type: ignore[no-untyped-call]
    notebook = nbformat.reads(text, as_version=4)  # type: ignore[no-untyped-call]
    resources = {"metadata": {"name": uri}, "head": head.html()}
    page: str = exporter.from_notebook_node(notebook, resources)[0]
    return page


def problem_page(what: str, fix: str, *, is_dark: bool) -> str:
    """Why there is no such page, and what to do."""
    shown = Card(kind="", uri=_KIND, lead=what, advice=fix).html()
    return _PROBLEM % ("dark" if is_dark else "light", shown)
