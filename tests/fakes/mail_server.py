"""A mail server on loopback that takes nothing but what RFC 5321 allows, and says what was wrong: the standard library
has none any more."""

from __future__ import annotations

import base64
import contextlib
import email
import email.policy
import re
import socketserver
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage

LONGEST_LINE = 998


@dataclass(frozen=True)
class Mail:
    """sender and recipients: of the envelope. user: who was logged in."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage
    user: str
    is_encrypted: bool
    raw: bytes


class MailServer:
    """users: who may log in; with some, everybody has to. refusals: of recipients. greetings: the next ones instead of
    220; `SILENT` for none. violations: what a client did that it may not do."""

    SILENT = ""

    def __init__(
        self,
        *,
        context: ssl.SSLContext | None = None,
        is_ssl: bool = False,
        users: Mapping[str, str] | None = None,
        refusals: Mapping[str, str] | None = None,
    ) -> None:
        self.context, self.is_ssl = context, is_ssl
        self.users, self.refusals = dict(users or {}), dict(refusals or {})
        self.greetings: list[str] = []
        self.of_data: list[str] = []
        self.of_login = ""
        self.mails: list[Mail] = []
        self.violations: list[str] = []
        self.ended = threading.Event()
        self.lock = threading.Lock()
        server = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError, EOFError):
                    _Dialogue(server, self).run()

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            request_queue_size = 64

            def handle_error(self, *_: object) -> None:
                pass  # a client that ends the handshake

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])

    @contextlib.contextmanager
    def running(self) -> Iterator[MailServer]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self.ended.set()
            self._server.shutdown()
            thread.join()
            self._server.server_close()


class _Dialogue:
    def __init__(self, server: MailServer, handler: socketserver.StreamRequestHandler) -> None:
        self.server, self.socket = server, handler.request
        self.is_encrypted = server.is_ssl
        if server.is_ssl:
            assert server.context
            self.socket = server.context.wrap_socket(self.socket, server_side=True)
        self.file = self.socket.makefile("rb")
        self.greeted, self.user = False, ""
        self.sender: str | None = None
        self.recipients: list[str] = []

    def run(self) -> None:
        greeting = self.server.greetings.pop(0) if self.server.greetings else "220 mail.example.org ready"
        if greeting == MailServer.SILENT:
            self.server.ended.wait()
            return
        self.answer(greeting)
        if not greeting.startswith("220"):
            return
        while True:
            verb, _, rest = self.line().partition(" ")
            if verb.upper() == "QUIT":
                self.answer("221 bye")
                return
            getattr(self, f"do_{verb.lower()}", self.unknown)(rest)

    def line(self) -> str:
        read: bytes = self.file.readline(2 * LONGEST_LINE)
        if not read:
            raise EOFError
        if not re.fullmatch(rb"[\x20-\x7e]*\r\n", read):
            self.violate(f"no line of a dialogue: {read!r}")
        return read.decode("ascii", "replace").rstrip("\r\n")

    def answer(self, *lines: str) -> None:
        self.socket.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def violate(self, what: str) -> None:
        self.server.violations.append(what)

    def unknown(self, rest: str) -> None:
        self.violate(f"an unknown command, {rest!r}")
        self.answer("500 unknown")

    def out_of_order(self, what: str) -> None:
        self.violate(f"out of order: {what}")
        self.answer("503 out of order")

    def do_ehlo(self, name: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+|\[[0-9.]+\]", name):
            self.violate(f"no name of a host: {name!r}")
        self.greeted = True
        offers = ["SIZE 100000"]
        if self.server.context and not self.is_encrypted:
            offers.append("STARTTLS")
        if self.server.users and (self.is_encrypted or not self.server.context):
            offers.append("AUTH PLAIN")
        self.answer("250-mail.example.org", *(f"250-{each}" for each in offers[:-1]), f"250 {offers[-1]}")

    def do_starttls(self, _: str) -> None:
        if not self.server.context or self.is_encrypted:
            return self.out_of_order("STARTTLS")
        self.answer("220 go on")
        self.socket = self.server.context.wrap_socket(self.socket, server_side=True)
        self.file = self.socket.makefile("rb")
        self.is_encrypted, self.greeted = True, False
        return None

    def do_auth(self, rest: str) -> None:
        kind, _, text = rest.partition(" ")
        if kind.upper() != "PLAIN" or (self.server.context and not self.is_encrypted):
            return self.out_of_order(f"AUTH {kind}")
        _, user, password = base64.b64decode(text).decode().split("\0")
        if self.server.users.get(user) != password:
            # As bad as servers can be: it quotes what it was sent.
            return self.answer(self.server.of_login or f"535 5.7.8 {text} is no login, {password} is wrong")
        self.user = user
        return self.answer("235 welcome")

    def do_mail(self, rest: str) -> None:
        found = re.fullmatch(r"FROM:<([^<>\s]+@[^<>\s]+)>( SIZE=\d+)?", rest, re.IGNORECASE)
        if not self.greeted or self.sender is not None or not found:
            return self.out_of_order(f"MAIL {rest}")
        if self.server.users and not self.user:
            return self.answer("530 5.7.0 log in first")
        self.sender = found[1]
        return self.answer("250 ok")

    def do_rcpt(self, rest: str) -> None:
        found = re.fullmatch(r"TO:<([^<>\s]+@[^<>\s]+)>", rest, re.IGNORECASE)
        if self.sender is None or not found:
            return self.out_of_order(f"RCPT {rest}")
        if refusal := self.server.refusals.get(found[1]):
            return self.answer(refusal)
        self.recipients.append(found[1])
        return self.answer("250 ok")

    def do_data(self, _: str) -> None:
        if not self.recipients:
            return self.out_of_order("DATA")
        self.answer("354 go on")
        lines = list(self._data())
        if self.server.of_data:
            return self.answer(self.server.of_data.pop(0))
        self._take(lines)
        return self.answer("250 taken")

    def _data(self) -> Iterator[bytes]:
        while (line := self.file.readline(2 * LONGEST_LINE)) != b".\r\n":
            if not line:
                raise EOFError
            if not line.endswith(b"\r\n") or len(line) > LONGEST_LINE + 2 or b"\n" in line[:-1] or b"\r" in line[:-2]:
                self.violate(f"no line of a mail: {line!r}")
            if not line.isascii():
                self.violate("8 bits that were not announced")
            yield line.removeprefix(b".") if line.startswith(b"..") else line

    def _take(self, lines: Sequence[bytes]) -> None:
        raw = b"".join(lines)
        message = email.message_from_bytes(raw, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        if message.defects:
            self.violate(f"a mail with defects: {message.defects}")
        mail = Mail(self.sender or "", tuple(self.recipients), message, self.user, self.is_encrypted, raw)
        with self.server.lock:
            self.server.mails.append(mail)
        self.sender, self.recipients = None, []

    def do_rset(self, _: str) -> None:
        self.sender, self.recipients = None, []
        self.answer("250 ok")
