# Each target works in a fresh clone: it makes .venv and installs what it needs, once.
PYTHON ?= python3
SPACE ?= search_spaces/mosei.yaml
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt

# `make check COVERAGE=--cov` also measures what the fast tests run; they take half as long again.
COVERAGE ?=

.PHONY: help sweep test test-slow check map ui docs look

help:
	@echo "make sweep      install, then run or continue the sweep of SPACE ($(SPACE))"
	@echo "make test       install, then run the fast tests"
	@echo "make test-slow  install, then run the slow tests"
	@echo "make check      documentation, format, lint, types and fast tests"
	@echo "make map        write docs/map.md, one line for each file of the code"
	@echo "make docs       the documentation as a site, in site/"
	@echo "make ui         MLflow's pages over this folder's runs and models"
	@echo "make look       pictures of MLflow's pages of a small sweep, in screenshots/"

# A stamp is older than what it was installed from exactly when the installation is out of date.
.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(PIP) --editable '.[dev,text]'
	touch $@

.venv/installed-docs: .venv/installed
	$(PIP) --editable '.[docs]'
	touch $@

sweep: .venv/installed
	$(BIN)/python workflows/sweep.py --space $(SPACE)

test: .venv/installed-dev
	$(BIN)/python -m pytest -n auto -m 'not slow'

test-slow: .venv/installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow

check: .venv/installed-dev docs
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto -m 'not slow' $(COVERAGE)

map: .venv/installed-dev
	$(BIN)/python -m tests.support.code_map

docs: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# One worker: beside a running sweep, MLflow's default of four takes minutes to start on two cores.
ui: .venv/installed
	$(BIN)/mlflow ui --workers 1

look: .venv/installed-dev
	$(BIN)/python -m pytest -rs tests/look/mlflow_pages.py
