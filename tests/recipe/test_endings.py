"""Whatever ends a notebook, the run, the archive and each of its cells say so, and no cell that never ran says more."""

import os

import pytest

from tests.endings import RIGHT, bring_about


@pytest.mark.parametrize("ending", RIGHT)
def test_all_say_how_it_ended(workspace, ending):
    assert bring_about(ending, workspace, {**os.environ, "AIINFRA_WORKSPACE": str(workspace)}) == RIGHT[ending]
