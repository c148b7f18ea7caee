"""What all forks of the pool would do alike is done before."""

import json
import os
import subprocess
import sys
from pathlib import Path

# What the process of a command reads of packages, but for the texts that it sends its kernel.
READS = """
import json, os, sys
from aiinfra_lab.pool import template
template.load("numpy")
from aiinfra_lab import cli
opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
before = {*sys.modules}
code = cli.main(["recipe", "run", "one"])
endings = (".py", ".pyc", "METADATA", "entry_points.txt", ".schema.json")
texts = ("opened.py", "in_kernel.py")
read = sorted({each for each in opened if each.endswith(endings) and not each.endswith(texts)})
print(json.dumps([code, sorted({*sys.modules} - before), read]))
"""


def test_a_run_reads_nothing_of_packages_that_the_pool_could_have_read(workspace: Path) -> None:
    (workspace / "recipes").mkdir()
    (workspace / "recipes" / "one.toml").write_text('[steps.s]\nnotebook = "one.ipynb"\n')
    (workspace / "notebooks").mkdir(exist_ok=True)
    cell = {"cell_type": "code", "execution_count": None, "id": "a", "metadata": {}, "outputs": [], "source": "1"}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = {"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (workspace / "notebooks" / "one.ipynb").write_text(json.dumps(notebook))
    env = {**os.environ, "AIINFRA_POOL": "off"}
    done = subprocess.run([sys.executable, "-c", READS], env=env, stdout=subprocess.PIPE, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [0, [], []]
