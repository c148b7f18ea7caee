"""What the steps of a recipe make and take: each thing is made by one of them, and taken by that step's name."""

from __future__ import annotations

import fnmatch
import functools
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath

from ..config import settings
from ..errors import LabError, NotFound, Unavailable, UsageProblem
from ..resolve import resolve_any
from ..show import sentence
from ..uris import Uri
from .base import Recipe, RecipeStep, Value, is_file
from .filling import filled_recipe
from .lines import of_step, place_in
from .made_things import can_live
from .matrix import mentions
from .parameters import is_name
from .references import parameters_in
from .taken import files_of, is_glob, place_of


def checked(recipe: Recipe, given: Mapping[str, Value]) -> Recipe:
    """The recipe as a run with these parameters has it; one that is filled as it is. UsageProblem for what they make
    wrong in it."""
    if recipe.is_filled:
        return recipe
    filled = filled_recipe(recipe, given)
    if problems := list(mistakes_in_made(filled)):
        fixes = "; ".join(dict.fromkeys(fix for _, fix in problems))
        raise UsageProblem("; ".join(what for what, _ in problems), f"give other parameters, or: {fixes}")
    return filled


def absent(recipe: Recipe, filled: Recipe) -> Iterator[str]:
    """What steps take by a name in which a parameter stands, and is not there with these values, and sessions on which
    they run, and that do not live: a sentence each.

    The errors of `taken.pinned` for all else. filled: the recipe as a run has it
    """
    if any(step.on for step in filled.steps):
        from .session import check_places  # here, since few steps run elsewhere

        for name in dict.fromkeys(step.declared_name for step in filled.steps if Uri.is_one(step.on, "gpu")):
            step = next(each for each in recipe.steps if each.name == name)
            left = [key for key, is_given in (("memory", step.memory_bytes), ("hold", step.hold_s)) if is_given]
            if left:
                yield f"{name}: {' and '.join(left)} mean nothing on {step.on}: a session keeps its own kernel."
        try:
            check_places(filled)
        except (NotFound, Unavailable) as problem:
            yield sentence(f"It could not run now: {problem.what}; {problem.fix}")
    declared = {step.name: step for step in recipe.steps}
    for step in filled.steps:
        for name, source in {**step.files, **step.data}.items():
            try:
                files_of(source) if name in step.files else resolve_any(source)
            except LabError as problem:
                own = declared[step.declared_name]
                text = {**own.files, **own.data}[name]
                wanted = sorted({*parameters_in([text, *(own.matrix[each] for each in mentions(text))])})
                if not (wanted and isinstance(problem, NotFound)):
                    with of_step(recipe, step, name):
                        raise
                given = " ".join(f"-p {each}=…" for each in wanted)
                other = f"`%recipe check {recipe.name} {given}` looks with another {' and '.join(wanted)}"
                yield f"{step.name} could not run now: {problem.what}; {other}."


def mistakes_in_made(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """(what is wrong, the fix) of what the steps of a filled recipe make, and of who takes it."""
    unnamable = list(_unnamable(recipe))
    yield from unnamable
    if not unnamable:
        yield from _made_twice(recipe)
        yield from _taken_by_name(recipe)


def _unnamable(recipe: Recipe) -> Iterator[tuple[str, str]]:
    for step in recipe.steps:
        for name, made in step.makes.items():
            if problem := _problem_of(name, made, is_path=name in step.made_files):
                what, fix = problem
                yield f"{step.name}: {what} ({place_in(recipe, f'steps.{step.declared_name}', name)})", fix


def _problem_of(name: str, made: str, *, is_path: bool) -> tuple[str, str] | None:
    # A notebook has the path of a file by this name alone; of a thing it knows what that is called.
    if is_path and (not is_name(name) or name.startswith("_")):
        fix = "use letters, digits and _, beginning with a letter"
        return f"recipe.outputs cannot have a file by the name {name!r}", fix
    try:
        place_of(made) if is_path else Uri.parse(made)
    except LabError as problem:
        return problem.what, problem.fix
    return None


def _made_twice(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """What two `out` name, or what lies in a folder that another names: of which step it is nobody could tell."""
    makers: dict[str, RecipeStep] = {}
    for step in recipe.steps:
        for name, made in step.makes.items():
            others = [
                other for other in makers if _is_same(made, other) and not _may_both(step, makers[other], made, other)
            ]
            if others:
                where = "" if others[0] == made else f" in {others[0]}"
                place = place_in(recipe, f"steps.{step.declared_name}", name)
                what = f"{step.name}: {made} is made by {makers[others[0]].name} already{where} ({place})"
                in_it = " and ".join(f"${{matrix.{each}}}" for each in step.combination)
                is_own = in_it and makers[others[0]].of == step.of
                yield what, f"write {in_it} in it" if is_own else f"call what it makes otherwise, or leave {name} out"
                break
            makers.setdefault(made, step)


def _may_both(step: RecipeStep, other: RecipeStep, made: str, before: str) -> bool:
    """Whether both may make it: a step one thing by two names, the combinations of a matrix versions of one."""
    if made != before:
        return False
    return step.name == other.name or bool(step.of == other.of != "" and not is_file(made) and not can_live(made))


def _taken_by_name(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """What `in` takes by its path or URI and a step makes: nothing would have that step run before.

    A version of data may be taken so by the step that makes the next one, or one before it: it is what the run before
    has left.
    """
    before = _before(recipe)
    makers = [(each, name, made) for each in recipe.steps for name, made in each.makes.items()]
    seen: set[tuple[str, str]] = set()
    for step in recipe.steps:
        for name, source in {**step.files, **step.data}.items():
            is_path = name in step.files
            for maker, output, made in makers:
                is_own = maker.declared_name == step.declared_name
                if not (_may_hold(source, made) if is_path and is_file(made) else made == source):
                    continue
                if (not is_path and (is_own or step.name in before[maker.name])) or (step.name, name) in seen:
                    continue
                seen |= {(step.name, name), *((each.name, name) for each in recipe.steps if each.of == step.of != "")}
                among = "" if source == made else f", and with it {made}"
                who = "it makes itself" if is_own else f"{maker.declared_name} makes"
                place = place_in(recipe, f"steps.{step.declared_name}", name)
                yield (
                    f"{step.declared_name}: {name} takes {source}{among}, which {who} ({place})",
                    _edge(
                        name,
                        f"{maker.declared_name}.{output}",
                        among,
                        is_late=is_own or step.name in before[maker.name],
                    ),
                )


def _edge(name: str, source: str, among: str, *, is_late: bool) -> str:
    if is_late:
        return "have the one in another folder than the other, or keep it as data:NAME, of which a run takes the last"
    return f'write {name} = "{source}"' + (", and take other files by another name" if among else "")


def _before(recipe: Recipe) -> dict[str, set[str]]:
    """Step → all that have run before it, in whichever run of all."""
    found: dict[str, set[str]] = {}
    for step in recipe.steps:
        found[step.name] = {*step.depends_on}.union(*(found.get(each, ()) for each in step.depends_on))
    return found


def _is_same(made: str, other: str) -> bool:
    """Whether they are one thing, or one file lies in the other."""
    if not (is_file(made) and is_file(other)):
        return made == other
    return _is_within(_place(made), _place(other)) or _is_within(_place(other), _place(made))


def _may_hold(source: str, made: str) -> bool:
    """Whether the files that a path, folder or glob means may be what is made there, or of it."""
    if not is_glob(source):
        return _is_same(source, made)
    parts, place = _place(source).split("/"), _place(made)
    literal = "/".join(itertools.takewhile(lambda part: not is_glob(part), parts))
    # Whether a folder or a file is made is not known before; by its ending it is a file.
    return _is_within(literal, place) or _matches(parts, place.split("/"), is_folder=not PurePath(place).suffix)


def _matches(pattern: Sequence[str], parts: Sequence[str], *, is_folder: bool) -> bool:
    if not parts or not pattern:
        return not parts and (not pattern or is_folder)
    is_hidden = parts[0][:1] == "."
    if pattern[0] == "**":
        below = not is_hidden and _matches(pattern, parts[1:], is_folder=is_folder)
        return below or _matches(pattern[1:] or ["*"], parts, is_folder=is_folder)
    is_one = fnmatch.fnmatchcase(parts[0], pattern[0]) and (pattern[0][:1] == "." or not is_hidden)
    return is_one and _matches(pattern[1:], parts[1:], is_folder=is_folder)


def _is_within(one: str, two: str) -> bool:
    return one == two or two in ("", ".") or one.startswith(f"{two}/")


def _place(path: str) -> str:
    """Its name from the project's folder, as `in` and `out` may both write it in several ways."""
    return _relative(settings().project, path)


@functools.lru_cache(maxsize=4096)
def _relative(root: Path, path: str) -> str:
    return os.path.relpath(os.path.normpath(root / path), root)
