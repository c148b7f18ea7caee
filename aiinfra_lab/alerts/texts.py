"""An alert as JSON, as plain text and as HTML: what every sink shows of it."""

from __future__ import annotations

import datetime as dt
import html
import json
import re

from .base import Alert

VERSION = 1
"""Of the JSON form: it grows when a field changes its meaning or goes, and not when one is added."""


def as_json(alert: Alert) -> str:
    """One line."""
    fields = {
        "version": VERSION,
        "id": alert.id,
        "kind": alert.kind,
        "subject": alert.subject,
        "what": alert.what,
        "fix": alert.fix,
        "at": moment(alert),
        "facts": dict(alert.facts),
        "link": alert.link,
    }
    return json.dumps(fields, ensure_ascii=False)


def title(alert: Alert) -> str:
    """What an alert is about, in a few words."""
    return f"{alert.kind}: {alert.subject}"


def moment(alert: Alert) -> str:
    """When it was, in UTC."""
    return dt.datetime.fromtimestamp(alert.at, dt.UTC).isoformat(timespec="seconds")


def plain(alert: Alert) -> str:
    """All of it, for whoever has nothing else."""
    lines = [alert.what, f"fix: {alert.fix}" if alert.fix else "", ""]
    lines += [f"{name}: {value}" for name, value in alert.facts.items()]
    lines += ["", alert.link, f"{alert.subject}, {moment(alert)}, alert {alert.id}"]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


def as_html(alert: Alert) -> str:
    """The same with a table; no style and no picture, which mail clients block."""
    rows = "".join(f"<tr><th>{_safe(name)}</th><td>{_safe(value)}</td></tr>" for name, value in alert.facts.items())
    parts = [
        f"<h3>{_safe(title(alert))}</h3>",
        f"<p>{_safe(alert.what)}</p>",
        f"<p>fix: <code>{_safe(alert.fix)}</code></p>" if alert.fix else "",
        f'<table align="left">{rows}</table><br clear="all">' if rows else "",
        _anchor(alert.link),
        f"<p><small>{_safe(alert.subject)}, {moment(alert)}, alert {alert.id}</small></p>",
    ]
    return f"<html><body>{''.join(parts)}</body></html>"


def is_url(link: str) -> bool:
    """Whether a link may be one that people click."""
    return re.fullmatch(r"https?://[^\s<>|\"]+", link) is not None


def _anchor(link: str) -> str:
    if not link:
        return ""
    return f'<p><a href="{_safe(link)}">{_safe(link)}</a></p>' if is_url(link) else f"<p>{_safe(link)}</p>"


def _safe(text: str) -> str:
    return html.escape(text, quote=True)
