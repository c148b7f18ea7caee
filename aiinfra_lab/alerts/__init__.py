"""Alerts: what people hear of although nobody looks, by webhook, Slack, mail or file.

In `aiinfra.toml`, where a secret is never written, but the variable of the environment that holds it:

    [alerts]
    to = ["webhook:ALERT_URL", "slack:SLACK_URL", "smtp:team@example.org, ops@example.org", "file:alerts.jsonl"]
    smtp_host = "mail.example.org"
    smtp_user = "ml@example.org"
    smtp_password = "SMTP_PASSWORD"

And in a cell, or wherever something happens that people should hear of:

    from aiinfra_lab.alerts import Alert, deliver

    deliver(Alert("failed", "recipe:nightly", "the step train failed", fix="%recipe log nightly@41",
                  facts={"run": "recipe:nightly@41", "cell": "3", "cost": "0.12 USD"}))

The same trouble is sent once in six hours (`repeat = "1h"` for another time), `Alert("recovered", …)` once.

A sink of another package enters by the contract `alerts.sink`, see `base.Sink`.
"""

from .base import AddressCheck, Alert, AlertKind, PartlySent, Sink
from .delivery import Delivery, Undelivered, deliver, deliver_aside, repeat_s
from .destinations import Destination, destinations

__all__ = [
    "AddressCheck", "Alert", "AlertKind", "Delivery", "Destination", "PartlySent", "Sink", "Undelivered", "deliver",
    "deliver_aside", "destinations", "repeat_s",
]  # fmt: skip
