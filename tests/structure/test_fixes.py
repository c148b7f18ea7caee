"""Every command and flag that a message of ours names exists: whoever types it is understood."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiinfra_lab.nouns import TABLE as NOUNS
from aiinfra_lab.verbs import verbs_of

from .source import folder_of, modules, short, tree

COMMAND = re.compile(r"`%%?([^`]+)`")
FLAG = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)")
VALUE = "…"  # whatever a message puts there
# Of other programs that we start or name, and of our command itself.
THEIRS = {
    *("cluster", "dryrun", "dry-run"),
    *("encoding", "template", "query-gpu", "id", "format", "foreground", "kill-after", "force-reinstall", "no-deps"),
    *("quiet", "allow-existing", "python", "link-mode", "only-binary", "disable-pip-version-check"),
    *("backend-store-uri", "host", "debug", "version", "flags", "no-", "user", "now", "path"),
    *("frozen", "no-header", "no-annotate", "no-emit-project", "generate-hashes", "hash", "editable", "relocatable"),
    *("python-version", "python-platform"),
    # Of our plugin for pytest.
    *("lab", "lab-update", "lab-reference"),
    # Of Slurm.
    *(
        "account",
        "allocations",
        "comment",
        "cpu-bind",
        "cpus-per-task",
        "dependency",
        "gres",
        "job-name",
        "jobid",
        "jobs",
    ),
    *("me", "mem", "mpi", "name", "no-requeue", "node", "nodes", "noheader", "ntasks", "oneliner", "output", "overlap"),
    *("parsable", "partition", "qos", "signal", "starttime", "states", "summarize", "test-only", "time", "unbuffered"),
    *("python-version", "python-platform", "cluster", "dryrun"),
    # Of container files, of what exports install by, and of Argo.
    *("active", "chown", "create-home", "from", "init", "locked", "no-cache-dir", "uid", "user-group"),
    "inplace",  # nbconvert's
    # kubectl's
    *("all-namespaces", "context", "field-selector", "grace-period", "ignore-not-found", "local", "minify"),
    *("namespace", "overwrite", "request-timeout", "wait"),
}
# Of another noun's command, which the same sentence names.
ELSEWHERE = {"deploy": {"require", "margin"}, "models": {"resume", "rows"}, "train": {"environment"}}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of what the code of a file may say; docstrings are not among it."""
    whole = tree(path)
    docs = {id(node.value) for node in ast.walk(whole) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(whole) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(whole):
        if isinstance(node, ast.JoinedStr):
            said = [str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values]
            yield node.lineno, "".join(said)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (docs | parts):
            yield node.lineno, node.value


def flags(noun: str, verb: str = "") -> set[str]:
    """The flags of a verb, or of all verbs of a noun."""
    known = verbs_of(noun)
    chosen = [known[verb]] if verb else known.values()
    items = [item for one in chosen for item in one.flags]
    negative = {f"no-{item.flag.removeprefix('--')}" for item in items if item.kind == "bool" and item.default is True}
    return {item.flag.removeprefix("--") for item in items} | negative | {"help", "json"}


EVERY_FLAG = {flag for noun in NOUNS for flag in flags(noun)} | THEIRS


def wrong(path: Path) -> Iterator[str]:
    noun = folder_of(path) if folder_of(path) in NOUNS else ""
    for line, text in texts(path):
        where = f"{short(path)}:{line}"
        for command in COMMAND.findall(text):
            yield from (f"{where}: {command}: {what}" for what in misspelt(command))
        loose = set(FLAG.findall(COMMAND.sub("", text)))
        known = flags(noun) | THEIRS | ELSEWHERE.get(noun, set()) if noun else EVERY_FLAG
        yield from (f"{where}: --{flag} is no flag of {noun or 'any verb'}" for flag in sorted(loose - known))


def misspelt(command: str) -> Iterator[str]:
    noun, verb, *_ = [*command.split(), VALUE, VALUE]
    if VALUE in noun or noun not in NOUNS:
        if VALUE not in noun and noun not in ("load_ext", "reload_ext", "pip"):
            yield f"there is no noun {noun}"
        return
    if verb.startswith(("-", VALUE)) or verb == "NAME":
        return
    if verb not in verbs_of(noun):
        yield f"{noun} has no verb {verb}"
        return
    yield from (f"no flag --{flag}" for flag in FLAG.findall(command) if flag not in flags(noun, verb))


@pytest.mark.parametrize("path", modules(), ids=short)
def test_what_a_message_names_exists(path: Path) -> None:
    assert list(wrong(path)) == []


def test_the_probe_sees_a_noun_a_verb_and_a_flag_that_are_not(tmp_path: Path) -> None:
    said = ["`%modles ls`", "`%models lst`", "`%models check a --requires b`", "`%models check a --require b`"]
    assert [len(list(misspelt(text.strip("`%")))) for text in said] == [1, 1, 1, 0]
