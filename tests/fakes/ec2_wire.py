"""Requests and answers of EC2's query protocol, for `ec2`."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from xml.sax.saxutils import escape

# Anything else is an error of the caller's, 400.
STATUSES = {
    "AuthFailure": 401,
    "InsufficientInstanceCapacity": 500,
    "InternalError": 500,
    "RequestLimitExceeded": 503,
    "Unavailable": 503,
    "UnauthorizedOperation": 403,
}

Market = Literal["spot", "on-demand"]
Answer = tuple[str, list[tuple[str, str]], bytes]


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it came in. parameters: as the query protocol writes them, e.g. `Placement.AvailabilityZone`."""

    operation: str
    region: str
    parameters: Mapping[str, str]

    def get(self, name: str) -> str:
        return self.parameters.get(name, "")

    @property
    def market(self) -> Market:
        return "spot" if self.get("InstanceMarketOptions.MarketType") == "spot" else "on-demand"

    @property
    def user_data(self) -> str:
        return base64.b64decode(self.get("UserData")).decode()

    @property
    def content(self) -> dict[str, str]:
        """What must be the same for a token to mean the same request."""
        return {name: value for name, value in self.parameters.items() if name not in ("ClientToken", "DryRun")}


class Refused(Exception):
    """The answer is an error."""

    def __init__(self, code: str, text: str = "", status: int | None = None) -> None:
        super().__init__(code)
        self.code, self.text, self.status = (
            code,
            text or f"{code}, as a test wanted it.",
            status or STATUSES.get(code, 400),
        )


class NoAnswer(Exception):
    """The connection is cut, or the caller waits for nothing."""

    def __init__(self, cut: bool) -> None:
        super().__init__()
        self.cut = cut


def error(refused: Refused) -> Answer:
    """As EC2 words it."""
    about = f"<Error><Code>{refused.code}</Code><Message>{escape(refused.text)}</Message></Error>"
    body = f"<Response><Errors>{about}</Errors><RequestID>{uuid.uuid4()}</RequestID></Response>"
    return f"{refused.status} {refused.code}", [("Content-Type", "text/xml;charset=UTF-8")], body.encode()


def done(call: Call, body: str) -> Answer:
    """That it went well, with that inside."""
    text = f"<{call.operation}Response><requestId>{uuid.uuid4()}</requestId>{body}</{call.operation}Response>"
    return "200 OK", [("Content-Type", "text/xml;charset=UTF-8")], text.encode()
