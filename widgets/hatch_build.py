"""Puts into the wheel what is made or lies outside the package: the built front end, the example, infra/'s files.

It runs no npm: `make front` built the front end before, and a wheel without one is refused.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

EXTENSION = "share/jupyter/labextensions/aiinfra-lab"
EXAMPLE = "aiinfra_lab/examples/flights"
INFRA = {
    "systemd": "aiinfra_lab/systemd",
    "iam": "aiinfra_lab/infra/iam",
    "machine.sh": "aiinfra_lab/infra/machine.sh",
    "pulumi": "aiinfra_lab/infra/pulumi",
    "terraform": "aiinfra_lab/infra/terraform",
}


class ShipHook(BuildHookInterface[Any]):
    """What hatchling calls before it writes a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files; SystemExit with the fix when there is no front end."""
        # `make front` links the built front end into an editable environment, and infra/ is read in the checkout.
        # Copies would also be all that pytest sees of the package there, so that it took `infra/pulumi/__main__.py`
        # for the module `__main__` of our plugin and warned in each session of each project.
        if version == "editable":
            return
        root = Path(self.root)
        front = root / "aiinfra_lab" / "labextension"
        if not (front / "package.json").is_file():
            raise SystemExit(f"no built front end in {front}\nrun `make front`, then build the wheel again")
        build_data["shared_data"][str(front)] = EXTENSION
        build_data["shared_data"][str(root / "widgets" / "install.json")] = f"{EXTENSION}/install.json"
        for folder in ("notebooks", "recipes"):
            build_data["force_include"][str(root / folder)] = f"{EXAMPLE}/{folder}"
        for source, target in INFRA.items():
            build_data["force_include"][str(root / "infra" / source)] = target
