"""The examples in `infra/ci/`: what the recipe gives now, each in the place that it has in a project."""

from pathlib import Path

import pytest

from aiinfra_lab import recipe
from aiinfra_lab.recipe.exports import FORMS

ROOT = Path(__file__).parents[3]
CI = ROOT / "infra" / "ci"
NIGHTLY = {"cron": "0 3 * * *"}
EXAMPLES = {
    "airflow": NIGHTLY,
    "argo": {**NIGHTLY, "image": "registry.example.com/flight-delays:1"},
    "container": {},
    "cron": NIGHTLY,
    "dvc": {},
    "github": NIGHTLY,
    "gitlab": NIGHTLY,
    "systemd": NIGHTLY,
}


@pytest.fixture
def project(monkeypatch, workspace):
    monkeypatch.setenv("AIINFRA_PROJECT", str(ROOT))
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("form", EXAMPLES)
def test_it_is_fresh(form, project):
    recipe.export("flight-delays", to=form, into="infra/ci", check=True, **EXAMPLES[form])


def test_there_is_one_of_each_and_nothing_else(project):
    made = {name for form, flags in EXAMPLES.items() for name in recipe.export("flight-delays", to=form, **flags).files}
    found = {str(path.relative_to(CI)) for path in CI.rglob("*") if path.is_file()}
    assert EXAMPLES.keys() == FORMS.keys()
    assert found == made
