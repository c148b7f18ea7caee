"""A recipe as a Workflow of Argo, and as a CronWorkflow where it has a schedule: a pod for each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import UsageProblem
from ..base import Recipe, RecipeStep
from .base import BY_HAND, ExportFacts, ExportTraits, RecipeFiles, seconds_of
from .stages import StepStart, starts
from .written import one_line, sealed, slug, yaml_text

TRAITS = ExportTraits(
    is_split=True,
    in_steps=True,
    takes_image=True,
    takes_schedule=True,
    missed="Argo makes up for what it missed once, if that is no older than an hour",
    catch_up=("last", "none"),
)
_CLAIM, _SECRET = "aiinfra-workspace", "aiinfra"
_NOTE = "pods end with their steps: a recipe that deploys needs endpoints elsewhere, as `%deploy start --on` gives them"


def render(recipe: Recipe, facts: ExportFacts) -> RecipeFiles:
    """The manifest. UsageProblem where no image is named."""
    if not facts.image:
        what = "Argo runs each step in a container, and no image is named"
        raise UsageProblem(what, "add --image REGISTRY/NAME:TAG; `--to container` writes what it is built from")
    name = slug(recipe.name)[:52].rstrip("-")  # Argo adds to it what makes a run's name its own
    main, spec = f"argo/{name}.yaml", _spec(recipe, facts)
    labels = {"app.kubernetes.io/managed-by": "aiinfra-lab"}
    title = {"workflows.argoproj.io/description": _literal(one_line(recipe.title))}
    head: dict[str, Any] = {"apiVersion": "argoproj.io/v1alpha1"}
    if line := facts.schedule:
        manifest = {
            **head,
            "kind": "CronWorkflow",
            "metadata": {"name": name, "labels": labels, "annotations": title},
            "spec": {
                "schedules": [line.text],
                "timezone": line.tz,
                "concurrencyPolicy": "Forbid",
                # What a controller that was down has missed is begun once, if it is no older than an hour.
                **({} if facts.catch_up == "none" else {"startingDeadlineSeconds": 3600}),
                "workflowSpec": spec,
            },
        }
        use = f"`kubectl apply -f {main}`; `argo submit --from cronwf/{name}` runs it at once"
    else:
        metadata = {"generateName": f"{name}-", "labels": labels, "annotations": title}
        manifest = {**head, "kind": "Workflow", "metadata": metadata, "spec": spec}
        use = f"`argo submit {main}`"
    comments = [
        "",
        f"In its namespace: a PersistentVolumeClaim `{_CLAIM}` with the workspace, and where there are any, a Secret",
        f"`{_SECRET}` whose keys become variables, e.g. AIINFRA_STORE_URL. The image has the project in it.",
    ]
    text = sealed(recipe, facts, "For Argo Workflows", yaml_text(manifest), comments)
    notes = [f"it needs a claim `{_CLAIM}` with the workspace", _NOTE, *([BY_HAND] if facts.due else [])]
    return RecipeFiles({main: text}, main, use, tuple(notes))


def _spec(recipe: Recipe, facts: ExportFacts) -> dict[str, Any]:
    names = {step.name: slug(step.name) for step in recipe.steps}
    tasks = [
        {"name": names[name], "template": f"step-{names[name]}", **_dependencies(begin, names)}
        for name, begin in starts(recipe.steps).items()
    ]
    return {
        "entrypoint": "recipe",
        "parallelism": 1,  # of a recipe one step runs at a time
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "fsGroup": 10001},
        "podGC": {"strategy": "OnPodSuccess"},
        "ttlStrategy": {"secondsAfterCompletion": 7 * 24 * 3600},
        "volumes": [{"name": "workspace", "persistentVolumeClaim": {"claimName": _CLAIM}}],
        "templates": [
            {"name": "recipe", "dag": {"failFast": False, "tasks": tasks}},
            *(_template(recipe, step, facts, names[step.name]) for step in recipe.steps),
        ],
    }


def _dependencies(begin: StepStart, names: Mapping[str, str]) -> dict[str, str]:
    """What it waits for: of a step that stops all only that it did not fail itself."""
    needs = [f"{names[each]}.Succeeded" for each in begin.needs]
    stops = [f"({names[each]}.Succeeded || {names[each]}.Omitted)" for each in begin.stops]
    return {"depends": " && ".join([*needs, *stops])} if needs or stops else {}


def _template(recipe: Recipe, step: RecipeStep, facts: ExportFacts, name: str) -> dict[str, Any]:
    seconds = seconds_of(step)
    command, *words = map(_literal, facts.command(recipe, step, '"@$RUN_AT"'))
    moment = [{"name": "RUN_AT", "value": "{{workflow.creationTimestamp.s}}"}] if facts.reads_clock else []
    return {
        "name": f"step-{name}",
        **({"activeDeadlineSeconds": round(seconds)} if seconds else {}),
        "container": {
            "name": "main",
            "image": facts.image,
            "command": [command],
            "args": words,
            "env": [{"name": "AIINFRA_WORKSPACE", "value": "/workspace"}, *moment],
            "envFrom": [{"secretRef": {"name": _SECRET, "optional": True}}],
            "volumeMounts": [{"name": "workspace", "mountPath": "/workspace"}],
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        },
    }


def _literal(text: str) -> str:
    """A text in which nothing is a template of Argo's."""
    return text.replace("{{", "{{='{' + '{'}}")
