"""Which names of `in` and `out` a notebook takes from `recipe.inputs` and `recipe.outputs`, as its code says it.

What is only known when it runs, such as `getattr(recipe.inputs, name)` or what a module of its own takes, is not found.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Sequence

from .bindings import names_bound
from .cache_key import MAGIC, cell_tree
from .notebook import HANDED_BY, Notebook, Part
from .parameters.imports import Meanings, bound_by, meaning

_RECIPE = ("aiinfra_lab.recipe", "recipe")
_HANDING = {f"{module}.{by}": by for module in _RECIPE for by in HANDED_BY.values()}
_GIVEN = {*_RECIPE, *_HANDING}
# In a line that only IPython understands.
_IN_MAGIC = re.compile(r"\brecipe\.(inputs|outputs)\.([A-Za-z]\w*)")


def mentioned(notebook: Notebook, part: Part) -> set[str]:
    """The names in `in`, or in `out`, that its code takes from `recipe.inputs`, or from `recipe.outputs`."""
    return {name for by, name in _taken(notebook) if by == HANDED_BY[part]}


def assigned(notebook: Notebook) -> set[str]:
    """The names that a line of it gives a plain value, as a cell of parameters does."""
    found = set()
    for node in (node for tree in _trees(notebook) for node in tree.body):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant()):
                found.add(name)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant()):
                found.add(name)
    return found


@functools.lru_cache(maxsize=512)
def _taken(notebook: Notebook) -> frozenset[tuple[str, str]]:
    """(`inputs` or `outputs`, the name)."""
    # Most notebooks take nothing so, and need not be read again for it.
    if not any("recipe" in cell.source for cell in notebook.cells):
        return frozenset()
    nodes = [node for tree in _trees(notebook) for node in ast.walk(tree)]
    names = _meanings(nodes)
    return frozenset(each for node in nodes for each in _taken_by(node, names))


def _trees(notebook: Notebook) -> Iterator[ast.Module]:
    """Of the cells whose Python can be read."""
    if notebook.language.lower() == "python":
        yield from filter(None, (cell_tree(cell.source).tree for cell in notebook.cells))


def _taken_by(node: ast.AST, names: Meanings) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Attribute(value=owner, attr=name) if not name.startswith("_"):
            if by := _HANDING.get(_meaning(owner, names)):
                yield by, name
        case ast.Call(func=ast.Name(id=name), args=[ast.Constant(value=str(text))]) if name == MAGIC:
            yield from _IN_MAGIC.findall(text)


def _meanings(nodes: Sequence[ast.AST]) -> Meanings:
    """What the names mean that are imported, or given to `recipe.inputs`; nothing of one that means two things."""
    found: dict[str, str] = {}
    known: set[ast.AST] = set()

    def learn(name: str, what: str) -> None:
        found[name] = what if found.get(name, what) == what else ""

    for node in nodes:
        match node:
            case ast.Assign(targets=[ast.Name(id=name) as target], value=value) if _meaning(value, found) in _GIVEN:
                known.add(target)
                learn(name, _meaning(value, found))
            case ast.arg(arg=name):
                learn(name, "")
            case _ if node not in known:
                for name in names_bound([node]):
                    learn(name, bound_by(node).get(name, ""))
    return found


def _meaning(node: ast.AST, names: Meanings) -> str:
    """As `meaning` has it; `recipe.inputs("RECIPE/STEP")` is what `recipe.inputs` is."""
    return meaning(node.func if isinstance(node, ast.Call) else node, names)
