# From a bare Python 3.10 or later: each target sets up what it needs, once, in $(VENV).
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo setup test test-full lint format clean

help:  ## say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  PYTHON=python3.12 names the Python to set up with, VENV=folder the environment"

demo: $(VENV)/.ready-demo  ## train six small sparse networks on handwritten digits (CPU, no download of data)
	$(BIN)/python -m spfde_exp -m sparsity=0.9,0.95,0.98 freeze=0.15,0.2

setup: $(VENV)/.ready-dev  ## install the project with all that tests and checks need

test: setup  ## run the quick tests
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test-full: setup  ## run all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations=25

lint: setup  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## sort imports and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove caches and build products; runs and the environment stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

$(VENV)/.ready-demo: EXTRAS =
$(VENV)/.ready-dev: EXTRAS = [test,dev]
$(VENV)/.ready-%: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { echo \
	  "error: $(PYTHON) is missing or older than 3.10; name another one: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo \
	  "error: $(PYTHON) cannot make virtual environments; install its venv package (Debian: python3-venv)" >&2; exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -e ".$(EXTRAS)"
	@touch $@
