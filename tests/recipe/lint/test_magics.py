"""The table of IPython's magics is what IPython has."""

from ipykernel.zmqshell import KernelMagics
from IPython.core.alias import default_aliases
from IPython.core.interactiveshell import InteractiveShell

from aiinfra_lab.recipe.lint import magics


def test_the_table_is_that_of_ipython_and_its_kernel():
    there = InteractiveShell().magics_manager.magics
    line = {*there["line"], *KernelMagics.magics["line"], *(name for name, _ in default_aliases())}
    assert {*magics.LINE} == line
    assert {*magics.CELL} == {*there["cell"]}
