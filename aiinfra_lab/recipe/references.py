"""`${…}` in the texts of a recipe's file; there is no more to its language.

`${params.NAME}` is a parameter of the recipe, `${steps.STEP.out.NAME}` what a step made, `${run.date}` and
`${run.time}` when the run is due or, without a schedule, when it begins. `$${` stands for `${`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from .base import Value
from .parameters.stored import as_text

REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)\}")
"""A reference, whose first group stands in its braces; or `$${`, which has none."""
_PARAMETER = re.compile(r"params\.([A-Za-z_]\w*)")
_FORMER = re.compile(r"\$([A-Za-z_]\w*)")
_OUTPUT = re.compile(r"steps\.([\w-]+)\.out\.([\w-]+)")
RUN_WORDS = ("run.date", "run.time")


def words(value: object) -> Iterator[str]:
    """What stands in the braces of every reference in a text, or in the texts of a list or table."""
    match value:
        case str():
            yield from (found[1] for found in REFERENCE.finditer(value) if found[1] is not None)
        case list():
            for each in value:
                yield from words(each)
        case Mapping():
            for each in value.values():
                yield from words(each)


def parameters_in(value: object) -> Iterator[str]:
    """The parameters of the recipe that it refers to."""
    for word in words(value):
        if found := _PARAMETER.fullmatch(word):
            yield found[1]


def parameter_of(value: object) -> str | None:
    """`months` when the value is `"${params.months}"` and nothing more: it has that parameter's type then."""
    word = _whole(value)
    found = _PARAMETER.fullmatch(word) if word else None
    return found[1] if found else None


def source_of(value: object) -> str | None:
    """`train.run`, as it stands in `in`, when the value is `"${steps.train.out.run}"` and nothing more."""
    word = _whole(value)
    found = _OUTPUT.fullmatch(word) if word else None
    return f"{found[1]}.{found[2]}" if found else None


def as_reference(value: Value) -> Value:
    """`"${params.months}"` for `"$months"`, as files of before there were others had it; all else as it is."""
    found = _FORMER.fullmatch(value) if isinstance(value, str) else None
    return f"${{params.{found[1]}}}" if found else value


def is_output(word: str) -> bool:
    """Whether it is what a step made that stands in the braces."""
    return _OUTPUT.fullmatch(word) is not None


def filled(value: Value, meanings: Mapping[str, Value]) -> Value:
    """The value with what its references stand for; alone in a text with its type. One without a meaning stays."""
    match value:
        case str():
            word = _whole(value)
            return (
                meanings[word]
                if word is not None and word in meanings
                else REFERENCE.sub(lambda found: _text(found, meanings), value)
            )
        case list():
            return [filled(each, meanings) for each in value]
        case Mapping():
            return filled_values(value, meanings)
    return value


def filled_values(values: Mapping[str, Value], meanings: Mapping[str, Value]) -> dict[str, Value]:
    """All of a table, each as `filled` has it."""
    return {name: filled(value, meanings) for name, value in values.items()}


def filled_texts(texts: Mapping[str, str], meanings: Mapping[str, Value]) -> dict[str, str]:
    """All of a table of texts, whatever type what they stand for has."""
    return {name: as_text(filled(text, meanings)) for name, text in texts.items()}


def meanings_of(parameters: Mapping[str, Value]) -> dict[str, Value]:
    """What `${params.NAME}` stands for."""
    return {f"params.{name}": value for name, value in parameters.items()}


def _whole(value: object) -> str | None:
    found = REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return found[1] if found else None


def _text(found: re.Match[str], meanings: Mapping[str, Value]) -> str:
    if found[1] is None:
        return "${"
    return as_text(meanings[found[1]]) if found[1] in meanings else found[0]
