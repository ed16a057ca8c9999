# `make` lists the targets. Each of them sets the project up first if needed.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
ROWS ?= b sharp m0 m1 m2 m3 m4 m5 m6
SEEDS ?= 5
FOLDS ?=
EPOCHS ?=
JOBS ?=
DATA ?=
OUT ?= runs/table
ARGS ?=
SLOW ?=
PARTS ?=
RUNS ?=
SYNC ?=

VENV := .venv
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.bench
DOCS_READY := $(VENV)/.docs
RUN := $(VENV)/bin/python -m
# One process a core, one thread each: two processes of one thread do more than one of two.
PYTEST := OMP_NUM_THREADS=1 $(RUN) pytest -q -n auto --maxprocesses 8 --dist worksteal

.PHONY: help setup test test-slow lint smoke reproduce-table capacity-study robustness timbre dashboard bench growth sounds docs page wheel clean

help: ## list the targets
	@echo "Targets:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' Makefile
	@echo "Variables of reproduce-table: ROWS SEEDS FOLDS EPOCHS JOBS DATA OUT, and ARGS for every fit, e.g."
	@echo "  make reproduce-table ROWS='m0 m6' SEEDS=2 JOBS=4 OUT=runs/two_rows"
	@echo "JOBS: cells at a time; ray (or ray://host:port): on all machines of a Ray cluster"

setup: $(READY) ## make .venv with the exact versions of constraints.txt (PYTHON=python3.12 chooses the interpreter)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "error: Python 3.11 or later is needed, and '$(PYTHON)' is not; name one: make setup PYTHON=python3.12" >&2; exit 2; }
	@echo "setting up $(VENV): torch and its libraries are several GB, the first time takes some minutes"
	@$(PYTHON) -m venv $(VENV)
	@TIMEFORMAT="set up in %R s"; time $(RUN) pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[train,dev]"
	@$(VENV)/bin/python scripts/link_checkout.py
	@touch $@

test: $(READY) ## run the fast tests (SLOW=1: and the slow ones)
	$(PYTEST) $(if $(SLOW),-m "slow or not slow")

test-slow: $(READY) ## run the slow tests only
	$(PYTEST) -m slow

lint: $(READY) ## ruff and mypy
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy

smoke: $(READY) ## the whole path on a tiny subset: two epochs, classifiers, every callback, offline W&B
	@TIMEFORMAT="smoke: %R s"; time $(RUN) experiments fit --config configs/smoke.yaml

reproduce-table: $(READY) ## train the rows and print the nine-row table (variables below)
	@$(RUN) experiments grid --rows $(foreach row,$(ROWS),'$(row)') --seeds '$(SEEDS)' $(if $(FOLDS),--folds '$(FOLDS)') \
		$(if $(EPOCHS),--epochs '$(EPOCHS)') $(if $(JOBS),--jobs '$(JOBS)') $(if $(DATA),--data '$(DATA)') \
		--out '$(OUT)' $(if $(ARGS),-- $(ARGS))

capacity-study: OUT = runs/capacity
capacity-study: SEEDS = 1
capacity-study: $(READY) ## draw accuracy, leakage and CDS against K and against the weight of pairs (SEEDS EPOCHS JOBS DATA ARGS)
	@$(RUN) experiments capacity --seeds '$(SEEDS)' \
		$(if $(EPOCHS),--epochs '$(EPOCHS)') $(if $(JOBS),--jobs '$(JOBS)') $(if $(DATA),--data '$(DATA)') \
		--out '$(OUT)' $(if $(ARGS),-- $(ARGS))

robustness: OUT = runs/robustness
robustness: $(READY) ## score finished runs on harder sounds (RUNS="runs/table/m7/seed_0 ...")
	@$(RUN) experiments robustness --runs $(RUNS) --out '$(OUT)' $(ARGS)

timbre: OUT = runs/timbre
timbre: $(READY) ## measure the timbre codes of finished runs (RUNS="..." ARGS="--ratings FOLDER" for listeners)
	@$(RUN) experiments timbre --runs $(RUNS) --out '$(OUT)' $(ARGS)

dashboard: $(READY) ## list the runs that W&B keeps offline and how to upload them (SYNC=1 uploads; RUNS: folders)
	@$(RUN) experiments dashboard $(if $(RUNS),--runs $(RUNS)) $(if $(SYNC),--sync)

# audiomentations refuses the soxr that is used here, and works with it.
$(BENCH_READY): $(READY)
	@echo "setting up the libraries that the bench compares with"
	@$(RUN) pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[bench]"
	@$(RUN) pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps audiomentations
	@touch $@

bench: OUT = runs/bench
bench: $(BENCH_READY) ## time ours beside the ways of today and the limits, and write bench.json (PARTS="pairs steps metrics startup sound whole_notes")
	@$(RUN) experiments bench $(if $(PARTS),--parts $(PARTS)) --out '$(OUT)' $(ARGS)

growth: OUT = runs/growth
growth: $(READY) ## draw how time and memory grow with the notes and with K (ARGS="--takes 1 10" leaves x100 out)
	@$(RUN) experiments growth --out '$(OUT)' $(ARGS)

sounds: OUT = docs/sounds
sounds: $(READY) ## write a gallery of notes, reconstructions and swaps of the shipped model
	@$(RUN) experiments sounds --out '$(OUT)' $(ARGS)

$(DOCS_READY): $(READY)
	@echo "setting up the libraries that make the documentation"
	@$(RUN) pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	@touch $@

docs: $(DOCS_READY) ## build the documentation, build/docs/index.html, and run its notebook; links inside are checked
	$(RUN) sphinx --builder html --fail-on-warning --keep-going --doctree-dir build/docs.cache docs build/docs

PAGE := pitch_timbre/page
page: $(PAGE)/static/index.html ## build the page that `pitch-timbre page` shows (needs Node.js with npm)

$(PAGE)/static/index.html: $(wildcard $(PAGE)/src/*) $(addprefix $(PAGE)/,build.mjs package.json package-lock.json tsconfig.json)
	npm --prefix $(PAGE) ci --ignore-scripts --no-audit --no-fund
	npm --prefix $(PAGE) run check
	npm --prefix $(PAGE) run build

wheel: $(READY) $(PAGE)/static/index.html ## build dist/*.whl, which a musician installs: pitch_timbre with its model and page
	$(RUN) pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

clean: ## remove caches and build leftovers (.venv and runs/ stay)
	rm -rf build *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
