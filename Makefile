# `make run` does the main job, `make test` passes the tests; both start from a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Nothing phones home; set a variable yourself to decide otherwise.
export DO_NOT_TRACK ?= true
export DVC_NO_ANALYTICS ?= 1
export MLFLOW_DISABLE_TELEMETRY ?= true
export PREFECT_SERVER_ANALYTICS_ENABLED ?= false

.PHONY: run test test-long lint audit install lock clean help

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: install data  ## prepare, train, sample, evaluate, report, register: the starter images, then the starter weather
	@$(BIN)/levy run
	@$(BIN)/levy run --params docs/params/weather.yaml

test: install data  ## all tests but the long ones
	@$(BIN)/python -m pytest

test-long: install data  ## kills at random moments, real servers, schedules, whole reruns, faults at every write: hours
	@$(BIN)/python -m pytest -m long

lint: install  ## style, types, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# In an environment of its own, so that `make install` is as quick as without it.
audit:  ## known vulnerabilities of the locked packages, where a service that knows them answers
	@$(PYTHON) .ci/audit.py

install: $(STAMP)  ## the locked versions in .venv

# --no-deps: the lock names every package, so pip installs it without searching for versions.
$(STAMP): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

# The starter data, from the remote inside the repository; data of your own is left alone.
.PHONY: data
data: install
	@test -e data || $(BIN)/dvc pull --quiet data.dvc

lock:  ## resolve the ranges of pyproject.toml again and write requirements.lock
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet 'torch==2.13.0'
	.venv-lock/bin/python -m pip install --quiet --editable '.[dev]'
	.venv-lock/bin/python -m pip freeze --all --exclude-editable | sed -E '/^pip==/d; s/\+cpu$$//' > requirements.lock
	rm -rf .venv-lock

clean:  ## remove outputs and local records; data and the DVC cache stay
	rm -rf outputs mlflow.db mlartifacts .prefect
