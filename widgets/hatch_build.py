"""Puts into the wheel what is made or lies outside the package: the built front end and the example.

It runs no npm: `make front` built the front end before, and a wheel without one is refused.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

EXTENSION = "share/jupyter/labextensions/aiinfra-lab"
EXAMPLE = "aiinfra_lab/examples/flights"


class ShipHook(BuildHookInterface[Any]):
    """What hatchling calls before it writes a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files; SystemExit with the fix when there is no front end."""
        if version == "editable":  # `make front` links the built front end into the environment instead
            return
        root = Path(self.root)
        front = root / "aiinfra_lab" / "labextension"
        if not (front / "package.json").is_file():
            raise SystemExit(f"no built front end in {front}\nrun `make front`, then build the wheel again")
        build_data["shared_data"][str(front)] = EXTENSION
        build_data["shared_data"][str(root / "widgets" / "install.json")] = f"{EXTENSION}/install.json"
        for folder in ("notebooks", "recipes"):
            build_data["force_include"][str(root / folder)] = f"{EXAMPLE}/{folder}"
