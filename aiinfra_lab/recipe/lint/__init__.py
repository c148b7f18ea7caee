"""The lint: will this notebook run where nobody looks at it? Read from the file alone; nothing of it runs.

A rule is a small class with a code, LABnnn; a newcomer's is written beside those of its kind and put into `RULES`.
docs/lint.md is made of their docstrings.
"""

from .base import Diagnostic, LintRule
from .checking import lint, lint_notebook
from .fixing import fix_notebook
from .rules import RULES
from .running import DerivedParameter

__all__ = ["RULES", "DerivedParameter", "Diagnostic", "LintRule", "fix_notebook", "lint", "lint_notebook"]
