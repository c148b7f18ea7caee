"""The `-p key=value` of a run, as its code reads them: `run.params.epochs`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TypeVar

from ..errors import NotFound, UsageProblem, did_you_mean

Value = bool | int | float | str
T = TypeVar("T", bool, int, float, str)


def read(texts: Mapping[str, object]) -> dict[str, Value]:
    """What the texts mean: true or false, a whole number, a number, else a text.

    UsageProblem for a key that is no Python name, and for a value that is empty or not finite.
    """
    return {_name(key): _value(key, str(text).strip()) for key, text in texts.items()}


class Parameters(Mapping[str, Value]):
    """The parameters by attribute or key. `get` with a default also fixes the kind of the value."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Value:
        if name not in self._values:
            raise NotFound(
                f"the run has no parameter {name}", f"pass it: -p {name}=…; {did_you_mean(name, self._values)}"
            )
        return self._values[name]

    def __getattr__(self, name: str) -> Value:
        if name.startswith("_"):  # what Python and IPython ask of any object
            raise AttributeError(name)
        return self[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self._values.items())

    def get(self, name: str, default: T) -> T:  # type: ignore[override]  # the default also fixes the kind
        """The parameter, of the default's kind; the default when it was not passed."""
        value = self._values.get(name, default)
        if type(default) is float and type(value) is int:
            return type(default)(value)
        # Not isinstance: True is an int in Python, and `-p epochs=true` a mistake.
        if type(value) is not type(default):
            raise UsageProblem(
                f"-p {name}={value} is no {_KINDS[type(default)]}", f"give it one, like {name}={default}"
            )
        return value


_KINDS: dict[type, str] = {bool: "true or false", int: "whole number", float: "number", str: "text"}


def _name(key: str) -> str:
    # `run.params.get` and the like are the mapping's own methods, and would never reach the value.
    if not key.isidentifier() or key in ("get", "items", "keys", "values") or key.startswith("_"):
        raise UsageProblem(f"{key!r} cannot be a parameter's name", "use a Python name, like -p learning_rate=0.01")
    return key


def _value(key: str, text: str) -> Value:
    if not text:
        raise UsageProblem(f"-p {key}= has no value", f"write -p {key}=VALUE")
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if not math.isfinite(number):
            raise UsageProblem(f"-p {key}={text} is not a finite number", "give it a finite one")
        return number
    return text
