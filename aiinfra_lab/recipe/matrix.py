"""A step that runs once for each combination of some values: `matrix = { lr = [0.1, 0.01], depth = [2, 4] }`.

Each combination is a step of its own in a run: with its own name, key, executed notebook and end.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import LabError, UsageProblem
from ..store import canonical_digest
from .base import Gathered, RecipeStep, Value
from .keys import LONGEST_STEP_NAME, MOST_COMBINATIONS
from .parameters import as_text, is_name, stored
from .references import filled, parameter_of, words

_SHOWN = re.compile(r"[A-Za-z0-9_.-]+")
_LETTERS = 8
_EXAMPLE = "matrix = { lr = [0.1, 0.01] }"


def read_matrix(where: str, value: Any) -> dict[str, Value]:
    """Name → its values, or the parameter of the recipe that holds them. UsageProblem for anything else."""
    if not isinstance(value, dict):
        raise UsageProblem(f"{where}: matrix must be a table of lists, and {value!r} was given", f"write {_EXAMPLE}")
    for name, each in value.items():
        if not is_name(name):
            what = f"{where}: {name!r} cannot be a name in matrix"
            raise UsageProblem(what, "use letters, digits and _, beginning with a letter")
        if not (isinstance(each, list) or parameter_of(each)):
            fix = f'write {name} = [VALUE, …], or {name} = "${{params.NAME}}" of a parameter that is a list'
            raise UsageProblem(f"{where}: matrix.{name} must be a list of values, and {each!r} was given", fix)
    return {name: stored(each) for name, each in value.items()}


def refuse_given(where: str, matrix: Mapping[str, Value], given: Mapping[str, Mapping[str, Value]]) -> None:
    """UsageProblem where a name of the matrix has another value besides. given: key of the step → name → value"""
    for key, values in given.items():
        for name in matrix:
            if name in values and name not in mentions(values[name]):
                fix = f"leave one of them out, or write ${{matrix.{name}}} into the one in {key}"
                raise UsageProblem(f"{where}: {name} stands in matrix and in {key}", fix)


def combinations(step: RecipeStep, meanings: Mapping[str, Value]) -> list[dict[str, Value]]:
    """Those of a step's matrix, in the order of its lists, the last name fastest; of a step without one the empty one.

    meanings: what references stand for. UsageProblem for a list that is empty, has a value twice or is none, and for
    more combinations than 256.
    """
    lists = {name: _values(step, name, filled(value, meanings)) for name, value in step.matrix.items()}
    found = [dict(zip(lists, each, strict=True))
             for each in itertools.islice(itertools.product(*lists.values()), MOST_COMBINATIONS + 1)]  # fmt: skip
    if len(found) > MOST_COMBINATIONS:
        fix = "leave out values, or run the recipe for some of them at a time, with `-p`"
        raise UsageProblem(f"{step.name}: matrix has more than {MOST_COMBINATIONS} combinations", fix)
    return found


def meanings_in(combination: Mapping[str, Value]) -> dict[str, Value]:
    """What `${matrix.NAME}` stands for."""
    return {f"matrix.{name}": value for name, value in combination.items()}


def usual_meanings(step: RecipeStep, meanings: Mapping[str, Value]) -> dict[str, Value]:
    """The same of its first combination; nothing where its matrix is wrong."""
    try:
        return meanings_in(combinations(step, meanings)[0])
    except LabError:
        return {}


def expanded(steps: Sequence[RecipeStep], meanings: Mapping[str, Value]) -> tuple[RecipeStep, ...]:
    """The steps with one for each combination of a matrix, in the same order.

    What takes something of such a step takes it of the combinations that agree with its own in all names that both
    have: of one where its own matrix has all names of the other, and of all of them, as a list, otherwise.
    UsageProblem as in `combinations`, and where none agrees.
    """
    used = {step.name for step in steps}
    found: dict[str, list[RecipeStep]] = {}
    for step in steps:
        found[step.name] = [_instance(step, each, used) for each in combinations(step, meanings)]
    return tuple(_joined(each, found) for several in found.values() for each in several)


def _values(step: RecipeStep, name: str, value: Value) -> list[Value]:
    fix = f"write {name} = [VALUE, …]"
    if wanted := parameter_of(step.matrix[name]):
        fix = f"give a list of values, e.g. `-p {wanted}=[1,2]`"
    if not isinstance(value, list) or not value:
        what = "is empty" if value == [] else f"must be a list of values, and {value!r} was given"
        raise UsageProblem(f"{step.name}: matrix.{name} {what}", fix)
    for at, each in enumerate(value):
        if isinstance(each, list | dict) or each is None:
            raise UsageProblem(f"{step.name}: matrix.{name} holds {each!r}, which is no single value", fix)
        if any(_is_same(each, before) for before in value[:at]):
            raise UsageProblem(f"{step.name}: matrix.{name} has {as_text(each)} twice", "leave one of them out")
    return value


def _instance(step: RecipeStep, combination: Mapping[str, Value], used: set[str]) -> RecipeStep:
    if not combination:
        return step
    name = _name(step.name, combination, used)
    used.add(name)
    return replace(step, name=name, of=step.name, matrix={}, combination=dict(combination))


def _name(step: str, combination: Mapping[str, Value], used: set[str]) -> str:
    """`train-0_01-2`; with a digest instead of values that no name can show, whichever others there are: the name of a
    combination is to stay when others come or go."""
    texts = [as_text(value) for value in combination.values()]
    name = "-".join([step, *(text.replace(".", "_") for text in texts)])
    if name in used or len(name) > LONGEST_STEP_NAME or not all(map(_SHOWN.fullmatch, texts)):
        short = step[: LONGEST_STEP_NAME - _LETTERS - 1]
        # Two steps may begin with the same letters.
        of = dict(combination) if short == step else [step, dict(combination)]
        return f"{short}-{canonical_digest(of)[:_LETTERS]}"
    return name


def _is_same(one: Value, other: Value) -> bool:
    """Whether they are one value of a matrix: true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _joined(step: RecipeStep, found: Mapping[str, Sequence[RecipeStep]]) -> RecipeStep:
    """The step, which takes things of combinations instead of the steps with a matrix."""
    single, gathered = dict[str, str](), dict[str, Gathered]()
    for name, source in step.inputs.items():
        before, _, output = source.partition(".")
        several = _agreeing(step, found[before])
        if {*several[0].combination} <= {*step.combination}:
            single[name] = f"{several[0].name}.{output}"
        else:
            gathered[name] = Gathered(source, tuple(f"{each.name}.{output}" for each in several))
    after = [each.name for name in step.after for each in _agreeing(step, found[name])]
    return replace(step, inputs=single, gathered=gathered, after=tuple(dict.fromkeys(after)))


def _agreeing(step: RecipeStep, several: Sequence[RecipeStep]) -> list[RecipeStep]:
    shared = [name for name in several[0].combination if name in step.combination]
    agreeing = [each for each in several
                if all(_is_same(each.combination[name], step.combination[name]) for name in shared)]  # fmt: skip
    if not agreeing:
        values = ", ".join(f"{name} = {as_text(step.combination[name])}" for name in shared)
        fix = f"give {', '.join(shared)} the same values in the matrix of both"
        raise UsageProblem(f"{step.of} needs {several[0].of} with {values}, which its matrix has not", fix)
    return agreeing


def mentions(value: object) -> set[str]:
    """The names of a matrix that stand in it as `${matrix.NAME}`."""
    return {word.removeprefix("matrix.") for word in words(value) if word.startswith("matrix.")}
