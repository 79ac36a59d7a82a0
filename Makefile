# Everything runs in .venv, which tools/setup_env.py makes and fills; `make help` lists the targets.
# Another Python than python3 for a new environment: make PYTHON=python3.12 quickstart

PYTHON ?= python3
VENV_PYTHON := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test test-fast lint format clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile

setup:  ## Make .venv with everything that the other targets need (done once, then instant)
	@$(PYTHON) tools/setup_env.py

quickstart: setup  ## Train, evaluate and show a small CenterNet2 in some minutes
	@$(VENV_PYTHON) tools/quickstart.py

test: setup  ## Run the whole test-suite
	$(VENV_PYTHON) -m pytest

test-fast: setup  ## Run the tests that take less than some seconds each
	$(VENV_PYTHON) -m pytest -m "not slow"

lint: setup  ## Check style, formatting and types
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m mypy

format: setup  ## Format the code and fix what ruff can fix
	$(VENV_PYTHON) -m ruff check --fix .
	$(VENV_PYTHON) -m ruff format .

clean:  ## Remove the environment and all caches (keeps output/, datasets/ and weights/)
	rm -rf .venv .cache .pytest_cache .ruff_cache .mypy_cache .hypothesis build dist *.egg-info
	find centernet2 demo tests tools -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
