"""`python -m aiinfra_lab.recipe.worker NAME@N`: carries out a run that was begun, as a job of the supervisor.

So it outlives the terminal, the notebook and the kernel from which it was begun.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence

from .. import jobs, logs
from ..errors import LabError
from ..providers import make
from ..store import open_store
from . import declaration, filling
from .history import recorded_run, write_end
from .parts import only_step
from .progress import ProgressLines
from .runner import RecipeRunner

_log = logging.getLogger("aiinfra_lab.recipe.worker")  # __name__ is __main__ here


def main(argv: Sequence[str] | None = None) -> int:
    """0 when the run is done; its log says why not."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--force", action="store_true")
    parser.add_argument("--only", default="")
    asked = parser.parse_args(argv)
    logs.configure()
    run = recorded_run(f"recipe:{asked.run}")
    job = jobs.Here(os.environ["AIINFRA_JOB"], open_store())
    try:
        recipe = filling.filled_recipe(declaration.read(run.base), run.body.parameters)
        recipe = only_step(recipe, asked.only) if asked.only else recipe
        runner = RecipeRunner(
            recipe,
            run.body.parameters,
            make("recipe.executor"),
            keep=run.body.keep,
            force=asked.force,
            resumes=run.body.resumes,
        )
        done = runner.go_on(run, job, ProgressLines())
    except LabError as problem:  # the recipe or what it takes is gone since
        _log.error("%s: %s", type(problem).__name__, problem)  # its users' words, no traceback
        write_end(run, lambda there: there.ended("failed", time.time()))
        return 1
    return 0 if done.body.state == "done" else 1


if __name__ == "__main__":
    sys.exit(main())
