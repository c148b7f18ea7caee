"""Which names Python code uses that nothing has bound, read from top to bottom as it would run.

Code of a module is judged by what was bound above it, in whatever branch; the body of a function by all that is ever
bound, since it may be called at the end. Where anything may be bound unseen, nothing is missing.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, get_args

from ..bindings import names_bound

BUILTINS = frozenset(dir(builtins)) | {"__file__", "__name__", "__doc__", "__builtins__", "__debug__", "__spec__"}
# Of a class's body, and of its methods.
_OF_CLASSES = frozenset({"__class__", "__module__", "__qualname__"})
# What may bind a name that does not stand there as one, called or taken from IPython's shell.
_UNSEEN_CALLS = frozenset({"exec", "globals", "vars", "locals"})
_UNSEEN_ATTRIBUTES = frozenset({"user_ns", "run_cell", "run_line_magic", "run_cell_magic"})
_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp

Report = Callable[[str, int, int], None]


@dataclass(slots=True)
class Scope:
    """Names of a function, a class or a comprehension."""

    names: set[str] = field(default_factory=set)
    is_class: bool = False
    is_comprehension: bool = False


class NameReader:
    """Reads the code of one namespace, a piece after the other; `finish` when all of it was read.

    report: called for each name that is missing, once a name, with its line and the number of the piece. on_call: asked
    of each call whether it is something else, and dealt with.
    """

    def __init__(self, bound: Iterable[str], report: Report, on_call: Callable[[ast.Call], bool]) -> None:
        self.bound = {*bound, *BUILTINS}
        self.ever = set(self.bound)
        self.is_open = False
        self.piece = 0
        self._report = report
        self._on_call = on_call
        self._scopes: list[Scope] = []
        self._later: list[Callable[[], None]] = []
        self._quiet = 0
        self._is_later = False
        self._has_lazy_annotations = False
        self._statement: ast.stmt | None = None

    def read(self, tree: ast.Module) -> None:
        """The next piece of code, or a part of it."""
        for self._statement in tree.body:
            self._node(self._statement)

    def read_aside(self, tree: ast.Module) -> None:
        """The next piece of code, whose names nothing behind it sees."""
        self._scopes.append(Scope())
        self.read(tree)
        self._scopes.pop()

    def finish(self) -> None:
        """What may run at any time: the bodies of functions."""
        self._is_later = True
        while self._later:
            self._later.pop(0)()

    def bind(self, name: str) -> None:
        """A name that something gave a value to."""
        scope = next((scope for scope in reversed(self._scopes) if not scope.is_comprehension), None)
        if scope is None:
            self.bound.add(name)
            self.ever.add(name)
        else:
            scope.names.add(name)

    def use(self, name: str, line: int) -> None:
        """A name that is read there."""
        if self.is_open or self._quiet or name in (self.ever if self._is_later else self.bound):
            return
        if self._scopes and name in _OF_CLASSES:
            return
        for at, scope in enumerate(reversed(self._scopes)):
            # A class's names are seen in its own body, and not in that of a method.
            if name in scope.names and (not scope.is_class or at == 0 or self._is_directly_below(at)):
                return
        self.bound.add(name)
        self.ever.add(name)
        self._report(name, line, self.piece)

    def _is_directly_below(self, at: int) -> bool:
        return all(scope.is_comprehension for scope in self._scopes[len(self._scopes) - at :])

    # ---- names ----

    def _name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.use(node.id, node.lineno)
        elif isinstance(node.ctx, ast.Store):
            self.bind(node.id)

    def _delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if not isinstance(target, ast.Name):
                self._node(target)
                continue
            self.use(target.id, target.lineno)
            if node is self._statement and not self._scopes:  # in a branch it may stay
                self.bound.discard(target.id)

    def _global(self, node: ast.Global) -> None:
        self.bound.update(node.names)
        self.ever.update(node.names)

    def _assign(self, node: ast.Assign) -> None:
        self._all([node.value, *node.targets])

    def _aug_assign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.use(node.target.id, node.lineno)
        self._all([node.value, node.target])

    def _ann_assign(self, node: ast.AnnAssign) -> None:
        is_local = any(not scope.is_class for scope in self._scopes)
        if not is_local:  # of a function's own names it is never looked at
            self._annotation(node.annotation)
        if node.value is not None:
            self._all([node.value, node.target])

    def _named_expr(self, node: ast.NamedExpr) -> None:
        self._all([node.value, node.target])

    def _for(self, node: ast.For | ast.AsyncFor) -> None:
        self._all([node.iter, node.target, *node.body, *node.orelse])

    def _import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.bind(alias.asname or alias.name.partition(".")[0])

    def _import_from(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            if alias.name == "*":
                self.is_open = True
            else:
                self.bind(alias.asname or alias.name)
        if node.module == "__future__" and any(alias.name == "annotations" for alias in node.names):
            self._has_lazy_annotations = True

    def _except_handler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.bind(node.name)
        self._inside(node)

    def _match_as(self, node: ast.MatchAs | ast.MatchStar) -> None:
        if node.name:
            self.bind(node.name)
        self._inside(node)

    def _match_mapping(self, node: ast.MatchMapping) -> None:
        if node.rest:
            self.bind(node.rest)
        self._inside(node)

    # ---- what runs otherwise ----

    def _try(self, node: ast.Try | ast.TryStar) -> None:
        catches = any(map(_catches_missing_names, node.handlers))
        self._quiet += catches
        self._all(node.body)
        self._quiet -= catches
        self._all([*node.handlers, *node.orelse, *node.finalbody])

    def _call(self, node: ast.Call) -> None:
        if not self._on_call(node):
            self.is_open |= _binds_unseen(node)
            self._inside(node)

    def _attribute(self, node: ast.Attribute) -> None:
        self.is_open |= _binds_unseen(node)
        self._inside(node)

    # ---- scopes ----

    def _function_def(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._all(node.decorator_list)
        self._signature(node)
        self.bind(node.name)
        self._body_of(node, node.body)

    def _lambda(self, node: ast.Lambda) -> None:
        self._signature(node)
        self._body_of(node, [node.body])

    def _class_def(self, node: ast.ClassDef) -> None:
        self._all(node.decorator_list)
        with_types = Scope(set(_type_names(node)))
        self._scopes.append(with_types)
        self._all([*node.bases, *node.keywords])
        self._scopes.append(Scope(is_class=True))
        self._all(node.body)
        del self._scopes[-2:]
        self.bind(node.name)

    def _comprehension(self, node: _COMPREHENSIONS) -> None:
        first, *others = node.generators
        self._node(first.iter)
        self._scopes.append(Scope(is_comprehension=True))
        self._targets(first)
        for each in others:
            self._node(each.iter)
            self._targets(each)
        values = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        self._all(values)
        self._scopes.pop()

    def _targets(self, part: ast.comprehension) -> None:
        self._scopes[-1].names.update(_stored(part.target))
        self._all(part.ifs)

    def _signature(self, node: _FUNCTIONS) -> None:
        given = node.args
        self._all([*given.defaults, *filter(None, given.kw_defaults)])
        if isinstance(node, ast.Lambda):
            return
        self._scopes.append(Scope(set(_type_names(node))))
        for each in filter(None, [*(arg.annotation for arg in _arguments(given)), node.returns]):
            self._annotation(each)
        self._scopes.pop()

    def _annotation(self, node: ast.expr) -> None:
        if not self._has_lazy_annotations:
            self._node(node)

    def _body_of(self, node: _FUNCTIONS, body: list[ast.stmt] | list[ast.expr]) -> None:
        own = {arg.arg for arg in _arguments(node.args)} | {*bound_in(body)} | {*_type_names(node)}
        for each in (each for part in body for each in _own_nodes(part)):
            self.is_open |= _binds_unseen(each)  # it may be called before the next line
            if isinstance(each, ast.Global):
                own -= {*each.names}
                self._global(each)
        state = [*self._scopes, Scope(own)], self._quiet, self.piece

        def run() -> None:
            before = self._scopes, self._quiet, self.piece
            self._scopes, self._quiet, self.piece = state
            self._all(body)
            self._scopes, self._quiet, self.piece = before

        self._later.append(run)

    # ---- all nodes ----

    def _node(self, node: ast.AST) -> None:
        if reader := _READERS.get(type(node)):
            reader(self, node)
        else:
            self._inside(node)

    def _inside(self, node: ast.AST) -> None:
        self._all(ast.iter_child_nodes(node))

    def _all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self._node(node)

    @classmethod
    def readers(cls) -> dict[type[ast.AST], Callable[[NameReader, Any], None]]:
        """What reads which kind of node, but for those of which only the parts count."""
        return {
            ast.Name: cls._name, ast.Delete: cls._delete, ast.Global: cls._global, ast.Import: cls._import,
            ast.ImportFrom: cls._import_from, ast.Assign: cls._assign, ast.AugAssign: cls._aug_assign,
            ast.AnnAssign: cls._ann_assign, ast.NamedExpr: cls._named_expr, ast.For: cls._for, ast.AsyncFor: cls._for,
            ast.Try: cls._try, ast.TryStar: cls._try, ast.ExceptHandler: cls._except_handler, ast.Call: cls._call,
            ast.MatchAs: cls._match_as, ast.MatchStar: cls._match_as, ast.MatchMapping: cls._match_mapping,
            ast.Attribute: cls._attribute, ast.Lambda: cls._lambda, ast.ClassDef: cls._class_def,
            ast.FunctionDef: cls._function_def, ast.AsyncFunctionDef: cls._function_def,
            **dict.fromkeys(get_args(_COMPREHENSIONS), cls._comprehension),
        }  # fmt: skip


_READERS = NameReader.readers()


def _binds_unseen(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=name), args=given):
            return name == "exec" or (name in _UNSEEN_CALLS and not given)
        case ast.Attribute(attr=name):
            return name in _UNSEEN_ATTRIBUTES
    return False


def _catches_missing_names(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    return any(isinstance(node, ast.Name) and node.id == "NameError" for node in ast.walk(handler.type))


def _arguments(given: ast.arguments) -> list[ast.arg]:
    return [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, [given.vararg, given.kwarg])]


def _type_names(node: ast.AST) -> list[str]:
    """The type parameters that it declares, from Python 3.12 on."""
    return [each.name for each in getattr(node, "type_params", [])]


def _stored(node: ast.AST) -> Iterator[str]:
    return (each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store))


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All in a function's body but for the bodies of other functions and classes in it."""
    yield node
    if isinstance(node, _FUNCTIONS | ast.ClassDef):
        return
    for child in ast.iter_child_nodes(node):
        yield from _own_nodes(child)


def bound_in(body: Iterable[ast.AST]) -> Iterator[str]:
    """The names that a function's body binds. Too many rather than too few: those of its comprehensions too."""
    return names_bound(node for part in body for node in _own_nodes(part))
