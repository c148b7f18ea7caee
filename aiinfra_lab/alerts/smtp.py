"""`smtp:ADDRESS, ADDRESS`: mail, by the server that `[alerts] smtp_host` names. The password is in the variable of the
environment that `smtp_password` names."""

from __future__ import annotations

import base64
import contextlib
import email.policy
import email.utils
import re
import smtplib
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage

from ..config import Settings
from ..errors import Denied, LabError, Unavailable, UsageProblem, did_you_mean
from . import texts
from .base import Alert, PartlySent
from .connecting import Again, attempt, cut_after, is_this_machine, reason_of, timeout_s, untrusted
from .variables import value_of

_PORTS = {"starttls": 587, "ssl": 465, "none": 25}
# No quotes, no comments, and nothing that could end a header or a command.
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_LONGEST_SUBJECT = 200
_LONGEST_ANSWER = 120
_PASSWORD = "alerts.smtp_password"  # noqa: S105  # the setting, which names a variable

Refusals = Mapping[str, tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class _Server:
    host: str
    port: int
    security: str
    user: str

    def __str__(self) -> str:
        return f"the mail server {self.host}:{self.port}"


class SmtpSink:
    """Sends mail with text and HTML."""

    def __init__(self, where: Settings) -> None:
        self._server = _server(where)
        self._password = where.get("alerts.smtp_password", "")
        self._from = where.get("alerts.smtp_from", "") or (self._server.user if _is_address(self._server.user) else "")
        self._timeout_s = timeout_s(where)

    def check(self, address: str) -> None:
        """It has to be one or more addresses of mail."""
        _recipients(address)

    def send(self, alert: Alert, address: str) -> None:
        """Send it to all whom the server takes, in one message; `PartlySent` names the others."""
        recipients = _recipients(address)
        sender = self._from or f"aiinfra-lab@{_own_name()}"
        if not _is_address(sender):
            raise UsageProblem("alerts.smtp_from is no address of mail", "write one, e.g. ml@example.org")
        user = self._server.user
        password = value_of(self._password, _PASSWORD) if user else ""
        message = _message(alert, sender, recipients).as_bytes(policy=email.policy.SMTP)
        refused = attempt(lambda: self._attempt(sender, recipients, message, password), self._unavailable)
        if refused:
            what = f"{self._server} refuses {_named(refused, _secrets(user, password))}; the others have the mail"
            raise PartlySent(what, _CORRECT, ", ".join(refused))

    def _unavailable(self, reason: str) -> LabError:
        fix = "it is sent again with the next alert; see that the server is up, and smtp_host and smtp_port in [alerts]"
        return Unavailable(f"{self._server} did not take the alert: {reason}", fix)

    def _attempt(self, sender: str, recipients: Sequence[str], message: bytes, password: str) -> Refusals:
        try:
            with self._connected() as client:
                if self._server.user:
                    self._log_in(client, password)
                return client.sendmail(sender, recipients, message)
        except ssl.SSLCertVerificationError as problem:
            raise untrusted(str(self._server), problem) from None
        except smtplib.SMTPRecipientsRefused as problem:
            raise self._all_refused(problem.recipients, _secrets(self._server.user, password)) from None
        except smtplib.SMTPResponseException as problem:
            raise self._answered(problem.smtp_code) from None
        except (OSError, smtplib.SMTPException) as problem:
            raise Again(reason_of(problem)) from None

    @contextlib.contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        server, is_ssl = self._server, self._server.security == "ssl"
        context = ssl.create_default_context()
        name = _own_name()
        client = (
            smtplib.SMTP_SSL(local_hostname=name, timeout=self._timeout_s, context=context)
            if is_ssl
            else smtplib.SMTP(local_hostname=name, timeout=self._timeout_s)
        )
        # Given to the constructor it would connect there, where nothing could end a banner that trickles in.
        client._host = server.host  # type: ignore[attr-defined]
        try:
            with cut_after(2 * self._timeout_s, lambda: client.sock):
                status, _ = client.connect(server.host, server.port)
                if status != 220:
                    raise self._answered(status)
                if server.security == "starttls":
                    self._encrypt(client, context)
                yield client
                with contextlib.suppress(OSError, smtplib.SMTPException):
                    client.quit()  # the mail has been taken, whatever becomes of this
        finally:
            client.close()

    def _encrypt(self, client: smtplib.SMTP, context: ssl.SSLContext) -> None:
        try:
            client.starttls(context=context)
        except smtplib.SMTPNotSupportedError:
            raise Denied(
                f"{self._server} offers no STARTTLS",
                'in [alerts]: smtp_security = "ssl" for one that is encrypted from the start, or "none" in a network '
                "that you trust",
            ) from None

    def _log_in(self, client: smtplib.SMTP, password: str) -> None:
        try:
            _authenticate(client, self._server.user, password)
        except smtplib.SMTPAuthenticationError as problem:
            if problem.smtp_code < 500:
                raise Again(f"it answers {problem.smtp_code}") from None
            raise Denied(
                f"{self._server} refuses the login ({problem.smtp_code})",
                f"see smtp_user in [alerts], and the password in {self._password}",
            ) from None
        except smtplib.SMTPNotSupportedError:
            fix = "take smtp_user out of [alerts], or name the port for those who log in: smtp_port"
            raise Denied(f"{self._server} offers no login", fix) from None

    def _answered(self, status: int) -> Exception:
        """What its answer to anything but the login and a recipient means; its text is not shown."""
        if 0 < status < 500:
            return Again(f"it answers {status}")
        fix = "see smtp_from in [alerts], and whether the server wants a login: smtp_user and smtp_password"
        return Denied(f"{self._server} refuses the mail ({status})", fix)

    def _all_refused(self, refused: Refusals, secrets: Sequence[str]) -> LabError:
        named = _named(refused, secrets)
        if any(status < 500 for status, _ in refused.values()):
            return self._unavailable(f"not now, {named}")
        return Denied(f"{self._server} refuses {named}", _CORRECT)


def _authenticate(client: smtplib.SMTP, user: str, password: str) -> None:
    if (user + password).isascii():
        client.login(user, password)
        return
    # smtplib's own raises an error that holds the password, since it knows ASCII only.
    client.ehlo_or_helo_if_needed()
    login = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
    status, _ = client.docmd("AUTH", f"PLAIN {login}")
    if status != 235:
        raise smtplib.SMTPAuthenticationError(status, "")


_CORRECT = "correct the address in alerts.to"


def _server(where: Settings) -> _Server:
    security = where.get("alerts.smtp_security", "starttls")
    if security not in _PORTS:
        raise UsageProblem(f"alerts.smtp_security = {security!r} is none", did_you_mean(security, _PORTS))
    host, user = where.get("alerts.smtp_host", "localhost"), where.get("alerts.smtp_user", "")
    if not re.fullmatch(r"[A-Za-z0-9.:_-]+", host):
        raise UsageProblem("alerts.smtp_host is no name of a host", "write it alone, and the port as smtp_port")
    found = _Server(host, where.get("alerts.smtp_port", _PORTS[security]), security, user)
    if user and security == "none" and not is_this_machine(host):
        raise UsageProblem(
            f"the password would go to {host} unencrypted", 'set smtp_security = "starttls" or "ssl" in [alerts]'
        )
    return found


def _recipients(address: str) -> list[str]:
    found = list(dict.fromkeys(each for each in re.split(r"[\s,;]+", address) if each))
    wrong = [each for each in found if not _is_address(each)]
    if wrong or not found:
        which = repr(wrong[0]) if wrong else "nothing"
        raise UsageProblem(
            f"alerts.to has {which} behind smtp:, which is no address of mail", "write e.g. smtp:team@example.org"
        )
    return found


def _is_address(text: str) -> bool:
    return _ADDRESS.fullmatch(text) is not None and len(text) < 255


def _message(alert: Alert, sender: str, recipients: Sequence[str]) -> EmailMessage:
    message = EmailMessage(policy=email.policy.SMTP)
    message["Subject"] = f"{texts.title(alert)}: {alert.what}"[:_LONGEST_SUBJECT]
    message["From"] = Address("aiinfra-lab", addr_spec=sender)
    message["To"] = [Address(addr_spec=each) for each in recipients]
    message["Date"] = email.utils.format_datetime(email.utils.localtime())
    # The same for the same alert, so that a mailbox can drop doubles.
    message["Message-ID"] = f"<{alert.id}.aiinfra-lab@{Address(addr_spec=sender).domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(texts.plain(alert), cte="quoted-printable")
    message.add_alternative(texts.as_html(alert), subtype="html", cte="quoted-printable")
    return message


def _own_name() -> str:
    """As this machine calls itself, which some servers look at; never looked up, which may take long."""
    name = socket.gethostname()
    return name if re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", name) else "localhost.localdomain"


def _named(refused: Refusals, secrets: Sequence[str]) -> str:
    return ", ".join(f"{name} ({status}{_shown(text, secrets)})" for name, (status, text) in refused.items())


def _shown(text: bytes, secrets: Sequence[str]) -> str:
    """What a server answers of an address, on one line; nothing where it quotes how one logged in."""
    answer = "".join(letter if letter.isprintable() else " " for letter in text.decode(errors="replace"))
    line = " ".join(answer.split())[:_LONGEST_ANSWER]
    return f" {line}" if line and not any(secret in answer for secret in secrets) else ""


def _secrets(user: str, password: str) -> list[str]:
    """The password, and the forms in which it goes to a server."""
    forms = (password, f"\0{user}\0{password}")
    return [password, *(base64.b64encode(form.encode()).decode() for form in forms)] if password else []
