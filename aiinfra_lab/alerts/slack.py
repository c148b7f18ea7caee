"""`slack:VARIABLE`: an incoming webhook of Slack, or of what takes the same form (Mattermost, Rocket.Chat, Discord's
`/slack`). Who shows no blocks shows the text, which has all of it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from ..config import Settings
from . import texts
from .base import Alert
from .connecting import timeout_s
from .posting import post, receiver
from .variables import check_variable

_MARKS = {"failed": "🔴", "late": "🟠", "over budget": "🟠", "drift": "🟠", "recovered": "🟢"}
_LONGEST_HEADER = 150
_MOST_FIELDS = 10
# What Slack answers besides a status.
_REFUSALS = {
    "action_prohibited", "channel_is_archived", "channel_not_found", "invalid_blocks", "invalid_payload",
    "invalid_token", "no_active_hooks", "no_service", "no_service_id", "no_team", "no_text",
    "posting_to_general_channel_denied", "team_disabled", "too_many_attachments", "user_not_found",
}  # fmt: skip


class SlackSink:
    """Posts Slack's text and blocks."""

    def __init__(self, where: Settings) -> None:
        self._timeout_s = timeout_s(where)

    def check(self, address: str) -> None:
        """It has to name a variable."""
        check_variable(address, "alerts.to, behind slack:,")

    def send(self, alert: Alert, address: str) -> None:
        """Post it; Slack has it once it answers 200."""
        body = json.dumps({"text": _text(alert), "blocks": list(_blocks(alert))}, ensure_ascii=False).encode()
        post(receiver(address, "slack"), body, {}, self._timeout_s, _REFUSALS)


def escape(text: str) -> str:
    """Text that stays text in mrkdwn: no link, no mention, and no `@channel` that wakes everybody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _text(alert: Alert) -> str:
    facts = [f"{name}: {value}" for name, value in alert.facts.items()]
    lines = [f"{_MARKS[alert.kind]} {texts.title(alert)}", alert.what, alert.fix and f"fix: {alert.fix}", *facts]
    return "\n".join([*(escape(line) for line in lines if line), *_link(alert), f"alert {alert.id}"])


def _blocks(alert: Alert) -> Iterator[dict[str, object]]:
    header = f"{_MARKS[alert.kind]} {texts.title(alert)}"
    yield {"type": "header", "text": {"type": "plain_text", "text": header[:_LONGEST_HEADER], "emoji": True}}
    fix = [f"*fix:* {escape(alert.fix)}"] if alert.fix else []
    yield {"type": "section", "text": _mrkdwn("\n".join([escape(alert.what), *fix, *_link(alert)]))}
    fields = [_mrkdwn(f"*{escape(name)}*\n{escape(value)}") for name, value in alert.facts.items()]
    for start in range(0, len(fields), _MOST_FIELDS):
        yield {"type": "section", "fields": fields[start : start + _MOST_FIELDS]}
    yield {"type": "context", "elements": [_mrkdwn(f"{texts.moment(alert)} · alert {alert.id}")]}


def _link(alert: Alert) -> list[str]:
    if not alert.link:
        return []
    return [f"<{escape(alert.link)}|more>" if texts.is_url(alert.link) else escape(alert.link)]


def _mrkdwn(text: str) -> dict[str, str]:
    return {"type": "mrkdwn", "text": text}
