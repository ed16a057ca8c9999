# `make` lists the targets. Every one of them sets the project up first if need be.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
ROWS ?= b sharp m0 m1 m2 m3 m4 m5 m6
SEEDS ?= 5
EPOCHS ?=
JOBS ?=
DATA ?=
OUT ?= runs/table
ARGS ?=
SLOW ?=

VENV := .venv
READY := $(VENV)/.ready
RUN := $(VENV)/bin/python -m

.PHONY: help setup test test-slow lint smoke reproduce-table clean

help: ## list the targets
	@echo "Targets:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' Makefile
	@echo "Variables of reproduce-table: ROWS SEEDS EPOCHS JOBS DATA OUT, and ARGS for every fit, e.g."
	@echo "  make reproduce-table ROWS='m0 m6' SEEDS=2 JOBS=4 OUT=runs/two_rows"

setup: $(READY) ## make .venv with the exact versions of constraints.txt (PYTHON=python3.12 chooses the interpreter)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "error: Python 3.11 or later is needed, and '$(PYTHON)' is not; name one: make setup PYTHON=python3.12" >&2; exit 2; }
	@echo "setting up $(VENV): torch and its libraries are several GB, the first time takes some minutes"
	@$(PYTHON) -m venv $(VENV)
	@TIMEFORMAT="set up in %R s"; time $(RUN) pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

test: $(READY) ## run the fast tests (SLOW=1: and the slow ones)
	$(RUN) pytest -q $(if $(SLOW),-m "slow or not slow")

test-slow: $(READY) ## run the slow tests alone
	$(RUN) pytest -q -m slow

lint: $(READY) ## ruff and mypy
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy

smoke: $(READY) ## the whole path on a tiny subset: two epochs, classifiers, every callback, offline W&B
	@TIMEFORMAT="smoke: %R s"; time $(RUN) experiments fit --config configs/smoke.yaml

reproduce-table: $(READY) ## train the rows and print the nine-row table (variables below)
	@$(RUN) experiments grid --rows $(foreach row,$(ROWS),'$(row)') --seeds '$(SEEDS)' \
		$(if $(EPOCHS),--epochs '$(EPOCHS)') $(if $(JOBS),--jobs '$(JOBS)') $(if $(DATA),--data '$(DATA)') \
		--out '$(OUT)' $(if $(ARGS),-- $(ARGS))

clean: ## remove caches and build leftovers (.venv and runs/ stay)
	rm -rf build *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
