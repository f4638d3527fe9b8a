# `make` lists what there is. VENV=PATH puts the environment elsewhere, PYTHON=PATH builds it with another Python.
SHELL  := /bin/bash
VENV   ?= .venv
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell $(p) -c \
	'import sys; print("$(p)") if (3, 11) <= sys.version_info < (3, 14) else None' 2>/dev/null)))

TORCH   := 2.13.0
CPU_URL := https://download.pytorch.org/whl/cpu
STAMP   := $(VENV)/.installed
RUN     := $(VENV)/bin/python
QUICK   := runs/quickstart
RUNS     = $(abspath $(QUICK))

.PHONY: help setup run demo test test-all docs lint format clean cohort bench dashboard wandb ship
.DEFAULT_GOAL := help

help:  ## what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## create the environment (.venv) if need be

# torch comes first and by itself. Plain PyPI torch brings gigabytes of CUDA on Linux: without a GPU the CPU build is taken.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed and not found; name one: make setup PYTHON=/path/to/python3.12" >&2; exit 1; }
	test -x $(RUN) || "$(PYTHON)" -m venv $(VENV)
	@if [ "$$(uname -s)" = Linux ] && ! nvidia-smi >/dev/null 2>&1; then \
	  echo "no GPU: torch's CPU build"; \
	  $(RUN) -m pip install -qq --retries 1 --no-deps --extra-index-url $(CPU_URL) "torch==$(TORCH)+cpu" || \
	    { echo "no CPU build found at $(CPU_URL); taking the package index's torch" >&2; \
	      $(RUN) -m pip install -q -c constraints.txt "torch==$(TORCH)"; }; \
	else $(RUN) -m pip install -q -c constraints.txt "torch==$(TORCH)"; fi
	$(RUN) -m pip install -q -c constraints.txt -e ".[dev]"
	@touch $@

run: $(STAMP)  ## quickstart: train and explain on the phantom, then a report (about 15 minutes on 2 cores)
	@$(MAKE) --no-print-directory $(QUICK)/cycle_am_small/phantom/latest
	@echo "== evaluation"
	$(RUN) evaluate.py experiment=classifier paths.runs="$(RUNS)" out_dir="$(RUNS)/classifier/evaluation"
	$(RUN) evaluate.py experiment=cycle_am_small paths.runs="$(RUNS)" out_dir="$(RUNS)"
	@echo; echo "The report: $(RUNS)/report.html"

# A training, once, in a folder of its own; one that was interrupted goes on from its last epoch.
$(QUICK)/%/phantom/latest:
	@echo "== $*: training"
	$(RUN) train.py experiment=$* paths.runs="$(RUNS)" hydra.run.dir="$(RUNS)/$*/phantom/quickstart" ckpt_path=auto

.PRECIOUS: $(QUICK)/%/phantom/latest
$(QUICK)/cycle_am_small/phantom/latest: | $(QUICK)/classifier/phantom/latest

demo: $(STAMP)  ## a first look: explains bundled phantom cases with the shipped model (seconds, downloads nothing)
	$(RUN) -m cycle_am demo

test: $(STAMP)  ## the fast tests, on all cores
	$(RUN) -m pytest -n auto --dist worksteal

test-all: $(STAMP)  ## all tests, the slow ones too
	$(RUN) -m pytest -m ""

docs: $(STAMP)  ## the documentation as a site, build/site/index.html; every link is checked
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --quiet
	@echo "$$PWD/build/site/index.html"

lint: $(STAMP)  ## check style
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

format: $(STAMP)  ## mend style
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

cohort: $(STAMP)  ## runs/cohort.csv: every lesion of LIDC from the annotations alone
	$(RUN) -m cycle_am.data.lidc.cohort

bench: $(STAMP)  ## time clustering, preparation, training steps and explanations
	$(RUN) -m benchmarks

dashboard: $(STAMP)  ## runs/dashboard.html: all local runs on one page to filter, sort and compare
	@mkdir -p runs
	$(RUN) evaluate.py evaluation=runs

wandb: $(STAMP)  ## the W&B dashboard that everyone shares (needs an account; ENTITY=TEAM)
	@$(RUN) -m cycle_am.app.tracking.wandb_workspace $(if $(ENTITY),--entity $(ENTITY))

ship: $(STAMP)  ## make the shipped model and its cases anew: make run's training and evaluation, packed
	$(RUN) -m benchmarks.ship

clean:  ## remove the environment, caches and build leftovers; runs/ stays
	rm -rf $(VENV) .cache build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
