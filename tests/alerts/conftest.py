"""Receivers on loopback, and an authority that signs their certificates."""

import ssl
import subprocess

import pytest

from tests.fakes.mail_server import MailServer
from tests.fakes.web_receiver import WebReceiver


@pytest.fixture
def web():
    with WebReceiver().running() as receiver:
        yield receiver


@pytest.fixture
def mail():
    with MailServer().running() as server:
        yield server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """The file of a certificate for 127.0.0.1 and localhost, with its key; it is an authority of its own."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    names = "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:hooks.example.org"
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    files = ("-keyout", path, "-out", path.with_suffix(".crt"))
    words = ("openssl", "req", "-x509", *key, "-subj", "/CN=lab", "-addext", names, *files)
    subprocess.run(words, check=True, capture_output=True)
    path.write_text(path.read_text() + path.with_suffix(".crt").read_text())
    return path


@pytest.fixture
def tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trusted(certificate, monkeypatch):
    """Clients trust that authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
