"""Calls of `kubectl`, and what it says went wrong.

The user's configuration, contexts and plugins for credentials count. Every call names its context and namespace: what
is current may be another one tomorrow.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import Conflict, Denied, Failed, LabError, Missing, NotFound, Unavailable
from .base import NoCapacity

_ASK_S = 30.0
# Before any other words: one attempt must not last longer than whoever waits for it.
_REQUEST_S = 20


@dataclass(frozen=True, slots=True)
class Cluster:
    """A namespace of a cluster, by the names that kubectl has for them; both are empty inside a pod."""

    context: str
    namespace: str

    def command(self, *words: str) -> list[str]:
        """The command line that does it there."""
        context = [f"--context={self.context}"] if self.context else []
        namespace = [f"--namespace={self.namespace}"] if self.namespace else []
        return ["kubectl", *context, *namespace, *words]

    def id_of(self, pod: str) -> str:
        """By which a pod is found again, whatever is current then."""
        return f"{self.context}/{self.namespace}/{pod}"

    def run(self, *words: str, stdin: str = "") -> str:
        """What it prints. LabError tells why it failed: Conflict when it is there already, NotFound when it is not,
        NoCapacity by a quota, Denied, Failed when the request was wrong, else Unavailable."""
        done = _run(self.command(f"--request-timeout={_REQUEST_S}s", *words), stdin)
        if done.returncode:
            raise self.problem(done.stderr, words)
        return done.stdout

    def list(self, *words: str) -> tuple[Sequence[dict[str, Any]], str]:
        """The objects that `get` gives, and what it says of those that it does not: some may not be for this user."""
        done = _run(self.command(f"--request-timeout={_REQUEST_S}s", "get", *words, "-o", "json"), "")
        if done.returncode and not (done.stdout and "(Forbidden)" in done.stderr):
            raise self.problem(done.stderr, ("get", *words))
        found = json.loads(done.stdout)
        return found.get("items", [found]) if found else [], done.stderr

    def problem(self, said: str, words: Sequence[str]) -> LabError:
        """What kubectl means."""
        # Its own log goes before what it says in the end.
        lines = [line for line in said.splitlines() if line.strip() and not re.match(r"[EWI]\d{4} |\t| >$", line)]
        what = next((line for line in lines if re.match(r"(Error|error|Unable|The )", line)), " ".join(lines[:1]))
        what = re.sub(r'^(Error from server \(\w+\): |error: )(error when creating "STDIN": )?', "", what)
        by_hand = f"`{' '.join(self.command(*words[:2]))}`"
        what = f"kubectl: {what.rstrip('.') or 'it says nothing'}"
        for pattern, kind, fix in _PROBLEMS:
            if re.search(pattern, said):
                return kind(what, fix.format(by_hand=by_hand))
        return Unavailable(what, f"see {by_hand}")


def current(context: str, namespace: str) -> Cluster:
    """The cluster of the settings, or else the one that is current. Missing when kubectl knows none."""
    named = [f"--context={context}"] if context else []
    done = _run(["kubectl", *named, "config", "view", "--minify", "-o", "json"], "")
    if done.returncode:
        if not context and "KUBERNETES_SERVICE_HOST" in os.environ:  # a pod's own account counts
            return Cluster("", namespace)
        raise Cluster(context, namespace).problem(done.stderr, ("config", "get-contexts"))
    [found] = json.loads(done.stdout)["contexts"]
    return Cluster(found["name"], namespace or found["context"].get("namespace", "default"))


def read_manifest(path: str) -> dict[str, Any]:
    """A pod in a file, in YAML or JSON, as kubectl reads it; no cluster is asked."""
    done = _run(["kubectl", "patch", "--local", "-f", path, "-p", "{}", "-o", "json"], "")
    if done.returncode or json.loads(done.stdout).get("kind") != "Pod":
        lines = done.stderr.strip().splitlines() or ["it is no Pod"]
        raise Failed(
            f"{path} cannot be read: {lines[-1].removeprefix('error: ')}", "write a manifest of one Pod into it"
        )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _run(command: Sequence[str], stdin: str) -> subprocess.CompletedProcess[str]:
    if shutil.which(command[0]) is None:
        raise Missing("there is no kubectl", "install it as your cluster's documentation says, or put it on the PATH")
    try:
        # A session of its own: Ctrl-C in a notebook must not leave open whether a pod was created.
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            input=stdin,
            timeout=_ASK_S,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"kubectl has no answer after {_ASK_S:.0f} s", f"try `{' '.join(command)}`") from None


_MAY = "ask for a role that may create, get, list, patch and delete pods, and create and get pods/exec, there"
# What it says, the error that it is, and how to mend it; in this order: a quota and a cluster's own rule are Forbidden.
_PROBLEMS: Sequence[tuple[str, type[LabError], str]] = (
    (r"\(AlreadyExists\)", Conflict, "it is there already"),
    (r"namespaces \"[^\"]*\" not found", Missing, "name another one: `kubernetes_namespace` below `[gpu]`"),
    (r"\(NotFound\)", NotFound, "it is gone"),
    (r"exceeded quota|failed quota", NoCapacity, "see `kubectl describe quota`, or stop another pod"),
    (
        r"admission webhook|violates PodSecurity|ValidatingAdmissionPolicy|\(BadRequest\)|\(Invalid\)| is invalid: ",
        Failed,
        "correct the settings `kubernetes_…` below `[gpu]`, or the template that they name",
    ),
    (r"\(Forbidden\)", Denied, _MAY),
    (
        r"\(Unauthorized\)|must be logged in|getting credentials|provide credentials",
        Denied,
        "log in again as your cluster asks for it, then try {by_hand}",
    ),
    (
        r"context .*(not found|does not exist)|cannot locate context|current-context|localhost:8080",
        Missing,
        "see `kubectl config get-contexts`, and name one: `kubernetes_context` below `[gpu]`",
    ),
)
