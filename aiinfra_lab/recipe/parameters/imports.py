"""What the names in a notebook's first cells mean, read without running them."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping

from ..bindings import names_bound

Meanings = Mapping[str, str]
"""A name → what it is, with dots: `dt` → `datetime`, `Day` → `datetime.date`."""

# What a bare name means that nothing imports here: the import may stand where it cannot be read.
_USUAL = {
    **{name: name for name in ("int", "float", "bool", "str", "list", "tuple", "set", "frozenset", "dict", "object")},
    **{name: f"datetime.{name}" for name in ("date", "datetime", "timezone", "timedelta", "UTC")},
    **{name: f"pathlib.{name}" for name in ("Path", "PurePath", "PosixPath", "PurePosixPath")},
    "Decimal": "decimal.Decimal",
    **{name: f"typing.{name}" for name in ("Annotated", "Any", "Literal", "Optional", "Union", "Sequence")},
    **{name: f"typing.{name}" for name in ("List", "Tuple", "Set", "FrozenSet", "Dict", "Mapping")},
    **{name: f"aiinfra_lab.recipe.{name}" for name in ("Range", "Secret")},
}


def imported(sources: Iterable[str]) -> Meanings:
    """Each name that an import anywhere in these cells binds; what cannot be read as Python is passed over."""
    found: dict[str, str] = {}
    for source in sources:
        for node in ast.walk(_parsed(source) or ast.Module([], [])):
            found.update(bound_by(node))
    return found


def certain(sources: Iterable[str]) -> Meanings:
    """The names that mean that for sure once these cells have run, one after the other."""
    found: dict[str, str] = {}
    for source in sources:
        tree = _parsed(source)
        if tree is None:
            found.clear()  # a magic may bind anything
            continue
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                found.clear()
            elif isinstance(node, ast.Import | ast.ImportFrom):
                found.update(bound_by(node))
            else:
                for name in names_bound(ast.walk(node)):
                    found.pop(name, None)
    return found


def meaning(node: ast.AST, names: Meanings) -> str:
    """What a name or an attribute is, with dots; empty for anything else, and for a name that nothing explains."""
    if isinstance(node, ast.Name):
        return names.get(node.id) or _USUAL.get(node.id, "")
    if not isinstance(node, ast.Attribute):
        return ""
    if isinstance(node.value, ast.Name) and node.value.id not in names:
        # `datetime.date` without an import in sight is the module's; `datetime` alone is the class.
        name = node.value.id
        owner = name if name not in _USUAL or f"{name}.{node.attr}" in _USUAL.values() else _USUAL[name]
    else:
        owner = meaning(node.value, names)
    return f"{owner}.{node.attr}" if owner else ""


def bound_by(node: ast.AST) -> dict[str, str]:
    """Each name that an import binds → what it is; nothing of any other node."""
    match node:
        case ast.Import(names=aliases):
            pairs = ((each.asname or each.name.partition(".")[0], each) for each in aliases)
            return {name: each.name if each.asname else name for name, each in pairs}
        case ast.ImportFrom(module=str(module), level=0, names=aliases):
            module = "typing" if module in ("typing_extensions", "collections.abc") else module
            return {each.asname or each.name: f"{module}.{each.name}" for each in aliases}
    return {}


def _parsed(source: str) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
