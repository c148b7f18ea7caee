"""What a client of a fake cluster is given: the authority behind its certificate, and a user's configuration."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path


def make_certificate(folder: Path, address: str) -> None:
    """`ca.pem` and `key.pem` there, for a server at that address."""
    names = f"subjectAltName=IP:{address}"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    files = ("-keyout", f"{folder}/key.pem", "-out", f"{folder}/ca.pem")
    words: Sequence[str] = ("openssl", "req", "-x509", *curve, "-subj", "/CN=lab", "-addext", names, *files)
    subprocess.run(words, check=True, capture_output=True)


def write(folder: Path, url: str, user: str, token: str, namespace: str) -> Path:
    """The configuration of a user, with one context `lab`."""
    authority = base64.b64encode((folder / "ca.pem").read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": url, "certificate-authority-data": authority}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": user, "namespace": namespace}}],
        "current-context": "lab",
    }
    path = folder / f"kubeconfig-{user}-{namespace}"
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    return path
