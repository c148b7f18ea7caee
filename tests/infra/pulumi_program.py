"""Runs infra/pulumi against Pulumi's own mocks and prints what it would make.

Arguments: stack, configuration, and the program's folder where it is another one.
"""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pulumi

PROGRAM = Path(sys.argv[3]) if sys.argv[3:] else Path(__file__).parents[2] / "infra" / "pulumi"
made: list[dict[str, Any]] = []


class Recorder(pulumi.runtime.Mocks):
    """Every resource is made, and called by its name."""

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        made.append({"type": args.typ, "name": args.name, "inputs": args.inputs})
        known = {"name": args.name, "publicIp": "192.0.2.7", "latestVersion": 1}
        return f"{args.name}-id", {**known, **args.inputs}

    def call(self, args: pulumi.runtime.MockCallArgs) -> dict[str, Any]:
        return {**args.args, "id": f"{args.token}-id", "rootDeviceName": "/dev/xvda", "name": "us-east-1d"}


stack, configuration = sys.argv[1], json.loads(sys.argv[2])
pulumi.runtime.set_mocks(Recorder(), project="aiinfra", stack=stack)
pulumi.runtime.set_all_config(
    {f"aiinfra:{name}": it if isinstance(it, str) else json.dumps(it) for name, it in configuration.items()}
)
sys.path.insert(0, str(PROGRAM))


@pulumi.runtime.test
def run() -> None:
    """The program itself; returns when all of its resources are made."""
    runpy.run_path(str(PROGRAM / "__main__.py"), run_name="__main__")


run()
sys.stdout.write(json.dumps(made))
