"""A recipe as a container file: the project and its packages, and the recipe as what it runs."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from ..base import Recipe
from .base import ExportFacts, ExportTraits, RecipeFiles, without_glob
from .written import one_line, sealed, slug

TRAITS = ExportTraits()
IMAGE, UV = "python:3.11-slim-bookworm", "0.13.9"
_BODY = """\
FROM {image}
RUN pip install --no-cache-dir uv=={uv} \\
    && useradd --uid 10001 --user-group --create-home lab \\
    && install -d -o lab -g lab /workspace /srv/venv /project
ENV VIRTUAL_ENV=/srv/venv UV_PROJECT_ENVIRONMENT=/srv/venv UV_NO_CACHE=1 PATH=/srv/venv/bin:$PATH
ENV AIINFRA_PROJECT=/project AIINFRA_WORKSPACE=/workspace
WORKDIR /project
USER 10001
COPY --chown=lab:lab . .
RUN {install}
VOLUME /workspace
STOPSIGNAL SIGTERM
ENTRYPOINT {entry}
"""
_IGNORED = """\
.git
.venv
.venvs
.aiinfra
.dvc
build
**/__pycache__
**/.ipynb_checkpoints
**/.env*
**/*.pem
**/*.key
"""
_BUILD = "build"  # the folder of what can be made anew
_VOLUME_NOTE = "the workspace is the volume /workspace: without one each run begins with nothing"
_FILES_NOTE = "what steps write goes with the container, but for folders that -v names, where user 10001 may write"


def render(recipe: Recipe, facts: ExportFacts) -> RecipeFiles:
    """The container file, and what is not to come into the image."""
    name = slug(recipe.name)
    main = f"container/{name}/Dockerfile"
    body = _BODY.format(
        image=IMAGE,
        uv=UV,
        install=" \\\n    && ".join(["uv venv --allow-existing /srv/venv", *facts.install]),
        entry=json.dumps(facts.command(recipe)),
    )
    comments = [
        "",
        "No secret is in it: give them as variables when it runs. `docker buildx imagetools inspect` says the digest",
        "of the base, by which to pin it where an image must be the same at each build.",
    ]
    ignored = sealed(recipe, facts, "What is not to come into the image of", _ignored(recipe))
    build = f"docker build -f {main} -t {name} ."
    made = [path for step in recipe.steps for path in step.made_files.values()]
    folders = filter(None, dict.fromkeys(map(_folder_of, made)))
    volumes = "".join(f' -v "$PWD"/{shlex.quote(f"{each}:/project/{each}")}' for each in folders)
    start = f"docker run --init -v workspace:/workspace{volumes} {one_line(name)}"
    notes = [_VOLUME_NOTE, *([f"{_FILES_NOTE}: {', '.join(made)}"] if made else [])]
    return RecipeFiles(
        {main: sealed(recipe, facts, "A container file", body, comments), f"{main}.dockerignore": ignored},
        main,
        f"`{build}`, in the project's folder; `{start}` runs it",
        tuple(notes),
    )


def _ignored(recipe: Recipe) -> str:
    """All but what the recipe takes."""
    takes_build = any(Path(path).parts[:1] == (_BUILD,) for step in recipe.steps for path in step.files.values())
    return _IGNORED.replace(f"{_BUILD}\n", "") if takes_build else _IGNORED


def _folder_of(path: str) -> str:
    """The folder of the project below which a step makes that; empty for the project's own."""
    fixed = without_glob(path)
    folder = fixed.rpartition("/")[0] if fixed == path else fixed
    return folder.strip("./")
