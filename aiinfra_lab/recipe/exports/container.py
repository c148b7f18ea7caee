"""A recipe as a container file: the project and its packages, and the recipe as what it runs."""

from __future__ import annotations

import json

from ..base import Recipe
from .base import ExportFacts, RecipeFiles
from .written import one_line, sealed, slug

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
    ignored = sealed(recipe, facts, "What is not to come into the image of", _IGNORED)
    build = f"docker build -f {main} -t {name} ."
    return RecipeFiles(
        {main: sealed(recipe, facts, "A container file", body, comments), f"{main}.dockerignore": ignored},
        main,
        f"`{build}`, in the project's folder; `docker run --init -v workspace:/workspace {one_line(name)}` runs it",
        ("the workspace is the volume /workspace: without one each run begins with nothing",),
    )
