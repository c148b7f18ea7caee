"""LAB201 to LAB204: secrets in a notebook, outputs that are too large, loops without an end."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator

from ...secrets.names import ENV_NAME, LITERAL_NAME, PLACEHOLDER, URL_PASSWORD, is_secret_variable
from .base import Diagnostic, Severity
from .subject import LintCell, LintSubject, magic_of, text_of

# What services give out, by the beginnings that they chose so that it can be found.
_TOKENS = {
    "an AWS access key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})",
    "a GitLab token": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "an API key": r"\bsk-(?=[A-Za-z0-9_-]*\d)[A-Za-z0-9_-]{20,}",
    "a Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "a Google API key": r"\bAIza[A-Za-z0-9_-]{35}",
    "a JSON web token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
}
_TOKEN = re.compile("|".join(f"({pattern})" for pattern in _TOKENS.values()))
_KINDS = list(_TOKENS)
_ENV = re.compile(r"(\w+)[\s=]+(\S+)")
# `NAME=value` and `--name=value`; what a shell fills in is no value.
_IN_SHELL = re.compile(r"""(?:^|[\s;&|("'])(?:--)?([A-Za-z_][\w-]*)=(?:"([^"`]+)"|'([^'`]+)'|([^\s;&|"'`]+))""")
_BEARER = re.compile(r"""(?i)\bauthorization['"]?\s*[:=]\s*['"]?(?:bearer|basic|token)\s+([\w.~+/-]{12,200})""")

_SHORTEST, _SHORTEST_TOKEN = 4, 8


class LiteralSecret:
    """A secret stands in the notebook.

    Whoever gets the file has it, and so does each copy of it: the history of the repository, the archive of every run.
    Known are the tokens of well-known services by how they begin, private keys, passwords in URLs, what stands behind
    `Authorization: Bearer`, and texts that are given to a name such as `password` or `api_key`, also in a shell.
    """

    code = "LAB201"
    severity: Severity = "error"

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """See `LintRule`."""
        fix = "revoke it, keep the new one in the environment or a keyring, and read it from there"
        for cell in subject.cells:
            found = dict(self._by_name(cell))
            found.update(self._by_text(cell))
            for line, kind in sorted(found.items()):
                yield subject.found(self, cell, line, f"{kind} stands here", fix)

    def _by_text(self, cell: LintCell) -> Iterator[tuple[int, str]]:
        for line, text in enumerate(cell.lines, 1):
            if found := _TOKEN.search(text):
                yield line, _KINDS[(found.lastindex or 1) - 1]
            elif (url := URL_PASSWORD.search(text)) and _is_secret(url[1], is_token=False):
                yield line, "a password in a URL"
            elif (sent := _BEARER.search(text)) and _is_secret(sent[1].replace("/", ""), is_token=True):
                yield line, "an authorization"

    def _by_name(self, cell: LintCell) -> Iterator[tuple[int, str]]:
        for node in cell.nodes:
            for name, value in _named(node):
                if problem := _secret_name(name, _text_or_bytes(value)):
                    yield value.lineno, problem
        for magic in cell.magics:
            match = _ENV.match(magic.text) if magic.name in ("env", "set_env") else None
            if match and (problem := _secret_name(match[1], match[2])):
                yield magic.line, problem
        for shell in cell.shell_lines:
            for match in _IN_SHELL.finditer(shell.text):
                if problem := _secret_name(match[1], match[2] or match[3] or match[4]):
                    yield shell.line, problem


def _text_or_bytes(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, bytes):
        return node.value.decode("latin-1")
    return text_of(node)


def _named(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Name → value, wherever a text is given to something that has one."""
    match node:
        case ast.Assign(targets=targets, value=value):
            yield from ((_last_name(target), value) for target in targets)
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            yield _last_name(target), value
        case ast.keyword(arg=str(name), value=value):
            yield name, value
        case ast.Dict(keys=keys, values=values):
            yield from ((text_of(key) or "", value) for key, value in zip(keys, values, strict=True))


def _last_name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
    return ""


def _secret_name(name: str, text: str | None) -> str:
    """What it is when that text is given to that name; empty when it is no secret."""
    found = LITERAL_NAME.search(name.replace("-", "_"))
    return f"a secret, {name}," if found and text and _is_secret(text, is_token=bool(found[2])) else ""


def _is_secret(text: str, *, is_token: bool) -> bool:
    text = text.strip()
    if PLACEHOLDER.fullmatch(text) or ENV_NAME.fullmatch(text) or re.search(r"[\s$/]", text):
        return False
    # Of texts there are tokens too: `[PAD]`, `hello`.
    return len(text) >= _SHORTEST_TOKEN and bool(re.search(r"\d", text)) if is_token else len(text) >= _SHORTEST


_READING = ("os.getenv", "os.environ.get", "os.environ.pop")
_PRINTING = frozenset({"print", "display", "IPython.display.display", "pprint.pprint", "rich.print"})
_ECHO = re.compile(r"(?:^|[;&|]\s*)(?:(?:echo|printf)\b.*?\$\{?|printenv\s+)(\w+)")
_ALL_OF_IT = re.compile(r"(?:^|[;&]\s*)(?:env|printenv)\s*(?:\|\s*sort\s*)?(?:[;&]|$)")


class PrintedSecret:
    """A secret is printed, and stays in the notebook's outputs.

    That is a variable of the environment whose name ends in KEY, TOKEN, SECRET or PASSWORD, or all of the environment,
    as `print`, a cell's last value, `!env` or `%env` show it.
    """

    code = "LAB202"
    severity: Severity = "error"

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """See `LintRule`."""
        taken = dict(self._taken(subject))
        for cell in subject.cells:
            for node, shown in self._shown(subject, cell):
                for each in _values(shown):
                    name = _secret_of(subject, each) or (taken.get(each.id, "") if isinstance(each, ast.Name) else "")
                    if name:
                        yield self._found(subject, cell, node.lineno, name)
                        break
            for line, name in _printed(cell):
                yield self._found(subject, cell, line, name)

    def _found(self, subject: LintSubject, cell: LintCell, line: int, name: str) -> Diagnostic:
        return subject.found(self, cell, line, f"the secret {name} is shown", "print only whether it is there")

    def _taken(self, subject: LintSubject) -> Iterator[tuple[str, str]]:
        """Each name that the notebook gives to a secret, and to nothing else."""
        given: dict[str, set[str]] = {}
        for node in (node for cell in subject.cells for node in cell.nodes if isinstance(node, ast.Assign)):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    given.setdefault(target.id, set()).add(_secret_of(subject, node.value))
        yield from ((name, min(secrets)) for name, secrets in given.items() if "" not in secrets)

    def _shown(self, subject: LintSubject, cell: LintCell) -> Iterator[tuple[ast.expr, ast.expr]]:
        """(what stands there, what of it is shown): arguments of print and the like, and a cell's last value."""
        for name, call in subject.calls(cell):
            if name in _PRINTING:
                yield from ((call, argument) for argument in call.args)
        last = cell.tree.body[-1] if cell.tree and cell.tree.body else None
        ends = cell.code.source.rstrip().endswith(";")
        if isinstance(last, ast.Expr) and not ends:
            yield last.value, last.value


def _printed(cell: LintCell) -> Iterator[tuple[int, str]]:
    """(line, secret) of what a shell or `%env` puts out, where no name is given that."""
    assigned = [magic_of(node.value) for node in cell.nodes if isinstance(node, ast.Assign)]
    kept = {magic.line for magic in assigned if magic}
    for line in (line for line in cell.shell_lines if line.line not in kept):
        if _ALL_OF_IT.search(line.text):
            yield line.line, "os.environ"
        elif (found := _ECHO.search(line.text)) and is_secret_variable(found[1]):
            yield line.line, found[1]
    for magic in cell.magics:
        if magic.name == "env" and magic.line not in kept and (not magic.text or is_secret_variable(magic.text)):
            yield magic.line, magic.text or "os.environ"


def _values(node: ast.expr) -> Iterator[ast.expr]:
    """The values that are shown whole when this is: in f-strings, tuples, lists and sums, and not in what is called."""
    yield node
    match node:
        case ast.JoinedStr(values=parts):
            for part in parts:
                if isinstance(part, ast.FormattedValue):
                    yield from _values(part.value)
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            for part in parts:
                yield from _values(part)
        case ast.BinOp(left=left, right=right):
            yield from _values(left)
            yield from _values(right)


def _secret_of(subject: LintSubject, node: ast.expr) -> str:
    """The variable of the environment that it is, if that is a secret."""
    name: str | None = ""
    match node:
        case ast.Subscript(value=value, slice=key) if subject.meaning(value) == "os.environ":
            name = text_of(key)
        case ast.Call(func=func, args=[key, *_]) if subject.meaning(func) in _READING:
            name = text_of(key)
        case ast.Attribute() | ast.Name() if subject.meaning(node) == "os.environ":
            return "os.environ"
        case ast.Call(func=ast.Name(id="dict"), args=[only]):
            return _secret_of(subject, only) if subject.meaning(only) == "os.environ" else ""
    return name if name and is_secret_variable(name) else ""


class LargeOutputs:
    """The notebook's stored outputs are larger than 5 MB.

    Each reader waits for them, and the history of the repository keeps them for ever. A run's archive has its own.
    """

    code = "LAB203"
    severity: Severity = "warning"

    MOST = 5_000_000

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """See `LintRule`."""
        path = subject.notebook.path
        if not path.is_file() or path.stat().st_size <= self.MOST or not subject.cells:
            return
        cells = [cell for cell in json.loads(path.read_bytes())["cells"] if cell["cell_type"] == "code"]
        sizes = [len(json.dumps(cell.get("outputs", []))) for cell in cells]
        if sum(sizes) > self.MOST:
            largest = sizes.index(max(sizes))
            what = (
                f"the stored outputs have {sum(sizes) / 1e6:.1f} MB, those of this cell {sizes[largest] / 1e6:.1f} MB"
            )
            yield subject.found(self, subject.cells[largest], 1, what, "clear them, and save the notebook")


class EndlessLoop:
    """A loop goes on for ever: `while True` without a break, a return, an exception or a timeout.

    In a notebook at the desk somebody presses Stop. A recipe's run never comes to the next cell.
    """

    code = "LAB204"
    severity: Severity = "warning"

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """See `LintRule`."""
        for cell in subject.cells:
            for node in _outside_functions(cell.tree) if cell.tree else ():
                is_endless = isinstance(node, ast.While) and isinstance(node.test, ast.Constant) and node.test.value
                if is_endless and not any(map(_may_end, node.body)):  # type: ignore[attr-defined]  # a loop has a body
                    what = "this loop has no end: nothing in it breaks out, and nothing has a timeout"
                    yield subject.found(self, cell, node, what, "break when it is done, or after some time")


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield from _outside_functions(child)


def _may_end(node: ast.AST, *, is_inner: bool = False) -> bool:
    """Whether this may leave the loop that it stands in. is_inner: it stands in a loop in that loop."""
    match node:
        case ast.Break():
            return not is_inner
        case ast.Return() | ast.Raise() | ast.Assert():
            return True
        case ast.Call(func=ast.Attribute(attr="exit" | "abort") | ast.Name(id="exit" | "quit" | "next")):
            return True
        case ast.keyword(arg=str(name)) | ast.Name(id=name) | ast.Attribute(attr=name) if "timeout" in name.lower():
            return True
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
            return False
        case (
            ast.For(body=body, orelse=after)
            | ast.While(body=body, orelse=after)
            | ast.AsyncFor(body=body, orelse=after)
        ):
            inside = any(_may_end(each, is_inner=True) for each in body)
            return inside or any(_may_end(each, is_inner=is_inner) for each in after)
    return any(_may_end(child, is_inner=is_inner) for child in ast.iter_child_nodes(node))
