"""A real Terraform, with the provider for AWS that is on this disk; nothing is loaded from anywhere."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.ec2 import Ec2


@functools.cache
def plugins() -> Path | None:
    """The folder in which a provider for AWS lies."""
    found = subprocess.run(
        ["find", "/", "-xdev", "-maxdepth", "4", "-type", "d", "-name", "registry.terraform.io"],
        text=True,
        capture_output=True,
        check=False,
    )
    with_aws = [Path(it).parent for it in found.stdout.splitlines() if (Path(it) / "hashicorp" / "aws").is_dir()]
    return with_aws[0] if with_aws else None


needs_terraform = pytest.mark.skipif(not shutil.which("terraform"), reason="there is no terraform")
needs_provider = pytest.mark.skipif(
    not shutil.which("terraform") or plugins() is None,
    reason="there is no terraform, or no provider for AWS on this disk",
)


@dataclass(frozen=True)
class Root:
    """A root module, copied, so that neither state nor providers come into the checkout."""

    folder: Path
    env: Mapping[str, str]

    @classmethod
    def ready(cls, folder: Path, home: Path, ec2: Ec2) -> Root:
        """Ready for `plan`. home: a folder of the test's own."""
        (home / "empty.tfrc").touch()
        quiet = {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "TF_INPUT": "0"}
        made = cls(folder, {**ec2.env(), **quiet, "TF_CLI_CONFIG_FILE": str(home / "empty.tfrc")})
        status, text = made.terraform("init", f"-plugin-dir={plugins()}")
        assert status == 0, text
        return made

    def terraform(self, *words: str) -> tuple[int, str]:
        """Status and all that it prints."""
        command = ["terraform", words[0], "-no-color", *words[1:]]
        env = {**os.environ, **self.env}
        done = subprocess.run(command, cwd=self.folder, env=env, text=True, capture_output=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def set(self, **variables: Any) -> None:
        (self.folder / "test.auto.tfvars.json").write_text(json.dumps(variables))

    def planned(self) -> dict[str, dict[str, Any]]:
        """What a plan would make, by its address."""
        status, text = self.terraform("plan", "-out=plan")
        assert status == 0, text
        changes = json.loads(self.terraform("show", "-json", "plan")[1])["resource_changes"]
        return {it["address"]: it["change"]["after"] for it in changes}
