"""`%recipe export`: a recipe as files for another scheduler, whose every command is `aiinfra recipe run`."""

from __future__ import annotations

from collections.abc import Mapping

from . import airflow, argo, container, crontab, dvc, github, gitlab, systemd
from .base import ExportFacts, ExportTraits, RecipeExport, RecipeFiles

__all__ = ["FORMS", "ExportFacts", "ExportTraits", "RecipeExport", "RecipeFiles"]

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
