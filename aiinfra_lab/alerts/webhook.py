"""`webhook:VARIABLE`: the alert as JSON, posted to the URL in that variable.

With `[alerts] webhook_secret`, which names another variable, it is signed as Standard Webhooks has it: the header
`webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over `webhook-id.webhook-timestamp.body`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping

from ..config import Settings
from ..errors import UsageProblem
from . import texts
from .base import Alert
from .connecting import timeout_s
from .posting import post, receiver
from .variables import check_variable, value_of

_SETTING = "alerts.webhook_secret"
_IN_BASE64 = "whsec_"


class WebhookSink:
    """Posts JSON."""

    def __init__(self, where: Settings) -> None:
        self._variable = where.get("alerts.webhook_secret", "")
        self._timeout_s = timeout_s(where)

    def check(self, address: str) -> None:
        """It has to name a variable."""
        check_variable(address, "alerts.to, behind webhook:,")

    def send(self, alert: Alert, address: str) -> None:
        """Post it; a receiver has it once it answers 2xx."""
        to, body = receiver(address, "webhook"), texts.as_json(alert).encode()
        post(to, body, {"webhook-id": alert.id, **self._signed(alert.id, body)}, self._timeout_s)

    def _signed(self, id: str, body: bytes) -> Mapping[str, str]:
        if not self._variable:
            return {}
        at = str(int(time.time()))
        mac = hmac.new(self._key(), f"{id}.{at}.".encode() + body, hashlib.sha256)
        return {"webhook-timestamp": at, "webhook-signature": f"v1,{base64.b64encode(mac.digest()).decode()}"}

    def _key(self) -> bytes:
        secret = value_of(self._variable, _SETTING)
        if not secret.startswith(_IN_BASE64):
            return secret.encode()
        try:
            return base64.b64decode(secret.removeprefix(_IN_BASE64), validate=True)
        except binascii.Error:
            what = f"the variable {self._variable} begins with {_IN_BASE64}, and is no base64 behind it"
            raise UsageProblem(what, f"copy it whole from the receiver: `export {self._variable}=…`") from None
