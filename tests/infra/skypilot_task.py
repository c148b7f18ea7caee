"""Runs SkyPilot on a task: its schema, its checks of the machine, its optimizer, and a dry run of its launch.

Prints the machine that it chose as JSON. In SkyPilot's own environment; argument: the task's file.
"""

import json
import sys

import sky
import yaml
from sky import check, execution, optimizer
from sky.utils import common_utils, schemas

path = sys.argv[1]
with open(path) as file:  # noqa: PTH123 - as SkyPilot does
    given = yaml.safe_load(file)
common_utils.validate_schema(given, schemas.get_task_schema(), "the task")
common_utils.validate_schema(given["resources"], schemas.get_resources_schema(), "its resources")
task = sky.Task.from_yaml(path)
for each in task.resources:
    each.validate()
assert check.check(quiet=True, clouds=["aws"]), "AWS cannot be used"
with sky.Dag() as dag:
    dag.add(task)
optimizer.Optimizer.optimize(dag, quiet=True)
chosen = task.best_resources
execution.launch(sky.Task.from_yaml(path), cluster_name=given["name"], dryrun=True)
made = {
    "cloud": str(chosen.cloud),
    "type": chosen.instance_type,
    "region": chosen.region,
    "zone": chosen.zone,
    "spot": chosen.use_spot,
    "accelerators": chosen.accelerators,
    "disk_gib": chosen.disk_size,
    "labels": chosen.labels,
    "idle_minutes": chosen.autostop_config.idle_minutes,
    "down": chosen.autostop_config.down,
}
print(f"\n{json.dumps(made)}")  # noqa: T201 - it is what this program is for
