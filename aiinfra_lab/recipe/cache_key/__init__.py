"""What decides what a step makes, by meaning: its cache key and the parts that it is made of.

An edit of a comment, of the layout or of a sentence between the cells changes no part; each part that changes is a
reason to run that can be told in words.
"""

from .code import MAGIC, CellTree, NormalCode, cell_code, cell_tree, module_digest, notebook_code, notebook_digest
from .environment import StepEnvironment, changed_packages, environment_of, is_our_kernel
from .modules import is_of_project, program_modules, project_modules
from .parts import Parts, changes, digest_of, shown_value

__all__ = [
    "MAGIC",
    "CellTree",
    "NormalCode",
    "Parts",
    "StepEnvironment",
    "cell_code",
    "cell_tree",
    "changed_packages",
    "changes",
    "digest_of",
    "environment_of",
    "is_of_project",
    "is_our_kernel",
    "module_digest",
    "notebook_code",
    "notebook_digest",
    "program_modules",
    "project_modules",
    "shown_value",
]  # fmt: skip
