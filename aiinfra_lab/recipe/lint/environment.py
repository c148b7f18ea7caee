"""LAB107 to LAB111: whether what a notebook imports, installs and loads is there when it runs."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator

from ...config import settings
from ...errors import did_you_mean, nearest
from ...kernels.specs import fix_of_missing
from ...nouns import TABLE
from ..cache_key import is_of_project, is_our_kernel
from . import magics
from .base import CellEdit, Diagnostic, Severity
from .subject import LintCell, LintSubject, MagicLine, text_of

_OURS = "aiinfra_lab"
_LOAD = f"%load_ext {_OURS}"


class NotInstalled:
    """A module is imported that is not installed where the notebook runs.

    Only where its kernel runs with what is installed here, and for code that runs here. An import that is tried is
    none, nor is one of a module of the project.
    """

    code = "LAB107"
    severity: Severity = "error"

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """See `LintRule`."""
        if not subject.cells or not is_our_kernel(subject.notebook):
            return
        seen = {*sys.stdlib_module_names, *sys.builtin_module_names, *_written(subject)}
        for cell in subject.cells:
            if "skip-execution" in cell.code.tags or cell.is_remote:
                continue
            if any(map(_changes_what_is_found, cell.nodes)) or any(_installs(cell)):
                return
            for name, node in _imports(cell.tree.body if cell.tree else []):
                if name not in seen and not _is_there(name, subject):
                    what = f"there is no module {name} where this notebook runs"
                    yield subject.found(self, cell, node, what, _fix_of(name, subject))
                seen.add(name)


def _fix_of(name: str, subject: LintSubject) -> str:
    project = settings().project
    own = next((path for path in (project / f"{name}.py", project / name) if path.exists()), None)
    if own is None:
        return "install it there and name it in the project's lock file"
    beside = f"move {own.name} from the project's folder beside {subject.notebook.path.name}"
    return f"{beside}, or make of it a package that is installed: modules are looked for in the notebook's own folder"


def _is_there(name: str, subject: LintSubject) -> bool:
    if is_of_project(name, subject.notebook.path.parent):
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError, AttributeError):  # e.g. of `__main__`
        return True


def _imports(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    """Top-level names of the modules that are imported for sure."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module and not node.level:
                yield node.module.partition(".")[0], node
        elif isinstance(node, ast.Try):
            yield from _imports([*node.orelse, *node.finalbody])
        elif not isinstance(node, ast.If):  # which may be just the question whether it is there
            yield from _imports(ast.iter_child_nodes(node))


def _written(subject: LintSubject) -> Iterator[str]:
    """The modules that the notebook writes itself."""
    for cell in subject.cells:
        for head in cell.heads:
            if head.name in ("writefile", "file") and head.text.endswith(".py"):
                yield head.text.split()[-1].removesuffix(".py").replace("\\", "/").partition("/")[0]


def _changes_what_is_found(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in ("path", "meta_path", "path_hooks", "modules") and (
        isinstance(node.value, ast.Name) and node.value.id == "sys"
    )  # fmt: skip


_INSTALLERS = frozenset({"pip", "conda", "mamba", "micromamba", "uv"})
_CHANGING = r"(?:install|uninstall|update|upgrade|remove|add|sync|create)"
_CHANGES = re.compile(rf"(?:^|\s){_CHANGING}(?:\s|$)")
_IN_SHELL = re.compile(
    rf"(?:^|[\s/;&|]|sudo\s)(pip[\d.]*|conda|mamba|micromamba|uv|poetry|apt|apt-get|brew)\s(?:[^;&|]*\s)?{_CHANGING}(?:\s|$)"
)


class InstallsPackages:
    """A cell installs packages.

    Each run then takes what an index has that day, and whatever ran before in the same environment goes on with other
    versions. What a project needs belongs into its lock file.
    """

    code = "LAB108"
    severity: Severity = "warning"

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """See `LintRule`."""
        fix = "install it beforehand, and name it with its version in the project's lock file"
        for cell in subject.cells:
            for line, program in _installs(cell):
                yield subject.found(self, cell, line, f"{program} changes what is installed", fix)


def _installs(cell: LintCell) -> Iterator[tuple[int, str]]:
    for magic in cell.magics:
        if magic.name in _INSTALLERS and not magic.is_cell and _CHANGES.search(magic.text):
            yield magic.line, f"%{magic.name}"
    for line in cell.shell_lines:
        if found := _IN_SHELL.search(line.text):
            yield line.line, found[1]
    for node in cell.nodes:
        if isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Attribute):
            words = _command(node.args[0])
            if node.func.attr in _STARTING and (found := _IN_SHELL.search(words)):
                yield node.lineno, found[1]


_STARTING = frozenset({"system", "run", "call", "check_call", "check_output", "Popen", "popen", "getoutput"})


def _command(node: ast.expr) -> str:
    if isinstance(node, ast.List | ast.Tuple):
        return " ".join(text_of(word) or "?" for word in node.elts)
    return text_of(node) or ""


class UnknownKernel:
    """The notebook names a kernel that is not installed here.

    In JupyterLab its menu Kernel, Change Kernel writes another one into the file. Without a name it is python3.
    """

    code = "LAB112"
    severity: Severity = "error"

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """See `LintRule`."""
        name = subject.notebook.kernel
        if fix := fix_of_missing(name):
            what = f"there is no kernel {name}"
            yield Diagnostic(self.code, self.severity, subject.notebook.path, 0, 1, what, fix)


# Whoever uses one of these makes magics of their own, or loads them in another way.
_REGISTERING = frozenset(
    {
        *("register_line_magic", "register_cell_magic", "register_line_cell_magic", "register_magic_function"),
        *("register_magics", "magics_class", "load_extension", "run_line_magic", "run_cell_magic", "run_cell"),
    }
)
_REGISTERING_MAGICS = frozenset({"alias", "alias_magic", "macro", "run", "rerun", "store", "automagic"})


class UndefinedMagic:
    """A magic is used that neither IPython has nor anything above loads.

    Where the notebook loads an extension of somebody else's, or registers magics itself, those below may be of it.
    """

    code = "LAB110"
    severity: Severity = "error"

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """See `LintRule`."""
        known: dict[bool, set[str]] = {False: {*magics.LINE, magics.SHELL, magics.HELP}, True: {*magics.CELL}}
        seen: set[str] = set()
        for cell in subject.cells:
            inside = cell.magics if cell.place == "kernel" else cell.heads
            for magic in inside:
                if magic.name in ("load_ext", "reload_ext"):
                    loaded = _magics_of(*magic.text.split()[:1] or [""])
                    if loaded is None:
                        return
                    known = {kind: names | loaded for kind, names in known.items()}
                elif magic.name in _REGISTERING_MAGICS and not magic.is_cell:
                    return
                elif magic.name not in known[magic.is_cell] and magic.name not in seen:
                    seen.add(magic.name)
                    yield self._found(subject, cell, magic, known[magic.is_cell])
            if any(map(_registers, cell.nodes)):
                return

    def _found(self, subject: LintSubject, cell: LintCell, magic: MagicLine, known: set[str]) -> Diagnostic:
        shown = f"{'%%' if magic.is_cell else '%'}{magic.name}"
        if magic.name in TABLE:
            add = CellEdit(cell.number, _LOAD, is_below=False)
            return subject.found(
                self, cell, magic.line, f"the magic {magic.name} is not loaded here", f"write {_LOAD} above", add
            )
        if magic.name.startswith("%"):
            what = f"{shown} is not the first line of its cell"
            return subject.found(self, cell, magic.line, what, "put it at the top of a cell of its own")
        near = nearest(magic.name, {*known, *TABLE})
        fix = did_you_mean(magic.name, {near}) if near else "load the extension that has it with %load_ext, above"
        return subject.found(self, cell, magic.line, f"there is no magic {shown}", fix)


class MistakenForMagic:
    """A cell's only line is taken by IPython for a magic: its variable has the name of one, and an annotation.

    IPython writes the % itself, which it calls automagic: `run: str = "a"` alone in a cell runs a file that is called
    `:`, and `rm: str = "a"` deletes. Below another line, a comment too, it is Python.
    """

    code = "LAB111"
    severity: Severity = "error"

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """See `LintRule`."""
        for cell in subject.cells:
            statements = cell.tree.body if cell.is_python and cell.tree is not None else []
            lines = [at for at, line in enumerate(cell.lines, 1) if line.strip()]
            match statements:
                case [ast.AnnAssign(target=ast.Name(id=name))] if name in magics.LINE and len(lines) == 1:
                    what = f"alone in its cell this is the magic %{name} for IPython"
                    fix = f"write a comment above it, or call it otherwise than {name}"
                    yield subject.found(self, cell, lines[0], what, fix)


def _magics_of(extension: str) -> frozenset[str] | None:
    """The magics that it brings; None where that is not known."""
    return frozenset(TABLE) if extension == _OURS else magics.EXTENSIONS.get(extension)


def _registers(node: ast.AST) -> bool:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in _REGISTERING
        case ast.ImportFrom(names=names):
            return any(alias.name in _REGISTERING for alias in names)
    return False
