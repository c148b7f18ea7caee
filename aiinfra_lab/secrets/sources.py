"""From the name of a secret to its value: the environment, the keyring, files that somebody mounts, AWS.

No error holds a value, nor what was given instead of a name, since people put the secret itself there.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
from collections.abc import Callable
from pathlib import Path

from ..errors import Denied, LabError, Missing, NotFound, Unavailable, UsageProblem
from ..uris import split_scheme
from .known import note

# Capitals only, since much that begins with letters is a token.
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_AWS = re.compile(r"(?P<name>[^#]+)(?:#(?P<key>.+))?")
_FORMS = "HF_TOKEN, keyring:SERVICE/NAME, aws-secrets:NAME#KEY, aws-ssm:NAME or file:PATH"
_MOST_BYTES = 65536
_OTHERS = 0o077


def is_reference(text: str) -> bool:
    """Whether a text names a secret: a variable of the environment in capitals, or `SOURCE:…`."""
    source, rest = split_scheme(text)
    return _VARIABLE.fullmatch(text) is not None or (source in _SOURCES and bool((rest or "").strip()))


def resolve(reference: str) -> str:
    """The value of the secret of that name, as it is now; from then on it is taken out of outputs and logs.

    UsageProblem for what names no secret, NotFound and Missing for one that is not there, Denied for one that may not
    be read, Unavailable when its store is away.
    """
    if not is_reference(reference):
        raise UsageProblem(
            "what is given names no secret; it is not shown, since it may be one",
            f"give the name: {_FORMS}; a variable's name is in capitals",
        )
    source, rest = split_scheme(reference)
    value = _SOURCES[source](rest.strip()) if rest and source in _SOURCES else _variable(reference)
    if not value:
        raise Missing(f"the secret {reference} is empty", "give it a value there")
    note(reference, value)
    return value


def _variable(name: str) -> str:
    if value := os.environ.get(name, "").strip():
        return value
    raise Missing(f"the environment has no {name}", f"set it where this runs: `export {name}=…`")


def _keyring(rest: str) -> str:
    service, _, name = rest.rpartition("/")
    if not service or not name:
        raise UsageProblem("a secret of the keyring has a service and a name", "write keyring:SERVICE/NAME")
    if importlib.util.find_spec("keyring") is None:
        raise Missing(
            "the keyring of this machine is read by the package keyring", "pip install 'aiinfra-lab[keyring]'"
        )
    keyring = importlib.import_module("keyring")
    try:
        found: str | None = keyring.get_password(service, name)
    except Exception as problem:  # noqa: BLE001  # each backend raises its own, and their texts are not ours to show
        what = f"the keyring cannot be read: {type(problem).__name__}"
        raise Unavailable(what, "unlock it, or choose another backend of it") from None
    if found is None:
        raise NotFound(f"the keyring has no {service}/{name}", f"`keyring set {service} {name}` puts it there")
    return found


def _file(rest: str) -> str:
    path = Path(rest).expanduser()
    try:
        # Of a link, as Kubernetes mounts it, what it leads to.
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            if state.st_mode & _OTHERS and not _is_mounted(path):
                raise Denied(f"others may read the secret in {path}", f"`chmod 600 {path}`")
            content = file.read(_MOST_BYTES + 1)
    except OSError as problem:
        kind: type[LabError] = Denied if isinstance(problem, PermissionError) else NotFound
        raise kind(f"the secret in {path} cannot be read: {problem.strerror}", "correct its path or its mode") from None
    if len(content) > _MOST_BYTES:
        raise UsageProblem(f"{path} has more than 64 KiB, and is no secret", "correct the path")
    try:
        return content.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise UsageProblem(f"the secret in {path} is no text", "store it as text, e.g. in base64") from None


def _is_mounted(path: Path) -> bool:
    """Whether it lies where Docker and Kubernetes mount secrets, which choose the mode themselves."""
    return path.absolute().is_relative_to("/run/secrets") or path.absolute().is_relative_to("/var/run/secrets")


def _aws_secret(rest: str) -> str:
    from .aws import secret

    found = _AWS.fullmatch(rest)
    if found is None:
        raise UsageProblem("a secret of AWS has a name", "write aws-secrets:NAME, or aws-secrets:NAME#KEY")
    return secret(found["name"], found["key"] or "")


def _aws_parameter(rest: str) -> str:
    from .aws import parameter

    return parameter(rest)


_SOURCES: dict[str, Callable[[str], str]] = {
    "aws-secrets": _aws_secret,
    "aws-ssm": _aws_parameter,
    "file": _file,
    "keyring": _keyring,
}
