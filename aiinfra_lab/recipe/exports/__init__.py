"""`%recipe export`: a recipe as files for another scheduler, whose every command is `aiinfra recipe run`."""

from __future__ import annotations

from collections.abc import Mapping

from . import airflow, argo, container, crontab, dvc, github, gitlab, systemd
from .base import ExportFacts, RecipeExport, RecipeFiles

__all__ = ["FORMS", "IN_STEPS", "TAKE_IMAGE", "TAKE_SCHEDULE", "ExportFacts", "RecipeExport", "RecipeFiles"]

FORMS: Mapping[str, RecipeExport] = {
    "airflow": airflow,
    "argo": argo,
    "container": container,
    "cron": crontab,
    "dvc": dvc,
    "github": github,
    "gitlab": gitlab,
    "systemd": systemd,
}
# Whose runs have several commands, and a beginning that all of these know.
IN_STEPS = ("airflow", "argo", "github", "gitlab")
TAKE_IMAGE = ("argo",)
TAKE_SCHEDULE = ("airflow", "argo", "cron", "github", "gitlab", "systemd")
