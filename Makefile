# Everything there is to do here. `make` alone lists it; each step that is longer than a few lines is a script in .ci/.
#
# PYTHON=… picks the interpreter for `make env`. On a machine without a GPU, UV_TORCH_BACKEND=cpu saves some gigabytes.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Without .pyc files every process pays seconds for importing what we stand on.
unexport PYTHONDONTWRITEBYTECODE

# uv does not read pip's variables.
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
endif
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
ifdef PIP_CERT
export SSL_CERT_FILE ?= $(PIP_CERT)
endif

PYTEST := python -m pytest -p no:nbval
TOOK := python -m tests.benchmarks.times
# When this very call of make began, and whether it began without an environment.
BEGAN := --began $(shell date +%s.%N) $(if $(wildcard .venv/.ready),,--clean)

.PHONY: help env triton tools front run test test-slow lab check types structure bench pictures clean

help:  ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' Makefile | expand -t 18

# ---- what everything else needs ----

env: .venv/.ready  ## make .venv, with the versions of constraints.txt

.venv/.ready: pyproject.toml constraints.txt .ci/env widgets/hatch_build.py
	.ci/env
	@touch $@

front: aiinfra_lab/labextension/package.json  ## build the front end out of widgets/

aiinfra_lab/labextension/package.json: .venv/.ready .ci/front $(shell find widgets -type f -not -path '*/node_modules/*' -not -path '*/lib/*' -not -name '*.tsbuildinfo' -not -name package-lock.json -not -name '*.py' -not -name '*.md')
	.ci/front
	@touch $@

triton: .venvs/triton/.ready  ## make .venvs/triton, for endpoints with --on triton

# The environments of engines and peers that cannot share ours.
.venvs/%/.ready: constraints/%.txt | .venv/.ready
	uv venv --quiet --allow-existing --python python .venvs/$*
	uv pip install --quiet --python .venvs/$* -r $<
	@touch $@

tools:  ## see to the programs that the tests start: Chromium, PostgreSQL, OpenSSH, iproute2
	@.ci/tools

# ---- the two commands of the README ----

run: env  ## run the whole example; KEEP=1 leaves its endpoint running
	@.ci/recipe
	@$(TOOK) loop.3 $(BEGAN) --recipe flight-delays

lab: env front  ## open JupyterLab on the tour
	jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate --LabApp.default_url=/lab/tree/notebooks/00-tour.ipynb

# ---- tests ----

check: env front  ## what needs no running: ruff, mypy, tsc, structure, help, docs and the lint of our notebooks
	ruff check .
	ruff format --check .
	@$(MAKE) --no-print-directory -j 2 --output-sync types structure

types:  # one process each; the last one uses what mypy has noted about the package
	mypy
	cd widgets && npx --no-install tsc --noEmit
	$(PYTEST) -q -n 0 tests/structure/test_callers.py

structure:  # these wait for nothing: one process for each core, as each of them collects all first
	$(PYTEST) -q -n logical tests/structure tests/recipe/lint --ignore=tests/structure/test_callers.py

test: env tools check  ## the tests side by side; what fails runs once more, alone
	.ci/tests -m "not slow" --ignore=tests/structure --ignore=tests/recipe/lint
	@$(TOOK) loop.6 $(BEGAN)

test-slow: env tools front  ## the tests that need engines or environments of their own, at most 45 minutes
	.ci/tests -m slow -n 3

# ---- figures and pictures ----

bench: env front  ## measure; ONLY=loop or ONLY=loop.1 picks, FULL=1 also runs what takes long
	python -m tests.benchmarks $(if $(FULL),--full) $(ONLY)

pictures: env front tools  ## make the README's pictures anew, from the real thing
	python -m tests.browser.pictures

clean:  ## remove everything that was made here
	rm -rf .venv .venvs build dist aiinfra_lab/labextension aiinfra_lab/static widgets/node_modules widgets/lib
