"""Feast is imported without its run-time type checks, which take more than half of its import; others keep theirs."""

import subprocess
import sys

CHECK = """
import typeguard
before = typeguard.typechecked
import aiinfra_lab.features.feast
from feast.on_demand_feature_view import OnDemandFeatureView
assert typeguard.typechecked is before
assert "typeguard" not in OnDemandFeatureView.__init__.__code__.co_names
"""


def test_feasts_own_checks_are_not_woven_in_and_those_of_others_are() -> None:
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
