"""The parameters of a notebook as ipywidgets; see `aiinfra_lab.recipe.controls`."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import Any

import ipywidgets

from ..config import Settings
from ..recipe.parameters import DeclaredParameter, as_text
from ..recipe.parameters.kinds import ChoiceKind, OptionalKind, RangedKind, ScalarKind, ValueKind

_STEPS = 100  # of a slider for fractions
_DECADES = 2  # from so many on a slider has the exponents

_PLAIN: Mapping[str, type[ipywidgets.ValueWidget]] = {
    "bool": ipywidgets.Checkbox,
    "int": ipywidgets.IntText,
    "float": ipywidgets.FloatText,
    "date": ipywidgets.DatePicker,
    "datetime": ipywidgets.NaiveDatetimePicker,
}


class ParameterControls:
    """See `ControlMaker` for the contract."""

    def __init__(self, where: Settings) -> None:
        pass

    def control(self, parameter: DeclaredParameter) -> Any:
        made = _made(parameter.kind, parameter.default) or ipywidgets.Text(as_text(parameter.stored_default))
        made.description = parameter.name
        made.description_allow_html = False
        made.tooltip = parameter.text or None
        return made


def _made(kind: ValueKind, default: Any) -> Any:
    match kind:
        case OptionalKind(inner=ChoiceKind(values=values)):
            return ipywidgets.Dropdown(options=_options((None, *values)), value=default)
        case ChoiceKind(values=values):
            return ipywidgets.Dropdown(options=_options(values), value=default)
        case OptionalKind(inner=ScalarKind(name="date" | "datetime" as name)) if default is None:
            return _PLAIN[name](value=None)
        case RangedKind() if default is not None:
            return _ranged(kind, default) or _made(kind.inner, default)
        case OptionalKind(inner=inner) if default is not None:
            return _made(inner, default)
        case ScalarKind(name=name) if name in _PLAIN and _fits(name, default):
            return _PLAIN[name](value=default)
    return None


def _options(values: tuple[Any, ...]) -> list[tuple[str, Any]]:
    return [(as_text(each) if each is None else str(each), each) for each in dict.fromkeys(values)]


def _ranged(kind: RangedKind, default: Any) -> Any:
    if kind.low is None or kind.high is None:
        return None
    if kind.name == "int":
        return ipywidgets.IntSlider(default, kind.low, kind.high)
    if kind.name == "float":
        if kind.low > 0 and kind.high / kind.low >= 10**_DECADES:
            low, high = math.log10(kind.low), math.log10(kind.high)
            return ipywidgets.FloatLogSlider(default, min=low, max=high, step=(high - low) / _STEPS)
        return ipywidgets.FloatSlider(
            default, min=kind.low, max=kind.high, step=(kind.high - kind.low) / _STEPS or 1.0, readout_format=".3g"
        )
    return ipywidgets.DatePicker(value=default, min=kind.low, max=kind.high) if kind.name == "date" else None


def _fits(name: str, default: Any) -> bool:
    """A moment with a time zone has no picker here, and a number of more than 53 bits none that keeps its digits."""
    if name == "datetime":
        return isinstance(default, dt.datetime) and default.tzinfo is None
    return name != "int" or abs(default) < 2**53
