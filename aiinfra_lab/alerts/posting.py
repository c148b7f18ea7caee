"""JSON to a URL that is a secret: who has it may post. Of it only scheme, host and port are ever shown.

No redirect is followed: it would take the alert, and what is signed, to whom nobody named. The proxy of the environment
(`HTTPS_PROXY`, `NO_PROXY`) is used, but never for this machine.
"""

from __future__ import annotations

import base64
import email.utils
import http.client
import re
import socket
import ssl
import time
import urllib.request
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from ..errors import Denied, LabError, Unavailable, UsageProblem
from .connecting import Again, attempt, cut_after, is_this_machine, reason_of, untrusted
from .variables import value_of

_AGAIN = {408, 425, 429}
_MOST_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where to post. variable: the one that holds the URL. server: what may be shown of it, scheme, host and port."""

    variable: str
    server: str
    host: str = field(repr=False)
    port: int | None = field(repr=False)
    path: str = field(repr=False)
    login: str = field(repr=False)

    @property
    def is_encrypted(self) -> bool:
        return self.server.startswith("https:")


def receiver(variable: str, sink: str) -> Receiver:
    """Whom the URL in that variable names. Missing when it is not set, UsageProblem when it holds none."""
    url = value_of(variable, f"alerts.to, {sink}:…,")
    wrong = UsageProblem(
        f"the variable {variable} holds no URL of a webhook", f"`export {variable}=https://…`, as the receiver shows it"
    )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not host or not re.fullmatch("[!-~]+", url):
        raise wrong
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    shown_host = f"[{host}]" if ":" in host else host
    server = f"{parts.scheme}://{shown_host}" + (f":{port}" if port else "")
    return Receiver(variable, server, host, port, path, _login(parts))


def post(
    to: Receiver, body: bytes, headers: Mapping[str, str], timeout_s: float, refusals: Collection[str] = ()
) -> None:
    """Post, and return once it is taken; see `Sink.send`.

    refusals: words of the receiver that say why, and may be shown; whatever else it answers may quote the URL.
    """

    def problem(reason: str) -> LabError:
        fix = f"it is sent again with the next alert; see that {to.server} is up and {to.variable} is its URL"
        return Unavailable(f"{to.server} did not take the alert: {reason}", fix)

    attempt(lambda: _attempt(to, body, headers, timeout_s, refusals), problem)


def _attempt(
    to: Receiver, body: bytes, headers: Mapping[str, str], timeout_s: float, refusals: Collection[str]
) -> None:
    connection = _connection(to, timeout_s)
    opened: list[socket.socket] = []  # the answer takes it over from the connection
    try:
        with cut_after(timeout_s, lambda: connection.sock or next(iter(opened), None)):
            connection.connect()
            opened.append(connection.sock)
            path, of_proxy = _target(to)
            connection.request("POST", path, body, {**_all_headers(to, headers), **of_proxy})
            answer = connection.getresponse()
            # Before the body, which nobody needs of one that was taken: it may not come to its end.
            text = "" if answer.status < 300 else answer.read(_MOST_BYTES).decode(errors="replace").strip()
    except ssl.SSLCertVerificationError as problem:
        raise untrusted(to.server, problem) from None
    except (OSError, http.client.HTTPException) as problem:
        raise Again(reason_of(problem)) from None
    finally:
        connection.close()
    if answer.status in _AGAIN or answer.status >= 500:
        raise Again(f"it answers {answer.status}", _wait_s(answer.getheader("Retry-After", "")))
    if answer.status >= 300:
        raise _refused(to, answer, text if text in refusals else "")


def _connection(to: Receiver, timeout_s: float) -> http.client.HTTPConnection:
    proxy = _proxy(to)
    host, port = (proxy.hostname or "", proxy.port) if proxy else (to.host, to.port)
    if not to.is_encrypted:
        return http.client.HTTPConnection(host, port, timeout=timeout_s)
    connection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=ssl.create_default_context())
    if proxy:
        connection.set_tunnel(to.host, to.port or 443, _proxy_login(proxy))
    return connection


def _proxy(to: Receiver) -> SplitResult | None:
    if is_this_machine(to.host) or urllib.request.proxy_bypass(to.host):
        return None
    url = urllib.request.getproxies_environment().get("https" if to.is_encrypted else "http", "")
    try:
        proxy = urlsplit(url if "://" in url else f"http://{url}")
        usable = bool(proxy.hostname) and (proxy.port or 80) > 0
    except ValueError:
        usable = False
    if url and not usable:
        raise UsageProblem(
            "the environment names a proxy that has no address", "`export HTTPS_PROXY=http://proxy.example.org:3128`"
        )
    return proxy if url else None


def _login(parts: SplitResult) -> str:
    """What stands before a URL's host, as HTTP has it; empty when nothing does."""
    user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return base64.b64encode(user.encode()).decode() if parts.username else ""


def _proxy_login(proxy: SplitResult | None) -> dict[str, str]:
    login = _login(proxy) if proxy else ""
    return {"Proxy-Authorization": f"Basic {login}"} if login else {}


def _target(to: Receiver) -> tuple[str, dict[str, str]]:
    """What stands behind POST, and what a proxy that reads it wants besides."""
    proxy = None if to.is_encrypted else _proxy(to)
    if proxy is None:
        return to.path, {}
    return to.server + to.path, _proxy_login(proxy)


def _all_headers(to: Receiver, headers: Mapping[str, str]) -> dict[str, str]:
    login = {"Authorization": f"Basic {to.login}"} if to.login else {}
    usual = {"Content-Type": "application/json", "User-Agent": "aiinfra-lab", "Connection": "close"}
    return {**usual, **login, **headers}


def _wait_s(text: str) -> float:
    """Seconds of a Retry-After, which may also be a date; 0 where it is neither."""
    if text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _refused(to: Receiver, answer: http.client.HTTPResponse, word: str) -> Denied:
    if answer.status < 400:
        return Denied(
            f"{to.server} answers {answer.status}, a redirect, and none is followed",
            f"put the URL where it really is into {to.variable}",
        )
    why = f"{answer.status}, {word}" if word else str(answer.status)
    if answer.status in (400, 413, 415, 422):
        fix = "see that it takes this form: `slack:` is for Slack and what is compatible, `webhook:` posts plain JSON"
    else:
        fix = f"make a new webhook there, and put its URL into {to.variable}"
    return Denied(f"{to.server} refuses the alert: {why}", fix)
