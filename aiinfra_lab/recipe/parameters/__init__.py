"""Typed parameters: what a notebook's cell tagged `parameters` declares, and the values that it is given."""

from .annotations import kind_like
from .controls import controls
from .kinds import Misfit, ValueKind, takes_many, takes_path
from .literals import LiteralWriter
from .marks import Range, Secret
from .problems import ComputedParameter, ParameterProblem, refuse
from .schema import DeclaredParameter, ParameterSchema, is_name, parameter_name, read_schema
from .stored import as_text, stored

__all__ = [
    "ComputedParameter",
    "DeclaredParameter",
    "LiteralWriter",
    "Misfit",
    "ParameterProblem",
    "ParameterSchema",
    "Range",
    "Secret",
    "ValueKind",
    "as_text",
    "controls",
    "is_name",
    "kind_like",
    "parameter_name",
    "read_schema",
    "refuse",
    "stored",
    "takes_many",
    "takes_path",
]
